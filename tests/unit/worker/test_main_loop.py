"""Main loop: errors, outages, heartbeats, and how a worker begins and ends."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import Any

import pytest
from support.fake_store import FIRST_ID
from support.logged_events import LoggedEvents
from support.makers import an_order
from support.worker_bench import NAME, WorkerBench

from plugin_scheduler.core.errors import ConfigError, Locked, NameTaken, StoreUnavailable
from plugin_scheduler.core.reasons import ReasonCode, code_of
from plugin_scheduler.core.types import Outcome
from plugin_scheduler.worker import time_zones
from plugin_scheduler.worker.main_loop import LOCKED_FOR, STUBBORN_ERRORS
from plugin_scheduler.worker.outages import OFTEN, PAUSES
from plugin_scheduler.worker.shutdown import EXIT_NO_DATABASE, EXIT_SUPERSEDED, LAST_WORDS

AWAY = StoreUnavailable("away")


# --- begin ----------------------------------------------------------------------------------------


def test_a_worker_registers_staffs_its_pool_and_works_until_it_is_told_to_leave(
    bench_with: Any, logged: LoggedEvents
) -> None:
    bench = bench_with(slots=3)
    assert bench.work(until=20) == 0
    assert bench.now == pytest.approx(20, abs=0.1)
    [call] = bench.store.named("workers.register")
    assert (call.arguments["name"], call.arguments["stats"]["slots"]) == (NAME, 3)
    assert bench.pool.staffed == [(3, False)]
    [facts] = logged.of("worker_started")
    assert (facts["worker"], facts["slots"], facts["tasks"]) == (NAME, 3, 2)
    assert bench.store.events_written == ["worker_started", "worker_left"]


def test_a_worker_that_starts_waits_for_its_database(bench: WorkerBench) -> None:
    bench.store.fail("workers.register", AWAY, AWAY)
    assert bench.work(until=20) == 0
    assert len(bench.store.named("workers.register")) == 3
    assert bench.times("workers.register")[2] > 0


def test_a_worker_whose_database_does_not_come_does_not_start(bench: WorkerBench) -> None:
    bench.store.go_away(AWAY)
    with pytest.raises(StoreUnavailable):
        bench.work()
    assert bench.pool.staffed == []


def test_a_worker_that_may_not_register_leaves_a_trace_in_the_history(bench: WorkerBench) -> None:
    bench.store.fail("workers.register", ConfigError("a right is missing"))
    with pytest.raises(ConfigError):
        bench.work()
    assert bench.store.events_written == ["worker_refused"]


def test_a_worker_whose_name_was_that_of_a_dead_one_says_so_in_the_history(
    bench: WorkerBench,
) -> None:
    leases = iter([0.0, None])
    bench.store.answers["workers.lease_of"] = lambda name: next(leases)
    bench.work(until=1)
    assert bench.store.events_written[:2] == ["worker_succeeded", "worker_started"]


def test_the_row_of_a_worker_in_another_time_zone_has_a_warning(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch, logged: LoggedEvents
) -> None:
    monkeypatch.setattr(time_zones.clock, "own_zone", lambda: "Asia/Tokyo")
    bench.store.answers["workers.zone_in_use"] = "Europe/Rome"
    bench.work(until=1)
    [call] = bench.store.named("workers.register")
    assert "Asia/Tokyo" in call.arguments["stats"]["zone_trouble"]
    assert bench.store.dialect.zone == "Europe/Rome"
    assert logged.of("zones_differ")[0]["worker"] == NAME


# --- errors ---------------------------------------------------------------------------------------


def test_an_error_in_a_turn_is_logged_and_does_not_end_the_worker(
    bench: WorkerBench, logged: LoggedEvents
) -> None:
    bench.store.fail("workers.orders", ValueError("a defect"))
    assert bench.work(until=20) == 0
    assert logged.names.count("loop_error") == 1
    assert len(bench.store.named("workers.orders")) > 3
    assert bench.store.named("workers.beat")[-1].arguments["stats"]["database_errors"] == 1


def test_the_twentieth_error_in_a_row_ends_the_worker_as_it_ends_any_other(
    bench: WorkerBench, logged: LoggedEvents
) -> None:
    bench.store.fail("workers.orders", *[ValueError("a defect")] * STUBBORN_ERRORS)
    with pytest.raises(ValueError, match="a defect"):
        bench.work()
    assert STUBBORN_ERRORS == 20
    assert logged.names.count("loop_error") == STUBBORN_ERRORS
    assert bench.pool.is_closed and bench.store.is_closed
    assert [call.arguments["worker_id"] for call in bench.store.named("maintenance.leave")] == [
        FIRST_ID
    ]
    [facts] = logged.of("worker_left")
    assert "a defect" in facts["why"]


def test_nineteen_errors_again_and_again_do_not_end_a_worker(bench: WorkerBench) -> None:
    errors = [ValueError("a defect")] * (STUBBORN_ERRORS - 1)
    bench.store.fail("workers.orders", *errors)
    bench.at(100, lambda: bench.store.fail("workers.orders", *errors))
    assert bench.work(until=200) == 0


def test_the_pauses_between_errors_grow_up_to_two_seconds(bench: WorkerBench) -> None:
    bench.store.fail("workers.orders", *[ValueError("a defect")] * 15)
    bench.work(until=60)
    tries = bench.times("workers.orders")[:16]
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (pytest.approx(0.15), pytest.approx(2.0))


# --- outages --------------------------------------------------------------------------------------


def test_after_a_failed_call_the_database_is_left_alone_for_a_pause_that_grows(
    bench: WorkerBench,
) -> None:
    bench.at(10.0, lambda: bench.store.go_away(AWAY))
    bench.at(13.0, bench.store.come_back)
    bench.work(until=20)
    failed = [call for call in bench.store.calls if 10.0 < call.at - bench.began <= 13.0]
    times = [call.at for call in failed if not call.name.startswith("dialect.")]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(pauses) >= 4
    assert pauses == [pytest.approx(pause) for pause in PAUSES[: len(pauses)]]


def test_a_row_that_is_held_is_no_outage_the_next_turn_follows_at_once(bench: WorkerBench) -> None:
    bench.store.fail("claims.take", Locked("held"), Locked("held"))
    bench.work(until=2)
    first, second, third = bench.store.times("claims.take")[:3]
    assert first == second == third
    assert bench.store.named("dialect.lock_holders") == []
    [beat] = [call.arguments["stats"] for call in bench.store.named("workers.beat")][1:] or [{}]
    assert beat.get("database_errors", 2) == 2


def test_runs_are_watched_during_an_outage_and_their_results_are_kept(bench: WorkerBench) -> None:
    order = an_order()
    bench.pool.begin(order)
    bench.at(4.0, lambda: bench.store.go_away(AWAY))
    turns = []
    bench.at(5.0, lambda: turns.append(bench.pool.turns))
    bench.at(9.0, lambda: bench.pool.end(order))
    bench.at(9.0, lambda: turns.append(bench.pool.turns))
    bench.at(12.0, bench.store.come_back)
    bench.work(until=20)
    assert turns[1] > turns[0]
    stored = [call for call in bench.store.named("tasks.report") if call.at - bench.began > 12.0]
    assert [one.order for call in stored for one in call.arguments["reports"]] == [order]


def test_a_long_outage_gets_an_event_of_the_history_and_a_short_one_does_not(
    bench: WorkerBench,
) -> None:
    bench.at(10.0, lambda: bench.store.go_away(AWAY))
    bench.at(20.0, bench.store.come_back)
    bench.at(30.0, lambda: bench.store.fail("workers.orders", AWAY))
    bench.work(until=40)
    assert bench.store.events_written.count("database_back") == 1


def test_a_worker_without_its_database_leaves_after_the_limit_if_there_is_one(
    bench_with: Any,
) -> None:
    bench = bench_with(db_outage_limit=20)
    bench.pool.begin(an_order())
    bench.at(10.0, lambda: bench.store.go_away(AWAY))
    assert bench.work() == EXIT_NO_DATABASE
    assert bench.now == pytest.approx(30, abs=3)
    assert [outcome for outcome, _ in bench.pool.kills] == [Outcome.INTERRUPTED]


def test_a_worker_without_a_limit_waits_for_its_database_for_ever(bench: WorkerBench) -> None:
    bench.at(10.0, lambda: bench.store.go_away(AWAY))
    bench.at(300.0, bench.store.come_back)
    assert bench.work(until=310) == 0
    assert bench.pool.kills == []


@pytest.mark.parametrize(
    ("holders", "asked"), [({17}, [{17}]), (None, [None]), (set(), [])], ids=["one", "any", "none"]
)
def test_idle_runners_that_lock_the_database_are_ended_after_a_while(
    bench: WorkerBench, logged: LoggedEvents, holders: set[int] | None, asked: list[Any]
) -> None:
    bench.pool.idle_pids = [17, 18]
    bench.store.answers["dialect.lock_holders"] = holders
    bench.at(10.0, lambda: bench.store.fail("workers.orders", *[AWAY] * 8))
    bench.work(until=20)
    failed_since = min(at for at in bench.times("workers.orders") if at > 10)
    asked_at = bench.times("dialect.lock_holders")[0]
    assert LOCKED_FOR <= asked_at - failed_since < 3 * LOCKED_FOR
    assert bench.pool.lock_holders[:1] == asked
    assert bool(logged.of("lock_ended")) == bool(asked)


# --- heartbeats -----------------------------------------------------------------------------------


def test_a_worker_sends_heartbeats_and_each_extends_the_time_of_its_runs(
    bench: WorkerBench,
) -> None:
    bench.work(until=20)
    beats = bench.times("workers.beat")
    assert beats == [pytest.approx(3.0 * number, abs=0.01) for number in range(7)]
    allowed = bench.pool.allowed_until - bench.began
    assert beats[-1] + bench.settings.heartbeat < allowed < beats[-1] + bench.settings.lease


def test_a_heartbeat_on_a_held_row_is_tried_again_soon_and_the_work_goes_on(
    bench: WorkerBench,
) -> None:
    def hold() -> None:
        bench.store.fail("workers.beat", Locked("held"), Locked("held"))

    bench.at(8.0, hold)
    bench.work(until=11)
    times = bench.times("workers.beat")[3:6]
    assert times == [pytest.approx(9.0 + OFTEN * number, abs=0.01) for number in range(3)]


def test_a_locked_row_of_another_worker_does_not_delay_the_next_heartbeat(
    bench: WorkerBench,
) -> None:
    bench.store.fail("workers.all", Locked("held"))
    bench.work(until=4)
    assert bench.times("workers.beat") == [pytest.approx(0.0), pytest.approx(3.0, abs=0.01)]


@pytest.mark.parametrize("found_by", ["workers.beat", "workers.orders"])
def test_a_worker_whose_row_is_gone_adds_it_again(
    bench: WorkerBench, logged: LoggedEvents, found_by: str
) -> None:
    ids = iter([FIRST_ID, 2])
    bench.store.answers["workers.register"] = lambda name, stats: next(ids)
    gone: dict[str, Any] = {"workers.beat": False, "workers.orders": None}
    usual = bench.store.answers[found_by]

    def answer(worker_id: int, **_: Any) -> Any:
        if worker_id == FIRST_ID and bench.now >= 5:
            return gone[found_by]
        return usual(worker_id=worker_id) if callable(usual) else usual

    bench.store.answers[found_by] = answer
    assert bench.work(until=20) == 0
    assert len(bench.store.named("workers.register")) == 2
    assert logged.names.count("row_gone") == 1
    assert "row_gone" in bench.store.events_written
    assert bench.store.named("workers.beat")[-1].arguments["worker_id"] == 2
    assert bench.store.named("maintenance.leave")[0].arguments["worker_id"] == 2


def test_a_worker_whose_name_another_one_has_taken_leaves_and_touches_no_row(
    bench: WorkerBench,
) -> None:
    bench.pool.begin(an_order())

    def lose() -> None:
        bench.store.answers["workers.orders"] = None
        bench.store.fail("workers.register", NameTaken(NAME))

    bench.at(5.0, lose)
    assert bench.work() == EXIT_SUPERSEDED
    [(outcome, reason)] = bench.pool.kills
    assert (outcome, code_of(reason)) == (Outcome.INTERRUPTED, ReasonCode.SHUTDOWN)
    assert bench.store.named("maintenance.leave") == []
    assert bench.store.named("tasks.hand_back_unknown") == []
    lost_at = bench.times("workers.register")[-1]
    assert bench.times("workers.beat")[-1] <= lost_at
    assert bench.store.is_closed


def test_a_leader_that_was_superseded_does_no_more_maintenance(bench: WorkerBench) -> None:
    bench.lead()
    order = an_order()

    def lose() -> None:
        bench.store.answers["workers.orders"] = None
        bench.store.fail("workers.register", NameTaken(NAME))
        bench.store.go_away(AWAY)  # so that the worker does not leave at once

    bench.at(1.0, lambda: bench.pool.begin(order))
    bench.at(5.0, lose)
    bench.at(5.1, bench.store.come_back)
    bench.work()
    lost_at = bench.times("workers.register")[-1]
    assert [at for at in bench.times("outlook.read") if at > lost_at] == []


# --- end ------------------------------------------------------------------------------------------


def test_a_worker_that_leaves_ends_its_processes_first_and_gives_back_everything(
    bench: WorkerBench, logged: LoggedEvents
) -> None:
    closed_before: list[bool] = []
    bench.store.answers["maintenance.leave"] = lambda **_: closed_before.append(
        bench.pool.is_closed
    )
    bench.work(until=5)
    [back] = bench.store.named("tasks.hand_back_unknown")
    assert back.arguments == {"worker_name": NAME, "known": ()}
    assert closed_before == [True]
    assert bench.store.bell.is_closed and bench.store.is_closed
    assert logged.of("worker_left") == [{"worker": NAME, "why": "SIGTERM"}]


@pytest.mark.parametrize(
    ("error", "event"), [(AWAY, "database_away"), (ValueError("refused"), "chore_refused")]
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_a_worker_that_cannot_give_back_its_tasks_has_an_exit_code_of_failure(
    bench: WorkerBench, logged: LoggedEvents, error: Exception, event: str, number: int, code: int
) -> None:
    bench.store.fail("maintenance.leave", error)
    bench.signal(5, number)
    assert bench.work() == code
    assert event in logged.names
    assert bench.store.is_closed


def test_a_worker_that_leaves_waits_for_its_runs_and_stores_their_results(
    bench: WorkerBench,
) -> None:
    order = an_order()
    bench.pool.begin(order)
    bench.at(12.0, lambda: bench.pool.end(order))
    assert bench.work(until=5) == 0
    assert bench.now == pytest.approx(12.0, abs=0.5)
    assert [report.order for report in bench.store.reports] == [order]


def test_runs_that_the_database_refuses_keep_a_worker_that_leaves_for_a_limited_time_only(
    bench: WorkerBench,
) -> None:
    bench.store.answers["tasks.report"] = _refuse
    order = an_order()
    bench.pool.begin(order)
    bench.at(2.0, lambda: bench.pool.end(order))
    bench.row["status"] = "TERMINATE"
    assert bench.work() == 1
    limit = bench.settings.grace + LAST_WORDS
    assert bench.now == pytest.approx(2.0 + limit, abs=5)


def _refuse(**_: Any) -> None:
    raise ValueError("refused")


# --- idle -----------------------------------------------------------------------------------------


def test_a_worker_leaves_after_a_number_of_heartbeats_without_due_work(bench_with: Any) -> None:
    bench = bench_with(max_empty_runs=3)
    assert bench.work() == 0
    assert len(bench.store.named("workers.beat")) == 3
    [*_, call] = bench.store.named("claims.has_due_work")
    horizon = 3 * bench.settings.heartbeat
    assert call.arguments == {"groups": ("main",), "horizon": horizon, "only": ()}


def test_due_work_of_any_worker_keeps_it(bench_with: Any) -> None:
    bench = bench_with(max_empty_runs=3)
    bench.store.answers["claims.has_due_work"] = lambda **_: bench.now < 30
    bench.work()
    assert bench.now == pytest.approx(36, abs=1)


def test_a_run_keeps_it_without_a_look_at_the_database(bench_with: Any) -> None:
    bench = bench_with(max_empty_runs=3)
    order = an_order()
    bench.pool.begin(order)
    bench.at(30.0, lambda: bench.pool.end(order))
    bench.work()
    assert bench.now == pytest.approx(36, abs=4)
    assert min(bench.times("claims.has_due_work")) >= 30


def test_without_that_option_an_idle_worker_stays(bench: WorkerBench) -> None:
    bench.work(until=100)
    assert bench.store.named("claims.has_due_work") == []
