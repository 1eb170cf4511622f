"""The overview: the start page.

Does not write.
"""

from __future__ import annotations

from typing import Any

from plugin_scheduler.controllers.web.request_context import Visit
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core.types import TaskStatus, WorkerStatus
from plugin_scheduler.queries import Notice, Overview, views
from plugin_scheduler.queries.overview import MANY
from plugin_scheduler.queries.views import RunningNow, WorkerView
from plugin_scheduler.queries.warnings import TASKS

#: Columns of the groups' table, if there are such tasks.
STATUSES = TaskStatus.ALL
MOST_FUNCTIONS = 100


def mount(site: Site) -> None:
    """Register the overview, for people and for scripts."""

    @site.page("", "overview.html")
    def scheduler_overview(visit: Visit) -> dict[str, Any]:
        seen = visit.queries.overview()
        return {
            "seen": seen,
            "numbers": _numbers(visit, seen),
            "warnings": [_warning(visit, one) for one in seen.warnings],
            "workers": [_worker(one, seen) for one in seen.workers],
            "statuses": [one for one in STATUSES if any(one in g.by_status for g in seen.counts)],
            "groups": seen.counts,
            "functions": seen.functions[:MOST_FUNCTIONS],
            "running": [_running(one) for one in seen.running],
            "amount": views.amount,
            "command": views.command(seen.application, "main"),
            "is_new": not seen.counts and not any(one.page == TASKS for one in seen.warnings),
        }

    @site.data("api/overview")
    def scheduler_api_overview(visit: Visit) -> dict[str, Any]:
        """Return the overview: ``totals``, ``groups`` and ``functions`` with counts (those that
        ``capped`` names are lower bounds), the ``running`` tasks, the ``workers``, and
        ``warnings``, each with the page (``href``) that shows more."""
        seen = visit.queries.overview()
        return {
            "at": visit.iso(seen.at),
            "totals": views.plain(seen.totals),
            "groups": [views.plain(one) for one in seen.counts],
            "functions": [views.plain(one) for one in seen.functions],
            "running": [{**_running(one), "since": visit.iso(one.since)} for one in seen.running],
            "workers": [_worker(one, seen) for one in seen.workers],
            "warnings": [_warning(visit, one) for one in seen.warnings],
        }


def _numbers(visit: Visit, seen: Overview) -> list[dict[str, Any]]:
    """Return the large numbers: name, value, link to a list, and severity."""
    totals = seen.totals
    queued = visit.url("tasks", status=TaskStatus.QUEUED)
    told = (
        ("waiting", visit.T("waiting"), queued, ""),
        ("due", visit.T("due now"), queued, ""),
        ("late", visit.T("late"), queued, "warn" if totals.late else ""),
        ("running", visit.T("running"), visit.url("tasks", status=TaskStatus.RUNNING), "busy"),
        (
            "failed",
            visit.T("failed in the last 24 hours"),
            visit.url("failures"),
            "bad" if totals.failed else "",
        ),
    )
    return [
        {
            "name": name,
            "words": words,
            "number": views.amount(getattr(totals, name), name in totals.capped),
            "href": href,
            "tone": tone if getattr(totals, name) else "",
        }
        for name, words, href, tone in told
    ]


def _warning(visit: Visit, one: Notice) -> dict[str, str]:
    return {"sentence": visit.say(one.sentence), "href": visit.url(one.page, **one.query)}


def _running(one: RunningNow) -> dict[str, Any]:
    """Return a running task; ``at`` and ``of`` are its progress, None if unknown."""
    progress = one.progress if isinstance(one.progress, dict) else {}
    at, of = progress.get("at"), progress.get("of")
    counted = isinstance(at, (int, float)) and isinstance(of, (int, float)) and of > 0
    return {
        "id": one.task.id,
        "name": one.task.name,
        "function": one.task.function,
        "worker": one.task.worker,
        "since": one.since,
        "seconds": one.seconds,
        "at": at if counted else None,
        "of": of if counted else None,
        "text": str(progress.get("text") or ""),
    }


def _worker(one: WorkerView, seen: Overview) -> dict[str, Any]:
    """Return a worker; ``order`` is the last command, if it is not simply active."""
    mine = sum(task.task.worker == one.name for task in seen.running)
    busy = max(mine, len(one.running)) if _may_run_others(one, seen) else mine
    return {
        "name": one.name,
        "order": "" if one.status == WorkerStatus.ACTIVE else one.status,
        "alive": one.alive,
        "leads": one.is_ticker,
        "groups": one.groups,
        "slots": one.slots,
        "running": min(busy, one.slots),
        "silent_for": one.silent_for,
    }


def _may_run_others(one: WorkerView, seen: Overview) -> bool:
    """Return True if other runs of the worker are known only from its heartbeat: its tasks belong
    to another app, or are too many to be listed."""
    of_us = not seen.application or one.application == seen.application
    return not of_us or len(seen.running) >= MANY
