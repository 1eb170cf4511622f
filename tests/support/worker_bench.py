"""A worker's main loop without a database, without processes, and with a clock that tests turn."""

from __future__ import annotations

import heapq
import math
import os
import selectors
import signal
from collections.abc import Callable
from itertools import count
from typing import Any, cast

import pytest

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.system.signals import HEEDED, Signals
from plugin_scheduler.worker.main_loop import MainLoop
from plugin_scheduler.worker.outages import StartPatience
from plugin_scheduler.worker.registration import Registration
from support.fake_pool import FakePool
from support.fake_store import FakeStore, a_worker
from support.makers import NINE

NAME = "web1#4711"
MOST_TURNS = 2_000


class TurnedSelector(selectors.DefaultSelector):
    """Turns the clock instead of waiting, and does what the test has planned for that time."""

    def __init__(self, clock: TurnedClock) -> None:
        super().__init__()
        self._clock, self._began, self._order = clock, clock.monotonic(), count()
        self._planned: list[tuple[float, int, Callable[[], object]]] = []
        self.waits = 0
        self._has_input = False

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Call ``act`` so many seconds after the start."""
        heapq.heappush(self._planned, (self._began + seconds, next(self._order), act))

    def wake(self) -> None:
        """Let the next wait end at once, as after input from a runner."""
        self._has_input = True

    def _ready(self) -> Any:
        if self._has_input:
            self._has_input = False
            key = selectors.SelectorKey(self, -1, selectors.EVENT_READ, lambda: None)
            return [(key, selectors.EVENT_READ)]
        return super().select(0)

    def select(self, timeout: float | None = None) -> Any:
        self.waits += 1
        if self.waits > MOST_TURNS:
            pytest.fail("the main loop does not end")
        now = self._clock.monotonic()
        until = now + (math.inf if timeout is None else max(0.0, timeout))
        if ready := self._ready():
            return ready
        if self._planned and self._planned[0][0] <= until:
            when, _, act = heapq.heappop(self._planned)
            self._clock.turn(max(0.0, when - now))
            act()
            return self._ready()
        assert until < math.inf, "the main loop waits for ever"
        self._clock.turn(until - now)
        return []


class FakeSignals(Signals):
    """Signals that arrive when the test says so; no handler is set."""

    def __init__(self, has_terminal: bool = False) -> None:
        super().__init__()
        self._before = dict.fromkeys(HEEDED)
        self._has_terminal = has_terminal

    def arrive(self, number: int) -> None:
        os.write(self._writable, bytes([number]))

    def close(self) -> None:
        os.close(self._readable)
        os.close(self._writable)


class WorkerBench:
    """One worker, from its registration to its exit. Its row is in ``row``."""

    def __init__(self, has_terminal: bool = False, slots: int = 1, **options: Any) -> None:
        self.settings = Settings(slots=slots, **options)
        self.clock = TurnedClock(NINE)
        self.began = self.clock.monotonic()
        self.store, self.pool = FakeStore(self.clock), FakePool(self.clock, slots)
        self.selector, self.signals = TurnedSelector(self.clock), FakeSignals(has_terminal)
        me = Registration(NAME, "shop", ("pay", "send_mail"), {}, token="t")
        store: Any = self.store
        self.row: dict[str, Any] = {"status": "ACTIVE", "group_names": ()}
        store.answers["workers.orders"] = lambda worker_id: (
            self.row["status"],
            self.row["group_names"],
        )
        store.answers["workers.carried_out"] = self._carried_out
        self.worker = MainLoop(store, self.pool, self.selector, self.settings, me, self.clock)

    def lead(self) -> None:
        """Let this worker lead from its first heartbeat on."""
        self.row["is_ticker"] = True
        self.store.answers["workers.all"] = lambda: [a_worker(self.clock, **self.row)]

    def _carried_out(self, worker_id: int, order: str) -> None:
        self.row["status"] = "ACTIVE"

    @property
    def now(self) -> float:
        """Return the seconds since the start."""
        return self.clock.monotonic() - self.began

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Call ``act`` so many seconds after the start."""
        self.selector.at(seconds, act)

    def signal(self, seconds: float, number: int = signal.SIGTERM) -> None:
        """Let a signal arrive so many seconds after the start."""
        self.at(seconds, lambda: self.signals.arrive(number))

    def times(self, name: str) -> list[float]:
        """Return when a method of the store was called, in seconds after the start."""
        return [at - self.began for at in self.store.times(name)]

    def work(self, until: float | None = None) -> int:
        """Run the worker, until it gets a SIGTERM at that time; return its exit code."""
        if until is not None:
            self.signal(until)
        patience = StartPatience(0, self.clock, self.clock.turn)
        return self.worker.work(False, cast(Any, self.signals), patience)

    def close(self) -> None:
        self.selector.close()
        self.signals.close()
