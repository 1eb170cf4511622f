"""The output of a run: limited in size, in order, and readable while the run goes on.

Applies the size limit, web2py's ``!clear!``, and the marks that separate the bytes of one run from
those of the next. Does not read pipes: callers pass the bytes in.
"""

from __future__ import annotations

import codecs
import re

CLEAR = b"!clear!"
#: UTF-8 characters beyond ASCII; and bytes that are not UTF-8, in Python's surrogate form.
_UTF8 = re.compile("[^\x00-\x7f\udc80-\udcff]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]+")
#: Programs that do not use UTF-8 mostly use Latin-1; bytes without a character there become U+FFFD.
_LATIN_1 = "".join(chr(byte) if not 0x80 <= byte < 0xA0 else "\ufffd" for byte in range(256))
_DIGITS = 21  # digits of a run's number in a mark, with the byte that closes it


def mark(nonce: str, run_id: int) -> bytes:
    """Return the bytes that a runner writes behind a run's output; ``nonce`` is secret."""
    return f"\x00{nonce}:{run_id}\x00".encode()


class OutputBuffer:
    """The output of one run: the newest ``limit`` bytes, after a line that says how much is
    missing.

    ``!clear!`` drops all output before it, also when it arrives in two pieces (web2py's book,
    "Reporting progress percentages").

    >>> output = OutputBuffer(limit=1000)
    >>> output.write(b"50%!cle"); output.write(b"ar!100%")
    >>> output.text()
    '100%'
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._left_out = 0
        self.changed = False  #: True from new output until it is stored

    def write(self, data: bytes) -> None:
        """Add bytes in order of arrival; never keep more than twice the limit."""
        if not data:
            return
        self.changed = True
        seam = max(0, len(self._kept) - len(CLEAR) + 1)
        self._kept += data
        while (cleared := self._kept.find(CLEAR, seam)) >= 0:
            del self._kept[: cleared + len(CLEAR)]
            self._left_out = seam = 0
        surplus = len(self._kept) - self._limit
        if surplus > self._limit:  # cut seldom, so that each byte is moved at most once
            self._cut(surplus)

    def text(self) -> str:
        """Return the text to store now: valid, and without NUL, which PostgreSQL refuses."""
        surplus = len(self._kept) - self._limit
        if surplus > 0:
            self._cut(surplus)
        text = _decode(bytes(self._kept), whole=not self._left_out).replace("\x00", "\ufffd")
        return self._marker() + text if self._left_out else text

    def _cut(self, surplus: int) -> None:
        del self._kept[:surplus]
        self._left_out += surplus

    def _marker(self) -> str:
        return f"[... {_size(self._left_out)} of earlier output omitted ...]\n"


class Stream:
    """A runner's output, split at the marks into the output of each run."""

    def __init__(self, nonce: str) -> None:
        self._head = f"\x00{nonce}:".encode()
        self._held = b""

    def split(self, data: bytes) -> tuple[list[tuple[bytes, int]], bytes]:
        """Return the runs that ended in ``data``, each with its last bytes, and the current run's
        bytes.

        Bytes that may be the beginning of a mark are held back until the rest arrives.
        """
        data = self._held + data
        ended: list[tuple[bytes, int]] = []
        while (at := data.find(self._head)) >= 0:
            start = at + len(self._head)
            close = data.find(b"\x00", start, start + _DIGITS)
            if close < 0 and len(data) < start + _DIGITS:
                self._held = data[at:]
                return ended, data[:at]
            if close < 0 or not data[start:close].isdigit():  # text that a task wrote
                data = data[:at] + data[start:]
                continue
            ended.append((data[:at], int(data[start:close])))
            data = data[close + 1 :]
        hold = self._possible_head(data)
        self._held = data[len(data) - hold :]
        return ended, data[: len(data) - hold]

    def rest(self) -> bytes:
        """Return the bytes held back for a mark that never arrived."""
        rest, self._held = self._held, b""
        return rest

    def _possible_head(self, data: bytes) -> int:
        """Return how many bytes at the end of ``data`` could be the beginning of a mark."""
        last = data.rfind(b"\x00", max(0, len(data) - len(self._head)))
        return len(data) - last if last >= 0 and self._head.startswith(data[last:]) else 0


def _decode(data: bytes, whole: bool) -> str:
    start = 0
    if not whole:  # the cut may have split a character: begin at the next one
        while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
            start += 1
    data = data[start:]
    try:
        return data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
    if _UTF8.search(text) is None:
        return _latin_1(data)
    # Convert each invalid byte by itself, so that the text around it is unchanged.
    return _NOT_UTF8.sub(lambda found: _latin_1(found[0].encode("utf-8", "surrogateescape")), text)


def _latin_1(data: bytes) -> str:
    return codecs.charmap_decode(data, "strict", _LATIN_1)[0]


def _size(count: int) -> str:
    for unit, step in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} bytes"
