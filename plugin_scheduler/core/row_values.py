"""Read single values of rows that may have been written by hand.

Each function takes whatever a database gave for a column and answers with a value of the right
type, so that one odd row cannot break the page of all the others.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

LARGEST = 2**63 - 1  # what a database takes as a whole number
MOST = 10**15  # seconds, bytes or whatever is counted


def text(value: Any) -> str | None:
    """Text; bytes as far as they are letters.

    >>> text(b"caf\\xff"), text(7), text(None)
    ('caf\\ufffd', '7', None)
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


def number(value: Any, default: float = 0.0) -> float:
    """A number of a size that something can have; the default for anything else.

    >>> number(2.5), number("x"), number(1e300), number(float("nan"))
    (2.5, 0.0, 0.0, 0.0)
    """
    if not isinstance(value, (int, float)) or not -MOST <= value <= MOST:
        return default
    return float(value)


def whole(value: Any, default: int = 0) -> int:
    """A whole number that a database can hold; the default for anything else.

    >>> whole(3.0), whole("3"), whole(float("inf")), whole(10**400)
    (3, 0, 0, 0)
    """
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) else default
    return value if isinstance(value, int) and -LARGEST - 1 <= value <= LARGEST else default


def moment(value: Any) -> datetime | None:
    """A time, or None for what is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value.replace(tzinfo=None) if isinstance(value, datetime) else None


def items(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return list(value) if isinstance(value, (list, tuple)) else []


def plain(value: Any) -> Any:
    """A value from JSON as every reader of JSON knows it: NaN and infinite numbers as words.

    >>> plain([1, float("nan")]), plain({"a": float("inf")})
    ([1, 'NaN'], {'a': 'Infinity'})
    """
    try:
        return json.loads(json.dumps(value), parse_constant=str)
    except (TypeError, ValueError, RecursionError):
        return None
