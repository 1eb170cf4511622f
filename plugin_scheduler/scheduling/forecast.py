"""What will run when? The runs that a task's schedule leads to, before they happen.

I own the looking ahead: from a task as it stands to the instants at which it is due. I call
recurrence and cron, so that what is foretold is what a worker will compute. I never read a clock or
a database, and I count in large steps: a task for every second has 2,592,000 runs in a month, and
to say so must not take as many steps.

What is foretold is the plan: that every run succeeds, takes no time and begins when it is due. The
times are naive, like the tables': the nights in which the clocks change are foretold as if they did
not, and `docs/how-to/summer-time.md` says what happens then.
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
MOST_DOTS = 144  # in a window: what comes more often is told as a band
FEW = 2  # as near to each other as they may be, so many stay dots


class Planned(recurrence.Rhythm, Protocol):
    """What must be known of a task: web2py's columns, by the names that views and records have."""

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
    """A stretch in which a task runs too often for one dot each; ``every`` in seconds."""

    start: datetime
    end: datetime
    count: int
    every: float


def upcoming(
    task: Planned, since: datetime, until: datetime, limit: int = 100
) -> tuple[list[datetime], bool]:
    """The first ``limit`` instants in [since, until) at which ``task`` is due, and whether there
    are more.

    >>> upcoming(every_five_minutes, at_nine, at_ten, limit=2)
    ([datetime.datetime(2026, 5, 1, 9, 0), datetime.datetime(2026, 5, 1, 9, 5)], True)
    """
    found = list(itertools.islice(Series(task, since).instants(until), limit + 1))
    return found[:limit], len(found) > limit


def following(task: Planned, now: datetime, count: int = 5) -> list[datetime]:
    """The next ``count`` instants at which ``task`` is due, however far away they are."""
    return list(itertools.islice(Series(task, now).instants(FOREVER), count))


def drawn(task: Planned, since: datetime, until: datetime) -> tuple[list[datetime], list[Band]]:
    """The same to be drawn on an axis: single instants, and bands where they come too often."""
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
    """Instants in order, put together where the next is nearer than ``widest``."""
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
    """How often ``task`` is due on each of these days, from ``since`` on.

    >>> per_day(every_second, datetime(2026, 5, 1, 12), [date(2026, 5, 1), date(2026, 5, 2)])
    [43200, 86400]
    """
    series = Series(task, since)
    starts = [datetime.combine(day, time.min) for day in days]
    return [series.count_before(one + _DAY) - series.count_before(one) for one in starts]


class Series:
    """The instants at which a task is due, from ``now`` on; what is overdue is due now."""

    def __init__(self, task: Planned, now: datetime) -> None:
        self._task = task
        first = _first(task, now)
        self.first: datetime = first or FOREVER
        self._left = _left(task) if first else 0
        self.end = task.stop_time or FOREVER
        self._second = self._after(self.first) if self._left != 1 and first else None

    @property
    def every(self) -> timedelta | None:
        """The step of a task with a period; None for one that is due once, or by a cron line."""
        once = self._task.cronline or self._second is None
        return None if once else timedelta(seconds=max(0, self._task.period))

    def _after(self, moment: datetime) -> datetime | None:
        """None where there is no next time: the row was edited by hand, or time ends."""
        try:
            # A period may be negative by hand.
            return max(moment, recurrence.next_after(self._task, moment))
        except (ValueError, OverflowError):
            return None

    def instants(self, until: datetime) -> Iterator[datetime]:
        """Each of them before ``until``, in order."""
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
        while step and moment < FOREVER - step:  # a period of 0: nobody knows how often
            yield moment
            moment += step

    def _minutes(self, moment: datetime) -> Iterator[datetime]:
        return moments(self._task.cronline or "", moment)

    def count_before(self, moment: datetime) -> int:
        """How many of them come before ``moment``; none of them is made for it."""
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
        if self._task.period <= 0:  # counted as one of a second: nobody knows how long runs take
            return -((self.first - moment) // _SECOND) - 1
        return -((self._second - moment) // timedelta(seconds=self._task.period))


def _first(task: Planned, now: datetime) -> datetime | None:
    """None for a task that will not run again as things stand."""
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
    """How many runs are to come; None for no end. One that waits runs once more in any case."""
    if task.repeats == 0:
        return None
    left = task.repeats - task.times_run
    return max(0, left - 1) if task.status == TaskStatus.RUNNING else max(1, left)


# -- cron lines, by days ------------------


def minutes_between(cronline: str, after: datetime, before: datetime) -> int:
    """How many moments of a cron line lie strictly between two times."""
    days_line, minutes = cron.days_and_minutes(cronline)
    days = _days(days_line, after.date(), before.date())
    return _up_to(days, minutes, before - _TICK) - _up_to(days, minutes, after)


def moments(cronline: str, since: datetime) -> Iterator[datetime]:
    """The moments of a cron line from ``since`` on.

    The library finds its days; to have it find each minute takes a hundred times as long.
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
    """How many are at ``moment`` or before."""
    place = bisect.bisect_left(days, moment.date())
    whole = place * len(minutes)
    if place == len(days) or days[place] != moment.date():
        return whole
    return whole + bisect.bisect_right(minutes, 60 * moment.hour + moment.minute)


@lru_cache(maxsize=1024)
def _days(days_line: str, first: date, last: date) -> tuple[date, ...]:
    """The days on which a cron line has moments."""
    eve = datetime.combine(first, time.min) - _TICK
    moments = itertools.takewhile(lambda one: one.date() <= last, cron.CronParser(days_line, eve))
    return tuple(moment.date() for moment in moments)
