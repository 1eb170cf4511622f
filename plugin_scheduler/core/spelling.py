"""Find the known word that a misspelled one was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is spelled most like this one; upper and lower case are the same.

    >>> nearest("compelted", ["QUEUED", "COMPLETED"])
    'COMPLETED'
    """
    words = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), list(words), 1)
    return words[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word; empty where nothing is near.

    >>> did_you_mean("stauts", ["status", "stop"])
    '; did you mean status?'
    """
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""
