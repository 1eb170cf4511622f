"""Format any exception: one line for its reason, and its traceback.

An exception is a user's object, and each part of it can raise: its text, its notes, its file names.
Parts that raise are left out; the name of the type and the frames remain.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from types import TracebackType

from plugin_scheduler.core.json_codec import clean

TRACEBACK_LIMIT = 1 << 16  # characters
NO_TEXT = "(its text cannot be shown)"


def reason_of(error: BaseException) -> str:
    """Return the type and the first line of the text, without notes.

    >>> reason_of(ValueError("no"))
    'ValueError: no'
    """
    name, line = _name_of(error), first_line(error)
    return clean(f"{name}: {line}" if line else name)


def first_line(error: BaseException) -> str:
    """Return the first line of the text, for use inside another sentence.

    >>> first_line(ValueError("no\\nCONTEXT: none"))
    'no'
    """
    lines = _text_of(error).strip().splitlines()
    return lines[0] if lines else ""


def traceback_of(error: BaseException, without: Iterable[str] = ()) -> str:
    """Return the traceback, without the frames of the files ``without``.

    Only the last `TRACEBACK_LIMIT` characters are kept.
    """
    hidden = frozenset(without)
    try:
        text = _whole(error, hidden)
    except Exception:  # Python calls methods of the exception, which are a user's code
        text = _frames_only(error, hidden)
    return clean(text)[-TRACEBACK_LIMIT:]


def _whole(error: BaseException, hidden: frozenset[str]) -> str:
    whole = traceback.TracebackException.from_exception(error)
    whole.stack = traceback.StackSummary.from_list(
        [frame for frame in whole.stack if frame.filename not in hidden]
    )
    return "".join(whole.format())


def _frames_only(error: BaseException, hidden: frozenset[str]) -> str:
    frames = [frame for frame in _frames_of(error.__traceback__) if frame.filename not in hidden]
    last = f"{_name_of(error)}: {_text_of(error)}\n"
    head = "Traceback (most recent call last):\n"
    return head + "".join(traceback.format_list(frames)) + last


def _frames_of(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    """Return the frames without source lines: the file names may come from a user's code."""
    return [
        traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name, line="")
        for frame, line in traceback.walk_tb(trace)
    ]


def _name_of(error: BaseException) -> str:
    kind = type(error)
    name = str(kind.__qualname__)
    own = str(kind.__module__)
    return name if own in ("builtins", "__main__") else f"{own}.{name}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # `__str__` is a user's method
        return NO_TEXT
