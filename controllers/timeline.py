"""The timeline: runs as bars, by worker."""

from __future__ import annotations

from typing import Any

from plugin_scheduler.controllers.web.request_context import Visit
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import RunStatus
from plugin_scheduler.queries import views
from plugin_scheduler.queries.timeline import Bar, Timeline, WorkerTimeline

#: Seconds, with their label.
SPANS = ((900, "15 minutes"), (3600, "1 hour"), (6 * 3600, "6 hours"), (24 * 3600, "24 hours"))
LISTED = 100


def mount(site: Site) -> None:
    """Register the timeline."""

    @site.page("timeline", "timeline.html")
    def scheduler_timeline(visit: Visit) -> dict[str, Any]:
        seconds = _seconds(visit)
        found = visit.queries.timeline(seconds)
        bars = [(row.worker, bar) for row in found.rows for bar in row.bars]
        bars.sort(key=lambda one: (one[1].start, one[1].run_id), reverse=True)
        return {
            "spans": SPANS,
            "command": views.command(visit.scheduler.application_name, "main"),
            "seconds": seconds,
            "found": found,
            "listed": bars[:LISTED],
            "number": len(bars),
            "drawing": _timeline(visit, found),
            "running": RunStatus.RUNNING,
        }

    @site.data("api/timeline")
    def scheduler_api_timeline(visit: Visit) -> dict[str, Any]:
        """Return the workers of the last ``span`` seconds (3600) with their runs as ``bars``.
        ``busy`` is the used share of a worker's slots (0 to 1). ``outcome`` is how a run ended,
        None while it runs. ``seconds`` is the duration of a run. A drawing adds ``fraction`` (of a
        second) to ``start``. If ``cut``, only runs since ``shown_since`` are included; ``unkept``
        runs had no result and no output, and were not kept."""
        return _timeline(visit, visit.queries.timeline(_seconds(visit)))


def _seconds(visit: Visit) -> int:
    seconds = visit.number("span", 3600)
    known = [number for number, _ in SPANS]
    if seconds not in known:
        raise BadTask(Sentence("span must be one of {numbers}", numbers=list(map(str, known))))
    return int(seconds)


def _timeline(visit: Visit, found: Timeline) -> dict[str, Any]:
    return {
        "since": visit.iso(found.since),
        "until": visit.iso(found.until),
        "cut": found.cut,
        "shown_since": visit.iso(found.shown_since),
        "unkept": found.unkept,
        "workers": [_row(visit, one) for one in found.rows],
    }


def _row(visit: Visit, row: WorkerTimeline) -> dict[str, Any]:
    return {
        "worker": row.worker,
        "known": row.known,
        "alive": row.alive,
        "slots": row.slots,
        "lanes": row.lanes,
        "busy": round(row.busy, 4),
        "runs": row.runs,
        "bars": [_bar(visit, one) for one in row.bars],
    }


def _bar(visit: Visit, bar: Bar) -> dict[str, Any]:
    return {
        "run": bar.run_id,
        "task": bar.task_id,
        "name": bar.name,
        "function": bar.function,
        "status": bar.status,
        "outcome": bar.outcome,
        "start": visit.iso(bar.start),
        "fraction": bar.start.microsecond / 1e6,
        "seconds": round(bar.seconds, 3),
        "lane": bar.lane,
    }
