"""Why is it not running? One task's explanation, for scripts and for the page of the task.

I own its page and its JSON; the partial `views/why.html`, which the page of the task includes, too,
shows what `Browser.explain` gives. I call browse. I never write.
"""

from __future__ import annotations

from typing import Any

from plugin_scheduler.controllers.web.request_context import Visit
from plugin_scheduler.controllers.web.routing import Site


def mount(site: Site) -> None:
    """The explanation of a task."""

    @site.page("tasks/<ref>/why", "explain.html")
    def scheduler_why(visit: Visit, ref: str) -> dict[str, Any]:
        return {"why": visit.browser.explain(visit.task(ref))}

    @site.data("api/tasks/<ref>/why")
    def scheduler_api_why(visit: Visit, ref: str) -> dict[str, Any]:
        """Why a task (by id or uuid) does not run: ``state`` is a sentence on how it stands, ``at``
        the time it is about, ``reasons`` what hinders it, and ``checks`` each condition that must
        be met, with ``met`` and a ``sentence``."""
        seen = visit.browser.explain(visit.task(ref))
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
