"""Read rows of ``scheduler_task`` as records: with defaults for NULL, and without unreadable rows.

Does not write to the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.task_columns import TASK_DEFAULTS
from plugin_scheduler.core.types import Task
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.bulk_sql import Ask

#: Defaults for columns that are NULL in rows written by web2py. A group or arguments that are NULL
#: stay NULL: the claim and the runner decide about these.
_DEFAULTS = {
    name: default
    for name, default in TASK_DEFAULTS.items()
    if name not in ("group_name", "args", "vars", "enabled")
}


class Rows:
    """Reads tasks, and records those that cannot be read."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect, self._db = dialect, dialect.db
        self._task = dialect.db.scheduler_task
        self._fields = [self._task[name] for name in Task._fields]
        self.unreadable: dict[int, Reason] = {}

    def read(self, query: Any, lock: str = "", **select: Any) -> list[Task]:
        """Return tasks as records; unreadable ones are left out and added to `unreadable`.

        ``lock`` is passed to the dialect's `select`.
        """
        try:
            rows = self._dialect.rows(query, self._fields, lock, **select)
            return [_quick_record(row) for row in rows]
        except (TypeError, ValueError):  # a row edited by hand, which pydal may be able to parse
            pass
        except Exception as error:  # driver-specific
            if self._dialect.is_transient(error):
                raise
        try:
            return [
                _record(row) for row in self._dialect.select(query, self._fields, lock, **select)
            ]
        except Exception as error:  # specific to drivers and parsers
            if self._dialect.is_transient(error):
                raise
        # Read the rows one by one; they are locked or skipped as requested.
        ids = [row.id for row in self._dialect.select(query, [self._task.id], lock, **select)]
        return [task for task_id in ids if (task := self._read_one(task_id)) is not None]

    def read_all(self, asks: Sequence[Ask], lock: str = "") -> list[Task] | None:
        """Return tasks of several selects of all fields, unordered; None if one is unreadable.

        The caller then finds it with `read`.
        """
        try:
            return [_quick_record(row) for row in self._dialect.rows_of_all(asks, lock)]
        except (TypeError, ValueError):
            return None
        except Exception as error:  # driver-specific
            if self._dialect.is_transient(error):
                raise
            return None

    def still_unreadable(self, task_id: int) -> Reason | None:
        """Return why a task cannot be read; None if it is readable now, or gone."""
        self.unreadable.pop(task_id, None)
        self._read_one(task_id)
        return self.unreadable.get(task_id)

    def _read_one(self, task_id: int) -> Task | None:
        try:
            row = self._db(self._task.id == task_id).select(*self._fields, cacheable=True).first()
            return _record(row) if row else None
        except Exception as error:  # specific to drivers and parsers: see above
            if self._dialect.is_transient(error) or isinstance(error, MemoryError):
                raise
            self.unreadable[task_id] = Reason(ReasonCode.BAD_ROW, error=error)
            return None


_TIMES = ("start_time", "next_run_time", "stop_time")
_TEXTS = ("uuid", "function_name", "args", "vars", "group_name", "task_name")


_PLACES = {name: place for place, name in enumerate(Task._fields)}
_FLAGS = tuple(_PLACES[name] for name in ("broadcast", "prevent_drift"))
_WHEN = tuple(_PLACES[name] for name in _TIMES)
_WORDS = tuple(_PLACES[name] for name in _TEXTS)
_NUMBERS = tuple(_PLACES[name] for name in _DEFAULTS if isinstance(_DEFAULTS[name], int))
_FILLED = tuple((_PLACES[name], default) for name, default in _DEFAULTS.items())


def _quick_record(row: Sequence[Any]) -> Task:
    """Convert driver values to a record; raise ``ValueError`` for unexpected values.

    This is a hot path, with thousands of calls per second.
    """
    values = list(row)
    for place, default in _FILLED:
        if values[place] is None:
            values[place] = default
    for place in _FLAGS:
        values[place] = values[place] in (True, "T")
    for place in _WHEN:
        if type(values[place]) is str:
            values[place] = datetime.fromisoformat(values[place])
    for place in _WORDS:
        if not isinstance(values[place], (str, type(None))):
            raise ValueError
    for place in _NUMBERS:
        if not isinstance(values[place], int):
            raise ValueError
    return Task._make(values)


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
