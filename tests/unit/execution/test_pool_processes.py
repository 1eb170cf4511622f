"""Pool: runners that die, retire, are replaced, or belong to a forkserver that is gone."""

from __future__ import annotations

import os

import pytest
from support.fake_forkserver import described
from support.fake_processes import Processes, reason_of
from support.makers import an_order

from plugin_scheduler.core.reasons import ReasonCode
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import OUTCOMES, Outcome
from plugin_scheduler.execution.own_process import NO_PROCESS as NO_PROCESS_CODE
from plugin_scheduler.execution.pool import LEAVING_AT_ONCE
from plugin_scheduler.execution.runner_handle import LEAVING, LOADING

KILLED = 9  # a wait status


# --- deaths ---------------------------------------------------------------------------------------


def test_a_run_whose_runner_dies_has_died_and_orders_behind_it_go_back(runners: Processes) -> None:
    fake, runner = runners.begin(81)
    runners.hand_out(82)
    os.write(fake.output, b"printed")
    runners.die(fake, runner, KILLED)
    [result] = runners.results
    assert (result.outcome, reason_of(runners)) == (Outcome.DIED, ReasonCode.RUNNER_DIED)
    assert "SIGKILL" in str(result.reason) and result.output == "printed"
    assert runners.outcomes(82) == [""]
    assert (runners.pool.runners, runners.pool.deaths) == ([], 1)
    assert ("KILL", runner.pid) in runners.signals, "its child processes"


def test_an_idle_runner_that_dies_leaves_nothing_to_report(runners: Processes) -> None:
    fake, runner = runners.start()
    runners.die(fake, runner)
    assert (runners.results, runners.unbegun, runners.pool.deaths) == ([], [], 0)
    assert runners.pool.runners == []
    assert runners.failures == []


def test_a_report_that_arrived_before_the_death_counts(runners: Processes) -> None:
    fake, runner = runners.begin(81)
    fake.report(81)
    runners.die(fake, runner)
    assert runners.outcomes(81) == [Outcome.COMPLETED]


def test_a_death_counts_also_while_a_child_process_holds_the_pipes_open(
    runners: Processes,
) -> None:
    _, runner = runners.begin(81)
    assert runner.pid is not None
    runners.pool._note_death(runner.pid, KILLED)
    runners.turn()
    assert runners.outcomes(81) == [Outcome.DIED]


def test_after_the_end_of_the_pipes_the_exit_status_is_awaited_for_a_moment(
    runners: Processes,
) -> None:
    fake, runner = runners.begin(81)
    fake.channel.abandon()
    runners.turn()
    assert (runners.results, runners.pool.takers()) == ([], 0)
    assert runners.pool.next_deadline() == pytest.approx(runners.clock.monotonic() + 0.02)
    runners.turn(0.9)
    assert runners.results == []
    runners.turn(0.1)
    assert runners.outcomes(81) == [Outcome.DIED]
    assert runner not in runners.pool.runners


def test_the_death_of_another_process_changes_nothing(runners: Processes) -> None:
    runners.begin(81)
    runners.pool._note_death(17, KILLED)
    runners.turn(5.0)
    assert (runners.results, len(runners.pool.runners)) == ([], 1)


def test_of_two_runs_that_were_begun_without_a_report_only_the_first_one_has_died(
    runners: Processes,
) -> None:
    fake, runner = runners.start()
    for run_id in (81, 82, 83):
        runners.hand_out(run_id)
    fake.begin()
    fake.begin()  # the report of the first one is lost
    runners.die(fake, runner)
    assert runners.outcomes(81) == [Outcome.DIED]
    assert runners.outcomes(82) == [Outcome.INTERRUPTED]
    assert runners.outcomes(83) == [""]


def test_a_runner_that_dies_before_it_is_ready_is_a_failed_start(runners: Processes) -> None:
    fake, runner = runners.join(is_ready=False)
    runner.pid = 1 << 30
    fake.channel.send(["boot_failed", "no module named x"])
    runners.turn()
    runners.die(fake, runner)
    assert runners.failures == ["no module named x"]
    assert runners.pool._spawner.next_at >= runners.clock.monotonic()


def test_a_runner_that_could_not_fork_is_a_failed_start_and_its_order_goes_back(
    runners: Processes,
) -> None:
    fake, runner = runners.start()
    runners.hand_out(81)
    os.write(fake.trace, b"no room for a process")
    runners.die(fake, runner, NO_PROCESS_CODE << 8)
    assert runners.failures == ["no room for a process"]
    assert runners.outcomes(81) == [""]


# --- starts ---------------------------------------------------------------------------------------


def test_as_many_runners_are_requested_as_there_are_slots(runners: Processes) -> None:
    forkserver = runners.connect_forkserver()
    runners.pool.staff(Settings(slots=3), spawns=False)
    runners.turn()
    assert forkserver.runners_requested() == 3
    runners.turn(1.0)
    assert forkserver.runners_requested() == 0
    assert len(runners.pool.runners) == 3
    forkserver.close()


def test_a_runner_that_died_is_replaced(runners: Processes) -> None:
    forkserver = runners.connect_forkserver()
    fake, runner = runners.start()
    runners.pool.staff(Settings(slots=1), spawns=False)
    runners.turn()
    assert forkserver.runners_requested() == 0
    runners.die(fake, runner)
    runners.turn()
    assert forkserver.runners_requested() == 1
    forkserver.close()


def test_a_runner_that_does_not_get_ready_in_time_is_ended(runners: Processes) -> None:
    _, runner = runners.join(is_ready=False)
    runner.pid = 1 << 30
    runners.turn(LOADING)
    assert runners.signals == []
    runners.turn(0.1)
    assert runners.signals == [("KILL", runner.pid)]
    assert len(runners.failures) == 1


def test_a_runner_that_loads_the_app_itself_describes_it(runners: Processes) -> None:
    fake, runner = runners.join(is_ready=False)
    fake.channel.send(["loaded", described("pay")])
    fake.channel.send(["ready", os.getpid()])
    for key, _ in runners.selector.select(0):
        key.data()
    news = runners.pool.news()
    assert (news.described, news.spawned) == ([(described("pay"), [])], 1)
    assert runner.ready


def test_a_runner_that_the_system_cannot_watch_is_ended_and_tried_again_later(
    runners: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def register(*_: object) -> None:
        raise OSError(28, "no space left")

    forkserver = runners.connect_forkserver()
    monkeypatch.setattr(runners.selector, "register", register)
    runners.pool.staff(Settings(slots=1), spawns=False)
    runners.turn()
    [runner] = runners.pool.runners
    assert runner.gone_since is not None
    assert len(runners.failures) == 1
    forkserver.close()


# --- retirement -----------------------------------------------------------------------------------


def test_a_runner_that_retires_gets_no_order_and_returns_those_it_has(runners: Processes) -> None:
    fake, _ = runners.begin(81)
    runners.hand_out(82)
    fake.report(81, retires=True)
    runners.turn()
    assert runners.outcomes(81) == [Outcome.COMPLETED]
    assert runners.outcomes(82) == [""]
    assert not runners.pool.hand_out(an_order(id=83, run_id=83))
    assert [order.run_id for order, _ in runners.retired] == [81]


def test_a_runner_that_retires_and_does_not_exit_is_ended(runners: Processes) -> None:
    fake, runner = runners.begin(81)
    fake.report(81, retires=True)
    runners.turn()
    runners.turn(LEAVING)
    assert runners.signals == []
    runners.turn(0.1)
    assert runners.signals == [("KILL", runner.pid)]


def test_a_runner_that_retires_is_replaced_at_once_but_few_may_be_exiting(
    runners: Processes,
) -> None:
    forkserver = runners.connect_forkserver()
    runners.pool.staff(Settings(slots=1), spawns=False)
    for number in range(LEAVING_AT_ONCE + 2):
        _, runner = runners.join()
        runner.retire(runners.clock.monotonic())
        runners.turn()
        asked = forkserver.runners_requested()
        for requested in [one for one in runners.pool.runners if not one.ready]:
            requested.close_files(runners.selector)  # `join` stands for it
            runners.pool.runners.remove(requested)
        assert asked == (1 if number < LEAVING_AT_ONCE else 0), number
    forkserver.close()


# --- reload, lease and forkserver -----------------------------------------------------------------


def test_after_a_reload_a_run_goes_on_and_its_runner_gets_no_other_order(
    runners: Processes,
) -> None:
    fake, _ = runners.begin(81)
    runners.hand_out(82)
    runners.pool._note_reload()
    runners.turn()
    assert runners.outcomes(82) == [""]
    assert not runners.pool.hand_out(an_order(id=83, run_id=83))
    assert runners.signals == []
    fake.report(81)
    runners.turn()
    assert runners.outcomes(81) == [Outcome.COMPLETED]


def test_the_runs_of_a_forkserver_that_is_gone_are_lost(runners: Processes) -> None:
    forkserver = runners.connect_forkserver()
    _, mine = runners.begin(81)
    _, other = runners.start()
    mine.home = runners.pool._spawner._forkserver
    forkserver.leave()
    runners.turn()
    assert runners.signals == [("KILL", mine.pid)]
    runners.turn(1.0)
    assert (runners.outcomes(81), reason_of(runners)) == ([Outcome.LOST], ReasonCode.SPAWNER_DIED)
    assert runners.pool.runners == [other]


def test_runs_that_the_forkserver_kills_after_the_lease_are_interrupted(
    runners: Processes,
) -> None:
    forkserver = runners.connect_forkserver()
    fake, first = runners.begin(81)
    _, second = runners.begin(82)
    fake.report(81)
    forkserver.say("lapsed", [first.pid, second.pid])
    runners.turn()
    runners.turn(1.0)
    assert runners.outcomes(81) == [Outcome.COMPLETED], "its report had arrived"
    assert runners.outcomes(82) == [Outcome.INTERRUPTED]
    assert reason_of(runners) == ReasonCode.LEASE_LOST
    assert runners.pool.runners == []
    forkserver.close()


def test_a_failed_report_of_a_run_with_a_lapsed_lease_keeps_its_outcome(runners: Processes) -> None:
    fake, runner = runners.begin(81)
    fake.report(81, outcome=OUTCOMES.index(Outcome.FAILED))
    assert runner.pid is not None
    runners.pool._note_lapse([runner.pid])
    runners.turn(1.0)
    assert runners.outcomes(81) == [Outcome.FAILED]


def test_progress_of_a_run_is_kept_for_its_end_and_that_of_another_is_ignored(
    runners: Processes,
) -> None:
    half = {"at": 1, "of": 2, "text": "half"}
    fake, runner = runners.begin(81)
    fake.channel.send(["progress", 81, half])
    fake.channel.send(["progress", 82, {"at": 2, "of": 2, "text": ""}])
    runners.turn()
    [run] = runners.pool.live_runs()
    assert (run.progress, run.progress_is_new) == (half, True)
    runners.die(fake, runner)
    assert runners.results[-1].progress == half
