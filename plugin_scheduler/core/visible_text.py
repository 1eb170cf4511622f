"""Show text that came from outside on one line, exactly as it is.

Escapes what would act on a reader's screen instead of being read: control characters (a line feed
forges a line of a log, ESC commands a terminal), directional overrides (they reverse what follows),
and separators and surrogates that not every output takes.
"""

from __future__ import annotations

import re

#: C0, DEL, C1, line separators, directional overrides and isolates, surrogates, BOM.
_ACTS = "\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
_ONE_LINE = re.compile(f"[{_ACTS}]")
_LINES = re.compile(f"(?![\t\n])[{_ACTS}]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def visible(text: str, lines: bool = False) -> str:
    """The text with such characters written as escapes; with ``lines`` line feeds and tabs stay.

    >>> print(visible("paid\\n2026-01-01 ERROR \\x1b[2J\\u202egpj.exe"))
    paid\\n2026-01-01 ERROR \\x1b[2J\\u202egpj.exe
    """
    return (_LINES if lines else _ONE_LINE).sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    one = found.group()
    number = ord(one)
    return _SHORT.get(one) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")
