"""Links from one page of the task list to others: another page, order or filter.

Does not access the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from plugin_scheduler.controllers.web.request_context import Visit

from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries import Filter, Listing
from plugin_scheduler.queries.task_filter import NEWEST, OLDEST

LIMIT = 50  # tasks on a page
RISING = ("next run", "name")  # orders that begin with the smallest value
#: In the usual order of interest. ASSIGNED is missing because it lasts only a moment.
STATUSES = (
    TaskStatus.QUEUED,
    TaskStatus.RUNNING,
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.TIMEOUT,
    TaskStatus.STOPPED,
    TaskStatus.EXPIRED,
)
SWITCHED = ("enabled", "repeating")
LIVES, STANDS = "every 5s, refresh", "refresh"
Link = Callable[..., str]


def links(visit: Visit, parts: Mapping[str, str], wanted: Filter, page: Listing) -> dict[str, Any]:
    """Return all links of the page."""

    def link(**changes: Any) -> str:
        order = wanted.sort if wanted.sort != NEWEST else ""
        limit = wanted.limit if wanted.limit != LIMIT else ""
        return visit.url("tasks", **{**parts, "sort": order, "limit": limit, **changes})

    stands = wanted.after or wanted.before or wanted.text or page.looked_to
    onward = {"before": page.before} if wanted.before else {"after": page.after}
    oldest = page.sort == OLDEST
    return {
        "link": link,
        "itself": link(after=wanted.after, before=wanted.before),
        "lives": STANDS if stands else LIVES,
        "onward": link(**onward),
        "chosen": list(wanted.status),
        "statuses": list(_statuses(wanted, link)),
        "chips": list(_chips(visit, parts, link)),
        "heads": list(_heads(visit, page.sort, link)),
        "age": (
            visit.T("Newest first") if oldest else visit.T("Oldest first"),
            link(sort="" if oldest else OLDEST),
        ),
        "more_open": bool(set(parts) & {"worker", "since", "until", "enabled", "repeating"}),
    }


def times(visit: Visit) -> dict[str, str]:
    """Return the times that a filter can limit."""
    return {
        "next_run_time": visit.T("Next run"),
        "last_run_time": visit.T("Last run"),
        "start_time": visit.T("Start time"),
    }


def _statuses(wanted: Filter, link: Link) -> Iterator[dict[str, Any]]:
    """Return each status with a link that adds it to the filter, or removes it."""
    for one in dict.fromkeys((*STATUSES, *wanted.status)):
        others = [other for other in wanted.status if other != one]
        is_on = one in wanted.status
        url = link(status=",".join(others if is_on else [*others, one]))
        yield {"status": one, "on": is_on, "url": url}


def _heads(visit: Visit, current: str, link: Link) -> Iterator[dict[str, Any]]:
    """Return the table's headers; sortable ones have a link that sets or removes the order."""
    heads = (
        (visit.T("Task"), "name", False),
        (visit.T("Status"), "", False),
        (visit.T("Group"), "", False),
        (visit.T("Priority"), "priority", True),
        (visit.T("Next run"), "next run", False),
        (visit.T("Last run"), "last run", False),
        (visit.T("Runs"), "", True),
    )
    for label, sort, numbers in heads:
        is_on = bool(sort) and sort == current
        order = "" if not is_on else "ascending" if sort in RISING else "descending"
        url = link(sort="" if is_on else sort) if sort else ""
        yield {"label": label, "numbers": numbers, "order": order, "url": url}


def _chips(visit: Visit, parts: Mapping[str, str], link: Link) -> Iterator[tuple[str, str]]:
    """Return the filter's parts, except the statuses, each with a link that removes it."""
    yes_no = {"yes": visit.T("yes"), "no": visit.T("no")}
    column = times(visit).get(parts.get("time", ""), visit.T("Next run"))
    names = {
        "text": visit.T("Text"),
        "function": visit.T("Function"),
        "group": visit.T("Group"),
        "worker": visit.T("Worker"),
        "since": visit.T("{time} from", time=column),
        "until": visit.T("{time} until", time=column),
        "enabled": visit.T("Enabled"),
        "repeating": visit.T("Repeating"),
    }
    for name, called in names.items():
        if name in parts:
            value = yes_no.get(parts[name], parts[name]) if name in SWITCHED else parts[name]
            yield f"{called}: {value}", link(**{name: ""})
