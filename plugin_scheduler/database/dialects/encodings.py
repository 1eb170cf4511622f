"""Find the characters that a database cannot store, and escape them.

Each column or connection with a limited character set is represented by a Python codec. A database
that stores every character has none, and no text is checked.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

#: MySQL's name for the characters of the Basic Multilingual Plane.
FIRST_PLANE = "utf8mb3"
ASCII = "ascii"
_BEYOND = re.compile("[\U00010000-\U0010ffff]")
_WIDE = ("utf8mb4", "utf16", "utf16le", "utf32")
_ALIASES = {"utf8": FIRST_PLANE, "ucs2": FIRST_PLANE, "latin1": "cp1252"}


def codecs_of_mysql(charsets: Iterable[str]) -> tuple[str, ...]:
    """Return the codecs of MySQL's limited character sets; ASCII for one unknown to Python.

    >>> codecs_of_mysql(["utf8mb4", "utf8", "latin1", "dec8"])
    ('ascii', 'cp1252', 'utf8mb3')
    """
    narrow = {_ALIASES.get(name, name) for name in charsets if name not in _WIDE}
    return tuple(sorted({name if _is_known(name) else ASCII for name in narrow}))


def _is_known(name: str) -> bool:
    try:
        return name == FIRST_PLANE or bool(codecs.lookup(name))
    except LookupError:
        return False


def escaped(text: str, narrow: Iterable[str]) -> str:
    r"""Escape the characters that one of these codecs cannot encode.

    >>> print(escaped("caf\xe9 \U0001f600", ["cp1252"]))
    café \U0001f600
    """
    if text.isascii():
        return text
    for codec in narrow:
        if codec == FIRST_PLANE:
            text = _BEYOND.sub(lambda found: f"\\U{ord(found[0]):08x}", text)
        else:
            text = text.encode(codec, "backslashreplace").decode(codec)
    return text


def letters_beyond(text: str, narrow: Iterable[str]) -> list[str]:
    r"""Return the characters that one of these codecs cannot encode, without duplicates.

    >>> letters_beyond("caf\xe9 \U0001f600\U0001f600", ["ascii"])
    ['é', '😀']
    """
    if text.isascii():
        return []
    narrow = list(narrow)
    return [letter for letter in dict.fromkeys(text) if escaped(letter, narrow) != letter]
