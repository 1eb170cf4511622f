"""Parse tracebacks: return the error, and the line that caused it.

Reads Python's tracebacks, also chained ones and groups, and the stack dumps of killed runs. Opens
no files: only the text is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD = re.compile(r"^(  \+ Exception Group )?Traceback \(most recent call last\):$", re.MULTILINE)
_DUMP_HEAD = re.compile(r"\(most recent call first\):\n")
_FRAME = re.compile(r'  File "(.+?)", line (\d+)(?:, in (.+)| in (.+))?$')
_ANY_FRAME = re.compile(r'^  File ".+?", line \d+, in ', re.MULTILINE)
_ERROR = re.compile(r"([^\W\d][\w.<>]*)(?:: ?(.*))?", re.DOTALL)
_FATAL = re.compile(r"^(Fatal Python error): (.+)$", re.MULTILINE)
#: Code that is not the app's: Python's own, installed packages, and this package.
_FOREIGN = re.compile(
    r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib(?:64)?[\\/]python\d|^<frozen |"
    r"[\\/]plugin_scheduler[\\/]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Frame:
    """One call on the way to the error; ``own`` for the app's code."""

    file: str
    line: int
    function: str
    code: str
    own: bool


@dataclass(frozen=True)
class ParsedTraceback:
    """The error and its place: the innermost line of the app's own code, else the innermost
    line."""

    kind: str = ""
    message: str = ""
    file: str = ""
    line: int = 0
    function: str = ""
    code: str = ""
    frames: tuple[Frame, ...] = ()

    @property
    def place(self) -> str:
        """The place as ``tasks.py:7`` with the full path; empty if it is unknown."""
        return f"{self.file}:{self.line}" if self.file else ""


def blame(text: str | None) -> ParsedTraceback:
    """Parse a traceback; for any other text, the first line is the message.

    >>> found = blame(run.traceback)
    >>> found.kind, found.message, found.place, found.code
    ('ZeroDivisionError', 'division by zero', '/srv/shop/tasks.py:7', 'return 1 / n')
    """
    text = (text or "").replace("\r\n", "\n").strip("\n")
    heads = list(_HEAD.finditer(text))
    if heads:  # the last of several was raised; the others led to it
        block = text[heads[-1].end() + 1 :]
        return _of_traceback(_unboxed(block) if heads[-1][1] else block)
    dump = _DUMP_HEAD.search(text)
    if dump is not None:
        return _of_dump(text, dump)
    headless = _ANY_FRAME.search(text)  # long tracebacks are cut at the beginning
    if headless is not None:
        return _of_traceback(text[headless.start() :])
    return ParsedTraceback(message=_first_line(text))


def _of_traceback(block: str) -> ParsedTraceback:
    """Parse indented frames, and the error in the first line that is not indented."""
    lines = block.split("\n")
    end = next((at for at, line in enumerate(lines) if line and line[0] != " "), len(lines))
    error = _ERROR.fullmatch("\n".join(lines[end:]).strip())
    if error is None:
        kind, message = "", "\n".join(lines[end:]).strip()
    else:
        kind, message = error[1], (error[2] or "").strip()
    return _blamed(kind, message, tuple(_frames(lines[:end])))


def _of_dump(text: str, head: re.Match[str]) -> ParsedTraceback:
    """Parse the output of faulthandler: the newest call comes first."""
    fatal = _FATAL.search(text)
    kind, message = (fatal[1], fatal[2]) if fatal else ("", text.partition(";")[0])
    if not fatal and len(message) > head.start():
        message = ""
    frames = tuple(_frames(text[head.end() :].split("\n\n")[0].split("\n")))
    return _blamed(kind, message, frames[::-1])


def _blamed(kind: str, message: str, frames: tuple[Frame, ...]) -> ParsedTraceback:
    own = [frame for frame in frames if frame.own] or frames
    if not own:
        return ParsedTraceback(kind, message)
    at = own[-1]
    return ParsedTraceback(kind, message, at.file, at.line, at.function, at.code, frames)


def _frames(lines: list[str]) -> Iterator[Frame]:
    for at, line in enumerate(lines):
        found = _FRAME.match(line)
        if found:
            file, number, named, dumped = found.groups()
            below = lines[at + 1] if at + 1 < len(lines) else ""
            code = below.strip() if below.startswith("    ") else ""
            own = _FOREIGN.search(file) is None
            yield Frame(file, int(number), named or dumped or "", code, own)


def _unboxed(block: str) -> str:
    """Return the lines of a group itself, without their margin and without its members."""
    mine = block.partition("\n  +-")[0].split("\n")
    return "\n".join(line[4:] if line.startswith("  | ") else line for line in mine)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.split("\n") if line.strip()), "")
