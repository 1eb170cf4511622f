"""Small makers of the engine's words: say what matters for a test, the rest is ordinary."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from plugin_scheduler.core.types import Order, Task, TaskStatus

NINE = datetime(2026, 5, 1, 9)

_ORDINARY: dict[str, Any] = {
    "id": 17,
    "uuid": "11111111-2222-3333-4444-555555555555",
    "application_name": "shop",
    "task_name": "send_mail",
    "group_name": "main",
    "status": TaskStatus.RUNNING,
    "broadcast": False,
    "function_name": "send_mail",
    "args": "[]",
    "vars": "{}",
    "start_time": NINE,
    "next_run_time": NINE,
    "stop_time": None,
    "repeats": 1,
    "retry_failed": 0,
    "period": 60,
    "prevent_drift": False,
    "cronline": None,
    "timeout": 60,
    "sync_output": 0,
    "times_run": 0,
    "times_failed": 0,
    "times_lost": 0,
    "priority": 0,
    "on_failure": "stop",
    "only_worker": None,
    "assigned_worker_name": "web1#4711",
    "run_id": 81,
}


def a_task(**columns: Any) -> Task:
    """A task that runs now, once, without retries, unless told otherwise."""
    return Task(**{**_ORDINARY, **columns})


def an_order(**columns: Any) -> Order:
    """An order for `a_task` with these columns."""
    task = a_task(**columns)
    return Order(task, task.run_id or 81, NINE)
