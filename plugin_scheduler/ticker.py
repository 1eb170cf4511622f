"""Who looks after it? The duties of the worker that leads, and when each is due.

I own the list of chores, and the caution before a worker is called dead. I call store. I never
claim or run a task.
"""

from __future__ import annotations

from plugin_scheduler.clock import Clock
from plugin_scheduler.log import tell
from plugin_scheduler.records import Worker
from plugin_scheduler.settings import Settings
from plugin_scheduler.store import Store

SOON = 0.5  # seconds at least between two rounds that a doorbell asked for


class Ticker:
    """Leads while its lease holds; does the chores when asked."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, worker_name: str) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._name = worker_name
        self._suspects: dict[str, float] = {}
        self._last_round = 0.0
        self._may_judge_from = 0.0
        self.leads = False
        self.alive = 0

    def distrust(self) -> None:
        """This worker could not reach the database itself, so the silence of others proves nothing
        until they had one lease to speak again."""
        self._may_judge_from = self._clock.monotonic() + self._settings.lease
        self._suspects.clear()

    def stand_for_election(self, worker_id: int) -> None:
        """Take or keep the lead."""
        leads = self._store.workers.lead(worker_id)
        if leads != self.leads:
            tell("lead_won" if leads else "lead_lost", worker=self._name)
            self._suspects.clear()
        self.leads = leads

    def round(self) -> int:
        """Do all chores once; how many rows of waiting tasks were written."""
        self._last_round = self._clock.monotonic()
        alive, dead = self._alive_and_dead()
        self.alive = len(alive)
        self._recover(alive, dead)
        expired = self._store.chores.expire_overdue()
        if expired:
            tell("expired", count=expired)
        decided = self._store.chores.unblock()
        copies = self._store.chores.fan_out_broadcasts(alive)
        if copies:
            tell("fanned_out", count=copies)
        return decided + copies

    def round_soon(self) -> int:
        """Do all chores, unless that was just done."""
        if self._clock.monotonic() - self._last_round >= SOON:
            return self.round()
        return 0

    def _alive_and_dead(self) -> tuple[list[Worker], list[Worker]]:
        workers, now = self._store.workers.all(), self._store.dialect.epoch()
        alive = [worker for worker in workers if worker.lease_until > now]
        dead = [worker for worker in workers if worker.lease_until <= now]
        return alive, [worker for worker in dead if worker.worker_name != self._name]

    def _recover(self, alive: list[Worker], dead: list[Worker]) -> None:
        if self._clock.monotonic() < self._may_judge_from:
            return
        dead_names = [worker.worker_name for worker in dead]
        for name in (*dead_names, *self._unknown_owners(alive, dead)):
            tasks = self._store.chores.requeue_lost(name)
            if tasks:
                labels = ", ".join(task.label for task in tasks[:10])
                tell("requeued", owner=name, count=len(tasks), tasks=labels)
        if dead:
            self._store.chores.bury(dead)

    def _unknown_owners(self, alive: list[Worker], dead: list[Worker]) -> list[str]:
        """Owners without a row. A row may be gone by mistake, its worker adds it again at its next
        beat: so they are waited for as long as a silent worker would be."""
        known = {self._name, *(worker.worker_name for worker in (*alive, *dead))}
        now = self._clock.monotonic()
        unknown = self._store.chores.owners() - known
        self._suspects = {name: self._suspects.get(name, now) for name in unknown}
        return [
            name for name, since in self._suspects.items() if now - since >= self._settings.lease
        ]
