"""How do values become JSON? Arguments on their way in, results on their way out.

I own the encoding. I call nobody; pydal's rows are known by their `as_dict` and `as_list`.
I never decode anything but JSON.
"""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from typing import Any

from plugin_scheduler.errors import BadTask

PATH_LIMIT = 1000  # characters of a path into nested values; deeper is not looked


def encode(value: Any, what: str) -> str:
    """JSON text of ``value``; BadTask names the part of ``what`` that cannot be, and its type.

    Dates and times become ISO 8601 text, Decimal and UUID text, sets and tuples lists, a Row a
    dict and Rows a list of dicts.

    >>> encode({"day": datetime.date(2026, 1, 31)}, "the result")
    '{"day": "2026-01-31"}'
    """
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadTask(f"{what} cannot be stored as JSON: {_culprit(value, error)}") from None


def clean(text: str) -> str:
    """Text that every database takes: no lone surrogates (a file name that is no UTF-8, say), which
    no driver can encode, and no NUL, which PostgreSQL refuses.

    >>> clean("caf\\udce9")
    'caf?'
    """
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def decode(text: str | None) -> Any:
    """The value behind stored JSON; None where nothing is stored."""
    return json.loads(text) if text else None


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, bytes):
        return value.decode("utf-8")  # UnicodeDecodeError is a ValueError: told like the others
    for method in ("as_list", "as_dict"):
        if callable(getattr(type(value), method, None)):
            return getattr(value, method)()
    raise TypeError(_type_name(value))


def _culprit(value: Any, error: Exception) -> str:
    path, found = _find(value, "", set())
    if found is not None:
        return f"{path or 'it'} is of type {_type_name(found)}"
    return f"{type(error).__name__}: {error}"


def _find(value: Any, path: str, seen: set[int]) -> tuple[str, Any]:
    """Where in nested lists and dicts the value sits that JSON does not know."""
    if id(value) in seen or len(path) > PATH_LIMIT:  # objects may refer to each other in rings
        return path, None
    if isinstance(value, dict):
        seen.add(id(value))
        items = [(f"{path}[{key!r}]", item) for key, item in value.items()]
        bad = [key for key in value if not isinstance(key, (str, int, float, bool, type(None)))]
        if bad:
            return f"{path}'s key {bad[0]!r}" if path else f"its key {bad[0]!r}", bad[0]
    elif isinstance(value, (list, tuple)):
        seen.add(id(value))
        items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        return path, None if _encodes(value) else value
    for place, item in items:
        where, found = _find(item, place, seen)
        if found is not None:
            return where, found
    return path, None


def _encodes(value: Any) -> bool:
    try:
        json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
