"""The views of schedules and calendars, and how they are made.

Does not access the database or the clock: the caller passes the tasks and the time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from plugin_scheduler.queries.views import TaskView
from plugin_scheduler.scheduling import forecast, recurrence
from plugin_scheduler.scheduling.forecast import Band


class Capped(NamedTuple):
    """A number that was not counted any further."""

    number: int
    or_more: bool


@dataclass(frozen=True)
class Repeating:
    """A task that repeats: its schedule in words, and its next runs."""

    task: TaskView
    words: str
    following: list[datetime]
    left: int | None
    waits: bool
    last_status: str | None
    last_start: datetime | None


@dataclass(frozen=True)
class Repeats:
    """Tasks that still repeat, those without end first; ``left_out`` counts those that are missing.
    ``ended`` are some that should repeat for ever but have ended."""

    at: datetime
    items: list[Repeating]
    left_out: Capped
    ended: list[TaskView]


@dataclass(frozen=True)
class OneOff:
    """A task that runs once, at its time."""

    id: int
    name: str
    function: str
    group: str
    due: datetime


@dataclass(frozen=True)
class OneOffs:
    """The first one-off tasks; ``more``: others are due after the last item."""

    items: list[OneOff]
    more: bool


@dataclass(frozen=True)
class ScheduleRow:
    """A row of the drawing: a task, or, if ``task_id`` is None, all one-off tasks of a function.
    Then ``ids`` has a task for each dot."""

    task_id: int | None
    name: str
    function: str
    words: str
    dots: list[datetime]
    bands: list[Band]
    ids: list[int]


@dataclass(frozen=True)
class Hours:
    """The next hours as a drawing; the row with the nearest run first."""

    since: datetime
    until: datetime
    lanes: list[ScheduleRow]
    repeating_left_out: Capped
    one_offs_more: bool
    one_offs_until: datetime | None
    waiting: int


@dataclass(frozen=True)
class Share:
    """The number of runs of a task, or of a function's one-off tasks, on each day of a calendar."""

    task_id: int | None
    name: str
    function: str
    words: str
    counts: list[int]


@dataclass(frozen=True)
class Days:
    """The next days as numbers: ``totals`` has one for each day."""

    since: datetime
    days: list[date]
    totals: list[int]
    shares: list[Share]
    repeating_left_out: Capped
    one_offs_more: bool
    one_offs_until: datetime | None
    waiting: int


class Plan(NamedTuple):
    """The data for a calendar."""

    tasks: list[TaskView]
    one_offs: OneOffs
    left_out: Capped
    waiting: int
    found: list[OneOff]

    @property
    def limits(self) -> tuple[Capped, bool, datetime | None, int]:
        """What is not shown: repeating tasks, one-off tasks after a time, tasks that wait."""
        more = self.one_offs.more
        until = self.found[-1].due if more and self.found else None
        return self.left_out, more, until, self.waiting


def in_words(task: TaskView) -> str:
    """Return a task's schedule in words."""
    return recurrence.in_words(period=task.period, repeats=task.repeats, cronline=task.cronline)


def as_repeating(task: TaskView, now: datetime, waits: bool, last: Any) -> Repeating:
    return Repeating(
        task=task,
        words=in_words(task),
        following=[] if waits else forecast.following(task, now),
        left=max(0, task.repeats - task.times_run) if task.repeats else None,
        waits=waits,
        last_status=last.status if last else None,
        last_start=last.start_time if last else task.last_run_time,
    )


def lane(task: TaskView, now: datetime, until: datetime) -> ScheduleRow:
    dots, bands = forecast.drawn(task, now, until)
    return ScheduleRow(task.id, task.name, task.function, in_words(task), dots, bands, [])


def one_off(row: Any) -> OneOff:
    return OneOff(
        id=row.id,
        name=row.task_name or row.function_name or "",
        function=row.function_name or "",
        group=row.group_name or "",
        due=row.next_run_time,
    )


def by_function(items: list[OneOff]) -> list[tuple[str, list[OneOff]]]:
    found: dict[str, list[OneOff]] = defaultdict(list)
    for one in items:
        found[one.function].append(one)
    return list(found.items())


def one_off_lane(function: str, items: list[OneOff], widest: timedelta) -> ScheduleRow:
    bands = forecast.bands((one.due for one in items), widest)
    dense = [one for one in bands if one.count > forecast.FEW]
    alone = [one for one in items if not any(band.start <= one.due <= band.end for band in dense)]
    dots = [one.due for one in alone]
    return ScheduleRow(None, "", function, "", dots, dense, [one.id for one in alone])


def first_of(lane: ScheduleRow) -> datetime:
    return min([*lane.dots[:1], *(band.start for band in lane.bands[:1])])


def share(task: TaskView, now: datetime, days: list[date]) -> Share:
    counts = forecast.per_day(task, now, days)
    return Share(task.id, task.name, task.function, in_words(task), counts)


def one_off_share(function: str, items: list[OneOff], days: list[date]) -> Share:
    counts = Counter(one.due.date() for one in items)
    return Share(None, "", function, "", [counts[day] for day in days])
