"""The schedule: the next hours as a drawing, the next days as numbers, and the repeating tasks.

Also enables and disables tasks. Decides how much is drawn, not what will run.
"""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Any

from plugin_scheduler.controllers.web.auth import ACT
from plugin_scheduler.controllers.web.request_context import Done, Visit
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries.schedule_views import (
    Days,
    Hours,
    Repeating,
    ScheduleRow,
    Share,
    first_of,
)

HOURS, DAYS = 24, 30
MOST_HOURS, MOST_DAYS = 7 * 24, 92
HEAT = 4  # shades of a day
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def mount(site: Site) -> None:
    """Register the schedule."""
    _pages(site)
    _data(site)
    _switch(site)


def _pages(site: Site) -> None:
    @site.page("schedule", "schedule.html")
    def scheduler_schedule(visit: Visit) -> dict[str, Any]:
        hours = visit.queries.next_hours(HOURS)
        return {**_shared(visit, hours), "drawing": _hours(visit, hours), "month": None}

    @site.page("schedule/days", "schedule.html")
    def scheduler_schedule_days(visit: Visit) -> dict[str, Any]:
        days = visit.queries.next_days(DAYS)
        return {**_shared(visit, days), "drawing": None, "month": _month(visit, days)}


def _data(site: Site) -> None:
    @site.data("api/schedule")
    def scheduler_api_schedule(visit: Visit) -> dict[str, Any]:
        """Return the schedule: the runs of the next ``hours`` (24), or, with ``days``, the number
        of runs on each of that many days. ``lanes`` or ``shares`` has an entry for each repeating
        task, and one for all one-off tasks of a function, whose ``task`` is null."""
        days = visit.number("days")
        if days is not None:
            return _days(visit, visit.queries.next_days(_within(days, MOST_DAYS, "days")))
        hours = _within(visit.number("hours", HOURS), MOST_HOURS, "hours")
        return _hours(visit, visit.queries.next_hours(hours))

    @site.data("api/schedule/repeating")
    def scheduler_api_repeating(visit: Visit) -> dict[str, Any]:
        """Return tasks that still repeat: schedule in words, next five runs, status of the last
        one."""
        found = visit.queries.repeating()
        return {
            "tasks": [_repeating(visit, one) for one in found.items],
            "left_out": found.left_out.number,
        }


def _switch(site: Site) -> None:
    @site.change("schedule/<task_id>/switch", role=ACT)
    def scheduler_schedule_switch(visit: Visit, task_id: str) -> Done:
        """Enable or disable a waiting task: ``enabled`` is "on" or "off"."""
        asked = str(visit.given.get("enabled")).lower()
        if asked not in ("on", "off"):
            raise BadTask(visit.T("enabled must be on or off"))
        task, enabled = visit.task(task_id), asked == "on"
        answer = visit.scheduler.edit_task(task.id, enabled=enabled)
        if answer.errors:
            raise BadTask(", ".join(map(str, answer.errors.values())))
        if answer.changed:
            visit.journal.note(visit.person.name, "enable" if enabled else "disable", answer.id)
        said = "Task {id} is enabled." if enabled else "Task {id} is disabled."
        back = "schedule/days" if visit.given.get("back") == "days" else "schedule"
        return Done(visit.T(said, id=answer.id), to=back)


def _shared(visit: Visit, calendar: Hours | Days) -> dict[str, Any]:
    repeats = visit.queries.repeating()
    return {
        "calendar": calendar,
        "by_day": isinstance(calendar, Days),
        "repeats": repeats,
        "soonest": sorted(repeats.items, key=_by_time),
        "waiting_status": TaskStatus.QUEUED,
        "first_of": first_of,
    }


def _by_time(one: Repeating) -> tuple[bool, list[datetime], int]:
    """Sort by the next run; tasks that will not run by themselves come last."""
    return not one.following, one.following[:1], one.task.id


def _within(number: int | None, most: int, name: str) -> int:
    if number is None or not 1 <= number <= most:
        raise BadTask(Sentence("{name} must be from 1 to {most}", name=name, most=most))
    return number


# -- for the drawing ------------------


def _hours(visit: Visit, found: Hours) -> dict[str, Any]:
    return {
        "since": visit.iso(found.since),
        "until": visit.iso(found.until),
        "lanes": [_lane(visit, one) for one in found.lanes],
        **_limits(visit, found),
    }


def _lane(visit: Visit, lane: ScheduleRow) -> dict[str, Any]:
    return {
        "task": lane.task_id,
        "name": lane.name,
        "function": lane.function,
        "words": visit.say(lane.words),
        "dots": [visit.iso(one) for one in lane.dots],
        "tasks": lane.ids,
        "bands": [
            {
                "start": visit.iso(one.start),
                "end": visit.iso(one.end),
                "count": one.count,
                "every": round(one.every, 1),
            }
            for one in lane.bands
        ],
    }


def _limits(visit: Visit, found: Hours | Days) -> dict[str, Any]:
    return {
        "repeating_left_out": found.repeating_left_out.number,
        "one_offs_until": visit.iso(found.one_offs_until),
        "waiting": found.waiting,
    }


def _days(visit: Visit, found: Days) -> dict[str, Any]:
    return {
        "days": [day.isoformat() for day in found.days],
        "totals": found.totals,
        "shares": [
            {
                "task": one.task_id,
                "name": one.name,
                "function": one.function,
                "words": visit.say(one.words),
                "counts": one.counts,
            }
            for one in found.shares
        ],
        **_limits(visit, found),
    }


def _repeating(visit: Visit, one: Repeating) -> dict[str, Any]:
    return {
        "task": one.task.id,
        "name": one.task.name,
        "function": one.task.function,
        "status": one.task.status,
        "enabled": one.task.enabled,
        "words": visit.say(one.words),
        "next": [visit.iso(moment) for moment in one.following],
        "left": one.left,
        "waits": one.waits,
        "last_status": one.last_status,
        "last_start": visit.iso(one.last_start),
    }


# -- for the page of days ------------------


def _month(visit: Visit, found: Days) -> dict[str, Any]:
    """Return weeks from Monday to Sunday, and the tasks of the selected day."""
    cells = [_cell(found, place) for place in range(len(found.days))]
    chosen = _chosen(visit, found)
    padded: list[Any] = [None] * found.days[0].weekday() + cells
    padded += [None] * (-len(padded) % 7)
    shares = [(one, one.counts[chosen]) for one in found.shares if one.counts[chosen]]
    return {
        "weekdays": WEEKDAYS,
        "weeks": [padded[first : first + 7] for first in range(0, len(padded), 7)],
        "day": found.days[chosen],
        "total": found.totals[chosen],
        "shares": sorted(shares, key=_by_number),
    }


def _chosen(visit: Visit, found: Days) -> int:
    try:
        return found.days.index(date.fromisoformat(visit.query.get("day", "")))
    except ValueError:
        return 0


def _by_number(one: tuple[Share, int]) -> tuple[int, str]:
    return -one[1], one[0].name or one[0].function


def _cell(found: Days, place: int) -> dict[str, Any]:
    total, most = found.totals[place], max(found.totals)
    heat = math.ceil(HEAT * math.log1p(total) / math.log1p(most)) if total else 0
    numbers = [(one.task_id is None, one.counts[place]) for one in found.shares]
    tasks = sum(number if once else min(number, 1) for once, number in numbers)
    day = found.days[place]
    return {"day": day, "total": total, "tasks": tasks, "short": _short(total), "heat": heat}


def _short(number: int) -> str:
    """Return a number in a form that fits into a calendar on a phone."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= 10 * size:
            return f"{number // size}{letter}"
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number)
