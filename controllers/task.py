"""The page of one task: its columns, status and explanation, next runs, past runs and history.

Actions on many tasks, and deletion, are in `bulk_actions`.
"""

from __future__ import annotations

import json
from typing import Any

from plugin_scheduler.controllers.task_history import story
from plugin_scheduler.controllers.web.request_context import Done, Visit
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries import RunDetail, views
from plugin_scheduler.queries.schedule_views import in_words
from plugin_scheduler.queries.views import TaskView
from plugin_scheduler.scheduling import forecast

BUTTONS = {
    "stop": ("Stop", "danger"),
    "run_now": ("Run now", "quiet"),
    "requeue": ("Requeue", "quiet"),
    "enable": ("Enable", ""),
    "disable": ("Disable", "quiet"),
}
LONGEST = 5000  # characters of an argument
RUNS = 20
NEXT = 5


def mount(site: Site) -> None:
    """Register the page of a task, the same for scripts, and its buttons."""
    _page(site)
    _data(site)


def _page(site: Site) -> None:
    @site.page("tasks/<ref>", "task.html")
    def scheduler_task(visit: Visit, ref: str) -> dict[str, Any]:
        task, before = visit.task(ref), visit.number("before")
        runs = visit.queries.runs(task.id, before, RUNS)
        notes = visit.journal.of_task(task.id) if before is None else []
        return {
            "task": task,
            "why": visit.queries.explain(task),
            "current": _current(visit, task),
            "schedule": in_words(task),
            "following": forecast.following(task, visit.now, NEXT),
            "now": visit.now,
            "has_run": bool(task.run_id or task.times_run or task.times_failed),
            "lasts": task.status not in TaskStatus.ENDED,
            "call": _call(task),
            "waits_for": visit.queries.waits_for(task.id),
            "waited_by": visit.queries.waited_by(task.id),
            "usual": visit.queries.usual(task.function),
            "runs": runs,
            "newest": before is None,
            "story": story(task, runs, notes) if before is None else [],
            "buttons": buttons(visit, task),
        }


def _data(site: Site) -> None:
    @site.data("api/tasks/<ref>")
    def scheduler_api_task(visit: Visit, ref: str) -> dict[str, Any]:
        """Return a task: its columns, its schedule in words and its next runs, its newest runs, and
        its dependencies. Secret arguments are masked."""
        task = visit.task(ref)
        runs = visit.queries.runs(task.id, visit.number("before"), RUNS)
        links = {"waits_for": visit.queries.waits_for, "waited_by": visit.queries.waited_by}
        return {
            **visit.instants(views.plain(task)),
            "schedule": visit.say(in_words(task)),
            "following": [visit.iso(one) for one in forecast.following(task, visit.now, NEXT)],
            "runs": [visit.instants(_without_texts(views.plain(run))) for run in runs.items],
            "older": runs.older,
            **{name: [vars(link) for link in look(task.id)] for name, look in links.items()},
        }

    @site.change("tasks/<ref>/act")
    def scheduler_task_act(visit: Visit, ref: str) -> Done:
        """Apply `act` (stop, requeue, run_now, enable, disable) to one task. Returns `done`, 0 if
        it was not possible; the message says why."""
        task, name = visit.task(ref), str(visit.given.get("act") or "")
        if name not in BUTTONS:
            raise BadTask(visit.T("Unknown action: {name}", name=name))
        acted = visit.acts.act(name, [task.id])
        words = visit.say(acted.sentence(name))
        return Done(words, to=f"tasks/{task.id}", data={"done": acted.done})


def buttons(visit: Visit, task: TaskView) -> list[tuple[str, str, str]]:
    """Return the possible actions: name, label and style of each button."""
    if not visit.person.can_act:
        return []
    waits = task.status == TaskStatus.QUEUED
    shown = {
        "stop": task.can_stop,
        "run_now": waits,
        "requeue": task.can_requeue,
        "enable": not task.enabled and not task.can_requeue,
        "disable": task.enabled and (waits or (task.can_stop and task.repeats != 1)),
    }
    return [(act, visit.T(words), look) for act, (words, look) in BUTTONS.items() if shown[act]]


def _current(visit: Visit, task: TaskView) -> RunDetail | None:
    """Return the current run, with its progress."""
    if task.status != TaskStatus.RUNNING or task.run_id is None:
        return None
    return visit.queries.run(task.run_id)


def _call(task: TaskView) -> list[tuple[str, str]]:
    """Return the arguments, each with its name or position; as stored if they are unreadable."""
    try:
        args, kwargs = json.loads(task.args), json.loads(task.vars)
        places = [*((str(number), one) for number, one in enumerate(args, 1)), *kwargs.items()]
        return [
            (json_codec.clean(name), _short(json.dumps(one, ensure_ascii=False)))
            for name, one in places
        ]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return [("args", _short(task.args)), ("vars", _short(task.vars))]


def _short(text: str) -> str:
    return json_codec.clean(text if len(text) <= LONGEST else f"{text[:LONGEST]} …")


def _without_texts(view: dict[str, Any]) -> dict[str, Any]:
    """Remove large values, which are read for single runs only."""
    return {name: value for name, value in view.items() if name not in ("output", "traceback")}
