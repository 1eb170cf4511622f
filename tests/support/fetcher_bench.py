"""A fetcher with a pool without processes, and due tasks without a database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Task
from plugin_scheduler.store.claims import Claim, Only
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.fetcher import Fetcher
from plugin_scheduler.worker.shutdown import Shutdown
from plugin_scheduler.worker.unknown_functions import KnownFunctions
from support.fake_pool import FakePool
from support.fake_store import FakeStore
from support.makers import NINE, a_task, an_order


class FetcherBench:
    """A fetcher, a pool with these slots, and the tasks that are due."""

    def __init__(self, slots: int = 1, **options: Any) -> None:
        self.clock = TurnedClock(NINE)
        self.store, self.pool = FakeStore(self.clock), FakePool(self.clock, slots)
        self.settings = Settings(slots=slots, **options)
        self.staying = Shutdown(self.settings, self.clock)
        self.functions = KnownFunctions(
            ["pay", "send_mail"], self.settings.unknown_function_wait, self.clock
        )
        self.due: list[Task] = []
        self.is_contended = False
        self.claimed: list[Order] = []
        self.store.answers["claims.take"] = self.take
        self.fetcher = Fetcher(
            cast(Any, self.store),
            self.pool,
            self.staying,
            self.settings,
            "me",
            self.functions,
            self.clock,
        )

    def take(
        self, limit: int, choose: Callable[[list[Task]], list[Task]], only: Only, **_: Any
    ) -> Claim:
        """Claim due tasks as the store does."""
        names = only.functions
        read = [task for task in self.due if not names or task.function_name in names][:limit]
        orders = [Order(task, task.id, NINE) for task in choose(read)]
        self.due = [task for task in self.due if task.id not in {one.run_id for one in orders}]
        self.claimed += orders
        return Claim(orders, len(read), self.is_contended, NINE if names else None)

    def add(self, count: int, **columns: Any) -> None:
        """Let so many tasks be due."""
        first = 1 + max([task.id for task in self.due] + [one.run_id for one in self.claimed] + [0])
        self.due += [a_task(id=number, **columns) for number in range(first, first + count)]

    def feed(self, seconds: float = 0.0) -> list[int]:
        """Let the fetcher do its part of a turn, after that time; return the new runs."""
        self.clock.turn(seconds)
        before = len(self.claimed)
        self.fetcher.feed()
        return [order.run_id for order in self.claimed[before:]]

    def learn(self, seconds: float, function_name: str = "send_mail") -> None:
        """Let a run of that length end."""
        order = an_order(id=1000, run_id=1000, function_name=function_name)
        self.pool.end(order, seconds=seconds)
        self.fetcher.collect(self.pool.news())

    def end_all(self, seconds: float = 0.001) -> None:
        """Let all runs that were handed out end."""
        for order in self.pool.orders():
            self.pool.end(order, seconds=seconds)
        self.fetcher.collect(self.pool.news())

    @property
    def claims(self) -> int:
        return len(self.store.named("claims.take"))

    @property
    def next_in(self) -> float | None:
        deadline = self.fetcher.next_deadline()
        return None if deadline is None else deadline - self.clock.monotonic()
