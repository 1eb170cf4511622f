"""Main loop: what a worker does at each heartbeat and in each turn besides its tasks."""

from __future__ import annotations

import os
from typing import Any

import pytest
from support.logged_events import LoggedEvents
from support.makers import an_order
from support.worker_bench import WorkerBench

from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.store.maintenance_checks import STRAYS
from plugin_scheduler.worker.fetcher import LOOK_EVERY
from plugin_scheduler.worker.reporter import PROGRESS_EVERY


def end_at(bench: WorkerBench, seconds: float, run_id: int) -> None:
    """Let a runner execute a run until that time."""
    order = an_order(id=run_id, run_id=run_id)
    bench.pool.begin(order)

    def end() -> None:
        bench.pool.end(order)
        bench.selector.wake()

    bench.at(seconds, end)


def test_counts_are_written_at_a_heartbeat_and_at_the_end(bench: WorkerBench) -> None:
    end_at(bench, 4.0, 81)
    end_at(bench, 7.0, 82)
    bench.work(until=7.5)
    assert bench.times("metrics.write") == [pytest.approx(6.0, abs=0.1), pytest.approx(7.5)]


def test_events_are_written_at_the_next_heartbeat(bench: WorkerBench) -> None:
    bench.at(10.0, lambda: bench.store.go_away(StoreUnavailable("away")))
    bench.at(20.0, bench.store.come_back)
    bench.work(until=40)
    assert any(20.0 < at < 30.0 for at in bench.times("events.write"))


def test_an_idle_worker_looks_for_tasks_from_time_to_time(bench: WorkerBench) -> None:
    bench.work(until=20)
    assert [at for at in bench.times("claims.take") if 1 < at < LOOK_EVERY + 4] == [
        pytest.approx(9.0, abs=0.1)
    ]


@pytest.mark.parametrize("count", [0, 2])
def test_tasks_with_unreadable_rows_are_logged(
    bench: WorkerBench, logged: LoggedEvents, count: int
) -> None:
    bench.store.answers["tasks.condemn_unreadable"] = count
    bench.work(until=1)
    assert logged.of("condemned") == ([{"count": count}] if count else [])


def test_a_worker_knows_all_tasks_that_it_holds(bench: WorkerBench) -> None:
    """Tasks that it does not know are given back."""
    bench.store.answers["tasks.free"] = set()
    bench.store.fail("tasks.report", *[Locked("held")] * 20)
    bench.store.fail("tasks.hand_back", *[Locked("held")] * 20)
    bench.pool.begin(an_order(id=1, run_id=1))
    end_at(bench, 5.9, 2)
    bench.at(5.9, lambda: bench.pool.waiting_news.unbegun.append(an_order(id=3, run_id=3)))
    bench.at(6.5, lambda: bench.pool.kill_all_runs("INTERRUPTED", "why"))
    bench.work(until=7)
    known = [
        sorted(call.arguments["known"])
        for call in bench.store.named("outlook.read")
        if 5.9 < call.at - bench.began < 6.5
    ]
    assert known == [[1, 2, 3]]


def test_a_notifier_with_a_descriptor_wakes_the_loop_at_once(bench: WorkerBench) -> None:
    readable, writable = os.pipe()
    bell = bench.store.bell
    bell.interval = 100.0
    bell.fileno = lambda: readable  # type: ignore[method-assign]

    def heed() -> None:
        os.read(readable, 1)
        bell.ring()

    bell.heed = heed  # type: ignore[method-assign]
    bench.at(4.2, lambda: os.write(writable, b"x"))
    bench.work(until=5)
    assert [at for at in bench.times("claims.take") if at > 1] == [pytest.approx(4.2)]
    bench.selector.unregister(bell)
    os.close(readable)
    os.close(writable)


def test_progress_of_a_run_is_saved_while_it_runs(bench: WorkerBench) -> None:
    order = an_order()
    run = bench.pool.begin(order)
    half = {"at": 1, "of": 2, "text": ""}
    bench.at(4.0, lambda: run.progressed(half))
    bench.at(6.0, lambda: bench.pool.end(order))
    bench.work(until=7)
    [call] = bench.store.named("tasks.save_live")
    assert (call.arguments["run_id"], call.arguments["progress"]) == (81, half)
    assert 4.0 <= call.at - bench.began <= 5.0 + PROGRESS_EVERY


@pytest.mark.parametrize("locks_rows", [True, False])
def test_runs_go_on_while_a_transaction_holds_the_row_of_their_worker(
    bench: WorkerBench, locks_rows: bool
) -> None:
    bench.store.dialect.locks_rows = locks_rows
    bench.at(2.0, lambda: bench.store.fail("workers.beat", *[Locked("held")] * 100))
    allowed: list[float] = []
    for seconds in (2.5, 15.0):
        bench.at(seconds, lambda: allowed.append(bench.pool.allowed_until))
    bench.work(until=16)
    assert (allowed[1] > allowed[0]) == locks_rows


@pytest.mark.parametrize("error", [Locked("held"), StoreUnavailable("away")])
def test_errors_of_the_database_are_counted_in_the_row(
    bench: WorkerBench, error: Exception
) -> None:
    bench.store.fail("claims.take", error)
    bench.work(until=4)
    last = bench.store.named("workers.beat")[-1]
    assert last.arguments["stats"]["database_errors"] == 1


def test_a_report_that_is_stored_late_is_followed_by_a_claim(bench: WorkerBench) -> None:
    """A retry or a repetition may be due."""
    bench.store.answers["tasks.free"] = set()
    end_at(bench, 4.0, 81)
    bench.at(3.9, lambda: bench.store.fail("tasks.report", Locked("held")))
    bench.work(until=5)
    first, second = bench.times("tasks.report")
    assert first == pytest.approx(4.0) and second > first
    assert second in bench.times("claims.take")


def test_maintenance_that_has_written_tasks_is_followed_by_a_claim(bench: WorkerBench) -> None:
    bench.store.answers["outlook.read"] = lambda **_: {STRAYS} if bench.now > 2 else set()
    strays: Any = iter([1])
    bench.store.answers["tasks.hand_back_unknown"] = lambda **_: next(strays, 0)
    bench.work(until=5)
    assert [at for at in bench.times("claims.take") if at > 1] == [pytest.approx(3.0, abs=0.1)]
