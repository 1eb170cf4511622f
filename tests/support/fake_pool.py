"""A pool without processes: the test decides what its runners do."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Outcome
from plugin_scheduler.execution.live_run import LiveRun, Result
from plugin_scheduler.execution.output_buffer import OutputBuffer
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.system.clock import TurnedClock


class FakePool(Pool):
    """Has what a worker uses of `Pool`, and records what it was asked to do.

    Each runner executes one order, and the next orders wait behind it.
    """

    def __init__(self, clock: TurnedClock, slots: int = 1) -> None:
        self._fake_clock = clock
        self.queues: list[list[Order]] = [[] for _ in range(slots)]
        self.is_full = self.is_closed = False
        self.stuck: set[int] = set()  # numbers of runners that take no orders
        self.runs: list[LiveRun] = []
        self.waiting_news = News()
        self.deaths = self.turns = 0
        self.deadline: float | None = None
        self.allowed_until = math.inf
        self.staffed: list[tuple[int, bool]] = []
        self.stops: list[tuple[int, str, str]] = []
        self.kills: list[tuple[str, str]] = []
        self.idle_pids: list[int] = []
        self.lock_holders: list[Collection[int] | None] = []
        self.reloads, self.can_reload = 0, True
        self.reload = self._begin_reload

    # -- for tests --------------------

    def given(self) -> list[int]:
        """Return the runs that were handed out and not answered."""
        return [order.run_id for order in self.orders()]

    def begin(self, order: Order, settings: Settings | None = None) -> LiveRun:
        """Let a runner execute an order."""
        if order not in self.orders():
            assert self.hand_out(order)
        settings = settings or Settings()
        buffer = OutputBuffer(settings.output_limit)
        run = LiveRun(order, settings, self._fake_clock.monotonic(), buffer)
        self.runs.append(run)
        return run

    def end(self, order: Order, outcome: str = Outcome.COMPLETED, **parts: Any) -> Result:
        """Let a runner report an order."""
        values = {"seconds": 0.001, "output": "", "result": "1", **parts}
        result = Result(order, outcome, **values)
        self._forget(order)
        self.waiting_news.results.append(result)
        return result

    def _forget(self, order: Order) -> None:
        for queue in self.queues:
            if order in queue:
                queue.remove(order)
        self.runs = [run for run in self.runs if run.order is not order]

    def _begin_reload(self) -> bool:
        self.reloads += 1
        return self.can_reload

    # -- as the real one --------------------

    def staff(self, settings: Settings, spawns: bool) -> None:
        self.staffed.append((settings.slots, spawns))

    def enforce(self) -> None:
        self.turns += 1
        if self.deadline is not None and self._fake_clock.monotonic() >= self.deadline:
            self.deadline = None

    def news(self) -> News:
        news, self.waiting_news = self.waiting_news, News()
        return news

    def has_news(self) -> bool:
        return bool(self.waiting_news.results or self.waiting_news.unbegun)

    def next_deadline(self) -> float | None:
        return self.deadline

    def allow(self, until: float) -> None:
        self.allowed_until = until

    def pids(self) -> list[int]:
        return []

    def live_runs(self) -> list[LiveRun]:
        return list(self.runs)

    def orders(self) -> list[Order]:
        return [order for queue in self.queues for order in queue]

    def load(self) -> list[Order]:
        return [order for queue in self._open() for order in queue]

    def _open(self) -> list[list[Order]]:
        return [one for number, one in enumerate(self.queues) if number not in self.stuck]

    def takers(self) -> int:
        return len(self._open())

    def idle(self) -> int:
        return sum(not queue for queue in self._open())

    def hand_out(self, order: Order) -> bool:
        if self.is_full or not self._open():
            return False
        min(self._open(), key=len).append(order)
        return True

    def recall(self, guess: Callable[[Order], float], most: float) -> list[Order]:
        back: list[Order] = []
        for queue in self.queues:
            if sum(map(guess, queue[1:])) > most:
                back += queue[1:]
                del queue[1:]
        return back

    def stop_run(self, run_id: int, outcome: str, reason: str) -> None:
        self.stops.append((run_id, outcome, reason))

    def kill_all_runs(self, outcome: str, reason: str) -> None:
        self.kills.append((outcome, reason))
        for order in self.orders():
            self.end(order, outcome, reason=reason, result=None)

    def end_idle(self, pids: Collection[int] | None) -> list[int]:
        self.lock_holders.append(pids)
        return [pid for pid in self.idle_pids if pids is None or pid in pids]

    def close(self) -> None:
        self.is_closed = True
