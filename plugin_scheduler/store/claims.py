"""What is due, and who gets it.

I own the claim: the move from QUEUED to ASSIGNED, and the looks ahead that go with it. I call due,
rows and dialects. I never start anything.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from plugin_scheduler.dialects.base import Dialect, again
from plugin_scheduler.records import Task, TaskStatus
from plugin_scheduler.store.due import Due
from plugin_scheduler.store.rows import Rows
from plugin_scheduler.store.tasks import move

RETRY_HORIZON = timedelta(minutes=10)


class Claim(NamedTuple):
    """What a claim brought, and whether others were at the same tasks: there may be more."""

    tasks: list[Task]
    contended: bool


class Claims:
    """Takes tasks for one worker."""

    def __init__(self, dialect: Dialect, due: Due, rows: Rows) -> None:
        self._dialect, self._due, self._rows = dialect, due, rows
        self._db, self._task = dialect.db, dialect.db.scheduler_task

    @again
    def claim(self, worker_name: str, groups: Sequence[str], limit: int, now: datetime) -> Claim:
        """Take up to ``limit`` tasks due at ``now``: the longest waiting first; priority counts as
        waiting.

        Where rows can be locked, those that another worker is taking are passed over. Elsewhere the
        candidates are read without a lock, and the compare-and-set finds out who was quicker.
        """
        if not self._dialect.locks_rows:
            return self._claim_unlocked(worker_name, groups, limit, now)
        with self._dialect.transaction():
            candidates = self._candidates(worker_name, groups, limit, now, lock="skip")
            claimed = self._take(candidates, worker_name)
        contended = len(claimed) < limit and self._is_left(worker_name, groups, now)
        return Claim(claimed, contended)

    def _claim_unlocked(
        self, worker_name: str, groups: Sequence[str], limit: int, now: datetime
    ) -> Claim:
        with self._dialect.reading():
            candidates = self._candidates(worker_name, groups, limit, now)
        if not candidates:
            return Claim([], False)
        with self._dialect.transaction():
            claimed = self._take(candidates, worker_name)
        return Claim(claimed, len(claimed) < len(candidates))

    def _take(self, candidates: Sequence[Task], worker_name: str) -> list[Task]:
        if not candidates:
            return []
        ids = [task.id for task in candidates]
        mine = {"assigned_worker_name": worker_name}
        move(self._db, "claim", self._task.id.belongs(ids) & (self._task.enabled == True), **mine)
        got = self._task.id.belongs(ids) & (self._task.assigned_worker_name == worker_name)
        claimed = {
            task.id: task
            for task in self._rows.read(got & (self._task.status == TaskStatus.ASSIGNED))
        }
        return [claimed[task.id] for task in candidates if task.id in claimed]

    def _is_left(self, worker_name: str, groups: Sequence[str], now: datetime) -> bool:
        """Is there a due task that somebody else has locked at this moment?"""
        with self._dialect.reading():
            return bool(self._candidates(worker_name, groups, 1, now))

    def _candidates(
        self,
        worker_name: str,
        groups: Sequence[str],
        limit: int,
        now: datetime,
        lock: str = "",
    ) -> list[Task]:
        task = self._task
        for_me = (task.only_worker == None) | (task.only_worker.belongs(("", worker_name)))
        due = self._due.at(now) & for_me & ((task.broadcast == None) | (task.broadcast == False))
        found = [
            self._rows.read(at_level & due, lock, orderby=task.next_run_time, limitby=(0, limit))
            for at_level in self._due.levels(groups)
        ]
        return list(heapq.merge(*found, key=self._due.rank))[:limit]

    def has_due_work(self, groups: Sequence[str], horizon: float) -> bool:
        """Is anything to do, by whichever worker, in the next ``horizon`` seconds? Tells a worker
        that leaves when idle whether it may: a retry that is on its way keeps it."""
        task = self._task
        with self._dialect.reading():
            now = self._dialect.now()
            mine = task.group_name.belongs(groups)
            retries = (task.times_failed > 0) & self._due.at(now + RETRY_HORIZON)
            queries = (
                self._due.at(now + timedelta(seconds=horizon)),
                retries,
                task.status.belongs(TaskStatus.HELD) & self._due.of_this_app(),
            )
            return any(
                self._db(mine & query).select(task.id, limitby=(0, 1), orderby_on_limitby=False)
                for query in queries
            )

    def next_due(self, groups: Sequence[str], now: datetime) -> datetime | None:
        """When the next task will be due that is not due at ``now``."""
        task = self._task
        with self._dialect.reading():
            soonest = [
                next_one.next_run_time
                for at_level in self._due.levels(groups)
                for next_one in self._rows.read(
                    at_level & (task.next_run_time > now) & (task.enabled == True),
                    orderby=task.next_run_time,
                    limitby=(0, 1),
                )
                if next_one.next_run_time
            ]
        return min(soonest, default=None)
