"""Who is dead? Silence counts only as long as this worker was listening.

A worker's lease lapses when it does not beat. But when the database was locked, or the machine
asleep, nobody could beat, and whoever wakes up first must not bury all the others. So each worker
adds up, for each other one, the time in which its own beats went through and that other's lease
did not change; outages stop this clock, they do not reset it. It begins anew after somebody held
that other's row, so that it could not beat. I own these clocks. I read nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Worker
from plugin_scheduler.system.clock import Clock


class FailureDetector:
    """What one worker has heard of the others."""

    def __init__(self, settings: Settings, clock: Clock, own_name: str) -> None:
        self._settings, self._clock, self._own_name = settings, clock, own_name
        self._heard: dict[str, tuple[float, float]] = {}
        self._strangers: dict[str, float] = {}
        self._held: set[str] = set()
        self._last = clock.monotonic()
        self._step = 0.0

    def listen(self, workers: Iterable[Worker], held: Collection[str] = ()) -> None:
        """After a beat of one's own that went through: note whose lease is still the old one, and
        whose row was held."""
        now = self._clock.monotonic()
        step, self._last = now - self._last, now
        self._step = step if step <= 1.5 * self._settings.heartbeat + 0.5 else 0.0
        excused = {*held, *self._held}  # it was free for a part of this step at most
        heard = {}
        for worker in workers:
            lease, silent = self._heard.get(worker.worker_name, (None, 0.0))
            silent = silent + self._step if lease == worker.lease_until else 0.0
            name = worker.worker_name
            heard[name] = (worker.lease_until, 0.0 if name in excused else silent)
        self._heard, self._held = heard, set(held)
        self._strangers = {name: time + self._step for name, time in self._strangers.items()}

    def dead(self, workers: Iterable[Worker], now: float) -> list[Worker]:
        """Those whose lease lapsed, and who kept silent while they were listened to."""
        enough = self._settings.silence
        return [
            worker
            for worker in workers
            if worker.lease_until <= now
            and worker.worker_name != self._own_name
            and self._heard.get(worker.worker_name, (0.0, 0.0))[1] >= enough
        ]

    def unknown(self, owners: Collection[str]) -> list[str]:
        """Of the owners without a row: those that were waited for as long as a lease. A row may be
        gone by mistake, its worker adds it again at its next beat."""
        owners = set(owners) - {self._own_name}
        self._strangers = {name: self._strangers.get(name, 0.0) for name in owners}
        return [name for name, time in self._strangers.items() if time >= self._settings.lease]
