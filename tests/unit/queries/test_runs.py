"""A run between its order and its result."""

from __future__ import annotations

from typing import Any

import pytest
from support.makers import an_order

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import OUTCOMES, Outcome
from plugin_scheduler.execution.live_run import LiveRun, Result, last_dump, result_of
from plugin_scheduler.execution.mailbox import PackedReport
from plugin_scheduler.execution.output_buffer import OutputBuffer

BEGAN = 1000.0


def a_run(**columns: Any) -> LiveRun:
    return LiveRun(an_order(**columns), Settings(kill_grace=2), BEGAN, OutputBuffer(1000))


def ended(run: LiveRun, outcome: str, result: str | None = None, **rest: Any) -> Result:
    """What becomes of it with such a report."""
    number, run_id = OUTCOMES.index(outcome), run.order.run_id
    told = PackedReport(run_id, number, BEGAN, 1.5, True, False, result, rest)
    return result_of(run.order, told, run.output.text(), run)


def test_a_result_holds_what_the_runner_told_and_what_was_printed() -> None:
    run = a_run()
    run.output.write(b"hello\n")
    run.progressed({"at": 3, "of": 10, "text": ""})
    result = ended(run, Outcome.COMPLETED, result="[7]")
    assert (result.outcome, result.seconds, result.result) == (Outcome.COMPLETED, 1.5, "[7]")
    assert (result.output, result.progress) == ("hello\n", {"at": 3, "of": 10, "text": ""})
    assert (result.order, result.reason, result.traceback) == (run.order, None, None)


def test_the_last_progress_is_the_one_in_the_report() -> None:
    run = a_run()
    run.progressed({"at": 3})
    assert ended(run, Outcome.COMPLETED, progress={"at": 10}).progress == {"at": 10}


def test_a_run_is_overdue_at_its_timeout_unless_it_is_being_ended() -> None:
    run = a_run(timeout=60)
    assert [run.is_overdue(BEGAN + seconds) for seconds in (59.9, 60)] == [False, True]
    run.end_as(Outcome.TIMEOUT, "took longer than 60 s", BEGAN + 60)
    assert not run.is_overdue(BEGAN + 61)


def test_who_does_not_listen_has_two_more_seconds() -> None:
    run = a_run(timeout=60)
    assert run.next_deadline() == BEGAN + 60
    run.end_as(Outcome.STOPPED, "stopped on request", BEGAN + 5)
    assert run.next_deadline() == BEGAN + 7
    assert [run.grace_is_over(BEGAN + seconds) for seconds in (6.9, 7)] == [False, True]


def test_the_first_reason_to_end_a_run_counts() -> None:
    run = a_run()
    run.end_as(Outcome.TIMEOUT, "took longer than 60 s", BEGAN + 60)
    run.end_as(Outcome.STOPPED, "stopped on request", BEGAN + 61)
    result = ended(run, Outcome.STOPPED, traceback="where it was")
    assert (result.outcome, result.reason) == (Outcome.TIMEOUT, "took longer than 60 s")
    assert result.traceback == "where it was"


def test_what_a_run_raised_on_its_way_out_does_not_hide_that_it_was_ended() -> None:
    run = a_run()
    run.end_as(Outcome.STOPPED, "stopped on request", BEGAN)
    result = ended(run, Outcome.FAILED, reason="ValueError: x")
    assert (result.outcome, result.reason) == (Outcome.STOPPED, "stopped on request")


def test_a_run_that_completed_just_before_it_was_ended_did_its_work() -> None:
    run = a_run()
    run.end_as(Outcome.TIMEOUT, "took longer than 60 s", BEGAN + 60)
    result = ended(run, Outcome.COMPLETED, result="1")
    assert (result.outcome, result.reason, result.result) == (Outcome.COMPLETED, None, "1")


def test_a_run_whose_runner_died_says_how_and_keeps_its_output() -> None:
    run = a_run()
    run.output.write(b"so far")
    result = run.died("killed by signal SIGSEGV", "", BEGAN + 3)
    assert (result.outcome, result.reason) == (
        Outcome.DIED,
        "its runner died: killed by signal SIGSEGV",
    )
    assert (result.seconds, result.output, result.traceback) == (3, "so far", None)


def test_a_run_that_was_killed_is_what_it_was_killed_for_with_where_it_was_stuck() -> None:
    run = a_run()
    run.end_as(Outcome.TIMEOUT, "took longer than 60 s", BEGAN + 60)
    result = run.died("killed by signal SIGKILL", "Current thread 0x1:\n  File x", BEGAN + 62)
    assert (result.outcome, result.reason) == (Outcome.TIMEOUT, "took longer than 60 s")
    assert result.traceback == "Position when killed; Current thread 0x1:\n  File x"


def test_a_run_that_nobody_saw_at_work_is_what_its_report_says() -> None:
    order = an_order()
    told = PackedReport(
        order.run_id, OUTCOMES.index("FAILED"), BEGAN, 0.1, False, False, None, {"reason": "x"}
    )
    result = result_of(order, told, "", None)
    assert (result.outcome, result.reason, result.seconds) == (Outcome.FAILED, "x", 0.1)


@pytest.mark.parametrize(
    ("trace", "dump"),
    [
        ("", ""),
        (" Fatal error \n", "Fatal error"),
        (
            "Current thread 1\nold\nCurrent thread 1\nnew\n",
            "Position when killed; Current thread 1\nnew",
        ),
    ],
)
def test_of_several_stack_dumps_the_newest_is_shown(trace: str, dump: str) -> None:
    assert last_dump(trace) == dump
