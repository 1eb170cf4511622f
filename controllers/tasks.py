"""The list of tasks: the tasks that match a filter, in pages.

Defines the names of filters in addresses. Does not write: `bulk_actions` has the actions on many
tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from plugin_scheduler.controllers.task_list_links import LIMIT, links, times
from plugin_scheduler.controllers.web.request_context import Visit, whole
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.time_text import read_time
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries import CappedCount, Filter, Listing, views
from plugin_scheduler.queries.task_filter import NEWEST, SORTINGS, TIMES
from plugin_scheduler.queries.views import TaskView, plain
from plugin_scheduler.system import clock

#: The parts of a filter, as named in an address.
PARTS = (
    "status",
    "text",
    "in_output",
    "group",
    "function",
    "worker",
    "time",
    "since",
    "until",
    "enabled",
    "repeating",
)
#: Other parameters of an address: the page.
PLACES = ("sort", "limit", "after", "before")
LIMITS = (20, 50, 100, 200)
LONGEST, SHORT = 400, 70  # characters of a search text; of a displayed call
WHOLE = 5000  # of a value in JSON
SWITCHES = {"": None, "yes": True, "no": False}


def mount(site: Site) -> None:
    """Register the page, and the same for scripts."""

    @site.page("tasks", "tasks.html")
    def scheduler_tasks(visit: Visit) -> dict[str, Any]:
        parts = parts_asked(visit)
        wanted = _paged(visit, parts)
        page, count = visit.queries.listed(wanted)
        return {
            "parts": parts,
            "query": urlencode(parts),
            "wanted": wanted,
            "page": page,
            "rows": [_row(visit, one) for one in page.items],
            "total": count,
            "can_queue": "queue" in site.paths,
            **_choices(visit),
            **links(visit, parts, wanted, page),
        }

    @site.data("api/tasks")
    def scheduler_api_tasks(visit: Visit) -> dict[str, Any]:
        """Return tasks that match the filter: `status` (several), `text`, `in_output`, `group`,
        `function`, `worker`, `since` and `until` of `time`, `enabled`, `repeating`, in the order of
        `sort`, at most `limit`. The next page is `after`; `looked_to` is the last id that was
        searched, if the time was over. Very long arguments are cut."""
        wanted = _paged(visit, parts_asked(visit))
        return _as_json(visit, *visit.queries.listed(wanted))


# -- from an address to a filter ---------------------------------------------------------------


def parts_asked(visit: Visit) -> dict[str, str]:
    """Return the given parts of the filter, as texts; statuses are separated by commas."""
    given = {name: json_codec.clean(visit.query.get(name, "")).strip() for name in PARTS}
    given["status"] = ",".join(filter(None, visit.several("status")))
    return {name: text for name, text in given.items() if text}


def wanted_of(visit: Visit, parts: Mapping[str, str]) -> Filter:
    """Return the filter of these parts.

    Invalid parts are refused, not ignored: otherwise all tasks would match, and the next action may
    delete all matches.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise BadTask(visit.T("Unknown filter: {names}", names=", ".join(unknown)))
    return Filter(
        status=_statuses(visit, parts.get("status", "")),
        group=parts.get("group"),
        function=parts.get("function"),
        worker=parts.get("worker"),
        text=parts.get("text", "")[:LONGEST] or None,
        in_output="in_output" in parts,
        time=_one_of(visit, TIMES, parts.get("time") or "next_run_time"),
        since=_moment(visit, parts.get("since")),
        until=_moment(visit, parts.get("until")),
        enabled=SWITCHES[_one_of(visit, tuple(SWITCHES), parts.get("enabled", ""))],
        repeating=SWITCHES[_one_of(visit, tuple(SWITCHES), parts.get("repeating", ""))],
    )


def _paged(visit: Visit, parts: Mapping[str, str]) -> Filter:
    asked = {name: json_codec.clean(visit.query.get(name, "")) for name in PLACES}
    limit = whole(asked["limit"] or LIMIT, "limit")
    changes = {
        "sort": _one_of(visit, SORTINGS, asked["sort"] or NEWEST),
        "limit": max(1, min(limit, max(LIMITS))),
        "after": asked["after"] or None,
        "before": asked["before"] or None,
    }
    return Filter(**{**vars(wanted_of(visit, parts)), **changes})


def _statuses(visit: Visit, text: str) -> tuple[str, ...]:
    asked = [one.strip().upper() for one in text.split(",")] if text else []
    return tuple(_one_of(visit, TaskStatus.ALL, one) for one in dict.fromkeys(asked))


def _one_of(visit: Visit, known: tuple[str, ...], text: str) -> str:
    if text not in known:
        names = ", ".join(filter(None, known))
        raise BadTask(visit.T("{given} is not one of {names}", given=repr(text)[:80], names=names))
    return text


def _moment(visit: Visit, text: str | None) -> datetime | None:
    """Return a time in the zone of the tables; a time with an offset is converted."""
    if not text:
        return None
    try:
        return clock.naive(read_time(text), visit.shown.zone)
    except (ValueError, OverflowError, OSError):
        raise BadTask(visit.T("{given} is not a valid time", given=repr(text)[:80])) from None


# -- choices of the form -------------------------------------------------------------------------


def _choices(visit: Visit) -> dict[str, Any]:
    home = visit.scheduler
    served = {group for worker in visit.queries.workers() for group in worker.groups}
    return {
        "functions": sorted(home.catalog.names()),
        "groups": sorted({*home.settings.group_names, *served}),
        "limits": LIMITS,
        "times": times(visit),
    }


# -- rows and JSON -------------------------------------------------------------------------------


def _row(visit: Visit, task: TaskView) -> dict[str, Any]:
    """Return a task, and the texts displayed with it."""
    return {
        "task": task,
        "call": json_codec.clean(views.call(task, SHORT)),
        "when": _how_soon(visit, task),
    }


def _how_soon(visit: Visit, task: TaskView) -> str:
    if task.status != TaskStatus.QUEUED or task.next_run_time is None:
        return ""
    if not task.enabled:
        return visit.T("disabled")
    away = (task.next_run_time - visit.now).total_seconds()
    span = visit.shown.span(abs(away))
    return visit.T("in {span}", span=span) if away > 0 else visit.T("due for {span}", span=span)


def _as_json(visit: Visit, page: Listing, count: CappedCount) -> dict[str, Any]:
    return {
        "tasks": [visit.instants(_in_brief(one)) for one in page.items],
        "total": count.number,
        "total_is_more": count.more,
        "sort": page.sort,
        "after": page.after,
        "before": page.before,
        "looked_to": page.looked_to,
        "notes": [visit.say(note) for note in page.notes],
    }


def _in_brief(task: TaskView) -> dict[str, Any]:
    return {name: _brief(value) for name, value in plain(task).items()}


def _brief(value: Any) -> Any:
    return f"{value[:WHOLE]} …" if isinstance(value, str) and len(value) > WHOLE else value
