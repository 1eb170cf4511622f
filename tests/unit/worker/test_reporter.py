"""One report that cannot be stored, and one whose row is held, keep no other from being stored."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from support.makers import NINE, an_order

from plugin_scheduler.core.errors import Locked
from plugin_scheduler.core.types import Outcome, Report
from plugin_scheduler.execution.live_run import Result
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.scheduling.state_machine import Move
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.reporter import Reporter

HELD, REFUSED, GOOD = 1, 2, 3


class Tasks:
    """Takes reports; somebody holds the row of one run, and the database refuses another."""

    def __init__(self, refuses_first: bool) -> None:
        self.stored: list[int] = []
        self._refuses_first = refuses_first

    def report(self, reports: Sequence[Report], worker: str) -> list[tuple[Report, Move]]:
        runs = {one.order.run_id for one in reports}
        troubles = {HELD: Locked("held"), REFUSED: ValueError("refused")}
        for run in (REFUSED, HELD) if self._refuses_first else (HELD, REFUSED):
            if run in runs:
                raise troubles[run]
        self.stored += runs
        return [(one, Move("finish")) for one in reports]

    def free(self, orders: Sequence[Any]) -> set[int]:
        return {order.run_id for order in orders} - {HELD}


@pytest.mark.parametrize("refuses_first", [False, True])
def test_a_held_row_beside_a_refused_report_keeps_no_other_waiting(refuses_first: bool) -> None:
    tasks = Tasks(refuses_first)
    clock, metrics = TurnedClock(NINE), SimpleNamespace(minute=lambda: 0)
    store = SimpleNamespace(tasks=tasks, dialect=SimpleNamespace(now=lambda: NINE), metrics=metrics)
    porters = SimpleNamespace(delivered=list, busy=False, carry=None)
    reporting = Reporter(store, porters, "me", clock)  # type: ignore[arg-type]
    results = [
        Result(an_order(id=run, run_id=run), Outcome.COMPLETED, 0.1, "", result="1")
        for run in (HELD, REFUSED, GOOD)
    ]
    reporting.collect(News(results=results))
    assert reporting.store()
    assert tasks.stored == [GOOD]
    assert not reporting.store(), "the others are put off"
