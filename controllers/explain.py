"""The explanation why a task does not run, as a page and as JSON.

The partial `views/why.html`, which the page of the task includes, too, shows the result of
`Queries.explain`. Does not write.
"""

from __future__ import annotations

from typing import Any

from plugin_scheduler.controllers.web.request_context import Visit
from plugin_scheduler.controllers.web.routing import Site


def mount(site: Site) -> None:
    """Register the explanation of a task."""

    @site.page("tasks/<ref>/why", "explain.html")
    def scheduler_why(visit: Visit, ref: str) -> dict[str, Any]:
        return {"why": visit.queries.explain(visit.task(ref))}

    @site.data("api/tasks/<ref>/why")
    def scheduler_api_why(visit: Visit, ref: str) -> dict[str, Any]:
        """Explain why a task (by id or uuid) does not run: ``state`` is a sentence on its status,
        ``at`` the time of that, ``reasons`` are the obstacles, and ``checks`` has each condition,
        with ``met`` and a ``sentence``."""
        seen = visit.queries.explain(visit.task(ref))
        return {
            "id": seen.task.id,
            "status": seen.task.status,
            "state": visit.say(seen.state),
            "at": visit.iso(seen.at),
            "reasons": [visit.say(one) for one in seen.reasons],
            "checks": [
                {"name": one.name, "met": one.met, "sentence": visit.say(one.sentence)}
                for one in seen.checks
            ],
        }
