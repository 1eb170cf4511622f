"""Schedules: tasks that repeat, tasks that wait for their time, and a calendar of both.

Reads no more tasks than a page can show, and reports how many are left out. Does not write.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.database.dialects.bulk_insert import batches
from plugin_scheduler.queries import schedule_views, views
from plugin_scheduler.queries.base import Source
from plugin_scheduler.queries.schedule_views import (
    Capped,
    Days,
    Hours,
    OneOff,
    OneOffs,
    Plan,
    Repeats,
    as_repeating,
)
from plugin_scheduler.queries.views import TaskView
from plugin_scheduler.scheduling import forecast

MOST_REPEATING = 200
MOST_ONE_OFF = 1000
MOST_COUNTED = 10_000
MOST_GROUPS, MOST_LEVELS = 50, 100  # of the claim's index, which is searched for one-off tasks


class Schedules(Source):
    """Tasks that repeat, and a forecast of runs."""

    def repeating(self, limit: int = MOST_REPEATING) -> Repeats:
        """Return tasks that still repeat, each with its schedule in words and its next five runs.

        >>> queries.repeating().items[0].words
        'every 5 minutes'
        """
        now, (rows, left_out) = self.now(), self._repeating(limit)
        tasks = _views(rows)
        waits, last = self._that_wait(tasks), self._last_runs_of(tasks)
        items = [
            as_repeating(one, now, one.id in waits, last.get(one.run_id or 0)) for one in tasks
        ]
        return Repeats(now, items, left_out, self._ended_repeating())

    def one_offs(self, since: datetime, until: datetime, limit: int = MOST_ONE_OFF) -> OneOffs:
        """Return the first tasks that run once and are due in [since, until), in order of time."""
        groups = self.groups_with(TaskStatus.QUEUED, MOST_GROUPS)
        levels = self._due.all_levels(groups, since)  # within each level, tasks are ordered by time
        firsts = [
            self._in_level(self._due.within(level.group, level.words), since, until, limit + 1)
            for level in levels[:MOST_LEVELS]
        ]
        ids = [task_id for _, task_id in itertools.islice(heapq.merge(*firsts), limit + 1)]
        more = len(ids) > limit or len(levels) > MOST_LEVELS
        return OneOffs(self._one_offs_of(ids[:limit]), more)

    # -- the calendar --------------------

    def next_hours(self, hours: int = 24, most: int = MOST_ONE_OFF) -> Hours:
        """Return the runs of the next hours, the nearest first.

        Tasks that wait for others are only counted, since the end of those is unknown.

        >>> queries.next_hours(24).lanes[0].dots[0]
        datetime.datetime(2026, 5, 1, 9, 0)
        """
        now = self.now()
        until = now + timedelta(hours=hours)
        plan, widest = self._plan(now, until, most), (until - now) / forecast.MOST_DOTS
        lanes = [schedule_views.lane(task, now, until) for task in plan.tasks]
        for function, some in schedule_views.by_function(plan.one_offs.items):
            lanes.append(schedule_views.one_off_lane(function, some, widest))
        lanes = sorted((one for one in lanes if one.dots or one.bands), key=schedule_views.first_of)
        return Hours(now, until, lanes, *plan.limits)

    def next_days(self, days: int = 30, most: int = MOST_ONE_OFF) -> Days:
        """Return the number of runs of today and the following days, by task.

        >>> queries.next_days(30).totals[0]
        288
        """
        now = self.now()
        dates = [now.date() + timedelta(days=one) for one in range(days)]
        end = datetime.combine(dates[-1], time.min) + timedelta(days=1)
        plan = self._plan(now, end, most)
        shares = [schedule_views.share(task, now, dates) for task in plan.tasks]
        for function, some in schedule_views.by_function(plan.one_offs.items):
            shares.append(schedule_views.one_off_share(function, some, dates))
        shares = [one for one in shares if any(one.counts)]
        totals = [sum(one.counts[place] for one in shares) for place in range(days)]
        return Days(now, dates, totals, shares, *plan.limits)

    def _plan(self, now: datetime, until: datetime, most: int) -> Plan:
        rows, left_out = self._repeating(MOST_REPEATING)
        found, one_offs = _views(rows), self.one_offs(now, until, most)
        waits = self._that_wait([*found, *one_offs.items])
        tasks = [task for task in found if task.id not in waits]
        items = [one for one in one_offs.items if one.id not in waits]
        return Plan(tasks, OneOffs(items, one_offs.more), left_out, len(waits), one_offs.items)

    # -- reading --------------------

    def _repeating(self, limit: int) -> tuple[list[Any], Capped]:
        """Return rows in index order, and how many more there are."""
        task = self._task
        # Negated, because an index on the status would lead through all waiting tasks.
        query = self._forever_or_often() & ~task.status.belongs(TaskStatus.ENDED) & self._mine()
        order = task.repeats | task.id
        rows = self._rows(task, query, task.ALL, orderby=order, limitby=(0, limit + 1))
        if len(rows) <= limit:
            return rows, Capped(0, False)
        window = (limit, limit + MOST_COUNTED + 1)
        more = len(self._told(query, [task.id], orderby=order, limitby=window))
        return rows[:limit], Capped(min(more, MOST_COUNTED), more > MOST_COUNTED)

    def _forever_or_often(self) -> Any:
        return self._task.repeats != 1  # as in its index, so that the index is used

    def _ended_repeating(self, limit: int = 20) -> list[TaskView]:
        """Return tasks that should repeat for ever but ended badly, newest first."""
        task = self._task
        query = self._forever_or_often() & (task.repeats == 0)
        others = set(TaskStatus.ALL) - set(TaskStatus.ENDED_BADLY)
        query &= ~task.status.belongs(sorted(others)) & self._mine()
        rows = self._rows(task, query, task.ALL, orderby=~task.id, limitby=(0, limit))
        return _views(rows)

    def _that_wait(self, tasks: Iterable[TaskView | OneOff]) -> set[int]:
        """Return the ids of those that wait for others."""
        deps, ids = self._deps, [one.id for one in tasks]
        found: set[int] = set()
        for some in batches(ids):
            pending = deps.task_parent.belongs(some) & (deps.can_visit == False)
            found.update(row[0] for row in self._told(pending, [deps.task_parent]))
        return found

    def _last_runs_of(self, tasks: list[TaskView]) -> dict[int, Any]:
        run, found = self._run, {}
        for some in batches([one.run_id for one in tasks if one.run_id]):
            rows = self._rows(run, run.id.belongs(some), run.id, run.status, run.start_time)
            found.update({row.id: row for row in rows})
        return found

    def _in_level(self, level: Any, since: datetime, until: datetime, limit: int) -> list[Any]:
        """Return the time, as the driver returns it, and the id of the first of these tasks."""
        task = self._task
        query = level & (task.next_run_time >= since) & (task.next_run_time < until)
        query &= (task.repeats == 1) & (task.enabled == True) & self._mine()
        query &= (task.stop_time == None) | (task.stop_time > task.next_run_time)
        when = task.next_run_time
        rows = self._told(query, [when, task.id], orderby=when, limitby=(0, limit))
        return sorted(tuple(row) for row in rows)  # tasks with equal times are ordered by id

    def _one_offs_of(self, ids: list[int]) -> list[OneOff]:
        task, found = self._task, []
        names = ("id", "task_name", "function_name", "group_name", "next_run_time")
        for some in batches(ids):
            rows = self._rows(task, task.id.belongs(some), *(task[name] for name in names))
            found += [schedule_views.one_off(row) for row in rows if row.next_run_time]
        return sorted(found, key=lambda one: (one.due, one.id))


def _views(rows: Iterable[Any]) -> list[TaskView]:
    """Make views; a row that lacks values because it was edited by hand must not hide the
    others."""
    tasks = [views.task_view(row) for row in rows]
    return [replace(task, period=task.period or 0, repeats=task.repeats or 0) for task in tasks]
