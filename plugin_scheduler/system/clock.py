"""Clocks and time zones.

All code that needs the time receives a `Clock`, so that tests can control it. No other module
reads the system clock.
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
    """The system clock: wall time for display and rows, monotonic time for waiting."""

    def now(self, zone: str | None = None) -> datetime:
        """Return the wall time as a naive datetime, as web2py does.

        ``zone`` names the time zone; the default is the zone of this machine.
        """
        return self.at(self.epoch(), zone)

    def at(self, epoch: float, zone: str | None = None) -> datetime:
        """Return the wall time of a zone at an instant, as a naive datetime."""
        return datetime.fromtimestamp(epoch, _zone(zone)).replace(tzinfo=None)

    def epoch(self) -> float:
        """Return seconds since 1970 UTC: unambiguous in every zone, also when DST ends."""
        return time.time()

    def monotonic(self) -> float:
        """Return monotonic seconds, for deadlines and intervals inside one process."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; a `TurnedClock` advances its time instead."""
        if seconds > 0:
            select.select([], [], [], seconds)


class TurnedClock(Clock):
    """A clock that only advances on request, for tests.

    >>> clock = TurnedClock(datetime(2026, 1, 31, 4, 30))
    >>> clock.turn(60)
    >>> clock.now()
    datetime.datetime(2026, 1, 31, 4, 31)
    """

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._monotonic = 1000.0

    def turn(self, seconds: float) -> None:
        """Advance wall time and monotonic time by ``seconds``."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def at(self, epoch: float, zone: str | None = None) -> datetime:
        return super().at(epoch, "UTC")  # so that a test gives the same result in every zone

    def epoch(self) -> float:
        return self._now.replace(tzinfo=timezone.utc).timestamp()

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self.turn(seconds)


SYSTEM = Clock()


def naive(moment: datetime, zone: str | None) -> datetime:
    """Convert an aware datetime to the scheduler's naive time; return a naive one unchanged.

    Callers pass both kinds, and Python raises an error when they are compared.
    """
    if moment.tzinfo is None:
        return moment
    return moment.astimezone(_zone(zone)).replace(tzinfo=None)


def instant(moment: datetime, zone: str | None) -> datetime:
    """Convert a naive time from the tables to an aware datetime in UTC.

    >>> instant(datetime(2026, 5, 1, 9), "Europe/Rome").isoformat()
    '2026-05-01T07:00:00+00:00'
    """
    there = moment.replace(tzinfo=_zone(zone)) if zone else moment
    try:
        return there.astimezone(timezone.utc)
    except (OverflowError, ValueError):  # near datetime.min or datetime.max
        return moment.replace(tzinfo=timezone.utc)


def own_zone() -> str | None:
    """Return the name of this machine's time zone, such as ``Europe/Berlin``, or None."""
    try:
        tzlocal.reload_localzone()  # tzlocal caches its first result even if TZ changes
        name = tzlocal.get_localzone_name()
    except (ValueError, LookupError):  # contradictory time zone settings
        return None
    return name if name and is_zone(name) else None


def alike(one: str | None, other: str | None, now: float) -> bool:
    """Return True if two zones have the same time now and half a year from now."""
    instants = (now, now + HALF_A_YEAR)
    return all(SYSTEM.at(then, one) == SYSTEM.at(then, other) for then in instants)


def is_zone(name: str) -> bool:
    """Return True for the name of a time zone that this machine knows."""
    try:
        return _zone(name) is not None
    except (TypeError, ValueError, LookupError, OSError):
        return False


@lru_cache
def _zone(name: str | None) -> tzinfo | None:
    return ZoneInfo(name) if name else None
