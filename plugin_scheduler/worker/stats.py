"""Measurements for a worker's row: its processes, its machine and its database.

Measures seldom, because it must cost next to nothing. Makes no decisions.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator

import psutil

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.worker_stats import ConstantStats, MeasuredStats, ProcessStats
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.worker.registration import Registration, describe_me

MEASURE_EVERY = 10.0  # seconds; the system needs a while to add up a process's memory


class Measurements:
    """The part of a worker's row that does not depend on its tasks."""

    def __init__(
        self, me: Registration, settings: Settings, store: Store, pool: Pool, clock: Clock
    ) -> None:
        self._me, self._settings, self._clock = me, settings, clock
        self._store, self._pool = store, pool
        self._processes: dict[int, psutil.Process] = {}
        self._measured: MeasuredStats = {}
        self._next = 0.0
        self._born: ConstantStats | None = None

    def read(self) -> ProcessStats:
        """Return the values as stored in the row."""
        runs = self._pool.live_runs()
        if self._born is None:
            self._born = self._constants()
        return {
            "sleep": self._settings.heartbeat,
            "slots": self._settings.slots,
            "running": [run.about() for run in runs],
            "runner_deaths": self._pool.deaths,
            **self._born,
            **self._now_and_then(),
        }

    def _constants(self) -> ConstantStats:
        """Return the values that are constant for the process."""
        dialect = self._store.dialect
        with dialect.reading():
            database = dialect.version()
        return {
            **describe_me(self._me),
            "python": platform.python_version(),
            "database": database,
            "cpus": os.cpu_count() or 1,
            "started_at": dialect.now().isoformat(" ", "seconds"),
        }

    def _now_and_then(self) -> MeasuredStats:
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + MEASURE_EVERY
            with contextlib.suppress(Exception):  # not essential, and systems differ
                self._measured = self._measure()
        return self._measured

    def _measure(self) -> MeasuredStats:
        """Measure ``cpu``, in per cent of one processor since the last call, and ``memory``, in
        bytes; both of this process and of those that it started itself."""
        known, pids = self._processes, {os.getpid(), *self._pool.pids()}
        self._processes = {pid: known.get(pid) or one for pid, one in _found(pids)}
        cpu = memory = 0.0
        for process in self._processes.values():
            with contextlib.suppress(psutil.Error):  # the process has just ended
                cpu += process.cpu_percent()
                memory += _memory(process)
        return {"load": _load(), "cpu": round(cpu, 1), "memory": int(memory)}


def _found(pids: set[int]) -> Iterator[tuple[int, psutil.Process]]:
    for pid in pids:
        with contextlib.suppress(psutil.Error):  # the process has just ended
            yield pid, psutil.Process(pid)


def _memory(process: psutil.Process) -> float:
    """Return the private memory and the share of what forked processes share; all resident memory
    if the system does not report that."""
    with contextlib.suppress(psutil.AccessDenied, AttributeError):
        return float(process.memory_full_info().pss)
    return float(process.memory_info().rss)


def _load() -> float | None:
    """Return the load average of the last minute."""
    with contextlib.suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None
