"""How does a row look to a person? Plain views of tasks, runs and workers, and spans in words.

I own the views and the facts decided on them (may it be stopped?); those of workers are in
`presence`. I call values and the words. I never ask a database or a clock: a row and the time are
handed to me.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler import secrecy, values
from plugin_scheduler.presence import WorkerView as WorkerView
from plugin_scheduler.presence import worker_view as worker_view
from plugin_scheduler.reasons import stored_reason
from plugin_scheduler.records import TaskStatus, outcome_of
from plugin_scheduler.sentences import Sentence


@dataclass(frozen=True)
class TaskView:
    """A task, with web2py's columns under shorter names."""

    id: int
    uuid: str
    application: str
    name: str
    function: str
    args: str
    vars: str
    status: str
    reason: str | None
    reason_code: str | None
    group: str
    worker: str | None
    only_worker: str | None
    enabled: bool
    broadcast: bool
    priority: int
    start_time: datetime | None
    next_run_time: datetime | None
    stop_time: datetime | None
    last_run_time: datetime | None
    repeats: int
    period: int
    cronline: str | None
    prevent_drift: bool
    timeout: int
    retry_failed: int
    on_failure: str | None
    times_run: int
    times_failed: int
    times_lost: int
    run_id: int | None
    has_secrets: bool
    can_stop: bool
    can_requeue: bool


#: What is called otherwise in the table.
_COLUMNS = {
    "application": "application_name",
    "name": "task_name",
    "function": "function_name",
    "group": "group_name",
    "worker": "assigned_worker_name",
}
_NUMBERS = ("priority", "times_run", "times_failed", "times_lost")
_TEXTS = {"application": "", "args": "[]", "vars": "{}", "group": ""}
_FACTS = ("has_secrets", "can_stop", "can_requeue")


def task_view(row: Any) -> TaskView:
    """A row of ``scheduler_task``; what old rows, written by web2py, lack is filled in.

    Whoever shows a task shows this, so here is the one place where secret arguments become dots.
    """
    names = [name for name in TaskView.__dataclass_fields__ if name not in _FACTS]
    found = {name: row[_COLUMNS.get(name, name)] for name in names}
    found.update({name: found[name] or 0 for name in _NUMBERS})
    found.update({name: found[name] or empty for name, empty in _TEXTS.items()})
    found["name"] = found["name"] or found["function"]
    found["worker"] = found["worker"] or None
    found["reason"] = stored_reason(found["reason"], found["reason_code"])
    found["args"], found["vars"] = secrecy.masked(found["args"], found["vars"], row.secret)
    ended = row.status in TaskStatus.ENDED
    return TaskView(**found, has_secrets=bool(row.secret), can_stop=not ended, can_requeue=ended)


@dataclass(frozen=True)
class RunView:
    """One attempt at a task; ``result`` is decoded. ``outcome`` is None while it runs."""

    id: int
    task_id: int
    status: str
    outcome: str | None
    reason: str | None
    reason_code: str | None
    worker: str | None
    start_time: datetime | None
    stop_time: datetime | None
    duration: float | None
    result: Any
    has_result: bool
    output: str
    traceback: str | None
    progress: Any
    stop_requested: bool

    @property
    def word(self) -> str:
        """The one word for its state: its outcome, where it has ended."""
        return self.outcome or self.status


def run_view(row: Any) -> RunView:
    """A row of ``scheduler_run``."""
    duration = row.duration
    if duration is None and row.start_time and row.stop_time:  # written by web2py
        duration = (row.stop_time - row.start_time).total_seconds()
    return RunView(
        id=row.id,
        task_id=row.task_id,
        status=row.status,
        outcome=outcome_of(row.status, row.outcome),
        reason=stored_reason(row.reason, row.reason_code),
        reason_code=row.reason_code,
        worker=row.worker_name,
        start_time=row.start_time,
        stop_time=row.stop_time,
        duration=duration,
        result=_decoded(row.run_result),
        has_result=bool(row.run_result),
        output=row.run_output or "",
        traceback=row.traceback,
        progress=row.progress,
        stop_requested=bool(row.stop_requested),
    )


def _decoded(text: str | None) -> Any:
    try:
        return values.decode(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class GroupCount:
    """How many tasks of a group stand where; ``late`` were due a lease ago and still wait.

    Of those that ``capped`` names there may be more: they were not counted to the end.
    """

    group: str
    by_status: dict[str, int]
    due: int
    late: int
    capped: tuple[str, ...] = ()


@dataclass(frozen=True)
class FunctionCount:
    """Tasks of one function that wait and that run, and its runs that failed in the last day."""

    function: str
    waiting: int
    running: int
    failed: int
    capped: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunningNow:
    """A task that a runner is at."""

    task: TaskView
    since: datetime | None
    seconds: float
    progress: Any


def span(seconds: float) -> Sentence:
    """A length of time in words, no more precise than a person cares for.

    >>> span(0.0125), span(40), span(11100)
    ('12 ms', '40 s', '3 h 5 min')
    """
    if 0 < seconds < 0.1:
        return Sentence("{count} ms", count=f"{1000 * seconds:.2g}")
    if seconds < 10:
        return Sentence("{count} s", count=f"{max(0.0, seconds):.2g}")
    if seconds < 120:
        return Sentence("{count} s", count=f"{seconds:.0f}")
    minutes = round(seconds / 60)
    if minutes < 120:
        return Sentence("{count} min", count=minutes)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        long = "{hours} h {minutes} min" if minutes else "{hours} h"
        return Sentence(long, hours=hours, minutes=minutes)
    days, hours = divmod(hours, 24)
    if days >= 30:
        return Sentence("{days} d", days=f"{days:,}")
    return Sentence("{days} d {hours} h" if hours else "{days} d", days=days, hours=hours)


def quantity(number: int, noun: str, more: bool = False) -> Sentence:
    """``1 task``, ``2 tasks``; with ``more`` the number was not counted to the end.

    >>> quantity(10000, "task", more=True)
    '10,000+ tasks'
    """
    one = number == 1 and not more
    return Sentence("{number} " + noun + ("" if one else "s"), number=amount(number, more))


def amount(number: int, more: bool = False) -> str:
    """``10,000+`` where there are more than were counted."""
    return f"{number:,}+" if more else f"{number:,}"


def plain(view: Any) -> dict[str, Any]:
    """A view as a dict of plain values, times as they are."""
    return dataclasses.asdict(view)


def command(application: str, group: str) -> str:
    """The command that starts a worker for a group.

    >>> command("shop", "mail")
    'scheduler.py -K shop:mail'
    """
    if application in ("", "standalone"):  # no app: whoever asks knows the database and the file
        return f"scheduler.py -u ... -t ... -g {shlex.quote(group)}"
    where = application if group == "main" else f"{application}:{group}"
    return f"scheduler.py -K {shlex.quote(where)}"


def call(task: TaskView, most: int) -> str:
    """How a task would be written in Python; its arguments are cut after so many characters.

    >>> call(task, 60)
    'send_mail("ann@example.com", copies=2)'
    """
    try:
        pargs, pvars = json.loads(task.args), json.loads(task.vars)
        parts = [json.dumps(one, ensure_ascii=False) for one in pargs]
        parts += [f"{name}={json.dumps(one, ensure_ascii=False)}" for name, one in pvars.items()]
        text = ", ".join(parts)
    except (ValueError, TypeError, AttributeError):  # edited by hand: shown as it is
        text = f"{task.args}, {task.vars}"
    return f"{task.function}({text if len(text) <= most else text[: most - 3] + '...'})"
