"""Failures, grouped by the place where they happened, and requeueing of their tasks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from plugin_scheduler.controllers.web.request_context import Done, Visit, whole
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core.errors import NotFound
from plugin_scheduler.database.dialects.bulk_insert import batches
from plugin_scheduler.operations.bulk_actions import Acted
from plugin_scheduler.queries.failures import DAYS, FailureGroup, Failures

SPANS = (1, 7, 30)  # numbers of days to choose from


def mount(site: Site) -> None:
    """Register the page, the same for scripts, and "requeue all"."""

    @site.page("failures", "failures.html")
    def scheduler_failures(visit: Visit) -> dict[str, Any]:
        return {"found": _found(visit), "spans": SPANS}

    @site.data("api/failures")
    def scheduler_api_failures(visit: Visit) -> dict[str, Any]:
        """Return groups of failed runs of the last `days`, the latest first; `runs` is how many
        were read, `is_all` whether these are all."""
        found = _found(visit)
        groups = [visit.instants(asdict(group)) for group in found.groups]
        return {"groups": groups, "runs": found.runs, "is_all": found.is_all, "days": found.days}

    @site.change("failures/requeue")
    def scheduler_failures_requeue(visit: Visit) -> Done:
        """Requeue the tasks that ended with a failure of the group `key`, of those of the last
        `days`; returns `done` and `skipped`."""
        days = _days(visit.given.get("days"))
        group = visit.queries.failed_like(str(visit.given.get("key") or ""), days)
        if group is None:
            raise NotFound(visit.T("This failure no longer exists."))
        acted = _requeue(visit, group)
        words = visit.say(acted.sentence("requeue"))
        data = {"done": acted.done, "skipped": visit.skips(acted)}
        return Done(words, to="failures", data=data)


def _found(visit: Visit) -> Failures:
    return visit.queries.failures(_days(visit.query.get("days")))


def _days(asked: Any) -> int:
    return max(1, min(whole(asked or DAYS, "days"), 365))


def _requeue(visit: Visit, group: FailureGroup) -> Acted:
    total = Acted(0, {})
    for some in batches(group.task_ids):
        total = total.plus(visit.acts.act("requeue", some))
        visit.scheduler.db.commit()
    return total
