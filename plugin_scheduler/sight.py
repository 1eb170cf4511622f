"""How does a row look to a person? Plain views of tasks, runs and workers, and spans in words.

I own the views and the facts decided on them (may it be stopped?); those of workers are in
`presence`. I call values and the words. I never ask a database or a clock: a row and the time are
handed to me.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler import secrecy, values
from plugin_scheduler.clock import alike, is_zone, own_zone
from plugin_scheduler.presence import WorkerView as WorkerView
from plugin_scheduler.presence import worker_view as worker_view
from plugin_scheduler.records import TaskStatus

SKEWED = 2.0  # seconds by which a clock may be off before anybody is told


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
    found["args"], found["vars"] = secrecy.masked(found["args"], found["vars"], row.secret)
    ended = row.status in TaskStatus.ENDED
    return TaskView(**found, has_secrets=bool(row.secret), can_stop=not ended, can_requeue=ended)


@dataclass(frozen=True)
class RunView:
    """One attempt at a task; ``result`` is decoded."""

    id: int
    task_id: int
    status: str
    reason: str | None
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


def run_view(row: Any) -> RunView:
    """A row of ``scheduler_run``."""
    duration = row.duration
    if duration is None and row.start_time and row.stop_time:  # written by web2py
        duration = (row.stop_time - row.start_time).total_seconds()
    return RunView(
        id=row.id,
        task_id=row.task_id,
        status=row.status,
        reason=row.reason,
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


def troubles(workers: Iterable[WorkerView]) -> Iterator[str]:
    """What the workers that are alive complain of, in sentences."""
    for worker in workers:
        if worker.alive:
            yield from _troubles_of(worker)


def _troubles_of(worker: WorkerView) -> Iterator[str]:
    if worker.boot_error:
        yield f"worker {worker.name} could not start a runner: {worker.boot_error}"
    if abs(worker.clock_skew) >= SKEWED:
        how = "ahead of" if worker.clock_skew > 0 else "behind"
        off = span(abs(worker.clock_skew))
        yield (
            f"worker {worker.name}: the clock of {worker.host} is {off} {how} the database's "
            "(the database's counts)"
        )
    if worker.zone_trouble:
        yield f"worker {worker.name} on {worker.host}: {worker.zone_trouble}"
    if worker.wake_up_trouble:
        yield (
            f"worker {worker.name} hears of new tasks up to a second late: {worker.wake_up_trouble}"
        )


def elsewhere(workers: Iterable[WorkerView], zone: str | None, now: float) -> Iterator[str]:
    """Where whoever looks keeps other times than the workers do."""
    here = zone or own_zone()
    there = next((one.time_zone for one in workers if one.alive and one.time_zone), None)
    if there and is_zone(there) and not alike(here, there, now):
        yield (
            f"the workers keep times in {there}, but here it is {here or 'another zone'}: what is "
            "queued from here is due at another time; set time_zone or utc_time for all"
        )


@dataclass(frozen=True)
class GroupCount:
    """How many tasks of a group stand where; ``late`` were due a lease ago and still wait."""

    group: str
    by_status: dict[str, int]
    due: int
    late: int


@dataclass(frozen=True)
class RunningNow:
    """A task that a runner is at."""

    task: TaskView
    since: datetime | None
    seconds: float
    progress: Any


def span(seconds: float) -> str:
    """A length of time in words, no more precise than a person cares for.

    >>> span(0.0125), span(40), span(11100)
    ('12 ms', '40 s', '3 h 5 min')
    """
    if 0 < seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 10:
        return f"{max(0.0, seconds):.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def quantity(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain(view: Any) -> dict[str, Any]:
    """A view as a dict of plain values, times as they are."""
    return dataclasses.asdict(view)


def command(application: str, group: str) -> str:
    """The command that starts a worker for a group.

    >>> command("shop", "mail")
    'scheduler.py -K shop:mail'
    """
    if application in ("", "standalone"):  # no app: whoever asks knows the database and the file
        return f"scheduler.py -u ... -t ... -g {group}"
    return f"scheduler.py -K {application}" + ("" if group == "main" else f":{group}")
