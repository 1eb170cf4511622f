"""Start and finish many tasks in a few statements.

This is the fast path for ordinary tasks. Only completed runs that end their task are handled here;
`task_reports` handles all others one by one. Does not decide what follows from an outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from pydal.objects import Expression

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Outcome, Report, RunStatus, Task, TaskStatus
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.bulk_insert import characters, portions
from plugin_scheduler.database.dialects.bulk_sql import among
from plugin_scheduler.database.dialects.sql_template import Placeholders, listed
from plugin_scheduler.scheduling.state_machine import is_the_last
from plugin_scheduler.store.transitions import move_in_words

NEWEST_RUN = (
    "SELECT MAX(scheduler_run.id) FROM scheduler_run "
    "WHERE scheduler_run.task_id = scheduler_task.id"
)

#: A run that another worker has closed, because this worker's lease had lapsed, is not changed.
STILL_OPEN = f"scheduler_run.status = '{RunStatus.RUNNING}'"


class BulkWrites:
    """Bulk start and finish of tasks, inside the caller's transaction."""

    def __init__(self, dialect: Dialect, settings: Settings) -> None:
        self._dialect, self._settings, self._db = dialect, settings, dialect.db
        self._task, self._run = self._db.scheduler_task, self._db.scheduler_run

    def start(self, tasks: Sequence[Task], worker_name: str, now: datetime) -> list[Order]:
        """Claim queued tasks whose rows are locked, and insert their runs; return the orders.

        Tasks that can no longer be claimed (edited at the last moment) are left out.
        """
        ids = [task.id for task in tasks]
        self._insert_runs(ids, worker_name, now)
        taken = self._dialect.run("start", self._start, ids=ids, worker=worker_name, now=now)
        runs = dict(self._dialect.ask("started", self._started, ids=ids, worker=worker_name))
        if taken < len(ids):
            self._drop_runs_of([number for number in ids if number not in runs], worker_name)
        return [
            Order(task._replace(run_id=runs[task.id]), runs[task.id], now)
            for task in tasks
            if task.id in runs
        ]

    def _start(self, placeholder: Placeholders) -> str:
        same = among(self._task.id, placeholder.numbers("ids")) & (self._task.enabled == True)
        newest = Expression(self._db, NEWEST_RUN, None, None, "integer")
        changes = {
            "assigned_worker_name": placeholder.text("worker"),
            "last_run_time": placeholder.time("now"),
        }
        words = move_in_words(self._db, "start", same, run_id=newest, reason=None, **changes)
        return self._dialect.by_key(words)

    def _started(self, placeholder: Placeholders) -> str:
        mine = among(self._task.id, placeholder.numbers("ids"))
        mine &= self._task.assigned_worker_name == placeholder.text("worker")
        mine &= self._task.status == TaskStatus.RUNNING
        return str(self._db(mine)._select(self._task.id, self._task.run_id))

    def _insert_runs(self, ids: Sequence[int], worker_name: str, now: datetime) -> None:
        self._dialect.execute(
            "INSERT INTO scheduler_run (task_id, status, start_time, worker_name, stop_requested) "
            f"SELECT id, {{}}, {{}}, {{}}, 'F' FROM scheduler_task WHERE id IN ({listed(ids)})",
            (RunStatus.RUNNING, now, worker_name),
        )

    def _drop_runs_of(self, ids: Sequence[int], worker_name: str) -> None:
        """Delete the runs of tasks that could not be claimed."""
        run = self._run
        ours = run.task_id.belongs(ids) & (run.status == RunStatus.RUNNING)
        self._db(ours & (run.worker_name == worker_name)).delete()

    # -- finish --------------------

    def finish(self, reports: Sequence[Report], worker_name: str) -> set[int]:
        """Store completed runs that were the last of their tasks; return their ids.

        Skips tasks that other transactions have locked.
        """
        last = [report for report in reports if _is_plain(report)]
        if not last:
            return set()
        many, runs = len(reports) > 1, {report.order.run_id for report in last}
        values = {"ids": [one.order.task.id for one in last], "runs": runs, "worker": worker_name}
        name, write = f"finish, many: {many}", partial(self._finish, many)
        if self._dialect.run(name, write, **values) < len(last):
            runs = {run for (run,) in self._dialect.ask("finished", self._finished, **values)}
        # Tasks before runs, as everywhere (ARCHITECTURE.md, "Locks").
        self._close_runs([report for report in last if report.order.run_id in runs])
        return runs

    def _finish(self, many: bool, placeholder: Placeholders) -> str:
        plain = self._ours(placeholder) & (self._task.repeats == 1) & (self._task.times_run == 0)
        changes = {"times_run": 1, "times_failed": 0, "times_lost": 0, "reason": None}
        words = move_in_words(self._db, "finish", plain, **changes)
        return self._dialect.passing_over(words, placeholder.numbers("ids"), many)

    def _finished(self, placeholder: Placeholders) -> str:
        ended = self._ours(placeholder) & (self._task.status == TaskStatus.COMPLETED)
        return str(self._db(ended)._select(self._task.run_id))

    def _ours(self, placeholder: Placeholders) -> Any:
        ours = among(self._task.id, placeholder.numbers("ids")) & among(
            self._task.run_id, placeholder.numbers("runs")
        )
        return ours & (self._task.assigned_worker_name == placeholder.text("worker"))

    def _close_runs(self, reports: Sequence[Report]) -> None:
        kept = []
        for report in reports:
            if not leaves_no_row(report, self._settings):
                self._dialect.check_size(report.result)
                kept.append(report)
        rows = [
            (
                report.order.run_id,
                RunStatus.COMPLETED,
                Outcome.COMPLETED,
                report.ended,
                report.output,
                report.result,
                round(report.seconds, 6),
            )
            for report in sorted(kept, key=lambda report: report.order.run_id)
        ]
        columns = ("status", "outcome", "stop_time", "run_output", "run_result", "duration")
        for some in portions(rows, characters):
            self._dialect.update_many("scheduler_run", columns, some, STILL_OPEN)
        if len(kept) < len(reports):
            stay = {report.order.run_id for report in kept}
            gone = [one.order.run_id for one in reports if one.order.run_id not in stay]
            self.drop_runs(gone)

    def drop_runs(self, run_ids: Sequence[int]) -> None:
        """Delete runs that leave no row."""
        self._dialect.delete_rows("scheduler_run", run_ids, STILL_OPEN)


def leaves_no_row(report: Report, settings: Settings) -> bool:
    """Return True for a run without result and output, whose row is deleted as in web2py."""
    if settings.discard_results:
        return True
    if settings.keep_empty_runs or report.result not in (None, "null"):
        return False
    return not (settings.keep_printed_runs and report.output)


def _is_plain(report: Report) -> bool:
    done = report.outcome == Outcome.COMPLETED and is_the_last(report.order.task)
    return done and report.progress is None and report.reason is None
