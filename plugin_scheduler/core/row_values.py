"""Read single values of rows that may have been edited by hand.

Each function accepts any value from a column and returns a value of the right type, so that one
invalid row cannot break a whole page.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

from plugin_scheduler.core.time_text import read_time

LARGEST = 2**63 - 1  # the largest integer that a database accepts
MOST = 10**15  # the largest plausible number of seconds, bytes or other units


def text(value: Any) -> str | None:
    """Return text; undecodable bytes are replaced.

    >>> text(b"caf\\xff"), text(7), text(None)
    ('caf\\ufffd', '7', None)
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


def number(value: Any, default: float = 0.0) -> float:
    """Return a number of plausible size (at most `MOST`); the default for anything else.

    >>> number(2.5), number("x"), number(1e300), number(float("nan"))
    (2.5, 0.0, 0.0, 0.0)
    """
    if not isinstance(value, (int, float)) or not -MOST <= value <= MOST:
        return default
    return float(value)


def whole(value: Any, default: int = 0) -> int:
    """Return an integer that a database can store; the default for anything else.

    >>> whole(3.0), whole("3"), whole(float("inf")), whole(10**400)
    (3, 0, 0, 0)
    """
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) else default
    return value if isinstance(value, int) and -LARGEST - 1 <= value <= LARGEST else default


def moment(value: Any) -> datetime | None:
    """Return a naive datetime, or None for an invalid value."""
    if isinstance(value, str):
        try:
            value = read_time(value)
        except ValueError:
            return None
    return value.replace(tzinfo=None) if isinstance(value, datetime) else None


def items(value: Any) -> list[Any]:
    """Return a list; an empty list for anything else."""
    return list(value) if isinstance(value, (list, tuple)) else []


def json_object(value: Any) -> dict[str, Any]:
    """Return a stored JSON object as a dict; an empty dict for anything else.

    Old tables store objects as text, which may be invalid JSON.

    >>> json_object('{"pid": 7}'), json_object({"pid": 7}), json_object("[]"), json_object("{")
    ({'pid': 7}, {'pid': 7}, {}, {})
    """
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def plain(value: Any) -> Any:
    """Return a JSON value with NaN and infinite numbers as text; None if it cannot be encoded.

    >>> plain([1, float("nan")]), plain({"a": float("inf")})
    ([1, 'NaN'], {'a': 'Infinity'})
    """
    try:
        return json.loads(json.dumps(value), parse_constant=str)
    except (TypeError, ValueError, RecursionError):
        return None
