"""Typed dicts of the task columns that callers may set, so that type checkers find misspellings."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypedDict


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
