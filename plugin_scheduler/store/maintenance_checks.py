"""Check in one statement which maintenance jobs have work.

Contains the conditions of each job. An idle worker runs the checks at each heartbeat, and usually
none has work. Does not write to the database.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from plugin_scheduler.core.reasons import ReasonCode
from plugin_scheduler.core.types import OnChildFailure, RunStatus, TaskStatus
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.bulk_sql import Question, among
from plugin_scheduler.database.dialects.sql_template import Placeholders
from plugin_scheduler.store.claim_conditions import ClaimConditions

STRAYS, LATE, UNDECIDED, BROADCASTS = "strays", "late", "undecided", "broadcasts"
ORPHANS, OPEN_RUNS = "orphans", "open runs"


class MaintenanceChecks:
    """The maintenance checks of one worker."""

    def __init__(self, dialect: Dialect, due: ClaimConditions) -> None:
        self._dialect, self._due, self._db = dialect, due, dialect.db
        self._task, self._run = self._db.scheduler_task, self._db.scheduler_run
        self._deps = self._db.scheduler_task_deps

    def read(self, worker: str, known: Collection[int], leads: bool) -> set[str]:
        """Return the jobs with work for a worker.

        ``known`` are the tasks that the worker knows it owns. A leader also checks the jobs for all
        workers.
        """
        questions: dict[str, Callable[[Placeholders], Question]] = {STRAYS: self._strays}
        if leads:
            questions |= {
                LATE: lambda placeholder: self.late(placeholder.time("now")),
                UNDECIDED: lambda placeholder: self.undecided(),
                BROADCASTS: lambda placeholder: self.broadcasts(placeholder.time("now")),
                ORPHANS: lambda placeholder: self._orphans(self._task),
                OPEN_RUNS: lambda placeholder: self._orphans(self._run),
            }
        with self._dialect.reading():
            answers = self._dialect.exist(
                f"outlook, leads: {leads}",
                lambda placeholder: [ask(placeholder) for ask in questions.values()],
                worker=worker,
                known=known,
                now=self._dialect.now(),
            )
        return {name for name, there in zip(questions, answers, strict=True) if there}

    def _strays(self, placeholder: Placeholders) -> Question:
        """Find tasks that the worker owns but does not know of: a response was lost."""
        mine = self._task.assigned_worker_name == placeholder.text("worker")
        mine &= self._task.status.belongs(TaskStatus.HELD)
        return Question(mine & ~among(self._task.id, placeholder.numbers("known")), self._task.id)

    def late(self, now: datetime) -> Question:
        """Find tasks that did not start before their stop_time."""
        late = self._task.stop_time < now
        return Question(late & self._task.status.belongs(TaskStatus.WAITING), self._task.id)

    def undecided(self) -> Question:
        """Find tasks that wait for a task that has ended; the alias ``waiting_task`` names them."""
        child, parent = self._task, self._task.with_alias("waiting_task")
        pending = (self._deps.can_visit == False) & parent.status.belongs(TaskStatus.WAITING)
        ended = (child.id == None) | child.status.belongs(TaskStatus.ENDED)
        # Such a task may wait long: it is left out once it has its reason.
        stays = self._deps.on_failure == OnChildFailure.WAIT
        stays &= parent.reason_code == ReasonCode.WAITS
        undecided = (child.status == TaskStatus.COMPLETED) | (parent.reason_code == None) | ~stays
        undecided |= self._deps.on_failure == None
        query = pending & ended & undecided & (parent.id == self._deps.task_parent)
        return Question(query, self._deps.id, child.on(child.id == self._deps.task_child))

    def broadcasts(self, now: datetime) -> Question:
        """Find due broadcast tasks."""
        due = self._due.at(now, any_app=True) & (self._task.broadcast == True)
        return Question(due, self._task.id)

    def _orphans(self, table: Any) -> Question:
        """Find running tasks or runs whose worker has no row."""
        tasks, worker = table is self._task, self._db.scheduler_worker
        owner = table.assigned_worker_name if tasks else table.worker_name
        at_work = table.status.belongs(TaskStatus.HELD if tasks else (RunStatus.RUNNING,))
        there = owner.belongs(self._db(worker.id > 0)._select(worker.worker_name))
        return Question(at_work & ((owner == None) | ~there), table.id)
