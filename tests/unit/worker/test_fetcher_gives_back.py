"""Fetcher: which orders a worker gives back to the database, when, and with which retries."""

from __future__ import annotations

from typing import Any

import pytest
from support.fetcher_bench import FetcherBench
from support.logged_events import LoggedEvents
from support.makers import an_order

from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.core.types import Order
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.worker.fetcher import (
    GIVE_AGAIN,
    HELD_IN_HAND,
    REFUSED_AGAIN,
    TOO_MUCH,
)
from plugin_scheduler.worker.outages import PAUSES

AWAY = StoreUnavailable("away")


@pytest.fixture
def bench() -> FetcherBench:
    return FetcherBench()


def test_an_order_that_no_runner_takes_waits_a_moment_and_is_given_back(
    bench: FetcherBench,
) -> None:
    bench.add(1)
    bench.pool.is_full = True
    bench.feed()
    assert (len(bench.fetcher), bench.fetcher.task_ids()) == (1, [1])
    assert bench.next_in == pytest.approx(GIVE_AGAIN)
    bench.feed(HELD_IN_HAND)
    assert bench.store.given_back == []
    bench.feed(0.1)
    assert [order.run_id for order in bench.store.given_back] == [1]
    assert (len(bench.fetcher), bench.fetcher.task_ids()) == (0, [])


def test_an_order_that_a_runner_takes_in_time_is_not_given_back(bench: FetcherBench) -> None:
    bench.add(1)
    bench.pool.is_full = True
    bench.feed()
    bench.pool.is_full = False
    bench.feed(HELD_IN_HAND / 2)
    assert (bench.pool.given(), len(bench.fetcher)) == ([1], 0)
    assert bench.store.given_back == []


@pytest.mark.parametrize("why", ["it leaves", "no runner takes orders"])
def test_an_order_that_no_runner_will_take_is_given_back_at_once(
    bench: FetcherBench, why: str
) -> None:
    bench.add(1)
    bench.pool.is_full = True
    bench.feed()
    if why == "it leaves":
        bench.staying.follow("TERMINATE", bench.pool, "me")
    else:
        bench.pool.stuck = {0}
    bench.feed(0.01)
    assert [order.run_id for order in bench.store.given_back] == [1]


def test_an_order_that_a_runner_did_not_begin_is_given_back_and_can_be_claimed_again(
    bench: FetcherBench,
) -> None:
    bench.feed()
    bench.fetcher.collect(News(unbegun=[an_order()]))
    assert (len(bench.fetcher), bench.fetcher.task_ids()) == (1, [17])
    bench.feed()
    [call] = bench.store.named("tasks.hand_back")
    assert (call.arguments["worker_name"], len(call.arguments["orders"])) == ("me", 1)
    assert bench.next_in == 0.0


def test_orders_behind_a_run_that_turns_out_to_be_slow_are_taken_back(bench: FetcherBench) -> None:
    bench.learn(0.001)
    bench.add(30)
    bench.feed()
    given = bench.pool.given()
    assert len(given) == 30
    bench.learn(0.02)
    assert bench.pool.given() == given[:1], f"more than {TOO_MUCH} s of work"
    assert len(bench.fetcher) == 29


@pytest.mark.parametrize(
    ("error", "pause"), [(ValueError("refused"), REFUSED_AGAIN), (Locked("held"), PAUSES[0])]
)
def test_a_worker_sleeps_until_a_run_is_to_be_given_back_again(
    bench: FetcherBench, error: Exception, pause: float
) -> None:
    bench.pool.stuck = {0}
    bench.store.answers["tasks.free"] = set()
    bench.fetcher.collect(News(unbegun=[an_order()]))
    assert bench.next_in == pytest.approx(GIVE_AGAIN)
    bench.store.fail("tasks.hand_back", error)
    bench.feed()
    assert bench.next_in == pytest.approx(pause)
    bench.feed(pause / 2)
    assert len(bench.store.named("tasks.hand_back")) == 1
    assert bench.next_in == pytest.approx(pause / 2)
    assert bench.fetcher.refused == ["run 81 of task 17 send_mail"]
    bench.feed(pause / 2)
    assert len(bench.store.named("tasks.hand_back")) == 2
    assert (bench.next_in, bench.fetcher.refused) == (None, [])


def three(bench: FetcherBench) -> None:
    """Let three runs be given back."""
    bench.pool.stuck = {0}
    orders = [an_order(id=number, run_id=number) for number in (1, 2, 3)]
    bench.fetcher.collect(News(unbegun=orders))


def test_a_row_that_is_held_keeps_no_other_run_from_being_given_back(bench: FetcherBench) -> None:
    three(bench)
    bench.store.fail("tasks.hand_back", Locked("held"))
    bench.store.answers["tasks.free"] = {1, 3}
    bench.feed()
    assert bench.fetcher.task_ids() == [1, 2, 3]
    bench.feed()
    assert bench.fetcher.task_ids() == [2]


def test_a_run_that_the_database_refuses_keeps_no_other_from_being_given_back(
    bench: FetcherBench, logged: LoggedEvents
) -> None:
    def hand_back(orders: list[Order], worker_name: str) -> int:
        if any(order.run_id == 2 for order in orders):
            raise ValueError("refused")
        return len(orders)

    three(bench)
    bench.store.answers["tasks.hand_back"] = hand_back
    bench.feed()
    assert bench.fetcher.task_ids() == [2]
    [facts] = logged.of("give_back_refused")
    assert (facts["run"], facts["seconds"]) == (2, REFUSED_AGAIN)


def test_a_row_that_is_held_again_and_again_is_waited_for_alone(bench: FetcherBench) -> None:
    """Where transactions follow each other closely, only one that waits gets the row."""
    three(bench)
    bench.store.answers["tasks.free"] = {1, 3}
    bench.store.answers["tasks.hand_back"] = _locked
    for pause in (0.0, *PAUSES[:4]):
        bench.feed(pause)
    bench.store.answers["tasks.hand_back"] = lambda orders, worker_name: len(orders)
    before = len(bench.store.named("tasks.hand_back"))
    bench.feed(PAUSES[4])
    calls = bench.store.named("tasks.hand_back")[before:]
    parts = [[order.run_id for order in call.arguments["orders"]] for call in calls]
    assert parts == [[2], [1, 3]]


def _locked(**_: Any) -> None:
    raise Locked("held")


def test_an_outage_while_runs_are_given_back_is_raised_and_they_are_kept(
    bench: FetcherBench,
) -> None:
    three(bench)
    bench.store.fail("tasks.hand_back", AWAY)
    with pytest.raises(StoreUnavailable):
        bench.feed()
    assert bench.fetcher.task_ids() == [1, 2, 3]
