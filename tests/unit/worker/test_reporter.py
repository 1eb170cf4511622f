"""Reporter: each report is stored once, a report that is held or refused stops no other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from support.fake_store import FakeStore
from support.logged_events import LoggedEvents
from support.makers import NINE, an_order

from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.core.reasons import Reason, ReasonCode, code_of
from plugin_scheduler.core.types import Outcome, Report
from plugin_scheduler.execution.live_run import Result
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.scheduling.state_machine import Move
from plugin_scheduler.store.metrics_buffer import Amount
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.held_rows import PATIENT
from plugin_scheduler.worker.large_results import Delivery
from plugin_scheduler.worker.outages import PAUSES
from plugin_scheduler.worker.reporter import LARGE_RESULT_EVERY, MANY, REFUSED_AGAIN, Reporter

AWAY = StoreUnavailable("away")


class FakeLargeResults:
    """Large results that are reported when the test says so."""

    def __init__(self) -> None:
        self.carried: list[Result] = []
        self.done: list[Delivery] = []

    @property
    def busy(self) -> bool:
        return bool(self.carried)

    def carry(self, result: Result) -> None:
        self.carried.append(result)

    def task_ids(self) -> list[int]:
        return [result.order.task.id for result in self.carried]

    def end(self, was_in_time: bool = True, instead: Result | None = None) -> None:
        self.done.append(Delivery(self.carried.pop(0), was_in_time, instead))

    def delivered(self) -> list[Delivery]:
        done, self.done = self.done, []
        return done


class Bench:
    """A reporter, and a database in which the rows of some runs are held or refuse a report."""

    def __init__(self) -> None:
        self.clock = TurnedClock(NINE)
        self.store, self.large_results = FakeStore(self.clock), FakeLargeResults()
        self.held: set[int] = set()
        self.refused: set[int] = set()
        self.refuses_all_of: set[int] = set()  # also the minimal report of a refused one
        self.moves: dict[int, Move | None] = {}
        self.stored: list[Report] = []
        self.store.answers["tasks.report"] = self.report
        self.store.answers["tasks.free"] = lambda orders: {one.run_id for one in orders} - self.held
        self.reporter = Reporter(
            cast(Any, self.store), cast(Any, self.large_results), "me", self.clock
        )

    def report(self, reports: list[Report], worker_name: str) -> list[Any]:
        assert worker_name == "me"
        runs = {one.order.run_id for one in reports}
        plain = {one.order.run_id for one in reports if code_of(one.reason) == REFUSED_CODE}
        if runs & self.held:
            raise Locked("held")
        if runs & (self.refused - plain | self.refuses_all_of):
            raise ValueError("refused")
        self.stored += reports
        return [(one, self.moves.get(one.order.run_id, Move("finish"))) for one in reports]

    def end(self, *runs: int, **parts: Any) -> None:
        """Let runs end."""
        values = {"outcome": Outcome.COMPLETED, "seconds": 0.5, "output": "", "result": "1"}
        results = [
            Result(an_order(id=run, run_id=run), **{**values, **parts})  # type: ignore[arg-type]
            for run in runs
        ]
        self.reporter.collect(News(results=results))

    def store_after(self, seconds: float = 0.0) -> list[int]:
        """Let the reporter store; return the runs that were stored."""
        self.clock.turn(seconds)
        before = len(self.stored)
        wrote = self.reporter.store()
        runs = [report.order.run_id for report in self.stored[before:]]
        assert wrote == bool(runs)
        return runs

    @property
    def tries(self) -> int:
        return len(self.store.named("tasks.report"))

    @property
    def next_in(self) -> float | None:
        deadline = self.reporter.next_deadline([])
        return None if deadline is None else deadline - self.clock.monotonic()


REFUSED_CODE = ReasonCode.REPORT_REFUSED


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- storing --------------------------------------------------------------------------------------


def test_all_reports_are_stored_in_one_transaction_in_the_order_of_the_ends(bench: Bench) -> None:
    bench.end(3, 1)
    bench.end(2)
    assert (bench.reporter.is_busy, bench.reporter.task_ids()) == (True, [3, 1, 2])
    assert bench.next_in == 0.0
    assert bench.store_after() == [3, 1, 2]
    assert bench.tries == 1
    assert (bench.reporter.is_busy, bench.reporter.task_ids(), bench.next_in) == (False, [], None)


def test_a_report_has_all_that_the_runner_told_and_the_time_of_the_database(bench: Bench) -> None:
    reason = Reason(ReasonCode.TIMEOUT, seconds=60)
    progress = {"at": 1, "of": 2, "text": "half"}
    parts = {"traceback": "t", "reason": reason, "progress": progress, "output": "printed"}
    bench.end(1, outcome=Outcome.TIMEOUT, result="[2]", **parts)
    bench.store_after()
    [report] = bench.stored
    assert (report.outcome, report.seconds, report.result) == (Outcome.TIMEOUT, 0.5, "[2]")
    assert (report.ended, report.traceback, report.output) == (NINE, "t", "printed")
    assert (report.reason, report.progress) == (reason, progress)


def test_without_results_the_database_is_left_alone(bench: Bench) -> None:
    assert bench.store_after() == []
    assert bench.store.calls == []


def test_reports_are_kept_during_an_outage(bench: Bench) -> None:
    bench.end(1, 2)
    bench.store.fail("tasks.report", AWAY)
    with pytest.raises(StoreUnavailable):
        bench.reporter.store()
    assert bench.next_in == 0.0
    assert bench.store_after() == [1, 2]


# --- held rows ------------------------------------------------------------------------------------


def test_a_row_that_is_held_keeps_no_other_report_from_being_stored(bench: Bench) -> None:
    bench.held = {2}
    bench.end(1, 2, 3)
    assert bench.store_after() == [1, 3]
    assert bench.reporter.refused == ["run 2 of task 2 send_mail"]
    assert bench.reporter.task_ids() == [2]


def test_a_held_row_is_tried_again_with_growing_pauses(bench: Bench) -> None:
    bench.held = {1}
    bench.end(1)
    for pause in PAUSES[:PATIENT]:
        assert bench.store_after() == []
        assert bench.next_in == pytest.approx(pause)
        tries = bench.tries
        assert bench.store_after(pause / 2) == [] and bench.tries == tries
        bench.clock.turn(pause / 2 + 0.001)
    bench.held = set()
    assert bench.store_after() == [1]
    assert bench.reporter.refused == []


def test_a_row_that_is_held_again_and_again_is_tried_alone_so_that_the_database_waits_for_it(
    bench: Bench,
) -> None:
    bench.held = {1}
    bench.end(1)
    for pause in (0.0, *PAUSES[:PATIENT]):
        bench.store_after(pause + 0.001)
    bench.end(2, 3)
    bench.held = set()
    before = bench.tries
    bench.store_after(PAUSES[PATIENT] + 0.001)
    calls = bench.store.named("tasks.report")[before:]
    runs = [[one.order.run_id for one in call.arguments["reports"]] for call in calls]
    assert runs == [[1], [2, 3]]


def test_new_reports_do_not_wait_for_the_pause_of_a_held_one(bench: Bench) -> None:
    bench.held = {1}
    bench.end(1)
    bench.store_after()
    bench.end(2)
    assert bench.store_after() == [2]


def test_rows_that_were_locked_since_the_check_are_all_tried_again(bench: Bench) -> None:
    bench.end(1, 2)
    bench.store.fail("tasks.report", Locked("held"), Locked("held"))
    assert bench.store_after() == []
    assert bench.next_in == pytest.approx(PAUSES[0])
    assert bench.store_after(PAUSES[0] + 0.001) == [1, 2]


# --- refused reports ------------------------------------------------------------------------------


def test_a_report_that_the_database_refuses_fails_its_run_and_stops_no_other(bench: Bench) -> None:
    bench.refused = {2}
    bench.end(1, 2, 3)
    assert bench.store_after() == [1, 2, 3]
    failed = bench.stored[1]
    assert (failed.outcome, failed.result) == (Outcome.FAILED, None)
    assert code_of(failed.reason) == REFUSED_CODE and "refused" in str(failed.reason)
    assert bench.next_in is None


def test_a_run_that_takes_no_report_at_all_is_tried_again_after_a_long_pause_and_logged_once(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.refuses_all_of = {2}
    bench.end(1, 2, 3)
    assert bench.store_after() == [1, 3]
    assert bench.next_in == pytest.approx(REFUSED_AGAIN)
    assert bench.reporter.refused == ["run 2 of task 2 send_mail"]
    assert bench.store_after(REFUSED_AGAIN) == []
    [facts] = logged.of("report_refused")
    assert (facts["run"], facts["seconds"]) == (2, REFUSED_AGAIN)
    bench.refuses_all_of = set()
    assert bench.store_after(REFUSED_AGAIN) == [2]
    assert bench.reporter.refused == []


def test_an_outage_between_single_reports_keeps_those_that_were_stored(bench: Bench) -> None:
    bench.refused = {2}
    bench.end(1, 2, 3)
    single: list[int] = []

    def report(reports: list[Report], worker_name: str) -> list[Any]:
        if len(reports) == 1:
            single.append(reports[0].order.run_id)
            if single == [1, 2]:
                raise AWAY
        return Bench.report(bench, reports, worker_name)

    bench.store.answers["tasks.report"] = report
    assert bench.store_after() == [1]
    assert bench.reporter.task_ids() == [2, 3]


def test_an_outage_at_the_first_single_report_is_raised(bench: Bench) -> None:
    bench.end(1, 2)
    bench.store.fail("tasks.report", ValueError("refused"), AWAY)
    with pytest.raises(StoreUnavailable):
        bench.reporter.store()
    assert bench.reporter.task_ids() == [1, 2]


@pytest.mark.parametrize("first", ["held", "refused"])
def test_a_held_row_beside_a_refused_report_keeps_no_other_waiting(
    bench: Bench, first: str
) -> None:
    def report(reports: list[Report], worker_name: str) -> list[Any]:
        runs = {one.order.run_id for one in reports}
        errors: dict[str, Callable[[], Exception]] = {
            "held": lambda: Locked("held"),
            "refused": lambda: ValueError("refused"),
        }
        if runs >= {1, 2}:
            raise errors[first]()
        return Bench.report(bench, reports, worker_name)

    bench.held, bench.refuses_all_of = {1}, {2}
    bench.store.answers["tasks.report"] = report
    bench.end(1, 2, 3)
    assert bench.store_after() == [3]
    assert bench.store_after() == [], "the others are put off"


# --- large results --------------------------------------------------------------------------------


def test_a_large_result_goes_to_a_process_of_its_own(bench: Bench) -> None:
    bench.end(1, result=None, result_file=object())
    bench.end(2)
    assert [result.order.run_id for result in bench.large_results.carried] == [1]
    assert bench.store_after() == [2]
    assert (bench.reporter.is_busy, bench.reporter.task_ids()) == (True, [1])
    assert bench.next_in == pytest.approx(LARGE_RESULT_EVERY)


def test_a_large_result_that_was_stored_is_counted_and_logged(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.end(1, result=None, result_file=object())
    bench.large_results.end()
    bench.reporter.collect(News())
    assert (bench.reporter.is_busy, bench.reporter.about()["total"]) == (False, 1)
    assert [facts["run"] for facts in logged.of("run_completed")] == [1]
    bench.reporter.store_counts()
    assert [amount.completed for amount in written(bench)] == [1]


def test_a_large_result_that_came_too_late_is_logged_and_not_counted(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.end(1, result=None, result_file=object())
    bench.large_results.end(was_in_time=False)
    bench.reporter.collect(News())
    assert [facts["run"] for facts in logged.of("report_dropped")] == [1]
    bench.reporter.store_counts()
    assert written(bench) == []


def test_a_large_result_that_cannot_be_stored_is_reported_as_a_failure(bench: Bench) -> None:
    bench.end(1, result=None, result_file=object())
    failed = Result(an_order(id=1, run_id=1), Outcome.FAILED, 0.5, "")
    bench.large_results.end(instead=failed)
    bench.reporter.collect(News())
    assert bench.reporter.about()["total"] == 0
    assert bench.store_after() == [1]
    assert bench.stored[0].outcome == Outcome.FAILED


# --- counts and log -------------------------------------------------------------------------------


def written(bench: Bench) -> list[Amount]:
    """Return the amounts of the last write of counts."""
    calls = bench.store.named("metrics.write")
    return list(calls[-1].arguments["amounts"].values()) if calls else []


def test_ends_are_counted_and_counts_that_cannot_be_stored_are_kept(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.moves = {3: None}
    bench.end(1, 3)
    bench.end(2, outcome=Outcome.FAILED)
    bench.store_after()
    bench.store.fail("metrics.write", ValueError("full"), ValueError("full"), AWAY)
    for _ in range(3):
        bench.reporter.keep_counts()
    assert len(logged.of("counts_refused")) == 2, "once for each answer"
    bench.reporter.keep_counts()
    [amount] = written(bench)
    assert (amount.completed, amount.failed) == (1, 1)
    writes = len(bench.store.named("metrics.write"))
    bench.reporter.keep_counts()
    assert len(bench.store.named("metrics.write")) == writes, "nothing is new"


def test_what_an_earlier_worker_of_this_name_has_counted_is_added(bench: Bench) -> None:
    bench.store.answers["metrics.of"] = lambda worker_name, kinds: {
        kind: Amount(completed=10) for kind in kinds
    }
    bench.end(1)
    bench.store_after()
    bench.reporter.keep_counts()
    assert [amount.completed for amount in written(bench)] == [11]


@pytest.mark.parametrize(
    ("outcome", "move", "event", "errors"),
    [
        (Outcome.COMPLETED, Move("finish"), "run_completed", 0),
        (Outcome.COMPLETED, Move("repeat"), "run_repeats", 0),
        (Outcome.FAILED, Move("fail"), "run_failed", 1),
        (Outcome.COMPLETED, None, "report_dropped", 0),
    ],
)
def test_each_end_is_logged_as_what_it_is(
    bench: Bench, logged: LoggedEvents, outcome: str, move: Move | None, event: str, errors: int
) -> None:
    bench.moves = {1: move}
    bench.end(1, outcome=outcome)
    bench.store_after()
    assert logged.names == [event]
    about = bench.reporter.about()
    assert (about["total"], about["errors"]) == (1, errors)


def test_many_completed_runs_share_a_line_and_the_others_have_their_own(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.moves = {1: None, 2: Move("fail")}
    bench.end(1)
    bench.end(2, outcome=Outcome.FAILED)
    bench.end(*range(3, MANY + 1))
    bench.store_after()
    assert sorted(logged.names) == ["report_dropped", "run_failed", "runs_completed"]
    [facts] = logged.of("runs_completed")
    assert (facts["count"], facts["first"]) == (MANY - 2, "3 send_mail")
    assert bench.reporter.about()["total"] == MANY


def test_fewer_completed_runs_have_a_line_each(bench: Bench, logged: LoggedEvents) -> None:
    bench.end(*range(1, MANY))
    bench.store_after()
    assert logged.names == ["run_completed"] * (MANY - 1)


def test_a_failure_to_start_runners_is_shown_until_a_runner_starts(bench: Bench) -> None:
    bench.reporter.collect(News(boot_failures=["no module named x"]))
    about = bench.reporter.about()
    assert (about["boot_error"], about["boot_errors"]) == ("no module named x", 1)
    bench.reporter.collect(News(spawned=1))
    about = bench.reporter.about()
    assert (about["boot_error"], about["boot_errors"]) == (None, 1)
