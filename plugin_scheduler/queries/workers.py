"""Workers, and what each of their slots runs now.

Does not write.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import RunStatus
from plugin_scheduler.database.dialects.bulk_insert import batches
from plugin_scheduler.queries.progress import ProgressView
from plugin_scheduler.queries.runs import Runs
from plugin_scheduler.queries.views import WorkerView
from plugin_scheduler.queries.warnings import troubles

MOST = 200  # running runs that are read


@dataclass(frozen=True)
class AtWork:
    """A run in a slot; ``seconds`` since it began."""

    run_id: int
    task_id: int
    name: str
    function: str
    since: datetime | None
    seconds: float
    headway: ProgressView


@dataclass(frozen=True)
class WorkerCard:
    """A worker of this app; its runs for other apps are only counted. ``troubles`` are sentences
    about a living worker."""

    worker: WorkerView
    at_work: list[AtWork]
    for_others: int
    troubles: list[Sentence]


@dataclass(frozen=True)
class Staff:
    """The workers of this app, and the number of living workers that serve only other apps."""

    members: list[WorkerCard]
    others: int


class Workforce(Runs):
    """Workers and their runs."""

    def staff(self) -> Staff:
        """Return all workers of this app, alive or dead, by name.

        >>> [(one.worker.name, len(one.at_work)) for one in queries.staff().members]
        [('w1', 2)]
        """
        workers = self.workers()
        mine = [one for one in workers if one.works_for(self.application)]
        ids = [number for one in mine for number in _runs_of(one)]
        at_work = self._at_work(ids[:MOST])
        others = sum(1 for one in workers if one.alive and not one.works_for(self.application))
        return Staff([self._member(one, at_work) for one in mine], others)

    def _member(self, worker: WorkerView, at_work: dict[int, tuple[str, AtWork]]) -> WorkerCard:
        ids = _runs_of(worker) if worker.alive else []
        here = [at_work[number] for number in ids if number in at_work]
        return WorkerCard(
            worker=worker,
            at_work=[run for owner, run in here if owner == worker.name],
            for_others=len(self._foreign(ids)),
            troubles=list(troubles([worker])),
        )

    def _foreign(self, ids: list[int]) -> list[int]:
        """Return those of the running runs that belong to other apps."""
        if not (ids and self.application):
            return []
        run, task = self._run, self._task
        theirs = (run.task_id == task.id) & ~self._mine()
        parts = (self._read_rows(run.id.belongs(some) & theirs, run.id) for some in batches(ids))
        return [row.id for part in parts for row in part]

    def _at_work(self, ids: list[int]) -> dict[int, tuple[str, AtWork]]:
        """Return this app's runs that are still running, with their worker's name."""
        if not ids:
            return {}
        run, task, now = self._run, self._task, self.now()
        ours = run.id.belongs(ids) & (run.status == RunStatus.RUNNING)
        ours &= (run.task_id == task.id) & self._mine()
        size = self._size(run.run_output)
        columns = [run[name] for name in ("id", "status", "start_time", "progress", "worker_name")]
        columns += [task[name] for name in ("id", "task_name", "function_name")]
        return {
            row.scheduler_run.id: (row.scheduler_run.worker_name, self._slot(row, row[size], now))
            for row in self._read_rows(ours, *columns, size)
        }

    def _slot(self, row: Any, printed: int | None, now: datetime) -> AtWork:
        run, task = row.scheduler_run, row.scheduler_task
        since = run.start_time
        return AtWork(
            run_id=run.id,
            task_id=task.id,
            name=task.task_name or task.function_name,
            function=task.function_name,
            since=since,
            seconds=max(0.0, (now - since).total_seconds()) if since else 0.0,
            headway=self._headway(run, printed or 0),
        )


def _runs_of(worker: WorkerView) -> list[int]:
    """Return the ids in the worker's row, which may contain invalid values."""
    found = [one.get("run") for one in worker.running if isinstance(one, dict)]
    return [number for number in found if isinstance(number, int)]
