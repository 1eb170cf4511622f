"""Suggest a known word for a misspelled one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the most similar known word, ignoring case; None if no word is similar.

    >>> nearest("compelted", ["QUEUED", "COMPLETED"])
    'COMPLETED'
    """
    words = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), list(words), 1)
    return words[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word; empty if no word is similar.

    >>> did_you_mean("stauts", ["status", "stop"])
    '; did you mean status?'
    """
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""
