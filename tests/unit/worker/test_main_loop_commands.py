"""Main loop: what a worker makes of signals, of commands in its row, and of notifications."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import Any

import pytest
from support.logged_events import LoggedEvents
from support.makers import an_order
from support.worker_bench import NAME, WorkerBench

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.reasons import ReasonCode, code_of
from plugin_scheduler.core.types import Outcome
from plugin_scheduler.store.task_reports import Wishes
from plugin_scheduler.worker.main_loop import AUDIT_EVERY, POLL_EVERY

# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_leave_lets_runs_finish(bench_with: Any, number: int) -> None:
    bench = bench_with(has_terminal=True)
    order = an_order()
    bench.pool.begin(order)
    bench.signal(5, number)
    bench.at(20.0, lambda: bench.pool.end(order))
    assert bench.work() == 0
    assert bench.now == pytest.approx(20, abs=0.5)
    assert bench.pool.kills == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_leave_at_once_ends_runs(bench: WorkerBench, number: int) -> None:
    bench.pool.begin(an_order())
    bench.signal(5, number)
    assert bench.work() == 128 + number
    assert bench.now == pytest.approx(5, abs=0.5)
    assert [outcome for outcome, _ in bench.pool.kills] == [Outcome.INTERRUPTED]


def test_after_the_grace_period_of_a_signal_runs_are_ended(bench: WorkerBench) -> None:
    bench.pool.begin(an_order())
    assert bench.work(until=5) == 128 + signal.SIGTERM
    assert bench.now == pytest.approx(5 + bench.settings.grace, abs=0.5)


def test_a_worker_that_leaves_claims_nothing_new(bench: WorkerBench) -> None:
    order = an_order()
    bench.pool.begin(order)
    bench.at(20.0, lambda: bench.pool.end(order))
    bench.at(10.0, bench.store.bell.ring)
    bench.work(until=5)
    assert all(at <= 5 for at in bench.times("claims.take"))


def test_a_hangup_reloads_the_app_of_a_worker_without_a_terminal(
    bench_with: Any, logged: LoggedEvents
) -> None:
    bench = bench_with(has_terminal=False)
    bench.signal(5, signal.SIGHUP)
    assert bench.work(until=20) == 0
    assert bench.now == pytest.approx(20, abs=0.1)
    assert bench.pool.reloads == 1
    assert logged.of("reloading") == [{"worker": NAME}]


def test_a_reload_that_is_not_possible_is_logged_and_the_worker_goes_on(
    bench: WorkerBench, logged: LoggedEvents
) -> None:
    bench.pool.can_reload = False
    bench.signal(5, signal.SIGHUP)
    assert bench.work(until=20) == 0
    assert len(logged.of("reload_failed")) == 1
    assert "reloading" not in logged.names


def test_the_end_of_a_reload_is_logged_with_what_is_known_now(
    bench: WorkerBench, logged: LoggedEvents
) -> None:
    def reloaded() -> None:
        bench.pool.waiting_news.described.append(({"tasks": ["pay", "ship", "send_mail"]}, []))
        bench.pool.waiting_news.reloads.append(None)

    bench.at(5.0, reloaded)
    bench.at(10.0, lambda: bench.pool.waiting_news.reloads.append("no module named x"))
    bench.work(until=20)
    assert logged.of("reloaded") == [{"worker": NAME, "tasks": 3}]
    assert logged.of("reload_failed") == [{"worker": NAME, "why": "no module named x"}]


def test_a_signal_for_the_state_logs_what_the_worker_does(
    bench: WorkerBench, logged: LoggedEvents
) -> None:
    bench.at(3.5, lambda: bench.pool.begin(an_order()))
    bench.signal(5, signal.SIGUSR1)
    bench.signal(6, signal.SIGINT)
    bench.work()
    [facts] = logged.of("state")
    assert (facts["worker"], facts["status"], facts["groups"]) == (NAME, "RUNNING", "main")
    assert (facts["leads"], facts["waiting"], facts["running"]) == ("no", 0, 1)
    assert "run 81 of task 17" in facts["runs"] and "1.5 s" in facts["runs"]


def test_the_state_says_that_the_database_is_away(bench: WorkerBench, logged: LoggedEvents) -> None:
    bench.at(10.0, lambda: bench.store.go_away(StoreUnavailable("away")))
    bench.signal(9.5, signal.SIGUSR1)
    bench.signal(32.0, signal.SIGUSR1)
    bench.at(40.0, bench.store.come_back)
    bench.work(until=50)
    answers, away = (facts["database"] for facts in logged.of("state"))
    assert answers != away and " 20 s" in away


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGPIPE])
def test_any_other_signal_is_logged_and_ignored(
    bench: WorkerBench, logged: LoggedEvents, number: int
) -> None:
    bench.signal(5, number)
    assert bench.work(until=20) == 0
    assert logged.of("signal_ignored") == [{"signal": signal.Signals(number).name}]
    assert (bench.pool.kills, bench.pool.reloads) == ([], 0)


# --- commands -------------------------------------------------------------------------------------


def test_a_command_to_stop_tasks_stops_those_that_run_and_is_reset(bench: WorkerBench) -> None:
    bench.pool.begin(an_order(run_id=81))
    bench.at(5.0, lambda: bench.row.update(status="STOP_TASK"))
    bench.signal(9.0, signal.SIGINT)
    bench.work()
    [(run_id, outcome, reason)] = bench.pool.stops
    assert (run_id, outcome, code_of(reason)) == (81, Outcome.STOPPED, ReasonCode.STOP_ORDERED)
    [call] = bench.store.named("workers.carried_out")
    assert call.arguments["order"] == "STOP_TASK"


def test_a_command_to_pick_lets_the_worker_look_for_tasks_and_is_reset(bench: WorkerBench) -> None:
    claims_before: list[int] = []

    def pick() -> None:
        claims_before.append(len(bench.store.named("claims.take")))
        bench.row["status"] = "PICK"

    bench.at(2.0, pick)
    bench.work(until=4)
    assert len(bench.store.named("claims.take")) == claims_before[0] + 1
    assert [call.arguments["order"] for call in bench.store.named("workers.carried_out")] == [
        "PICK"
    ]


def test_a_command_to_leave_is_followed_and_stays_in_the_row(bench: WorkerBench) -> None:
    bench.at(5.0, lambda: bench.row.update(status="TERMINATE"))
    assert bench.work() == 0
    assert bench.store.named("workers.carried_out") == []
    assert bench.now == pytest.approx(6, abs=0.1)


def test_a_command_to_kill_ends_runs(bench: WorkerBench) -> None:
    bench.pool.begin(an_order())
    bench.at(5.0, lambda: bench.row.update(status="KILL"))
    assert bench.work() == 0
    assert [outcome for outcome, _ in bench.pool.kills] == [Outcome.INTERRUPTED]


def test_a_disabled_worker_claims_nothing_until_it_is_resumed(bench: WorkerBench) -> None:
    bench.row["status"] = "DISABLED"
    bench.at(1.0, bench.store.bell.ring)
    bench.at(20.0, lambda: bench.row.update(status="ACTIVE"))
    bench.work(until=40)
    first = bench.times("workers.orders")[0]
    claims = bench.times("claims.take")
    assert [at for at in claims if first < at < 20.0] == []
    assert [at for at in claims if at > 20.0] != []


def test_the_groups_in_the_row_are_served_and_without_any_those_of_the_settings(
    bench: WorkerBench,
) -> None:
    bench.row["group_names"] = ("mail", "slow")
    bench.at(10.0, lambda: bench.row.update(group_names=()))
    bench.work(until=20)
    groups = [call.arguments["groups"] for call in bench.store.named("claims.take")]
    assert ("mail", "slow") in groups
    assert groups[-1] == ("main",)


def test_commands_are_followed_at_the_heartbeat_too(bench: WorkerBench) -> None:
    bench.lead()
    bench.at(5.0, lambda: bench.row.update(status="TERMINATE"))
    assert bench.work() == 0
    assert bench.now == pytest.approx(6, abs=0.1)
    assert [at for at in bench.times("workers.orders") if at > 1] == []


def test_a_lease_in_a_row_that_is_over_makes_its_commands_unreadable(bench: WorkerBench) -> None:
    """A row without a lease is one that another worker is about to remove."""
    bench.lead()
    bench.row.update(lease_until=0.0, group_names=("mail",))
    bench.store.answers["workers.orders"] = ("ACTIVE", ())
    bench.work(until=20)
    groups = {call.arguments["groups"] for call in bench.store.named("claims.take")}
    assert groups == {("main",)}


@pytest.mark.parametrize(
    ("wish", "outcome", "code"),
    [
        ("stop", Outcome.STOPPED, ReasonCode.STOP_REQUESTED),
        ("taken", Outcome.INTERRUPTED, ReasonCode.TAKEN_AWAY),
    ],
)
def test_a_run_that_is_not_wanted_any_more_is_ended(
    bench: WorkerBench, logged: LoggedEvents, wish: str, outcome: str, code: ReasonCode
) -> None:
    bench.pool.begin(an_order(run_id=81))
    wishes = iter([Wishes({}, {}), Wishes({81: wish}, {})])
    bench.store.answers["tasks.wishes"] = lambda **_: next(wishes, Wishes({}, {}))
    bench.signal(5, signal.SIGINT)
    bench.work()
    [(run_id, ended, reason)] = bench.pool.stops
    assert (run_id, ended, code_of(reason)) == (81, outcome, code)
    taken = [{"run": 81, "task": "17 send_mail"}] if wish == "taken" else []
    assert logged.of("run_taken") == taken


def test_without_runs_nothing_is_asked_about_them(bench: WorkerBench) -> None:
    bench.work(until=20)
    assert bench.store.named("tasks.wishes") == []


# --- when -----------------------------------------------------------------------------------------


def test_commands_are_read_more_often_while_tasks_run(bench: WorkerBench) -> None:
    order = an_order()
    bench.at(9.5, lambda: bench.pool.begin(order))
    bench.at(20.5, lambda: bench.pool.end(order))
    bench.work(until=40)
    times = bench.times("workers.orders")
    pauses = [later - earlier for earlier, later in pairwise(times)]
    idle = [pause for pause, at in zip(pauses, times, strict=False) if at < 6 or 24 < at < 36]
    busy = [pause for pause, at in zip(pauses, times, strict=False) if 11 < at < 19]
    assert idle and busy
    assert all(pause == pytest.approx(bench.settings.heartbeat, abs=0.1) for pause in idle)
    assert all(pause == pytest.approx(POLL_EVERY, abs=0.1) for pause in busy)


def test_a_notification_lets_the_worker_read_its_commands_and_claim(bench: WorkerBench) -> None:
    bench.at(4.2, bench.store.bell.ring)
    bench.work(until=5)
    rung_at = min(at for at in bench.times("claims.take") if at > 3.5)
    assert 4.2 <= rung_at <= 4.2 + bench.store.bell.interval
    assert [at for at in bench.times("workers.orders") if 3.5 < at < 5] == [
        pytest.approx(rung_at, abs=0.001)
    ]


def test_many_notifications_do_not_let_it_read_its_commands_without_end(
    bench: WorkerBench,
) -> None:
    bench.store.bell.interval = 0.01
    bench.store.bell.rung = lambda: True  # type: ignore[method-assign]
    bench.work(until=5)
    times = bench.times("workers.orders")
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(pauses) > 10
    assert min(pauses) >= AUDIT_EVERY - 0.001


def test_a_leader_does_its_round_soon_after_a_notification(bench: WorkerBench) -> None:
    bench.lead()
    bench.at(7.0, bench.store.bell.ring)
    bench.work(until=8.5)
    rounds = [at for at in bench.times("outlook.read") if 6.5 < at < 8.5]
    assert len(rounds) == 1 and 7.0 <= rounds[0] <= 7.6


def test_the_notifier_is_tested_when_it_asks_for_it_and_trouble_is_logged_once(
    bench: WorkerBench, logged: LoggedEvents
) -> None:
    bell = bench.store.bell
    troubles = iter([None, "no answer", "no answer", "no answer", None, None])

    def test() -> None:
        bell.tests += 1
        bell.trouble = next(troubles, None)
        bell.next_test = bench.clock.monotonic() + 5

    bell.test = test  # type: ignore[method-assign]
    bell.next_test = bench.clock.monotonic() + 5
    bench.work(until=31)
    assert bell.tests == 6
    assert logged.of("bell_lost") == [{"why": "no answer"}]
    assert logged.names.count("bell_back") == 1


def test_a_result_is_stored_at_once_and_more_tasks_are_claimed(bench: WorkerBench) -> None:
    order = an_order()
    bench.pool.begin(order)

    def end() -> None:
        bench.pool.end(order)
        bench.selector.wake()

    bench.at(4.2, end)
    bench.work(until=5)
    assert bench.times("tasks.report") == [pytest.approx(4.2)]
    assert [at for at in bench.times("claims.take") if at > 3.5] == [pytest.approx(4.2)]


def test_news_that_arrived_during_a_turn_are_handled_without_a_wait(bench: WorkerBench) -> None:
    order = an_order()
    bench.pool.begin(order)

    def answer(**_: Any) -> Any:
        if bench.now > 3 and order in bench.pool.orders():
            bench.pool.end(order)
        return "ACTIVE", ()

    bench.store.answers["workers.orders"] = answer
    bench.work(until=5)
    first = min(at for at in bench.times("workers.orders") if at > 3)
    assert bench.times("tasks.report") == [pytest.approx(first)]


def test_the_loop_wakes_up_for_a_deadline_of_the_pool(bench: WorkerBench) -> None:
    turns: list[int] = []
    bench.pool.deadline = bench.clock.monotonic() + 4.2
    bench.at(4.1, lambda: turns.append(bench.pool.turns))
    bench.at(4.3, lambda: turns.append(bench.pool.turns))
    bench.work(until=5)
    assert turns[1] > turns[0]
