"""The history of a task in time order: its runs, user actions, and planned events.

Works on the rows it receives; does not access the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries.runs import RunPage
from plugin_scheduler.queries.views import RunView, TaskView, span
from plugin_scheduler.store.audit_log import AuditEntry

SLOW = 1.0  # seconds of queue time that are worth mentioning


@dataclass(frozen=True)
class Event:
    """An event of the past or the future. ``kind`` is run, person (``who`` did ``text``), plan or
    coming."""

    at: datetime
    kind: str
    text: str
    status: str = ""
    run_id: int | None = None
    who: str = ""
    more: str = ""


def story(task: TaskView, runs: RunPage, notes: list[AuditEntry]) -> list[Event]:
    """Return the events, newest first; future events come before all others."""
    first = runs.items[-1] if runs.items and runs.older is None else None
    events = [*_coming(task), *(_of_run(run, task, run is first) for run in runs.items)]
    events += [_of_note(note) for note in notes if note.at]
    if runs.older is None and task.start_time and not _is_coming(task, task.start_time):
        events.append(Event(task.start_time, "plan", Sentence("Scheduled start")))
    dated = [one for one in events if one.at is not None]
    order = {"plan": 0, "person": 1, "run": 2, "coming": 3}
    return sorted(dated, key=lambda one: (one.at, order[one.kind]), reverse=True)


def _is_coming(task: TaskView, moment: datetime) -> bool:
    return task.status in TaskStatus.WAITING and task.next_run_time == moment


def _coming(task: TaskView) -> list[Event]:
    if task.status not in TaskStatus.WAITING:
        return []
    found = []
    if task.next_run_time:
        text = "due" if task.enabled else "due, but disabled"
        found.append(Event(task.next_run_time, "coming", Sentence(text)))
    if task.stop_time:
        found.append(Event(task.stop_time, "coming", Sentence("Latest start")))
    return found


def _of_run(run: RunView, task: TaskView, is_first: bool) -> Event:
    at: Any = run.start_time or run.stop_time
    facts: list[str] = []
    if is_first and at and task.start_time and not task.cronline:
        waited = (at - task.start_time).total_seconds()
        if waited >= SLOW:
            facts.append(Sentence("queue time {span}", span=span(waited)))
    if run.duration is not None:
        facts.append(Sentence("run time {span}", span=span(run.duration)))
    if run.worker:
        facts.append(Sentence("on worker {worker}", worker=run.worker))
    text = Sentence("{facts}", facts=facts) if facts else ""
    return Event(at, "run", text, run.word, run.id, more=run.reason or "")


def _of_note(note: AuditEntry) -> Event:
    detail = ", ".join(f"{name}: {value}" for name, value in note.detail.items())
    at: Any = note.at
    return Event(at, "person", note.did, who=note.who, more=detail)
