"""The only caller of time.

I own every reading of a clock; whoever needs the time is given a Clock, so that tests can turn it.
I call nobody. I never decide anything.
"""

from __future__ import annotations

import select
import time
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import tzlocal

HALF_A_YEAR = 183 * 24 * 3600.0  # seconds


class Clock:
    """The machine's clock: wall time for people and rows, monotonic time for waiting."""

    def now(self, zone: str | None = None) -> datetime:
        """Wall time as a naive datetime, as web2py keeps it: in a named zone, or this machine's."""
        return self.at(self.epoch(), zone)

    def at(self, epoch: float, zone: str | None = None) -> datetime:
        """What the clocks on the walls of a zone say at an instant, as a naive datetime."""
        return datetime.fromtimestamp(epoch, _zone(zone)).replace(tzinfo=None)

    def epoch(self) -> float:
        """Seconds since 1970 UTC: the same instant in every zone, also when summer time ends."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never jump; for deadlines and intervals inside one process."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; a turned clock only moves its hands."""
        if seconds > 0:
            select.select([], [], [], seconds)


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

    def at(self, epoch: float, zone: str | None = None) -> datetime:
        return super().at(epoch, "UTC")  # so that a test means the same in every zone

    def epoch(self) -> float:
        return self._now.replace(tzinfo=timezone.utc).timestamp()

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self.turn(seconds)


SYSTEM = Clock()


def naive(moment: datetime, zone: str | None) -> datetime:
    """Bring an aware datetime to the scheduler's naive time; a naive one is taken as it is.

    People pass both, and comparing the two kinds raises in Python.
    """
    if moment.tzinfo is None:
        return moment
    return moment.astimezone(_zone(zone)).replace(tzinfo=None)


def instant(moment: datetime, zone: str | None) -> datetime:
    """A naive time of the tables as what it is everywhere: an aware datetime, in UTC.

    >>> instant(datetime(2026, 5, 1, 9), "Europe/Rome").isoformat()
    '2026-05-01T07:00:00+00:00'
    """
    there = moment.replace(tzinfo=_zone(zone)) if zone else moment
    try:
        return there.astimezone(timezone.utc)
    except (OverflowError, ValueError):  # at the edge of what a datetime can be
        return moment.replace(tzinfo=timezone.utc)


def own_zone() -> str | None:
    """The name of this machine's time zone, such as ``Europe/Berlin``; None when it has none."""
    try:
        tzlocal.reload_localzone()  # it keeps what it found first, also when TZ was set since
        name = tzlocal.get_localzone_name()
    except (ValueError, LookupError):  # the machine's settings contradict each other
        return None
    return name if name and is_zone(name) else None


def alike(one: str | None, other: str | None, now: float) -> bool:
    """True for zones with the same time now, and in the other half of the year."""
    instants = (now, now + HALF_A_YEAR)
    return all(SYSTEM.at(then, one) == SYSTEM.at(then, other) for then in instants)


def is_zone(name: str) -> bool:
    """True for the name of a time zone that this machine knows."""
    try:
        return _zone(name) is not None
    except (TypeError, ValueError, LookupError, OSError):
        return False


@lru_cache
def _zone(name: str | None) -> tzinfo | None:
    return ZoneInfo(name) if name else None
