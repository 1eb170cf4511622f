"""Encode and decode JSON: the arguments and results of tasks.

The text is JSON that every parser reads: no NaN or Infinity, no duplicate keys, no lone surrogates,
limited nesting. An error message names the place of the value that cannot be encoded. Pydal's rows
are recognized by their methods `as_dict` and `as_list`.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
import uuid
from collections.abc import Iterator
from typing import Any, NoReturn

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence

PATH_SHOWN = 200  # characters of a path in a message
DEPTH = 256  # levels of lists and dicts; parsers fail at a few hundred
DIGITS = 4300  # of a whole number; Python refuses to read longer ones
_SHORTEST_ODD = 8  # characters: "\\ud800" with its quotes
#: A lone surrogate, as a JSON escape.
_HALF = re.compile(
    r"\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}",
    re.IGNORECASE,
)


def encode(value: Any, what: str) -> str:
    """Return ``value`` as JSON text.

    Dates and times become ISO 8601 text; Decimal and UUID become text; sets and tuples become
    lists; a Row becomes a dict and Rows a list of dicts.

    Raises `BadTask`, which names the part of ``what`` that cannot be encoded, and the cause.

    >>> encode({"day": datetime.date(2026, 1, 31)}, "the result")
    '{"day": "2026-01-31"}'
    """
    try:
        text = _ENCODER.encode(value)
        # A text search is fast, and only few values need the slow check.
        may_be_odd = "{" in text or text.count("[") > DEPTH
        if len(text) < _SHORTEST_ODD or (
            not (may_be_odd and _is_odd(value)) and not ("\\ud" in text and _HALF.search(text))
        ):
            return text
        fault = next(_faults(value), None)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        fault = next(_faults(value), None) or f"{type(error).__name__}: {error}"
    if fault is None:
        return text
    raise BadTask(Sentence("{what} cannot be stored as JSON: {why}", what=what, why=fault))


def clean(text: str) -> str:
    """Replace the characters that a database may not accept.

    These are lone surrogates (for example from a file name that is not UTF-8), which no driver can
    encode, and NUL, which PostgreSQL refuses.

    >>> clean("caf\\udce9")
    'caf?'
    """
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def flaw_of(text: str) -> str | None:
    """Describe why a database may refuse a text; None if all databases accept it.

    >>> flaw_of("a\\x00b"), flaw_of("abc")
    ('contains a NUL character (\\\\x00), which databases refuse', None)
    """
    if "\x00" in text:
        return Sentence("contains a NUL character (\\x00), which databases refuse")
    return _half(text)


def decode(text: str | None) -> Any:
    """Decode stored JSON; None where nothing is stored."""
    try:
        return json.loads(text) if text else None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def from_json(text: str) -> Any:
    """Decode strict JSON: without Python's NaN and Infinity, without duplicate keys.

    Raises ``ValueError`` for anything else.
    """
    try:
        found = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_once
        )
    except RecursionError:
        raise ValueError(f"it is more than {DEPTH} levels deep") from None
    may_be_deep = text.count("[") + text.count("{") > DEPTH
    if (may_be_deep and _is_odd(found)) or ("\\ud" in text.lower() and _HALF.search(text)):
        fault = next(_faults(found), None)
        if fault is not None:
            raise ValueError(fault)
    return found


def document(value: Any) -> Any:
    """Convert a value to plain values for a JSON response.

    NaN and Infinity, which old rows may contain, become their names.
    """
    return json.loads(json.dumps(value, default=_plain), parse_constant=str)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {json.dumps(twice)} occurs twice")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, bytes):
        return value.decode("utf-8")  # UnicodeDecodeError is a ValueError, reported like the others
    for method in ("as_list", "as_dict"):
        if callable(getattr(type(value), method, None)):
            return getattr(value, method)()
    raise TypeError(_type_name(value))


_ENCODER = json.JSONEncoder(default=_plain, allow_nan=False)


# -- find faults -------------------------------------------------------------------------------


_LEAVES = frozenset((str, int, float, bool, type(None)))


def _is_odd(value: Any) -> bool:
    """Return True for an encoded value with too many levels or a key that is not text.

    The value has no reference cycles, because it has been encoded.
    """
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH:
            return True
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                for key in item:
                    if type(key) is not str:
                        return True
                inner += [one for one in item.values() if type(one) not in _LEAVES]
            elif isinstance(item, (list, tuple)):
                inner += [one for one in item if type(one) not in _LEAVES]
            elif not isinstance(item, (str, int, float, type(None))):
                inner.append(_plain(item))
        level = inner
    return False


def _faults(value: Any) -> Iterator[str]:
    """Yield the faults that prevent strict JSON, each with its place."""
    waiting, seen = [(value, "", 1)], set()
    while waiting:
        item, path, level = waiting.pop()
        fault = _fault_of(item)
        if fault is None and isinstance(item, (dict, list, tuple)):
            if id(item) in seen:  # objects may form reference cycles
                continue
            seen.add(id(item))
            if isinstance(item, dict):
                yield from _faults_of_keys(item, path)
        if level > DEPTH and not isinstance(item, (str, int, float, type(None))):
            fault = fault or f"is more than {DEPTH} levels deep"
        if fault is not None:
            yield f"{_shown(path) or 'it'} {fault}"
        elif not isinstance(item, (str, int, float, type(None))):
            waiting += [(one, f"{path}{place}", level + 1) for place, one in _inner(item)]


def _inner(item: Any) -> list[tuple[str, Any]]:
    """Return the places and values inside a container, the last first."""
    if isinstance(item, dict):
        pairs = [(f"[{key!r}]", one) for key, one in item.items()]
    elif isinstance(item, (list, tuple)):
        pairs = [(f"[{place}]", one) for place, one in enumerate(item)]
    else:
        pairs = [("", _plain(item))]
    return pairs[::-1]


def _fault_of(item: Any) -> str | None:
    """Describe the fault of a value itself, without the values inside it."""
    if isinstance(item, str):
        return _half(item)
    if isinstance(item, float):
        return None if math.isfinite(item) else f"is {float(item)}, which is not valid JSON"
    if isinstance(item, int):
        return None if _is_short(item) else f"is a number with more than {DIGITS} digits"
    if item is None or isinstance(item, (dict, list, tuple)):
        return None
    try:
        _plain(item)
    except (TypeError, ValueError, RecursionError):
        return f"is of type {_type_name(item)}"
    return None


def _is_short(number: int) -> bool:
    return number.bit_length() < 3 * DIGITS or bool(abs(number) < 10**DIGITS)


def _half(text: str) -> str | None:
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])[1:-1]
        what = "contains half of a character ({half}), as from invalid UTF-8"
        return Sentence(what, half=half)
    return None


def _faults_of_keys(item: dict[Any, Any], path: str) -> Iterator[str]:
    """Yield the keys that cannot be JSON text, or that become the same text."""
    seen: dict[str, Any] = {}
    for key in item:
        where = f"{_shown(path)}'s key {key!r}" if path else f"its key {key!r}"
        if not isinstance(key, (str, int, float, type(None))):
            yield f"{where} is of type {_type_name(key)}"
            continue
        fault = _fault_of(key)
        if fault is not None:
            yield f"{where} {fault}"
            continue
        text = key if type(key) is str else next(iter(json.loads(json.dumps({key: 0}))))
        if text in seen:
            yield f"{_shown(path) or 'it'} has the keys {seen[text]!r} and {key!r}, equal in JSON"
        seen[text] = key


def _shown(path: str) -> str:
    return path if len(path) <= PATH_SHOWN else f"{path[:PATH_SHOWN]}..."


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
