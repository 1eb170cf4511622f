"""Find tasks: web2py's `task_status`, and the reasons why a task does not run.

Resolves an id, uuid, Query or Row to a task. Does not write.
"""

from __future__ import annotations

from typing import Any

from pydal.objects import Query, Row

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask, NotFound
from plugin_scheduler.core.registry import Home
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.odd_values import read_rows
from plugin_scheduler.queries import Explanation, Queries, views
from plugin_scheduler.queries.base import TASK_UNREADABLE, unreadable


class Questions(Home):
    """The methods of a scheduler that read tasks."""

    _dialect: Dialect

    def _set(self, query: Any) -> Any:
        """Return a set of rows, without filters that the app adds to all its tables."""
        return self.db(query, ignore_common_filters=True)

    def task_status(self, ref: Any, output: bool = False) -> Row | None:
        """Return the newest task that ``ref`` matches.

        Parameters:
        - ``ref``: id (int), uuid (text), Query or Row.
        - ``output``: include the newest run.

        Returns: the row of the task; with ``output`` a row with ``scheduler_task``,
        ``scheduler_run`` (its fields are None before the first run) and ``result``, decoded from
        JSON. None if no task matches. Values that were written by hand and cannot be read are None;
        ``odd`` has the reasons by column.

        Raises: BadTask for a ``ref`` of another type.

        Source: web2py's book, "task_status".

        >>> scheduler.task_status(17, output=True).result
        7
        """
        task, run = self.db.scheduler_task, self.db.scheduler_run
        query, newest = self._query(ref), {"orderby": ~task.id, "limitby": (0, 1)}
        if not output:
            return next(iter(read_rows(self._dialect, query, task.ALL, **newest)), None)
        runs = run.task_id == task.id
        runs.ignore_common_filters = True  # a join has its own filter
        newest |= {"left": run.on(runs), "orderby": ~task.id | ~run.id}
        for row in read_rows(self._dialect, query, task.ALL, run.ALL, **newest):
            row.result = _result_of(row)
            return row
        return None

    def explain(self, ref: Any) -> Explanation:
        """Explain why a task does not run.

        Parameters:
        - ``ref``: as for `task_status`.

        Returns: ``state``, a sentence on the status; ``reasons``, the obstacles, the most important
        first; ``checks``, each condition of the claim with ``name``, ``met`` (True or False) and
        ``sentence``. For a task that runs or has ended, ``state`` says since when, and how.

        Raises: NotFound if there is no such task, and BadTask if its row cannot be read.

        >>> scheduler.explain(7).reasons
        ['no live worker serves group "gpu"; start one: scheduler.py -K shop:gpu']
        """
        row = self.task_status(ref)
        if row is None:
            raise NotFound(f"there is no task {ref}")
        if row.get("odd"):
            raise BadTask(unreadable(TASK_UNREADABLE, row.id, row))
        queries: Queries = Queries.of(self)
        return queries.explain(views.task_view(row))

    def _ids(self, ref: Any) -> list[int]:
        """Return the ids of the tasks that ``ref`` matches. Read without a lock: rows are locked by
        their ids, and no others."""
        task = self.db.scheduler_task
        return sorted({row.id for row in self._set(self._query(ref)).select(task.id)})

    def _query(self, ref: Any) -> Any:
        task = self.db.scheduler_task
        if isinstance(ref, Query):
            return ref
        if isinstance(ref, Row):
            row = ref.get("scheduler_task") or ref
            return task.id == row["id"]
        if isinstance(ref, int) and not isinstance(ref, bool):
            return task.id == (int(ref) if ref.bit_length() < 64 else 0)  # no task has this id
        if isinstance(ref, str):
            return task.uuid == ref if json_codec.flaw_of(ref) is None else task.id == 0
        kind = type(ref).__name__
        raise BadTask(f"a task must be given by id, uuid, Query or Row, not by {kind} {ref!r}")


def _result_of(row: Any) -> Any:
    """Return a run's result; None, with a reason in ``odd``, for invalid JSON."""
    try:
        return json_codec.decode(row.scheduler_run.run_result)
    except (TypeError, ValueError) as error:
        row.odd = {**(row.get("odd") or {}), "run_result": str(error)}
        return None
