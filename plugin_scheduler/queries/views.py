"""Views of tasks and runs for display, and durations in words.

Includes derived facts (can it be stopped?); views of workers are in `worker_view`. Does not access
the database or the clock: the caller passes the row and the time.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler.core import json_codec, redaction, row_values
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.reasons import stored_reason
from plugin_scheduler.core.task_columns import TASK_DEFAULTS
from plugin_scheduler.core.types import TaskStatus, outcome_of
from plugin_scheduler.queries.worker_view import WorkerView as WorkerView
from plugin_scheduler.queries.worker_view import worker_view as worker_view


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


#: Names that differ in the table.
_COLUMNS = {
    "application": "application_name",
    "name": "task_name",
    "function": "function_name",
    "group": "group_name",
    "worker": "assigned_worker_name",
}
#: Values that a worker uses for missing numbers.
_NUMBERS = {
    name: TASK_DEFAULTS[name]
    for name in (
        "priority",
        "times_run",
        "times_failed",
        "times_lost",
        "repeats",
        "period",
        "timeout",
        "retry_failed",
    )
}
_TIMES = ("start_time", "next_run_time", "stop_time", "last_run_time")
_FLAGS = ("enabled", "broadcast", "prevent_drift")
_TEXTS = {
    "uuid": "",
    "application": "",
    "name": "",
    "function": "",
    "args": TASK_DEFAULTS["args"],
    "vars": TASK_DEFAULTS["vars"],
    "status": "",
    "group": "",
}
_FACTS = ("has_secrets", "can_stop", "can_requeue")


def task_view(row: Any) -> TaskView:
    """Make a view of a row of ``scheduler_task``; fill in what rows of web2py lack.

    All displays of tasks use this view: it is the only place where secret arguments are masked.
    """
    names = [name for name in TaskView.__dataclass_fields__ if name not in _FACTS]
    found = {name: row[_COLUMNS.get(name, name)] for name in names}
    for name in found.keys() - _NUMBERS.keys() - {*_TIMES, *_FLAGS, "id", "run_id"}:
        found[name] = row_values.text(found[name])
    found.update({name: row_values.whole(found[name], one) for name, one in _NUMBERS.items()})
    found.update({name: row_values.moment(found[name]) for name in _TIMES})
    found.update({name: bool(found[name]) for name in _FLAGS})
    found.update({name: found[name] or empty for name, empty in _TEXTS.items()})
    found["run_id"] = row_values.whole(found["run_id"]) or None
    found["name"] = found["name"] or found["function"]
    found["worker"] = found["worker"] or None
    found["reason"] = stored_reason(found["reason"], found["reason_code"])
    found["args"], found["vars"] = redaction.masked(found["args"], found["vars"], row.secret)
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
        """The state in one word: the outcome, if the run has ended."""
        return self.outcome or self.status


def run_view(row: Any) -> RunView:
    """Make a view of a row of ``scheduler_run``."""
    text, start, stop = row_values.text, *map(row_values.moment, (row.start_time, row.stop_time))
    duration = None if row.duration is None else row_values.number(row.duration)
    if duration is None and start and stop:  # a row of web2py
        duration = (stop - start).total_seconds()
    status, reason_code = text(row.status) or "", text(row.reason_code)
    return RunView(
        id=row.id,
        task_id=row_values.whole(row.task_id),
        status=status,
        outcome=outcome_of(status, text(row.outcome)),
        reason=stored_reason(text(row.reason), reason_code),
        reason_code=reason_code,
        worker=text(row.worker_name),
        start_time=start,
        stop_time=stop,
        duration=duration,
        result=_decoded(text(row.run_result)),
        has_result=bool(row.run_result),
        output=text(row.run_output) or "",
        traceback=text(row.traceback),
        progress=row_values.plain(row.progress),
        stop_requested=bool(row.stop_requested),
    )


def _decoded(text: str | None) -> Any:
    try:
        return row_values.plain(json_codec.decode(text))
    except (ValueError, RecursionError):
        return text


@dataclass(frozen=True)
class GroupCount:
    """The tasks of a group by status; ``late`` were due a lease ago and still wait.

    Those that ``capped`` names are lower bounds.
    """

    group: str
    by_status: dict[str, int]
    due: int
    late: int
    capped: tuple[str, ...] = ()


@dataclass(frozen=True)
class FunctionCount:
    """A function's waiting and running tasks, and its failed runs of the last day."""

    function: str
    waiting: int
    running: int
    failed: int
    capped: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunningNow:
    """A task in execution."""

    task: TaskView
    since: datetime | None
    seconds: float
    progress: Any


def span(seconds: float) -> Sentence:
    """Return a duration in words, no more precise than necessary.

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
    """Return ``1 task`` or ``2 tasks``; with ``more`` the number is a lower bound.

    >>> quantity(10000, "task", more=True)
    '10,000+ tasks'
    """
    one = number == 1 and not more
    return Sentence("{number} " + noun + ("" if one else "s"), number=amount(number, more))


def amount(number: int, more: bool = False) -> str:
    """Return ``10,000+`` if there are more than were counted."""
    return f"{number:,}+" if more else f"{number:,}"


def plain(view: Any) -> dict[str, Any]:
    """Return a view as a dict of plain values, with times unchanged."""
    return dataclasses.asdict(view)


def command(application: str, group: str) -> str:
    """Return the command that starts a worker for a group.

    >>> command("shop", "mail")
    'scheduler.py -K shop:mail'
    """
    if application in ("", "standalone"):  # no app: the user knows the database and the file
        return f"scheduler.py -u ... -t ... -g {shlex.quote(group)}"
    where = application if group == "main" else f"{application}:{group}"
    return f"scheduler.py -K {shlex.quote(where)}"


def call(task: TaskView, most: int) -> str:
    """Return a task as a Python call; long arguments are cut.

    >>> call(task, 60)
    'send_mail("ann@example.com", copies=2)'
    """
    try:
        pargs, pvars = json.loads(task.args), json.loads(task.vars)
        parts = [json.dumps(one, ensure_ascii=False) for one in pargs]
        parts += [f"{name}={json.dumps(one, ensure_ascii=False)}" for name, one in pvars.items()]
        text = ", ".join(parts)
    except (
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ):  # edited by hand: shown unchanged
        text = f"{task.args}, {task.vars}"
    return f"{task.function}({text if len(text) <= most else text[: most - 3] + '...'})"
