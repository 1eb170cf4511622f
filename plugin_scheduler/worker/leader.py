"""Leader: the duties of the leading worker, and when each is due.

Does not claim or run tasks.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Worker
from plugin_scheduler.core.worker_events import WorkerEvent
from plugin_scheduler.store import Store
from plugin_scheduler.store.maintenance_checks import (
    BROADCASTS,
    LATE,
    OPEN_RUNS,
    ORPHANS,
    STRAYS,
    UNDECIDED,
)
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.worker.event_queue import EventQueue
from plugin_scheduler.worker.failure_detector import FailureDetector

AT_LEAST_EVERY = 3.5  # maximum seconds between two rounds, whatever the heartbeat
PRUNE_EVERY = 600.0  # seconds between two removals of old counts; sooner if many are left
PRUNE_ON = 10.0  # seconds
SOON = 0.5  # minimum seconds between two rounds after notifications


class Leader:
    """Leads while its lease is valid; does the maintenance."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Clock,
        worker_name: str,
        events: EventQueue | None = None,
    ) -> None:
        self._events = EventQueue(store, clock, worker_name) if events is None else events
        self._settings, self._given_back = settings, Counter[str]()
        self._store, self._clock, self._name = store, clock, worker_name
        self._listening = FailureDetector(settings, clock, worker_name)
        self._last_round = 0.0
        self._next_pruning = clock.monotonic() + PRUNE_ON
        self._rang = False
        self._refused: dict[str, str] = {}
        self.leads = False
        self.alive = 0

    def try_become_leader(self, worker_id: int) -> list[Worker]:
        """Take or keep the lead; return the rows of all workers.

        Every worker listens to the others, even without the lead: the next leader must know which
        workers have been silent.
        """
        workers, now = self._store.workers.all(), self._store.dialect.epoch()
        leading = [one.id for one in workers if one.is_ticker and one.lease_until > now]
        leads = leading == [worker_id]
        if not leading or (worker_id in leading and not leads):
            leads = self._store.workers.lead(worker_id)
        if leads != self.leads:
            log_event("lead_won" if leads else "lead_lost", worker=self._name)
        self.leads = leads
        self._listening.listen(workers, self._store.workers.held(workers))
        return workers

    def look_after(self, workers: list[Worker], known: Collection[int]) -> int:
        """Give back tasks that this worker holds but does not know, and do all maintenance if it
        leads.

        Return how many rows of waiting tasks were written.
        """
        todo = self._store.outlook.read(self._name, known, self.leads)
        strays = 0
        if STRAYS in todo:
            back = partial(self._store.tasks.hand_back_unknown, self._name, known)
            strays = self._unless_locked(back)
            if strays:
                log_event("task_strays", count=strays)
        written = strays + (self._round(workers, todo) if self.leads else 0)
        self._tell_refused()
        return written

    def _tell_refused(self) -> None:
        """Log each refusal once, until the database's answer changes."""
        refused = dict(self._store.tasks.refused)
        self._store.tasks.refused.clear()
        for what, error in refused.items():
            if self._refused.get(what) != error:
                log_event("chore_refused", what=what, error=error)
        self._refused = refused

    def rang(self) -> None:
        """Record a notification: there may be work to do."""
        self._rang = True

    @property
    def deadline(self) -> float:
        """The monotonic time at which `round_if_due` is next needed."""
        if not self.leads:
            return math.inf
        return self._last_round + (SOON if self._rang else AT_LEAST_EVERY)

    def round_if_due(self, known: Callable[[], Collection[int]]) -> int:
        """Do what `look_after` does soon after a notification, if this worker leads."""
        if self._clock.monotonic() < self.deadline:
            return 0
        return self.look_after(self._store.workers.all(), known())

    def _round(self, workers: list[Worker], todo: Collection[str]) -> int:
        self._last_round, self._rang = self._clock.monotonic(), False
        now, maintenance = self._store.dialect.epoch(), self._store.maintenance
        alive = [worker for worker in workers if worker.lease_until > now]
        self.alive = len(alive)
        recovered = self._recover(workers, now, todo)
        expired = self._unless_locked(maintenance.expire_overdue) if LATE in todo else 0
        if expired:
            log_event("expired", count=expired)
        decided = self._unless_locked(maintenance.unblock) if UNDECIDED in todo else 0
        fan_out = partial(maintenance.fan_out_broadcasts, alive)
        copies = self._unless_locked(fan_out) if BROADCASTS in todo else 0
        if copies:
            log_event("fanned_out", count=copies)
        self._prune()
        # A round does a limited amount, and skips locked rows: the rest needs another round.
        self._rang = bool(recovered + expired + decided + copies)
        return recovered + decided + copies

    def _prune(self) -> None:
        """Remove old counts of runs and old events."""
        if self._clock.monotonic() < self._next_pruning:
            return
        self._next_pruning = self._clock.monotonic() + PRUNE_EVERY
        for prune in (self._store.metrics.prune, self._store.events.prune):
            with contextlib.suppress(Exception):  # they may stay: nothing must wait for this
                if prune():
                    self._next_pruning = self._clock.monotonic() + PRUNE_ON

    def _unless_locked(self, step: Callable[[], int]) -> int:
        """Run one maintenance step. If another transaction holds a row, or the database refuses a
        write, retry it in the next round; other steps go on."""
        try:
            return step()
        except Locked:
            return 0
        except StoreUnavailable:
            raise
        except Exception as error:  # any error that a driver or a trigger raises for one row
            name = getattr(step, "func", step).__name__.strip("_").replace("_", " ")
            self._store.tasks.refused[f"maintenance step {name!r}"] = first_line(error)
            return 0

    def _recover(self, workers: list[Worker], now: float, todo: Collection[str]) -> int:
        dead, owners = self._listening.dead(workers, now), set()
        if ORPHANS in todo or OPEN_RUNS in todo:
            owners = self._store.maintenance.owners() - {worker.worker_name for worker in workers}
        steps = [partial(self._requeue_gone, name) for name in self._listening.unknown(owners)]
        # In sequence: a worker that is removed has no tasks left to give back.
        steps += [partial(self._requeue_lost, worker) for worker in dead]
        return sum(map(self._unless_locked, steps))

    def _requeue_lost(self, worker: Worker) -> int:
        """Give back a dead worker's tasks and remove its row; retry held rows in the next round."""
        name, host = worker.worker_name, self._store.workers.host_of(worker.id)
        tasks = self._requeue(name)
        self._given_back[name] += tasks
        buried = self._store.maintenance.bury([worker])
        if buried:
            self._tell_death(worker, host, self._given_back.pop(name))
        return tasks + buried

    def _tell_death(self, worker: Worker, host: str, tasks: int) -> None:
        """Record a death in the history, and in the log if `_requeue` logged nothing."""
        seconds: Any = "?"  # a row without heartbeats, or an unreadable one
        if worker.lease_until:
            last = worker.lease_until - self._settings.lease
            seconds = max(0, round(self._store.dialect.epoch() - last))
        name = worker.worker_name
        self._events.note(WorkerEvent.DIED, name, host=host, seconds=seconds, tasks=tasks)
        if not tasks:
            log_event("worker_died", worker=name, host=host, seconds=seconds)

    def _requeue_gone(self, owner: str) -> int:
        """Give back the tasks of a worker whose row was removed by hand."""
        tasks = self._requeue(owner)
        if tasks and owner:
            self._events.note(WorkerEvent.GONE, owner, tasks=tasks)
        return tasks

    def _requeue(self, owner: str) -> int:
        tasks = self._store.maintenance.requeue_lost(owner)
        if tasks:
            labels = ", ".join(task.label for task in tasks[:10])
            log_event("requeued", owner=owner, count=len(tasks), tasks=labels)
        return len(tasks)
