"""The columns of a task: their defaults, and typed dicts of those that callers may set.

With the typed dicts, type checkers find misspelled names.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypedDict

#: What a missing or NULL value means, and what a new task gets: web2py's defaults, and ours for the
#: columns that web2py does not have. Rows written by web2py have NULL in the latter.
TASK_DEFAULTS: dict[str, Any] = {
    "group_name": "main",
    "args": "[]",
    "vars": "{}",
    "enabled": True,
    "broadcast": False,
    "prevent_drift": False,
    "repeats": 1,
    "retry_failed": 0,
    "period": 60,
    "timeout": 60,
    "sync_output": 0,
    "times_run": 0,
    "times_failed": 0,
    "times_lost": 0,
    "priority": 0,
    "on_failure": "stop",
}


class _Columns(TypedDict, total=False):
    broadcast: bool
    cronline: str | None
    enabled: bool
    group_name: str
    next_run_time: datetime | str | None
    on_failure: str | None
    only_worker: str | None
    period: int
    prevent_drift: bool
    priority: int
    repeats: int
    retry_failed: int
    secret: Iterable[str | int] | str | None
    start_time: datetime | str | None
    stop_time: datetime | str | None
    sync_output: int
    task_name: str
    timeout: int


class TaskColumns(_Columns, total=False):
    """Columns for all tasks of a function: the keywords of `Scheduler.task`."""

    application_name: str


class ChangedTask(_Columns, total=False):
    """Columns that can be changed in a task: the keywords of `Scheduler.edit_task`."""

    args: str
    function_name: str
    vars: str


class NewTask(ChangedTask, total=False):
    """Columns of a new task: the keywords of `Scheduler.queue_task`."""

    application_name: str
    status: str
    uuid: str
