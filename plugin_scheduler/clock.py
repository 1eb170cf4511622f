"""The only caller of time.

I own every reading of a clock; whoever needs the time is given a Clock, so that tests can turn it.
I call nobody. I never decide anything.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone


class Clock:
    """The machine's clock: wall time for people and rows, monotonic time for waiting."""

    def now(self, utc: bool = False) -> datetime:
        """Wall time as a naive datetime: local as web2py keeps it, or UTC with ``utc=True``."""
        if utc:
            return datetime.now(timezone.utc).replace(tzinfo=None)
        return datetime.now()

    def epoch(self) -> float:
        """Seconds since 1970 UTC: the same instant in every zone, also when summer time ends."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never jump; for deadlines and intervals inside one process."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; a turned clock only moves its hands."""
        time.sleep(seconds)


class TurnedClock(Clock):
    """A clock that stands still until it is turned; for tests of anything that waits.

    >>> clock = TurnedClock(datetime(2026, 1, 31, 4, 30))
    >>> clock.turn(60)
    >>> clock.now()
    datetime.datetime(2026, 1, 31, 4, 31)
    """

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._monotonic = 1000.0

    def turn(self, seconds: float) -> None:
        """Move both hands forward by ``seconds``."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def now(self, utc: bool = False) -> datetime:
        return self._now

    def epoch(self) -> float:
        return self._now.replace(tzinfo=timezone.utc).timestamp()

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self.turn(seconds)


SYSTEM = Clock()


def naive(moment: datetime, utc: bool) -> datetime:
    """Bring an aware datetime to the scheduler's naive time; a naive one is taken as it is.

    People pass both, and comparing the two kinds raises in Python.
    """
    if moment.tzinfo is None:
        return moment
    if utc:
        return moment.astimezone(timezone.utc).replace(tzinfo=None)
    return moment.astimezone().replace(tzinfo=None)
