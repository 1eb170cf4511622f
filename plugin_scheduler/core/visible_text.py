"""Escape text from outside, so that it can be shown on one line.

Escapes characters that act on the screen: control characters (a line feed forges a log line, ESC
starts a terminal command), directional overrides (they reverse the following text), and separators
and surrogates that not every output accepts.
"""

from __future__ import annotations

import re

#: C0, DEL, C1, line separators, directional overrides and isolates, surrogates, BOM.
_ACTS = "\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
_ONE_LINE = re.compile(f"[{_ACTS}]")
_LINES = re.compile(f"(?![\t\n])[{_ACTS}]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def visible(text: str, lines: bool = False) -> str:
    """Return the text with such characters escaped; with ``lines``, line feeds and tabs stay.

    >>> print(visible("paid\\n2026-01-01 ERROR \\x1b[2J\\u202egpj.exe"))
    paid\\n2026-01-01 ERROR \\x1b[2J\\u202egpj.exe
    """
    return (_LINES if lines else _ONE_LINE).sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    one = found.group()
    number = ord(one)
    return _SHORT.get(one) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")
