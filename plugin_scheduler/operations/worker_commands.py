"""Commands to workers: web2py's `disable`, `resume`, `terminate`, `kill` and `get_workers`.

A command changes the row of a worker, which reads it within a second. Never commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydal.objects import Row

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import RunStatus, WorkerStatus
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.store.workers import read_workers

WATCH = 15.0  # seconds for which a view of a run counts


class WorkerCommands:
    """The methods of a scheduler that send commands to workers."""

    db: Any
    settings: Settings
    _dialect: Dialect

    if TYPE_CHECKING:

        def _set(self, query: Any) -> Any: ...  # as in `find_task`

    def disable(
        self,
        group_names: str | Sequence[str] | None = None,
        limit: int | None = None,
        worker_name: str | None = None,
    ) -> int:
        """Pause workers: they finish their running tasks and claim no others. Does not commit.

        Parameters:
        - ``group_names``: a group, or several; default: the groups of this scheduler.
        - ``limit``: the maximum number of workers in each group; None for all.
        - ``worker_name``: the name of one worker; ``group_names`` and ``limit`` are then ignored.

        Returns: the number of workers.

        Source: web2py's book, "Managing processes".

        >>> scheduler.disable("mail", limit=2)
        2
        """
        kept = (WorkerStatus.DISABLED, *WorkerStatus.LEAVING)
        return self._order(WorkerStatus.DISABLED, kept, group_names, limit, worker_name)

    def resume(
        self,
        group_names: str | Sequence[str] | None = None,
        limit: int | None = None,
        worker_name: str | None = None,
    ) -> int:
        """Resume paused workers. Does not commit.

        Parameters:
        - ``group_names``, ``limit``, ``worker_name``: as for `disable`.

        Returns: the number of workers.

        Source: web2py's book, "Managing processes".

        >>> scheduler.resume(worker_name="host#4711#a1b2")
        1
        """
        kept = [status for status in WorkerStatus.ALL if status != WorkerStatus.DISABLED]
        return self._order(WorkerStatus.ACTIVE, kept, group_names, limit, worker_name)

    def terminate(
        self,
        group_names: str | Sequence[str] | None = None,
        limit: int | None = None,
        worker_name: str | None = None,
    ) -> int:
        """Let workers finish their running tasks, then exit. Does not commit.

        Parameters:
        - ``group_names``, ``limit``, ``worker_name``: as for `disable`.

        Returns: the number of workers.

        Source: web2py's book, "Managing processes".

        >>> scheduler.terminate(worker_name="host#4711#a1b2")
        1
        """
        kept = WorkerStatus.LEAVING
        return self._order(WorkerStatus.TERMINATE, kept, group_names, limit, worker_name)

    def kill(
        self,
        group_names: str | Sequence[str] | None = None,
        limit: int | None = None,
        worker_name: str | None = None,
    ) -> int:
        """Let workers interrupt their running tasks, give them back, and exit. Does not commit.

        Parameters:
        - ``group_names``, ``limit``, ``worker_name``: as for `disable`.

        Returns: the number of workers.

        Source: web2py's book, "Managing processes".

        >>> scheduler.kill(worker_name="host#4711#a1b2")
        1
        """
        kept = (WorkerStatus.KILL,)
        return self._order(WorkerStatus.KILL, kept, group_names, limit, worker_name)

    def watch_run(self, run_id: int) -> int:
        """Let the worker of a run save its output as it is printed, for the next 15 seconds.

        This applies whatever the task's ``sync_output``. Call it again every few seconds while the
        output is displayed. Does not commit.

        Parameters:
        - ``run_id``: the id of the run.

        Returns: 1, or 0 if the run is not running.

        >>> scheduler.watch_run(81)
        1
        """
        task, run = self.db.scheduler_task, self.db.scheduler_run
        at_work = (run.id == run_id) & (run.status == RunStatus.RUNNING)
        row = self._set(at_work).select(run.task_id).first()
        # The task before its run, as everywhere (ARCHITECTURE.md, "Locks").
        if row is None or not self._dialect.hold(task, [row.task_id], [task.id]):
            return 0
        until = self._dialect.epoch() + WATCH
        return self._dialect.change(run, [run_id], at_work, watched_until=until)

    def _order(
        self,
        status: str,
        kept: Sequence[str],
        group_names: str | Sequence[str] | None,
        limit: int | None,
        worker_name: str | None,
    ) -> int:
        worker = self.db.scheduler_worker
        open_to_it = ~worker.status.belongs(kept)
        if worker_name is not None:
            mine = (worker.worker_name == worker_name) & open_to_it
            named = [row.id for row in self._set(mine).select(worker.id)]
            return self._dialect.change(worker, named, open_to_it, status=status)
        ids: set[int] = set()
        for group in names(group_names) or self.settings.group_names:
            serves = worker.group_names.contains(group) & open_to_it
            rows = self._set(serves).select(worker.id, worker.group_names, orderby=worker.id)
            # SQLite ignores case in the search for "mail", and finds "Mail" too
            ids.update([row.id for row in rows if group in row.group_names][:limit])
        self._dialect.hold(worker, ids, [worker.id])
        return self._dialect.change(worker, ids, status=status)

    def get_workers(self, only_ticker: bool = False) -> dict[str, Row]:
        """Return the registered workers, alive or dead.

        Parameters:
        - ``only_ticker``: return only the leader.

        Returns: a dict of worker name to row, with ``status``, ``first_heartbeat``,
        ``last_heartbeat``, ``group_names``, ``is_ticker`` and ``worker_stats``.

        Source: web2py's name and result.

        >>> list(scheduler.get_workers())
        ['host#4711#a1b2']
        """
        worker = self.db.scheduler_worker
        query = worker.is_ticker == True if only_ticker else worker.id > 0
        columns = ("status", "first_heartbeat", "last_heartbeat", "group_names", "is_ticker")
        return {
            row.worker_name: Row({name: row[name] for name in (*columns, "worker_stats")})
            for row in read_workers(self._dialect, query)
        }


def names(given: str | Sequence[str] | None) -> list[str]:
    """Return one name or several as a list."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)
