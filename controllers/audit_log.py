"""The history page: the audit log.

Does not write.
"""

from __future__ import annotations

from typing import Any

from plugin_scheduler.controllers.web.request_context import Visit
from plugin_scheduler.controllers.web.routing import Site

ROWS = 100


def mount(site: Site) -> None:
    """Register the history page, newest entries first."""

    @site.page("history", "history.html")
    def scheduler_history(visit: Visit) -> dict[str, Any]:
        before = visit.number("before")
        notes = visit.journal.latest(ROWS + 1, before)
        older = notes[ROWS - 1].id if len(notes) > ROWS else None
        return {"notes": notes[:ROWS], "older": older, "newest": before is None}
