"""The page of one run: progress, live output, result and failure.

Does not stop runs: that is an action on the task.
"""

from __future__ import annotations

import json
from typing import Any

from plugin_scheduler.controllers.web.auth import VIEW
from plugin_scheduler.controllers.web.request_context import Done, Visit, whole
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import NotFound
from plugin_scheduler.core.types import RunStatus
from plugin_scheduler.queries import RunDetail
from plugin_scheduler.queries.traceback_parser import ParsedTraceback, blame
from plugin_scheduler.queries.views import TaskView

TRACEBACK = 1 << 16  # characters; workers store no longer ones, but users may


def mount(site: Site) -> None:
    """Register the page of a run, its live data, and its texts for download."""
    _page(site)
    _data(site)
    _texts(site)


def _page(site: Site) -> None:
    @site.page("runs/<run_id>", "run.html")
    def scheduler_run(visit: Visit, run_id: str) -> dict[str, Any]:
        run, task = found(visit, run_id)
        older, newer = visit.queries.run_ids(run.id, run.task_id)
        return {
            "run": run,
            "task": task,
            "older": older,
            "newer": newer,
            "facts": facts_of(visit, run),
            "usual": usual_of(visit, task),
            "running": run.status == RunStatus.RUNNING,
            "blame": blame(run.traceback) if run.traceback else None,
            "traceback": (run.traceback or "")[-TRACEBACK:],
            "result": pretty(run),
        }


def _data(site: Site) -> None:
    @site.data("api/runs/<run_id>")
    def scheduler_api_run(visit: Visit, run_id: str) -> dict[str, Any]:
        """Return a run: its times, result, progress, and the cause of a failure. ``outcome`` is how
        it ended, None while it runs; ``status`` has web2py's words; ``reason_code`` is the kind of
        the ``reason``."""
        run, task = found(visit, run_id)
        return {
            **facts_of(visit, run),
            "usual": usual_of(visit, task),
            "result": run.result,
            "result_cut": run.result_cut,
            "traceback": run.traceback,
            "blame": _plain(blame(run.traceback)) if run.traceback else None,
        }

    @site.data("api/runs/<run_id>/output")
    def scheduler_api_output(visit: Visit, run_id: str) -> dict[str, Any]:
        """Return what a run printed from character `after` on, and its current state. With the
        `marker` of the previous answer, `fresh` is false if the text continues that answer, and
        true if it replaces it."""
        run, _ = found(visit, run_id)
        after = max(0, visit.number("after") or 0)
        piece = visit.queries.output(run.id, after, visit.query.get("marker", ""))
        if piece is None:
            raise gone(visit)
        shown = {name: getattr(piece, name) for name in ("text", "start", "end", "total")}
        return {
            **shown,
            "marker": piece.marker,
            "fresh": piece.fresh,
            "run": facts_of(visit, run),
        }

    @site.change("runs/<run_id>/watch", role=VIEW)
    def scheduler_watch_run(visit: Visit, run_id: str) -> Done:
        """Keep a run's output live: for the next 15 seconds the worker saves the output as it is
        printed."""
        run, _ = found(visit, run_id)
        watched = bool(visit.scheduler.watch_run(run.id))
        return Done("", to=f"runs/{run.id}", data={"watched": watched})


def _texts(site: Site) -> None:
    @site.text("runs/<run_id>/output.txt")
    def scheduler_run_output(visit: Visit, run_id: str) -> tuple[str, str]:
        run, _ = found(visit, run_id)
        return f"run-{run.id}-output.txt", visit.queries.whole_output(run.id) or ""

    @site.text("runs/<run_id>/result.txt")
    def scheduler_run_result(visit: Visit, run_id: str) -> tuple[str, str]:
        run, _ = found(visit, run_id)
        return f"run-{run.id}-result.txt", visit.queries.whole_result(run.id) or ""


def found(visit: Visit, run_id: str) -> tuple[RunDetail, TaskView]:
    """Return a run of this app and its task; raise NotFound if there is none."""
    run = visit.queries.run(whole(run_id, "the number of a run"))
    if run is None:
        raise gone(visit)
    return run, visit.task(run.task_id)


def gone(visit: Visit) -> NotFound:
    return NotFound(
        visit.T(
            "Run not found. A run without result and output is stored only with "
            "keep_empty_runs=True."
        )
    )


def facts_of(visit: Visit, run: RunDetail) -> dict[str, Any]:
    """Return what changes during a run, in plain values for scripts."""
    running = run.status == RunStatus.RUNNING
    return {
        "id": run.id,
        "task": run.task_id,
        "status": run.status,
        "outcome": run.outcome,
        "running": running,
        "stopping": running and run.stop_requested,
        "worker": run.worker,
        "started": visit.iso(run.start_time),
        "ended": visit.iso(run.stop_time),
        "seconds": _seconds(visit, run),
        "reason": run.reason,
        "reason_code": run.reason_code,
        "share": run.headway.share,
        "words": visit.say(run.headway.words),
        "left": run.headway.left,
    }


def usual_of(visit: Visit, task: TaskView) -> dict[str, Any] | None:
    """Return the usual duration of the function's runs; None if there were none recently."""
    usual = visit.queries.usual(task.function)
    return None if usual is None else vars(usual)


def _plain(guilty: ParsedTraceback) -> dict[str, Any]:
    names = ("kind", "message", "file", "line", "function", "code")
    return {name: getattr(guilty, name) for name in names}


def _seconds(visit: Visit, run: RunDetail) -> float | None:
    if run.duration is not None or run.start_time is None:
        return run.duration
    if run.status != RunStatus.RUNNING:
        return None
    return max(0.0, (visit.now - run.start_time).total_seconds())


def pretty(run: RunDetail) -> str:
    """Return a result as readable text."""
    if run.result_cut or isinstance(run.result, str):
        return json_codec.clean(run.result)
    return json_codec.clean(json.dumps(run.result, indent=2, ensure_ascii=False, default=str))
