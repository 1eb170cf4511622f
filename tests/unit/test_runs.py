"""A run between its order and its result."""

from __future__ import annotations

from typing import Any

import pytest
from makers import an_order

from plugin_scheduler.records import Outcome
from plugin_scheduler.runs import LiveRun, last_dump
from plugin_scheduler.settings import Settings

BEGAN = 1000.0


def a_run(**columns: Any) -> LiveRun:
    return LiveRun(an_order(**columns), Settings(kill_grace=2), BEGAN)


def ended(run: LiveRun, outcome: str, **payload: Any) -> LiveRun:
    run.reported(outcome, {"seconds": 1.5, **payload}, 0.0)
    run.output_complete = True
    return run


def test_a_run_is_complete_when_both_its_report_and_the_end_of_its_output_are_here() -> None:
    run = a_run()
    run.reported(Outcome.COMPLETED, {}, 0.0)
    assert not run.is_complete
    run.output_complete = True
    assert run.is_complete


def test_a_result_holds_what_the_runner_told_and_what_was_printed() -> None:
    run = a_run()
    run.output.write(b"hello\n")
    run.progressed({"at": 3, "of": 10, "text": ""})
    result = ended(run, Outcome.COMPLETED, result="[7]").result()
    assert (result.outcome, result.seconds, result.result) == (Outcome.COMPLETED, 1.5, "[7]")
    assert (result.output, result.progress) == ("hello\n", {"at": 3, "of": 10, "text": ""})
    assert (result.order, result.reason, result.traceback) == (run.order, None, None)


def test_the_last_progress_is_the_one_in_the_report() -> None:
    run = a_run()
    run.progressed({"at": 3})
    assert ended(run, Outcome.COMPLETED, progress={"at": 10}).result().progress == {"at": 10}


def test_a_run_is_overdue_at_its_timeout_unless_it_reported_or_is_being_ended() -> None:
    run = a_run(timeout=60)
    assert [run.is_overdue(BEGAN + seconds) for seconds in (59.9, 60)] == [False, True]
    run.end_as(Outcome.TIMEOUT, "took longer than 60 s", BEGAN + 60)
    assert not run.is_overdue(BEGAN + 61)
    done = a_run(timeout=60)
    done.reported(Outcome.COMPLETED, {}, BEGAN + 1)
    assert not done.is_overdue(BEGAN + 61)


def test_a_run_whose_output_is_never_closed_is_over_two_seconds_after_its_report() -> None:
    run = a_run()
    run.reported(Outcome.COMPLETED, {}, BEGAN + 1)
    assert run.next_deadline() == BEGAN + 3
    assert [run.lacks_its_mark(BEGAN + seconds) for seconds in (2.9, 3)] == [False, True]
    run.output_complete = True
    assert not run.lacks_its_mark(BEGAN + 3)


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
    result = ended(run, Outcome.STOPPED, traceback="where it was").result()
    assert (result.outcome, result.reason) == (Outcome.TIMEOUT, "took longer than 60 s")
    assert result.traceback == "where it was"


def test_what_a_run_raised_on_its_way_out_does_not_hide_that_it_was_ended() -> None:
    run = a_run()
    run.end_as(Outcome.STOPPED, "stopped on request", BEGAN)
    result = ended(run, Outcome.FAILED, reason="ValueError: x").result()
    assert (result.outcome, result.reason) == (Outcome.STOPPED, "stopped on request")


def test_a_run_that_completed_just_before_it_was_ended_did_its_work() -> None:
    run = a_run()
    run.end_as(Outcome.TIMEOUT, "took longer than 60 s", BEGAN + 60)
    result = ended(run, Outcome.COMPLETED, result="1").result()
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
    assert result.traceback == "It was stuck here; Current thread 0x1:\n  File x"


def test_a_report_that_was_sent_before_the_runner_died_counts() -> None:
    run = a_run()
    run.reported(Outcome.COMPLETED, {"seconds": 1.5, "result": "1"}, 0.0)
    assert run.died("killed by signal SIGKILL", "", BEGAN + 3).outcome == Outcome.COMPLETED


@pytest.mark.parametrize(
    ("trace", "dump"),
    [
        ("", ""),
        (" Fatal error \n", "Fatal error"),
        (
            "Current thread 1\nold\nCurrent thread 1\nnew\n",
            "It was stuck here; Current thread 1\nnew",
        ),
    ],
)
def test_of_several_stack_dumps_the_newest_is_shown(trace: str, dump: str) -> None:
    assert last_dump(trace) == dump
