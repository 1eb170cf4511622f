"""Rows of ``scheduler_task`` as records: gaps filled, unreadable ones noted.

I own the reading of a task's row. I call dialects. I never write, and never ask what is due.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from plugin_scheduler.dialects.base import Dialect
from plugin_scheduler.records import Task

#: What old rows, written by web2py, lack.
_DEFAULTS = {
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
    "broadcast": False,
    "prevent_drift": False,
}


class Rows:
    """Reads tasks; keeps a list of those it could not read."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect, self._db = dialect, dialect.db
        self._task = dialect.db.scheduler_task
        self._fields = [self._task[name] for name in Task._fields]
        self.unreadable: dict[int, str] = {}

    def read(self, query: Any, lock: str = "", **select: Any) -> list[Task]:
        """Tasks as records; what cannot be read is left out, and noted in `unreadable`. ``lock``
        as for the dialect's `select`."""
        try:
            rows = self._dialect.select(query, self._fields, lock, **select)
            return [_record(row) for row in rows]
        except Exception as error:  # a row edited by hand: each driver and parser has its own kind
            if self._dialect.passes(error):
                raise
        ids = [row.id for row in self._db(query).select(self._task.id, **select)]
        return [task for task_id in ids if (task := self._read_one(task_id)) is not None]

    def still_unreadable(self, task_id: int) -> str | None:
        """Why a task cannot be read; None when it can be now, or is gone."""
        self.unreadable.pop(task_id, None)
        self._read_one(task_id)
        return self.unreadable.get(task_id)

    def _read_one(self, task_id: int) -> Task | None:
        try:
            row = self._db(self._task.id == task_id).select(*self._fields, cacheable=True).first()
            return _record(row) if row else None
        except Exception as error:  # as above
            if self._dialect.passes(error) or isinstance(error, MemoryError):
                raise
            self.unreadable[task_id] = f"its row cannot be read: {error}"
            return None


_TIMES = ("start_time", "next_run_time", "stop_time")
_TEXTS = ("uuid", "function_name", "args", "vars", "group_name", "task_name")


def _record(row: Any) -> Task:
    values: list[Any] = []
    for name in Task._fields:
        value = row[name]
        values.append(_DEFAULTS.get(name) if value is None else value)
    task = Task(*values)
    for name in _TIMES:
        if not isinstance(getattr(task, name), (datetime, type(None))):
            raise ValueError(f"{name} is {getattr(task, name)!r}")
    for name in _TEXTS:
        if not isinstance(getattr(task, name), (str, type(None))):
            raise ValueError(f"{name} is no text")
    return task
