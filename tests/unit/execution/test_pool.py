"""Pool: which runner gets an order, and how a run that must end is ended."""

from __future__ import annotations

import os

import pytest
from support.fake_processes import Processes, reason_of
from support.makers import an_order

from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import OUTCOMES, Outcome
from plugin_scheduler.execution.pool import GOODBYE
from plugin_scheduler.execution.runner_handle import HESITATING, LOOK

GRACE = Settings().kill_grace
TIMEOUT = 60
FAILED = OUTCOMES.index(Outcome.FAILED)
STOP = Reason(ReasonCode.STOP_REQUESTED)


# --- handing out ----------------------------------------------------------------------------------


def test_an_order_goes_to_the_runner_with_the_fewest_orders(runners: Processes) -> None:
    handles = [runners.start()[1] for _ in range(3)]
    for run_id in range(1, 6):
        runners.hand_out(run_id)
    assert sorted(len(runner.orders) for runner in handles) == [1, 2, 2]
    assert sorted(order.run_id for order in runners.pool.orders()) == [1, 2, 3, 4, 5]
    assert runners.pool.orders() == runners.pool.load()


def test_a_runner_that_is_not_ready_gets_no_order(runners: Processes) -> None:
    runners.join(is_ready=False)
    assert (runners.pool.idle(), runners.pool.takers()) == (0, 0)
    assert not runners.pool.hand_out(an_order())


def test_a_runner_reports_a_run_and_is_idle_again(runners: Processes) -> None:
    fake, _ = runners.begin(81)
    assert (runners.pool.idle(), runners.pool.takers()) == (0, 1)
    assert [run.order.run_id for run in runners.pool.live_runs()] == [81]
    fake.report(81, seconds=0.5, result="[7]")
    runners.turn()
    [result] = runners.results
    assert (result.outcome, result.seconds, result.result) == (Outcome.COMPLETED, 0.5, "[7]")
    assert (runners.pool.idle(), runners.pool.live_runs(), runners.pool.orders()) == (1, [], [])


def test_a_worker_whose_lease_is_over_hands_out_nothing(runners: Processes) -> None:
    runners.start()
    runners.pool.allow(runners.clock.monotonic() + 5)
    runners.clock.turn(5)
    assert not runners.pool.hand_out(an_order())
    runners.pool.allow(runners.clock.monotonic() + 5)
    assert runners.pool.hand_out(an_order())


def test_behind_a_long_run_no_order_waits(runners: Processes) -> None:
    fake, runner = runners.start()
    for run_id in (1, 2, 3):
        runners.hand_out(run_id)
    fake.begin()
    runners.turn()
    assert runners.unbegun == []
    runners.turn(LOOK + 0.01)
    assert [order.run_id for order in runners.unbegun] == [2, 3]
    assert list(runner.orders) == [1]
    assert (runners.pool.takers(), runners.pool.load()) == (0, [])
    assert not runners.pool.hand_out(an_order())


def test_a_run_that_has_reported_meanwhile_was_not_long(runners: Processes) -> None:
    fake, _ = runners.begin(1)
    runners.hand_out(2)
    fake.report(1)
    fake.begin()
    runners.clock.turn(LOOK + 0.01)
    assert runners.pool.takers() == 0, "the run after it is long"
    fake.report(2)
    assert runners.pool.takers() == 1


def test_a_runner_gets_no_more_orders_than_it_may_run(runners: Processes) -> None:
    runners.pool.staff(Settings(runner_max_runs=3, slots=1), spawns=False)
    runners.pool._wanted = 0  # no forkserver is needed
    fake, _ = runners.begin(1)
    runners.hand_out(2)
    fake.report(1)
    runners.turn()
    runners.hand_out(3)
    assert not runners.pool.hand_out(an_order(id=4, run_id=4))


def test_orders_that_would_wait_too_long_are_taken_back(runners: Processes) -> None:
    fake, _ = runners.begin(1)
    for run_id in (2, 3, 4):
        runners.hand_out(run_id)
    assert runners.pool.recall(lambda order: 1.0, 3.0) == []
    assert [order.run_id for order in runners.pool.recall(lambda order: 1.0, 2.9)] == [2, 3, 4]
    fake.report(1)
    runners.turn()
    assert runners.outcomes(1) == [Outcome.COMPLETED]


# --- timeouts -------------------------------------------------------------------------------------


def test_at_its_timeout_a_run_is_warned_and_after_the_grace_period_killed(
    runners: Processes,
) -> None:
    fake, runner = runners.begin(81, timeout=TIMEOUT)
    assert runners.pool.next_deadline() == runners.clock.monotonic() + TIMEOUT
    runners.turn(TIMEOUT - 0.1)
    assert runners.signals == []
    runners.turn(0.1)
    assert runners.signals == [("TERM", runner.pid)]
    assert fake.channel.holds(["end", 81])
    assert runners.pool.next_deadline() == runners.clock.monotonic() + GRACE
    runners.turn(GRACE - 0.1)
    assert ("KILL", runner.pid) not in runners.signals
    runners.turn(0.1)
    assert ("KILL", runner.pid) in runners.signals
    runners.turn(1.0)
    assert runners.outcomes(81) == [Outcome.TIMEOUT]
    assert reason_of(runners) == ReasonCode.TIMEOUT
    assert runners.pool.runners == []


def test_a_run_is_warned_once(runners: Processes) -> None:
    fake, _ = runners.begin(81, timeout=TIMEOUT)
    runners.turn(TIMEOUT)
    assert fake.channel.holds(["end", 81])
    runners.turn(GRACE / 2)
    assert not fake.channel.holds(["end", 81])


def test_orders_behind_a_run_that_is_ended_go_back(runners: Processes) -> None:
    runners.begin(81, timeout=TIMEOUT)
    runners.hand_out(82)
    runners.pool.stop_run(81, Outcome.STOPPED, STOP)
    runners.turn()
    assert runners.outcomes(82) == [""]
    assert not runners.pool.hand_out(an_order(id=83, run_id=83))


@pytest.mark.parametrize(
    ("told", "outcome", "code"),
    [(FAILED, Outcome.TIMEOUT, ReasonCode.TIMEOUT), (0, Outcome.COMPLETED, None)],
)
def test_a_report_after_the_warning_counts_as_ended_unless_the_run_has_completed(
    runners: Processes, told: int, outcome: str, code: str | None
) -> None:
    fake, runner = runners.begin(81, timeout=TIMEOUT)
    runners.turn(TIMEOUT)
    fake.report(81, outcome=told)
    runners.turn(0.1)
    assert runners.outcomes(81) == [outcome]
    assert reason_of(runners) == code
    assert ("KILL", runner.pid) in runners.signals, "its child processes may go on"
    runners.turn(1.0)
    assert runners.pool.runners == []
    assert len(runners.results) == 1


def test_a_report_that_was_sent_before_the_warning_arrives_as_it_is(runners: Processes) -> None:
    fake, runner = runners.begin(81, timeout=TIMEOUT)
    runners.hand_out(82)
    fake.report(81)
    fake.begin()
    runners.turn(TIMEOUT)
    assert runners.outcomes(81) == [Outcome.COMPLETED]
    assert ("KILL", runner.pid) not in runners.signals


def test_the_last_stack_of_a_run_that_had_to_be_killed_is_its_traceback(runners: Processes) -> None:
    fake, _ = runners.begin(81, timeout=TIMEOUT)
    runners.turn(TIMEOUT)
    os.write(fake.trace, b'Current thread 0x1:\n  File "tasks.py", line 3 in stuck\n')
    os.write(fake.output, b"printed")
    runners.turn(GRACE)
    runners.turn(1.0)
    [result] = runners.results
    assert "line 3 in stuck" in (result.traceback or "")
    assert result.output == "printed"
    assert result.seconds == pytest.approx(TIMEOUT + GRACE + 1.0)


def test_a_runner_that_begins_no_order_is_ended_and_its_orders_go_back(runners: Processes) -> None:
    _, runner = runners.start()
    runners.hand_out(81)
    runners.hand_out(82)
    runners.turn(HESITATING)
    assert runners.signals == []
    runners.turn(0.1)
    assert runners.signals == [("KILL", runner.pid)]
    runners.turn(1.0)
    assert (runners.outcomes(81), runners.outcomes(82)) == ([""], [""])


def test_the_limit_of_an_order_holds_also_if_its_run_seems_to_begin_again_and_again(
    runners: Processes,
) -> None:
    fake, runner = runners.begin(81, timeout=TIMEOUT)
    runners.hand_out(82)
    limit = HESITATING + TIMEOUT + GRACE
    for _ in range(int(limit)):
        fake.board.begin(81, runners.clock.monotonic())  # as a task that writes to its scoreboard
        runners.pool.runners[0].run = None
        runners.turn(1.0)
    assert runners.signals == []
    runners.turn(1.0)
    assert ("KILL", runner.pid) in runners.signals
    runners.turn(1.0)
    assert (runners.outcomes(81), reason_of(runners)) == ([Outcome.TIMEOUT], ReasonCode.TIMEOUT)
    assert runners.outcomes(82) == [""]


# --- stops ----------------------------------------------------------------------------------------


def test_a_stopped_run_gets_an_exception_first(runners: Processes) -> None:
    fake, runner = runners.begin(81)
    runners.pool.stop_run(81, Outcome.STOPPED, STOP)
    assert runners.signals == [("TERM", runner.pid)]
    fake.report(81, outcome=FAILED)
    runners.turn()
    assert (runners.outcomes(81), reason_of(runners)) == ([Outcome.STOPPED], STOP.code)


def test_an_order_that_is_stopped_before_it_begins_is_a_result_at_once(runners: Processes) -> None:
    fake, _ = runners.begin(81)
    runners.hand_out(82)
    runners.hand_out(83)
    runners.pool.stop_run(82, Outcome.STOPPED, STOP)
    runners.turn()
    assert runners.outcomes(82) == [Outcome.STOPPED]
    assert runners.results[-1].seconds == 0.0
    assert runners.outcomes(83) == [""], "it was taken back with the other one"
    assert runners.signals == []
    fake.report(81)
    runners.turn()
    assert runners.outcomes(81) == [Outcome.COMPLETED]


def test_to_stop_a_run_that_is_not_here_changes_nothing(runners: Processes) -> None:
    runners.begin(81)
    runners.pool.stop_run(99, Outcome.STOPPED, STOP)
    runners.turn()
    assert (runners.results, runners.unbegun, runners.signals) == ([], [], [])


def test_all_runs_can_be_killed_at_once_and_idle_runners_are_left(runners: Processes) -> None:
    _, busy = runners.begin(81)
    runners.hand_out(82)
    _, idle = runners.start()
    runners.pool.kill_all_runs(Outcome.INTERRUPTED, Reason(ReasonCode.SHUTDOWN, why="x"))
    assert runners.signals == [("KILL", busy.pid)]
    runners.turn(1.0)
    assert runners.outcomes(81) == [Outcome.INTERRUPTED]
    assert reason_of(runners) == ReasonCode.SHUTDOWN
    assert runners.outcomes(82) == [""]
    assert runners.pool.runners == [idle]


@pytest.mark.parametrize("pids", [None, "those of all", "none"])
def test_idle_runners_can_be_ended_by_their_process_ids(
    runners: Processes, pids: str | None
) -> None:
    _, busy = runners.begin(81)
    _, idle = runners.start()
    assert busy.pid and idle.pid
    asked = {None: None, "none": set(), "those of all": {busy.pid, idle.pid}}[pids]
    ended = [] if pids == "none" else [idle.pid]
    assert runners.pool.end_idle(asked) == ended
    assert [pid for _, pid in runners.signals] == ended
    assert runners.pool.end_idle(asked) == [], "it is gone already"


# --- close ----------------------------------------------------------------------------------------


def test_at_the_end_idle_runners_may_exit_by_themselves_and_all_others_are_killed(
    runners: Processes,
) -> None:
    _, busy = runners.begin(81)
    fake, _ = runners.start()
    fake.socket.close()  # it exits when it hears that no order will come
    began = runners.clock.monotonic()
    runners.pool.close()
    assert runners.clock.monotonic() - began < GOODBYE
    assert ("KILL", busy.pid) in runners.signals
    assert runners.pool.runners == []


def test_at_the_end_an_idle_runner_that_does_not_exit_is_killed_after_a_moment(
    runners: Processes,
) -> None:
    _, idle = runners.start()
    began = runners.clock.monotonic()
    runners.pool.close()
    assert runners.clock.monotonic() - began == pytest.approx(GOODBYE, abs=0.01)
    assert runners.signals == [("KILL", idle.pid)]


def test_without_idle_runners_the_end_waits_for_none(runners: Processes) -> None:
    runners.begin(81)
    began = runners.clock.monotonic()
    runners.pool.close()
    assert runners.clock.monotonic() == began
