"""Search a large table within a time limit.

The scan goes through the ids in steps that grow while they are fast, and ends when enough rows are
found or the time is over. The caller learns how far the scan came. The module does not know what is
searched for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydal.objects import Query

from plugin_scheduler.database.dialects.sql_template import listed
from plugin_scheduler.system.clock import Clock

GROWTH = 8  # maximum growth from one step to the next
SHORTEST = 20  # ids
AT_ONCE = 2000  # ids in one statement


class Pace:
    """Steps under a time limit: each takes at most about a third of the remaining time."""

    def __init__(self, clock: Clock, seconds: float, first: int) -> None:
        self._clock, self._until, self._first = clock, clock.monotonic() + seconds, first

    def left(self) -> float:
        """Return the remaining seconds."""
        return self._until - self._clock.monotonic()

    def steps(self) -> Iterator[int]:
        """Yield the size of each step; at least one, so that every call makes progress."""
        size, is_first = self._first, True
        while is_first or self.left() > 0:
            began, is_first = self._clock.monotonic(), False
            yield size
            took = max(self._clock.monotonic() - began, 1e-6)
            fits = int(size * self.left() / 3 / took)
            size = max(SHORTEST, min(size * GROWTH, fits))


@dataclass
class Span:
    """All ids from ``low`` to ``high``, in descending or ascending order."""

    low: int
    high: int
    down: bool = True

    @property
    def is_over(self) -> bool:
        return self.low > self.high

    def next(self, column: Any, size: int) -> Any:
        """Return a condition for the ids of the next step."""
        low, high = self.low, self.high
        if self.down:
            low = max(low, high - size + 1)
            self.high = low - 1
        else:
            high = min(high, low + size - 1)
            self.low = high + 1
        return (column >= low) & (column <= high)

    @property
    def reached(self) -> int:
        """The last id that was searched."""
        return self.high + 1 if self.down else self.low - 1


class Few(Span):
    """Individual ids within a span, processed in the same way."""

    def __init__(self, ids: Sequence[int], span: Span) -> None:
        super().__init__(span.low, span.high, span.down)
        ids = sorted(ids)
        self._ids = ids[bisect_left(ids, span.low) : bisect_right(ids, span.high)]

    @property
    def is_over(self) -> bool:
        return not self._ids

    def next(self, column: Any, size: int) -> Any:
        size = min(size, AT_ONCE)
        if self.down:
            some, self._ids = self._ids[-size:], self._ids[:-size]
            self.high = some[0] - 1
        else:
            some, self._ids = self._ids[:size], self._ids[size:]
            self.low = some[-1] + 1
        return Query(
            column.db, f"({column} IN ({listed(some)}))"
        )  # pydal's belongs is ten times slower
