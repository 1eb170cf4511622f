"""Who looks after it? The duties of the worker that leads, and when each is due.

I own the list of chores. I call store, and listening for who is dead. I never claim or run a task.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from plugin_scheduler.clock import Clock
from plugin_scheduler.errors import Locked
from plugin_scheduler.listening import Listening
from plugin_scheduler.log import tell
from plugin_scheduler.records import Worker
from plugin_scheduler.settings import Settings
from plugin_scheduler.store import Store

SOON = 0.5  # seconds at least between two rounds that a doorbell asked for


class Ticker:
    """Leads while its lease holds; does the chores when asked."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, worker_name: str) -> None:
        self._store, self._clock, self._name = store, clock, worker_name
        self._listening = Listening(settings, clock, worker_name)
        self._last_round = 0.0
        self.leads = False
        self.alive = 0

    def stand_for_election(self, worker_id: int) -> None:
        """Take or keep the lead, and listen to the others, whoever leads: the next leader must know
        who has been silent."""
        leads = self._store.workers.lead(worker_id)
        if leads != self.leads:
            tell("lead_won" if leads else "lead_lost", worker=self._name)
        self.leads = leads
        workers = self._store.workers.all()
        self._listening.listen(workers, self._store.workers.held(workers))

    def round(self) -> int:
        """Do all chores once; how many rows of waiting tasks were written."""
        self._last_round = self._clock.monotonic()
        workers, now = self._store.workers.all(), self._store.dialect.epoch()
        alive = [worker for worker in workers if worker.lease_until > now]
        self.alive = len(alive)
        self._recover(workers, now)
        expired = self._unless_locked(self._store.chores.expire_overdue)
        if expired:
            tell("expired", count=expired)
        decided = self._unless_locked(self._store.chores.unblock)
        copies = self._unless_locked(partial(self._store.chores.fan_out_broadcasts, alive))
        if copies:
            tell("fanned_out", count=copies)
        return decided + copies

    def _unless_locked(self, chore: Callable[[], int]) -> int:
        """Somebody edits a row that the chore wants: it waits for the next round, and keeps nobody
        from the others."""
        try:
            return chore()
        except Locked:
            return 0

    def round_soon(self) -> int:
        """Do all chores, unless that was just done."""
        if self._clock.monotonic() - self._last_round >= SOON:
            return self.round()
        return 0

    def _recover(self, workers: list[Worker], now: float) -> None:
        dead = self._listening.dead(workers, now)
        owners = self._store.chores.owners() - {worker.worker_name for worker in workers}
        for name in self._listening.unknown(owners):
            self._unless_locked(partial(self._requeue, name))
        for worker in dead:
            # One after the other: who is buried has nothing left that must be given back.
            self._unless_locked(partial(self._requeue_and_bury, worker))

    def _requeue_and_bury(self, worker: Worker) -> int:
        tasks = self._requeue(worker.worker_name)
        return tasks + self._store.chores.bury([worker])

    def _requeue(self, owner: str) -> int:
        tasks = self._store.chores.requeue_lost(owner)
        if tasks:
            labels = ", ".join(task.label for task in tasks[:10])
            tell("requeued", owner=owner, count=len(tasks), tasks=labels)
        return len(tasks)
