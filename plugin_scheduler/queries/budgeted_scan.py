"""How can a million tasks be searched for anything without keeping a person waiting?

By walking through them in steps that grow while they are quick, until there is enough or time is
up; whoever asked is told how far it came. I own the walk and its pace. I call the clock that I am
given, and never know what is looked for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydal.objects import Query

from plugin_scheduler.database.dialects.sql_template import listed
from plugin_scheduler.system.clock import Clock

GROWTH = 8  # a step is at most so many times as long as the one before
SHORTEST = 20  # ids
AT_ONCE = 2000  # ids that are named in one statement


class Pace:
    """Steps under a time limit: each takes about a third of the time that is left, at most."""

    def __init__(self, clock: Clock, seconds: float, first: int) -> None:
        self._clock, self._until, self._first = clock, clock.monotonic() + seconds, first

    def left(self) -> float:
        """Seconds until time is up."""
        return self._until - self._clock.monotonic()

    def steps(self) -> Iterator[int]:
        """How long each step may be; one at least, so that whoever goes on gets on."""
        size, is_first = self._first, True
        while is_first or self.left() > 0:
            began, is_first = self._clock.monotonic(), False
            yield size
            took = max(self._clock.monotonic() - began, 1e-6)
            fits = int(size * self.left() / 3 / took)
            size = max(SHORTEST, min(size * GROWTH, fits))


@dataclass
class Span:
    """All ids from ``low`` to ``high``, from the highest down or from the lowest up."""

    low: int
    high: int
    down: bool = True

    @property
    def is_over(self) -> bool:
        return self.low > self.high

    def next(self, column: Any, size: int) -> Any:
        """A condition for the ids of the next step."""
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
        """The last id that was looked at."""
        return self.high + 1 if self.down else self.low - 1


class Few(Span):
    """Some ids of a span, known one by one; they are walked in the same way."""

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
        )  # pydal's takes ten times as long
