"""Maintenance by the leader for all workers: one method and one transaction per job.

Every write checks the state that it expects, so that two concurrent leaders do redundant work but
no harm.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from plugin_scheduler.core.application_name import app_of
from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.core.reasons import Reason, ReasonCode, reason_columns
from plugin_scheduler.core.types import (
    OnChildFailure,
    Outcome,
    RunStatus,
    Task,
    TaskStatus,
    Worker,
    WorkerStatus,
)
from plugin_scheduler.database.dialects.base import Dialect, retry_on_conflict
from plugin_scheduler.database.dialects.bulk_sql import among
from plugin_scheduler.models import new_uuid
from plugin_scheduler.scheduling.state_machine import after_fan_out
from plugin_scheduler.store.maintenance_checks import MaintenanceChecks
from plugin_scheduler.store.task_reports import TaskReports

#: Rows per round; the rest is left to the next round. No statement may take so long that the leader
#: misses its heartbeat.
BATCH = (0, 500)
LEVELS = 100  # levels of dependencies per round


class Maintenance:
    """The maintenance jobs of the leader."""

    def __init__(self, dialect: Dialect, outlook: MaintenanceChecks, tasks: TaskReports) -> None:
        self._dialect, self._outlook, self._tasks = dialect, outlook, tasks
        self._db = dialect.db
        self._task, self._run = self._db.scheduler_task, self._db.scheduler_run
        self._deps, self._worker = self._db.scheduler_task_deps, self._db.scheduler_worker

    def owners(self) -> set[str]:
        """Return the names of workers that own tasks or open runs, according to the tables."""
        with self._dialect.reading():
            held = self._db(self._task.status.belongs(TaskStatus.HELD)).select(
                self._task.assigned_worker_name, distinct=True
            )
            running = self._db(self._run.status == RunStatus.RUNNING).select(
                self._run.worker_name, distinct=True
            )
        names = {row.assigned_worker_name or "" for row in held}
        return names | {row.worker_name or "" for row in running}

    def requeue_lost(self, owner: str) -> list[Task]:
        """Requeue the tasks of a dead worker, close its open runs, and return the tasks.

        If the database refuses one task, the others are requeued, and the runs stay open.
        """
        try:
            return self._requeue_lost(owner)
        except StoreUnavailable:
            raise
        except Exception as error:  # any error of a driver or a trigger for one row
            with self._dialect.reading():
                held = self._tasks.read(self._held_by(owner), orderby=self._task.id)
            each = self._tasks.together_or_each(held, lambda some: self._requeue_lost(owner, some))
            back = [task for tasks in each for task in tasks]
            if len(back) == len(held):
                self._tasks.refused[f"closing the open runs of worker {owner}"] = first_line(error)
            return back

    def _held_by(self, owner: str) -> Any:
        mine = self._task.assigned_worker_name == owner
        if not owner:
            mine = self._task.assigned_worker_name.belongs(("",))
            mine |= self._task.assigned_worker_name == None
        return mine & self._task.status.belongs(TaskStatus.HELD)

    @retry_on_conflict
    def _requeue_lost(self, owner: str, some: Sequence[Task] | None = None) -> list[Task]:
        """Requeue ``some`` tasks only, or all tasks and the open runs."""
        held = self._held_by(owner)
        if some is not None:
            held &= among(self._task.id, [task.id for task in some])
        with self._dialect.transaction():
            if self._lives(owner):
                return []
            now = self._dialect.now()
            tasks = self._tasks.read(held, lock="skip", orderby=self._task.id)
            for task in tasks:
                self._give_back(task, now)
            if some is None:
                self._close_open_runs(owner, held, now)
        return tasks

    def _lives(self, name: str) -> bool:
        """Return True if the worker is alive, checked again inside the transaction.

        It may have sent a heartbeat while this transaction waited. On servers its row is locked, so
        that it cannot send one while its tasks are requeued. If another transaction locks the row,
        which prevents heartbeats, this raises an error and no task is requeued.
        """
        mine = self._worker.worker_name == name
        self._dialect.select(mine, [self._worker.id], lock="wait")
        beats = mine & (self._worker.lease_until > self._dialect.epoch())
        return bool(self._db(beats).select(self._worker.id, limitby=(0, 1)))

    def _give_back(self, task: Task, now: Any) -> None:
        why = _death_of(task.assigned_worker_name)
        if task.status == TaskStatus.RUNNING:
            self._tasks.end_run(task, Outcome.LOST, now, why)
            return
        same = self._task.status == task.status
        same &= self._task.assigned_worker_name == task.assigned_worker_name
        if task.only_worker:
            self._tasks.move("skip", [task.id], same, enabled=False, reason=why)
        else:
            self._tasks.move("requeue", [task.id], same, assigned_worker_name="")

    def _close_open_runs(self, owner: str, held: Any, now: Any) -> None:
        """Close runs of a dead worker that their task does not refer to (rows of web2py).

        Runs of tasks that are still to be requeued, because their rows are locked, stay open.
        """
        whose = self._run.worker_name == owner
        if not owner:
            whose |= self._run.worker_name == None
        at_work = self._run.status == RunStatus.RUNNING
        later = {row.id for row in self._db(held).select(self._task.id)}
        rows = self._db(whose & at_work).select(self._run.id, self._run.task_id)
        ids = self._tasks.unheld(self._run, [row.id for row in rows if row.task_id not in later])
        ended = {"status": RunStatus.STOPPED, "outcome": Outcome.LOST, "stop_time": now}
        self._dialect.change(self._run, ids, at_work, **ended, **reason_columns(_death_of(owner)))

    @retry_on_conflict
    def bury(self, workers: Iterable[Worker]) -> int:
        """Delete the rows of dead workers that have not come back; return their number."""
        buried = 0
        with self._dialect.transaction():
            for worker in workers:
                if self._holds_tasks(worker.worker_name):  # whose rows were locked and not requeued
                    continue
                gone = self._worker.id == worker.id
                if worker.lease_until:  # 0: no heartbeat yet, or an unreadable row
                    lease = self._worker.lease_until
                    gone &= (lease == None) | (lease < self._dialect.epoch())
                if not self._db(gone).delete():
                    continue
                buried += 1
                self._skip_what_was_for(worker.worker_name, _death_of(worker.worker_name))
        return buried

    def _holds_tasks(self, name: str) -> bool:
        mine = self._task.assigned_worker_name == name
        held = self._db(mine & self._task.status.belongs(TaskStatus.HELD))
        return bool(held.select(self._task.id, limitby=(0, 1), orderby_on_limitby=False))

    @retry_on_conflict
    def leave(self, worker_id: int, name: str) -> None:
        """Delete the row of a worker that exits."""
        with self._dialect.transaction():
            self._db(self._worker.id == worker_id).delete()
            self._skip_what_was_for(name, Reason(ReasonCode.WORKER_LEFT))

    def _skip_what_was_for(self, worker: str, why: Reason) -> None:
        """Skip the broadcast copies of this worker: no other worker may claim them."""
        meant = (self._task.only_worker == worker) & (self._task.status == TaskStatus.QUEUED)
        # Read first: an update by an index would wait for locked rows.
        ids = [row.id for row in self._db(meant).select(self._task.id)]
        free = self._tasks.unheld(self._task, ids)
        self._tasks.move("skip", free, meant, enabled=False, reason=why)

    @retry_on_conflict
    def expire_overdue(self) -> int:
        """Expire tasks that did not start before their stop_time."""
        task = self._task
        with self._dialect.reading():
            late = self._db(self._outlook.late(self._dialect.now()).query)
            found = late.select(task.id, orderby=task.stop_time, limitby=BATCH)
        if not found:
            return 0
        with self._dialect.transaction():
            # Locked rows are left to a later round.
            free = self._tasks.unheld(task, [row.id for row in found])
            late = task.stop_time < self._dialect.now()
            return self._tasks.move("expire", free, late, reason=Reason(ReasonCode.EXPIRED))

    def unblock(self) -> int:
        """Decide about tasks whose dependencies have ended; return the number of decisions.

        Includes tasks that depend on these in turn, as far as one round allows.
        """
        decided = 0
        for _ in range(LEVELS):
            news = self._unblock_level()
            decided += news
            if not news or decided >= BATCH[1]:
                break
        return decided

    @retry_on_conflict
    def _unblock_level(self) -> int:
        child, question = self._task, self._outlook.undecided()
        with self._dialect.reading():
            rows = self._db(question.query).select(
                self._deps.ALL,
                *(child[name] for name in ("id", "status", "task_name", "function_name")),
                left=question.left,
                orderby=self._deps.id,
                limitby=BATCH,
            )
        if not rows:
            return 0
        with self._dialect.transaction():
            waiting = [row.scheduler_task_deps.task_parent for row in rows]
            free = self._tasks.unheld(self._task, waiting)
            return sum(
                self._decide_waiting(row.scheduler_task_deps, row.scheduler_task)
                for row in rows
                if row.scheduler_task_deps.task_parent in free
            )

    def _decide_waiting(self, dep: Any, child: Any) -> int:
        this_row = self._db(self._deps.id == dep.id)
        wish = dep.on_failure or OnChildFailure.STOP
        if child.status == TaskStatus.COMPLETED or wish == OnChildFailure.RUN:
            return int(this_row.update(can_visit=True) or 0)
        facts = {"task": "a task", "ended": "was deleted"}
        if child.id is not None:
            name = child.task_name or child.function_name
            facts = {"task": f"task {child.id} {name}", "ended": _did(child.status)}
        waiting = self._task.id == dep.task_parent
        if wish == OnChildFailure.WAIT:
            news = reason_columns(Reason(ReasonCode.WAITS, **facts))
            told = (self._task.reason_code != None) & (self._task.reason == news["reason"])
            still = waiting & ((self._task.reason == None) | ~told)
            return int(self._db(still).update(**news) or 0)
        why = Reason(ReasonCode.SKIPPED, **facts)
        return self._tasks.move("skip", [dep.task_parent], enabled=False, reason=why)

    def fan_out_broadcasts(self, alive: Sequence[Worker]) -> int:
        """Queue a copy of each due broadcast task for every live worker of its group."""
        with self._dialect.reading():
            due = self._outlook.broadcasts(self._dialect.now()).query
            tasks = self._tasks.read(due, orderby=self._task.next_run_time, limitby=BATCH)
        copies = 0
        for task in tasks:
            with contextlib.suppress(Locked):  # its row is locked; the other tasks must not wait
                copies += self._fan_out(task, alive)
        return copies

    @retry_on_conflict
    def _fan_out(self, task: Task, alive: Sequence[Worker]) -> int:
        group = task.group_name or "main"
        takers = [
            worker
            for worker in alive
            if group in worker.group_names
            and worker.status == WorkerStatus.ACTIVE
            and worker.application_name in ("", app_of(task.application_name))
        ]
        if not takers:
            return 0
        with self._dialect.transaction():
            now = self._dialect.now()
            # Lock workers before tasks, and do not wait for the task: ARCHITECTURE.md, "Locks".
            present = self._present(takers)
            if not self._tasks.unheld(self._task, [task.id]):
                return 0
            move = after_fan_out(task, now)
            same = self._task.times_run == task.times_run
            if not self._tasks.move(move.name, [task.id], same, **move.changes):
                return 0
            secret = self._secret_of(task)
            for worker in present:
                self._task.insert(**_copy_for(task, worker, now), secret=secret)
        return len(present)

    def _secret_of(self, task: Task) -> Any:
        """Return the list of secret arguments, which the copies inherit."""
        row = self._db(self._task.id == task.id).select(self._task.secret).first()
        return row and row.secret

    def _present(self, workers: Sequence[Worker]) -> list[Worker]:
        """Return the workers that still exist, and lock their rows so that none can leave.

        Otherwise a copy could be queued for a worker that has left.
        """
        ids = [worker.id for worker in workers]
        there = {row.id for row in self._dialect.hold(self._worker, ids, [self._worker.id])}
        return [worker for worker in workers if worker.id in there]


def _copy_for(task: Task, worker: Worker, now: Any) -> dict[str, Any]:
    """Return the columns of a copy that runs once, on one worker."""
    kept = (
        "application_name",
        "task_name",
        "group_name",
        "function_name",
        "args",
        "vars",
        "stop_time",
        "retry_failed",
        "period",
        "timeout",
        "sync_output",
        "priority",
    )
    return {
        **{name: getattr(task, name) for name in kept},
        "status": TaskStatus.QUEUED,
        "uuid": new_uuid(),
        "broadcast": False,
        "start_time": now,
        "next_run_time": now,
        "repeats": 1,
        "only_worker": worker.worker_name,
    }


def _death_of(worker: str | None) -> Reason:
    return Reason(ReasonCode.WORKER_DIED, worker=worker or "without a name")


def _did(status: str) -> str:
    return "was STOPPED" if status == TaskStatus.STOPPED else status
