"""When a worker turns to the tasks that it has in hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.makers import NINE, an_order

from plugin_scheduler.core.errors import Locked
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.fetcher import GIVE_AGAIN, REFUSED_AGAIN, Fetcher
from plugin_scheduler.worker.lease_guard import PAUSES
from plugin_scheduler.worker.unknown_functions import KnownFunctions


class Tasks:
    """Takes tasks back, but for what ``error`` says."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.tries = 0

    def hand_back(self, orders: list[Order], worker_name: str) -> int:
        self.tries += 1
        if self.error is not None:
            raise self.error
        return len(orders)

    def free(self, orders: list[Order]) -> set[int]:
        return set()


class Bench:
    """An intake without runners, that has one run to give back."""

    def __init__(self) -> None:
        self.clock, self.tasks = TurnedClock(NINE), Tasks()
        pool = SimpleNamespace(takers=lambda: 0, idle=lambda: 0, load=list)
        functions = KnownFunctions(["send_mail"], 60, self.clock)
        rest = (SimpleNamespace(takes_work=False), Settings(), "me", functions, self.clock)
        store = SimpleNamespace(tasks=self.tasks)
        self.intake = Fetcher(cast(Any, store), cast(Any, pool), *cast(Any, rest))
        self.intake.collect(News(unbegun=[an_order()]))

    @property
    def next_in(self) -> float | None:
        deadline = self.intake.next_deadline()
        return None if deadline is None else deadline - self.clock.monotonic()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("error", "pause"), [(ValueError("refused"), REFUSED_AGAIN), (Locked("held"), PAUSES[0])]
)
def test_a_worker_sleeps_until_a_run_is_to_be_given_back_again(
    bench: Bench, error: Exception, pause: float
) -> None:
    assert bench.next_in == pytest.approx(GIVE_AGAIN)
    bench.tasks.error = error
    bench.intake.feed()
    assert bench.next_in == pytest.approx(pause)
    bench.clock.turn(pause / 2)
    bench.intake.feed()
    assert bench.tasks.tries == 1 and bench.next_in == pytest.approx(pause / 2)
    assert bench.intake.refused == ["run 81 of task 17 send_mail"]
    bench.tasks.error = None
    bench.clock.turn(pause / 2)
    bench.intake.feed()
    assert (bench.tasks.tries, bench.next_in, bench.intake.refused) == (2, None, [])
