"""What is there to look after? Each question of the chores, and all of them in one statement.

I own the conditions under which a chore has something to do. I call due and dialects. I never
write: an idle worker asks me at each beat, and nearly always the answer is that nothing is to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from plugin_scheduler.core.reasons import ReasonCode
from plugin_scheduler.core.types import OnChildFailure, RunStatus, TaskStatus
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.bulk_sql import Question, among
from plugin_scheduler.database.dialects.sql_template import Holes
from plugin_scheduler.store.claim_conditions import ClaimConditions

STRAYS, LATE, UNDECIDED, BROADCASTS = "strays", "late", "undecided", "broadcasts"
ORPHANS, OPEN_RUNS = "orphans", "open runs"


class MaintenanceChecks:
    """Questions over all tables, for one worker."""

    def __init__(self, dialect: Dialect, due: ClaimConditions) -> None:
        self._dialect, self._due, self._db = dialect, due, dialect.db
        self._task, self._run = self._db.scheduler_task, self._db.scheduler_run
        self._deps = self._db.scheduler_task_deps

    def read(self, worker: str, known: Collection[int], leads: bool) -> set[str]:
        """What this worker has to look after, who knows of these tasks in its hands: what is its
        own, and where it leads what is everybody's."""
        questions: dict[str, Callable[[Holes], Question]] = {STRAYS: self._strays}
        if leads:
            questions |= {
                LATE: lambda hole: self.late(hole.time("now")),
                UNDECIDED: lambda hole: self.undecided(),
                BROADCASTS: lambda hole: self.broadcasts(hole.time("now")),
                ORPHANS: lambda hole: self._orphans(self._task),
                OPEN_RUNS: lambda hole: self._orphans(self._run),
            }
        with self._dialect.reading():
            answers = self._dialect.exist(
                f"outlook, leads: {leads}",
                lambda hole: [ask(hole) for ask in questions.values()],
                worker=worker,
                known=known,
                now=self._dialect.now(),
            )
        return {name for name, there in zip(questions, answers, strict=True) if there}

    def _strays(self, hole: Holes) -> Question:
        """Tasks that a worker holds by the tables but does not know of: an answer was lost."""
        mine = self._task.assigned_worker_name == hole.text("worker")
        mine &= self._task.status.belongs(TaskStatus.HELD)
        return Question(mine & ~among(self._task.id, hole.numbers("known")), self._task.id)

    def late(self, now: datetime) -> Question:
        """Tasks that did not start before their stop_time."""
        late = self._task.stop_time < now
        return Question(late & self._task.status.belongs(TaskStatus.WAITING), self._task.id)

    def undecided(self) -> Question:
        """Tasks that wait for one that has ended; those are the alias ``waiting_task``."""
        child, parent = self._task, self._task.with_alias("waiting_task")
        pending = (self._deps.can_visit == False) & parent.status.belongs(TaskStatus.WAITING)
        ended = (child.id == None) | child.status.belongs(TaskStatus.ENDED)
        # Such a task may wait for long: once it has its reason, it is left out.
        stays = self._deps.on_failure == OnChildFailure.WAIT
        stays &= parent.reason_code == ReasonCode.WAITS
        undecided = (child.status == TaskStatus.COMPLETED) | (parent.reason_code == None) | ~stays
        undecided |= self._deps.on_failure == None
        query = pending & ended & undecided & (parent.id == self._deps.task_parent)
        return Question(query, self._deps.id, child.on(child.id == self._deps.task_child))

    def broadcasts(self, now: datetime) -> Question:
        """Broadcasts that are due."""
        due = self._due.at(now, any_app=True) & (self._task.broadcast == True)
        return Question(due, self._task.id)

    def _orphans(self, table: Any) -> Question:
        """Tasks or runs at work whose worker has no row."""
        tasks, worker = table is self._task, self._db.scheduler_worker
        owner = table.assigned_worker_name if tasks else table.worker_name
        at_work = table.status.belongs(TaskStatus.HELD if tasks else (RunStatus.RUNNING,))
        there = owner.belongs(self._db(worker.id > 0)._select(worker.worker_name))
        return Question(at_work & ((owner == None) | ~there), table.id)
