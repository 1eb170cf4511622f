"""Forecast the run times of tasks.

Uses recurrence and cron, so that the forecast equals what a worker will compute. Does not read a
clock or a database. Runs are counted in large steps: a task for every second has 2,592,000 runs in
a month, and counting them must not take as many steps.

The forecast assumes that every run succeeds, takes no time and starts when it is due. Times are
naive, like those in the tables: the forecast ignores DST changes. `docs/how-to/summer-time.md`
describes what happens then.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Protocol

from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.scheduling import cron, recurrence

_DAY = timedelta(days=1)
_TICK, _SECOND = timedelta(microseconds=1), timedelta(seconds=1)
FOREVER = datetime.max
MOST_DOTS = 144  # dots in a window; more frequent runs are drawn as a band
FEW = 2  # up to this number, runs stay dots however close they are


class Planned(recurrence.Rhythm, Protocol):
    """The columns of a task that a forecast needs, as in web2py; views and records have them."""

    @property
    def status(self) -> str: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def next_run_time(self) -> datetime | None: ...
    @property
    def last_run_time(self) -> datetime | None: ...
    @property
    def stop_time(self) -> datetime | None: ...
    @property
    def repeats(self) -> int: ...
    @property
    def times_run(self) -> int: ...


@dataclass(frozen=True)
class Band:
    """A period in which a task runs too often for one dot per run; ``every`` is in seconds."""

    start: datetime
    end: datetime
    count: int
    every: float


def upcoming(
    task: Planned, since: datetime, until: datetime, limit: int = 100
) -> tuple[list[datetime], bool]:
    """Return the first ``limit`` due times of ``task`` in [since, until), and if there are more.

    >>> upcoming(every_five_minutes, at_nine, at_ten, limit=2)
    ([datetime.datetime(2026, 5, 1, 9, 0), datetime.datetime(2026, 5, 1, 9, 5)], True)
    """
    found = list(itertools.islice(Series(task, since).instants(until), limit + 1))
    return found[:limit], len(found) > limit


def following(task: Planned, now: datetime, count: int = 5) -> list[datetime]:
    """Return the next ``count`` due times of ``task``, without a time limit."""
    return list(itertools.islice(Series(task, now).instants(FOREVER), count))


def drawn(task: Planned, since: datetime, until: datetime) -> tuple[list[datetime], list[Band]]:
    """Return due times to draw on an axis: single times, and bands where runs are frequent."""
    series, widest = Series(task, since), (until - since) / MOST_DOTS
    number = series.count_before(until)
    every = series.every
    if number and every is not None and every < widest and not task.cronline:
        last = series.first + (number - 1) * every if every else min(until, series.end)
        return _split([Band(series.first, last, number, every.total_seconds())])
    return _split(bands(series.instants(until), widest))


def _split(found: list[Band]) -> tuple[list[datetime], list[Band]]:
    dots = [moment for one in found for moment in _dots(one)]
    return dots, [one for one in found if one.count > FEW]


def _dots(one: Band) -> list[datetime]:
    return [one.start, one.end][: one.count] if one.count <= FEW else []


def bands(instants: Iterator[datetime], widest: timedelta) -> list[Band]:
    """Group ordered times into bands: neighbours closer than ``widest`` share a band."""
    found: list[list[datetime]] = []
    for moment in instants:
        if found and moment - found[-1][-1] < widest:
            found[-1].append(moment)
        else:
            found.append([moment])
    return [_band(some) for some in found]


def _band(some: list[datetime]) -> Band:
    pauses = max(1, len(some) - 1)
    return Band(some[0], some[-1], len(some), (some[-1] - some[0]).total_seconds() / pauses)


def per_day(task: Planned, since: datetime, days: list[date]) -> list[int]:
    """Count how often ``task`` is due on each of these days, from ``since`` on.

    >>> per_day(every_second, datetime(2026, 5, 1, 12), [date(2026, 5, 1), date(2026, 5, 2)])
    [43200, 86400]
    """
    series = Series(task, since)
    starts = [datetime.combine(day, time.min) for day in days]
    return [series.count_before(one + _DAY) - series.count_before(one) for one in starts]


class Series:
    """The due times of a task from ``now`` on; an overdue task is due now."""

    def __init__(self, task: Planned, now: datetime) -> None:
        self._task = task
        first = _first(task, now)
        self.first: datetime = first or FOREVER
        self._left = _left(task) if first else 0
        self.end = task.stop_time or FOREVER
        self._second = self._after(self.first) if self._left != 1 and first else None

    @property
    def every(self) -> timedelta | None:
        """The period; None for a task that runs once more or has a cron line."""
        once = self._task.cronline or self._second is None
        return None if once else timedelta(seconds=max(0, self._task.period))

    def _after(self, moment: datetime) -> datetime | None:
        """Return the next due time; None for an invalid row, or past the last datetime."""
        try:
            # A period edited by hand may be negative.
            return max(moment, recurrence.next_after(self._task, moment))
        except (ValueError, OverflowError):
            return None

    def instants(self, until: datetime) -> Iterator[datetime]:
        """Yield the due times before ``until``, in order."""
        moments: Iterator[datetime] = self._all()
        if self._left is not None:
            moments = itertools.islice(moments, self._left)
        return itertools.takewhile(lambda one: one < min(until, self.end), moments)

    def _all(self) -> Iterator[datetime]:
        if self._left == 0:
            return
        yield self.first
        if self._second is not None:
            following = self._minutes if self._task.cronline else self._steps
            yield from following(self._second)

    def _steps(self, moment: datetime) -> Iterator[datetime]:
        step = timedelta(seconds=max(0, self._task.period))
        while step and moment < FOREVER - step:  # with a period of 0 the frequency is unknown
            yield moment
            moment += step

    def _minutes(self, moment: datetime) -> Iterator[datetime]:
        return moments(self._task.cronline or "", moment)

    def count_before(self, moment: datetime) -> int:
        """Count the due times before ``moment``, without generating them."""
        moment = min(moment, self.end)
        if self._left == 0 or moment <= self.first:
            return 0
        count = 1 + self._more_before(moment)
        return count if self._left is None else min(count, self._left)

    def _more_before(self, moment: datetime) -> int:
        if self._second is None or moment <= self._second:
            return 0
        if self._task.cronline:
            return minutes_between(self._task.cronline, self.first, moment)
        if self._task.period <= 0:  # counted as one run per second: the run time is unknown
            return -((self.first - moment) // _SECOND) - 1
        return -((self._second - moment) // timedelta(seconds=self._task.period))


def _first(task: Planned, now: datetime) -> datetime | None:
    """Return the next due time; None for a task that will not run again in its current state."""
    if not task.enabled or task.status not in (*TaskStatus.WAITING, TaskStatus.RUNNING):
        return None
    moment = task.next_run_time
    if task.status == TaskStatus.RUNNING:
        try:
            moment = recurrence.next_after(task, task.last_run_time or now)
        except (ValueError, OverflowError):
            return None
    return None if moment is None else max(moment, now)


def _left(task: Planned) -> int | None:
    """Return the number of remaining runs; None for unlimited.

    A waiting task runs at least once more.
    """
    if task.repeats == 0:
        return None
    left = task.repeats - task.times_run
    return max(0, left - 1) if task.status == TaskStatus.RUNNING else max(1, left)


# -- cron lines, by days ------------------


def minutes_between(cronline: str, after: datetime, before: datetime) -> int:
    """Count the times of a cron line strictly between two times."""
    days_line, minutes = cron.days_and_minutes(cronline)
    days = _days(days_line, after.date(), before.date())
    return _up_to(days, minutes, before - _TICK) - _up_to(days, minutes, after)


def moments(cronline: str, since: datetime) -> Iterator[datetime]:
    """Yield the times of a cron line from ``since`` on.

    cronsim computes only the days: computing each minute with it takes a hundred times as long.
    """
    days_line, minutes = cron.days_and_minutes(cronline)
    eve = datetime.combine(since.date(), time.min) - _TICK
    for midnight in _until_time_ends(cron.CronParser(days_line, eve)):
        for minute in minutes:
            moment = midnight + timedelta(minutes=minute)
            if moment >= since:
                yield moment


def _until_time_ends(midnights: Iterator[datetime]) -> Iterator[datetime]:
    with contextlib.suppress(ValueError):
        yield from midnights


def _up_to(days: tuple[date, ...], minutes: tuple[int, ...], moment: datetime) -> int:
    """Count the times at or before ``moment``."""
    place = bisect.bisect_left(days, moment.date())
    whole = place * len(minutes)
    if place == len(days) or days[place] != moment.date():
        return whole
    return whole + bisect.bisect_right(minutes, 60 * moment.hour + moment.minute)


@lru_cache(maxsize=1024)
def _days(days_line: str, first: date, last: date) -> tuple[date, ...]:
    """Return the days on which a cron line matches."""
    eve = datetime.combine(first, time.min) - _TICK
    moments = itertools.takewhile(lambda one: one.date() <= last, cron.CronParser(days_line, eve))
    return tuple(moment.date() for moment in moments)
