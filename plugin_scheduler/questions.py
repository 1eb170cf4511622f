"""Questions to the tables: web2py's `task_status`, and why a task does not run.

I own which task is meant by an id, uuid, Query or Row. I call browse. I never write.
"""

from __future__ import annotations

from typing import Any

from pydal.objects import Query, Row

from plugin_scheduler import sight, values
from plugin_scheduler.browse import Browser, Explanation
from plugin_scheduler.catalog import Home
from plugin_scheduler.errors import BadTask, NotFound


class Questions(Home):
    """The part of a scheduler that is asked for tasks."""

    def _set(self, query: Any) -> Any:
        """Rows of ours are never hidden by a filter that the app adds to all its tables."""
        return self.db(query, ignore_common_filters=True)

    def task_status(self, ref: Any, output: bool = False) -> Row | None:
        """The newest task that ``ref`` (id, uuid, Query or Row) means; None when there is none.

        With ``output`` its newest run comes along: ``.scheduler_task``, ``.scheduler_run`` (all
        fields None before the first run) and ``.result``, decoded. web2py's book, "task_status".
        """
        task, run = self.db.scheduler_task, self.db.scheduler_run
        tasks = self._set(self._query(ref))
        if not output:
            return tasks.select(task.ALL, orderby=~task.id, limitby=(0, 1)).first()
        runs = run.task_id == task.id
        runs.ignore_common_filters = True  # a join has its own
        row = tasks.select(
            task.ALL,
            run.ALL,
            left=run.on(runs),
            orderby=~task.id | ~run.id,
            limitby=(0, 1),
        ).first()
        if row:
            row.result = values.decode(row.scheduler_run.run_result)
        return row

    def explain(self, ref: Any) -> Explanation:
        """Why a task does not run; ``ref`` as for `task_status`. NotFound where there is none.

        ``state`` is a sentence on how it stands, ``reasons`` what hinders it, the most telling
        first; ``checks`` has each condition of the claim, ``met`` or not, with a sentence. Of one
        that runs or has ended, ``state`` says since when, and how.

        >>> scheduler.explain(7).reasons
        ['no live worker serves group "gpu"; start one: scheduler.py -K shop:gpu']
        """
        row = self.task_status(ref)
        if row is None:
            raise NotFound(f"there is no task {ref}")
        browser: Browser = Browser.of(self)
        return browser.explain(sight.task_view(row))

    def _ids(self, ref: Any) -> list[int]:
        """The ids of the tasks that ``ref`` means. They are read without a lock: what is to be
        locked is found by its id, and no row besides."""
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
            return task.id == (int(ref) if ref.bit_length() < 64 else 0)  # which no task has
        if isinstance(ref, str):
            return task.uuid == ref if values.flaw_of(ref) is None else task.id == 0
        kind = type(ref).__name__
        raise BadTask(f"a task is named by id, uuid, Query or Row, not by {kind} {ref!r}")
