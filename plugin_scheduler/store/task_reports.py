"""Start tasks, hand them back, and store reports of runs.

All writes of a task's status go through `move`, which takes a rule, a selection and a guard; the
state machine decides what follows. Zero changed rows is a normal result: another worker was faster,
or has requeued the task because this worker's lease had lapsed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.core.reasons import Reason, ReasonCode, reason_columns
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Outcome, Report, RunStatus, Task, TaskStatus
from plugin_scheduler.database.dialects.base import Dialect, retry_on_conflict
from plugin_scheduler.database.dialects.bulk_sql import among
from plugin_scheduler.database.dialects.sql_template import Placeholders
from plugin_scheduler.scheduling.state_machine import Move, decide
from plugin_scheduler.store.bulk import BulkWrites, leaves_no_row
from plugin_scheduler.store.task_rows import Rows
from plugin_scheduler.store.transitions import move

Answer = TypeVar("Answer")


class Wishes(NamedTuple):
    """Requests concerning running runs.

    ``ends`` are runs to end: "stop" on request, "taken" if the worker no longer owns the run.
    ``watched`` are runs whose output is watched, with the remaining seconds.
    """

    ends: dict[int, str]
    watched: dict[int, float]


class TaskReports:
    """Writes of one worker to tasks and their runs."""

    def __init__(self, dialect: Dialect, settings: Settings) -> None:
        self._dialect, self._settings = dialect, settings
        self.rows, self.batches = Rows(dialect), BulkWrites(dialect, settings)
        self.read = self.rows.read
        self._db = dialect.db
        self._task, self._run = self._db.scheduler_task, self._db.scheduler_run
        self._deps = self._db.scheduler_task_deps
        #: Changes that the database refused, with the error; the caller logs and clears them.
        self.refused: dict[str, str] = {}

    @retry_on_conflict
    def condemn_unreadable(self) -> int:
        """Fail tasks with unreadable rows, which would block others; return their number."""
        if not self.rows.unreadable:
            return 0
        with self._dialect.transaction():
            for task_id in self.unheld(self._task, list(self.rows.unreadable)):
                why = self.rows.still_unreadable(task_id)
                if why is None:
                    continue  # repaired meanwhile
                self.move("condemn", [task_id], enabled=False, reason=why)
        count = len(self.rows.unreadable)
        self.rows.unreadable.clear()
        return count

    # -- start, hand back --------------------

    def free(self, orders: Sequence[Order]) -> set[int]:
        """Return the ids of the runs that are not locked, and whose tasks are not locked."""
        with self._dialect.transaction():
            tasks = self.unheld(self._task, [order.task.id for order in orders])
            runs = self.unheld(self._run, [order.run_id for order in orders])
        return {one.run_id for one in orders if one.run_id in runs and one.task.id in tasks}

    def unheld(self, table: Any, ids: Collection[int]) -> set[int]:
        """Lock the rows that no other transaction has locked; return their ids."""
        return self._dialect.unheld(table, ids)

    def _refuse_held(self, ids: Collection[int], free: Collection[int]) -> None:
        """Raise `Locked` if rows of tasks exist and other transactions have locked them.

        Waiting for them while this transaction holds locks could cause a deadlock (ARCHITECTURE.md,
        "Locks").
        """
        rest = set(ids) - set(free)
        if not rest or not self._dialect.locks_rows:
            return
        there = self._db(among(self._task.id, rest)).select(self._task.id, limitby=(0, 1)).first()
        if there:
            raise Locked(f"another transaction holds the row of task {there.id}")

    def start(self, tasks: Sequence[Task], worker_name: str, now: datetime) -> list[Order]:
        """Set each task RUNNING and insert its run, in the caller's transaction.

        Tasks that other workers have claimed first are left out. Works with every database, because
        tasks are updated one by one.
        """
        orders = []
        for task in tasks:
            changes = {"assigned_worker_name": worker_name, "last_run_time": now, "reason": None}
            if not self.move("start", [task.id], self._task.enabled == True, **changes):
                continue
            run_id = int(
                self._run.insert(
                    task_id=task.id,
                    status=RunStatus.RUNNING,
                    start_time=now,
                    worker_name=worker_name,
                )
            )
            self._db(self._task.id == task.id).update(run_id=run_id)
            orders.append(Order(task._replace(run_id=run_id), run_id, now))
        return orders

    @retry_on_conflict
    def hand_back(self, orders: Sequence[Order], worker_name: str) -> int:
        """Requeue tasks whose runs never started, and delete the runs.

        Tasks with a stop request in the run's row become STOPPED.
        """
        with self._dialect.transaction():
            run_ids = [order.run_id for order in orders]
            ids = [order.task.id for order in orders]
            if len(ids) == 1:  # no other lock is held: waiting is safe
                self._dialect.hold(self._task, ids, [self._task.id])
            else:
                self._refuse_held(ids, self.unheld(self._task, ids))
            stops = self._stop_requests(run_ids)
            self.batches.drop_runs(run_ids)
            mine = among(self._task.run_id, run_ids)
            mine &= self._task.assigned_worker_name == worker_name
            if stops:
                asked, why = (
                    mine & among(self._task.run_id, stops),
                    Reason(ReasonCode.STOP_REQUESTED),
                )
                self.move("stop_run", ids, asked, enabled=False, run_id=None, reason=why)
            return self.move("hand_back", ids, mine, assigned_worker_name="", run_id=None)

    def hand_back_unknown(self, worker_name: str, known: Iterable[int]) -> int:
        """Requeue tasks that this worker owns but does not know of: a response was lost.

        Returns their number. Changes that the database refuses are recorded in `refused`.
        """
        mine = self._task.assigned_worker_name == worker_name
        held = mine & self._task.status.belongs(TaskStatus.HELD)
        known = set(known)
        with self._dialect.reading():
            strays = [task for task in self.read(held) if task.id not in known]
        hand_back = partial(self._hand_back_strays, worker_name)
        return sum(self.together_or_each(strays, hand_back)) if strays else 0

    def together_or_each(
        self, tasks: Sequence[Task], act: Callable[[Sequence[Task]], Answer]
    ) -> list[Answer]:
        """Act on all tasks at once; if the database refuses one of them, on each task alone."""
        try:
            return [act(tasks)]
        except StoreUnavailable:
            raise
        except Exception as error:  # any error of a driver or a trigger for one row
            if len(tasks) == 1:
                self.refused[f"an update of task {tasks[0].label}"] = first_line(error)
                return []
        return [answer for task in tasks for answer in self.together_or_each([task], act)]

    @retry_on_conflict
    def _hand_back_strays(self, worker_name: str, strays: Sequence[Task]) -> int:
        with self._dialect.transaction():
            free = self.unheld(self._task, [task.id for task in strays])
            for task in (one for one in strays if one.id in free):
                if task.status == TaskStatus.ASSIGNED:
                    mine = self._task.assigned_worker_name == worker_name
                    self.move("hand_back", [task.id], mine, assigned_worker_name="")
                else:
                    why = Reason(ReasonCode.START_LOST)
                    self.end_run(task, Outcome.INTERRUPTED, self._dialect.now(), why)
        return len(strays)

    # -- reports --------------------

    @retry_on_conflict
    def report(
        self, reports: Sequence[Report], worker_name: str
    ) -> list[tuple[Report, Move | None]]:
        """Store reports in one transaction; return their moves, None for a report that is late."""
        with self._dialect.transaction():
            finished = self.batches.finish(reports, worker_name)
            others = [one for one in reports if one.order.run_id not in finished]
            done: list[tuple[Report, Move | None]] = [
                (one, Move("finish")) for one in reports if one.order.run_id in finished
            ]
            current = self._current(others, many=len(reports) > 1)
            stops = self._stop_requests([report.order.run_id for report in others])
            done += [
                (report, self._apply(report, current, stops, worker_name)) for report in others
            ]
            self._unblock([report.order.task.id for report, move in done if move and move.unblocks])
        return done

    def _current(self, reports: Sequence[Report], many: bool) -> dict[int, Task]:
        """Read and lock the current rows: a schedule may be edited while the task runs."""
        if not reports:
            return {}
        ids = {report.order.task.id for report in reports}
        passes_over = many and self._dialect.locks_rows
        how = "skip" if passes_over else "wait"
        rows = self.read(among(self._task.id, ids), lock=how, orderby=self._task.id)
        current = {task.id: task for task in rows}
        if passes_over:
            self._refuse_held(ids, current.keys() | self.rows.unreadable.keys())
        return current

    def _stop_requests(self, run_ids: Sequence[int | None]) -> set[int]:
        """Return the runs with a stop request. Their tasks are locked, so this cannot change."""
        ids = [run_id for run_id in run_ids if run_id is not None]
        if not ids:
            return set()
        asked = among(self._run.id, ids) & (self._run.stop_requested == True)
        return {row.id for row in self._db(asked).select(self._run.id)}

    def _apply(
        self, report: Report, current: dict[int, Task], stops: set[int], worker_name: str
    ) -> Move | None:
        order = report.order
        task = current.get(order.task.id)
        if task is None:
            self._close_lost_run(report, worker_name)
            return None
        move = decide(
            task,
            report.outcome,
            started=order.started,
            max_losses=self._settings.max_losses,
            reason=report.reason,
            stop_requested=order.run_id in stops,
        )
        mine = self._task.assigned_worker_name == worker_name
        if not self._decided(move, task.id, mine & (self._task.run_id == order.run_id)):
            self._close_lost_run(report, worker_name)
            return None
        self._close_run(report)
        return move

    def _close_lost_run(self, report: Report, worker_name: str) -> None:
        """Close this worker's run of a task whose status was changed elsewhere, such as by hand."""
        run = (self._run.id == report.order.run_id) & (self._run.status == RunStatus.RUNNING)
        self._db(run & (self._run.worker_name == worker_name)).update(
            status=Outcome.RUN_STATUS[report.outcome],
            outcome=report.outcome,
            stop_time=report.ended,
            run_output=report.output,
            traceback=report.traceback,
            **reason_columns(Reason(ReasonCode.TAKEN_AWAY)),
        )

    def _decided(self, move: Move, task_id: int, only: Any) -> int:
        changes = {**move.changes}
        if move.reason or "reason" not in changes:
            changes["reason"] = move.reason
        return self.move(move.name, [task_id], only, **changes)

    def _close_run(self, report: Report) -> None:
        self._dialect.check_size(report.result)
        run = self._db(self._run.id == report.order.run_id)
        if report.outcome == Outcome.COMPLETED and leaves_no_row(report, self._settings):
            run.delete()
            return
        changes: dict[str, Any] = {"run_output": report.output, "run_result": report.result}
        if report.progress is not None:
            changes["progress"] = report.progress
        run.update(
            status=Outcome.RUN_STATUS[report.outcome],
            outcome=report.outcome,
            stop_time=report.ended,
            traceback=report.traceback,
            duration=round(report.seconds, 6),
            **reason_columns(report.reason),
            **changes,
        )

    def end_run(self, task: Task, outcome: Outcome, now: datetime, why: str) -> Move | None:
        """End a run without a report of its runner: its worker died or lost track of it.

        The caller's transaction has locked the row of the task.
        """
        move = decide(
            task,
            outcome,
            started=now,
            max_losses=self._settings.max_losses,
            reason=why,
            stop_requested=task.run_id in self._stop_requests([task.run_id]),
        )
        held = self._task.run_id == task.run_id
        held &= self._task.assigned_worker_name == task.assigned_worker_name
        moved = self._decided(move, task.id, held)
        if task.run_id is not None:
            running = (self._run.id == task.run_id) & (self._run.status == RunStatus.RUNNING)
            self._db(running).update(
                status=Outcome.RUN_STATUS[outcome],
                outcome=outcome,
                stop_time=now,
                **reason_columns(why),
            )
        return move if moved else None

    def _unblock(self, ids: list[int]) -> None:
        if ids:
            self._dialect.run("unblock", self._let_go, ids=ids)

    def _let_go(self, placeholder: Placeholders) -> str:
        waits = among(self._deps.task_child, placeholder.numbers("ids")) & (
            self._deps.can_visit == False
        )
        return str(self._db(waits)._update(can_visit=True))

    @retry_on_conflict
    def save_live(self, run_id: int, output: str | None, progress: dict[str, Any] | None) -> None:
        """Store the output and the progress of a run while it runs."""
        changes: dict[str, Any] = {}
        if output is not None:
            changes["run_output"] = output
        if progress is not None:
            changes["progress"] = progress
        running = (self._run.id == run_id) & (self._run.status == RunStatus.RUNNING)
        with self._dialect.transaction():
            self._db(running).update(**changes)

    def wishes(self, run_ids: Iterable[int], worker_name: str) -> Wishes:
        """Return the requests for these runs.

        A run is "taken" if its row or the row of its task is gone or has another owner.
        """
        values = {"ids": list(run_ids), "worker": worker_name}
        with self._dialect.reading():
            rows = list(self._dialect.ask("at work", self._at_work, **values))
        here = {run_id for run_id, _, _ in rows}
        ends = {run_id: "taken" for run_id in run_ids if run_id not in here}
        ends |= {run_id: "stop" for run_id, asked, _ in rows if asked in (True, "T")}
        if not any(until for _, _, until in rows):
            return Wishes(ends, {})
        now = self._dialect.epoch()
        lasting = (row for row in rows if isinstance(row[2], (int, float)) and row[2] > now)
        seen = {run_id: until - now for run_id, _, until in lasting}
        return Wishes(ends, seen)

    def _at_work(self, placeholder: Placeholders) -> str:
        run, task = self._run, self._task
        ours = among(run.id, placeholder.numbers("ids")) & (run.status == RunStatus.RUNNING)
        ours &= (task.id == run.task_id) & (task.run_id == run.id)
        # Find tasks by id only (coalesce prevents the use of an index). By the index on these
        # columns, each run would read all tasks of the worker, which a server without statistics
        # estimates as one.
        ours &= task.status.coalesce("") == TaskStatus.RUNNING
        ours &= task.assigned_worker_name.coalesce("") == placeholder.text("worker")
        return str(self._db(ours)._select(run.id, run.stop_requested, run.watched_until))

    # -- status changes --------------------

    def move(self, name: str, ids: Collection[int], only: Any = None, **changes: Any) -> int:
        """Make a move for the tasks in a source state of its rule that meet ``only``.

        Returns the number of changed tasks.
        """
        return move(self._dialect, name, ids, only, **changes)
