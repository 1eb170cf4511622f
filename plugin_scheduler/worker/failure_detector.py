"""Failure detector: finds dead workers. Only the time in which this worker could listen counts.

A worker's lease expires without heartbeats. But while the database is locked or the machine sleeps,
no worker can send heartbeats, and the first to recover must not declare all others dead. So each
worker adds up, for each other worker, the time in which its own heartbeats succeeded and the
other's lease did not change. An outage stops this clock, but does not reset it. The clock is reset
if a transaction held the other worker's row, which also prevents heartbeats. Does not access the
database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Worker
from plugin_scheduler.system.clock import Clock


class FailureDetector:
    """What one worker has observed of the others."""

    def __init__(self, settings: Settings, clock: Clock, own_name: str) -> None:
        self._settings, self._clock, self._own_name = settings, clock, own_name
        self._heard: dict[str, tuple[float, float]] = {}
        self._strangers: dict[str, float] = {}
        self._held: set[str] = set()
        self._last = clock.monotonic()
        self._step = 0.0

    def listen(self, workers: Iterable[Worker], held: Collection[str] = ()) -> None:
        """After a successful heartbeat of this worker, record which leases have not changed, and
        which rows were held."""
        now = self._clock.monotonic()
        step, self._last = now - self._last, now
        self._step = step if step <= 1.5 * self._settings.heartbeat + 0.5 else 0.0
        excused = {*held, *self._held}  # the row was free for at most a part of this step
        heard = {}
        for worker in workers:
            lease, silent = self._heard.get(worker.worker_name, (None, 0.0))
            silent = silent + self._step if lease == worker.lease_until else 0.0
            name = worker.worker_name
            heard[name] = (worker.lease_until, 0.0 if name in excused else silent)
        self._heard, self._held = heard, set(held)
        self._strangers = {name: time + self._step for name, time in self._strangers.items()}

    def dead(self, workers: Iterable[Worker], now: float) -> list[Worker]:
        """Return the workers whose lease has expired and that were silent for long enough."""
        enough = self._settings.silence
        return [
            worker
            for worker in workers
            if worker.lease_until <= now
            and worker.worker_name != self._own_name
            and self._heard.get(worker.worker_name, (0.0, 0.0))[1] >= enough
        ]

    def unknown(self, owners: Collection[str]) -> list[str]:
        """Return the owners without a row that have been missing for as long as a lease.

        A row may be removed by mistake; its worker adds it again at its next heartbeat.
        """
        owners = set(owners) - {self._own_name}
        self._strangers = {name: self._strangers.get(name, 0.0) for name in owners}
        return [name for name, time in self._strangers.items() if time >= self._settings.lease]
