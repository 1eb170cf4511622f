"""What follows from the end of a run: the whole table, without a database."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.makers import NINE, a_task

from plugin_scheduler.core.reasons import REASON_LIMIT, short
from plugin_scheduler.core.types import OnFailure, Outcome, RunStatus, Task, TaskStatus
from plugin_scheduler.scheduling.state_machine import MOVES, Move, after_fan_out, decide

OUTCOMES = tuple(Outcome.RUN_STATUS)
REPEATS = (0, 1, 3)
RETRIES = (0, 2, -1)
STOP_TIMES = (None, NINE + timedelta(seconds=30), NINE + timedelta(days=1))
MINUTE = timedelta(seconds=60)

TABLE = list(product(OUTCOMES, REPEATS, RETRIES, OnFailure.ALL, STOP_TIMES))


def after(outcome: str, started: datetime = NINE, **columns: Any) -> Move:
    return decide(a_task(**columns), outcome, started=started, reason="because")


def applied(task: Task, move: Move) -> Task:
    """The row as the store leaves it."""
    known = {name: value for name, value in move.changes.items() if name in Task._fields}
    return task._replace(status=move.target, **known)


# --- the moves themselves ------------------------------------------------------------------------


def test_every_status_can_be_reached_and_every_move_begins_and_ends_at_a_known_status() -> None:
    for name, rule in MOVES.items():
        assert rule.name == name
        assert rule.target in TaskStatus.ALL and set(rule.sources) <= set(TaskStatus.ALL)
        assert rule.who and rule.guard
    of_web2py = TaskStatus.ASSIGNED  # its workers claim first; ours take it in one step
    assert {rule.target for rule in MOVES.values()} | {of_web2py} == set(TaskStatus.ALL)


def test_an_ended_task_moves_only_when_a_person_asks() -> None:
    leaving = [rule for rule in MOVES.values() if set(rule.sources) & set(TaskStatus.ENDED)]
    assert [rule.who for rule in leaving] == ["api"]


def test_only_a_running_task_completes_fails_or_times_out() -> None:
    ends, by_rule = (TaskStatus.FAILED, TaskStatus.TIMEOUT), ("condemn", "give_up")
    rules = [rule for rule in MOVES.values() if rule.target in ends and rule.name not in by_rule]
    assert {rule.sources for rule in rules} == {("RUNNING",)}


def test_every_outcome_has_a_run_status() -> None:
    assert set(Outcome.RUN_STATUS.values()) <= set(RunStatus.ALL) - {RunStatus.RUNNING}


# --- the whole table -----------------------------------------------------------------------------


def expected(outcome: str, repeats: int, retry: int, on_failure: str, stop: Any) -> str:
    """The same rules in other words: for a first run, that began at 9:00 with a period of 60 s."""
    last = repeats == 1
    if outcome == "COMPLETED":
        if last:
            return "finish"
        return "outlive" if stop is not None and stop < NINE + MINUTE else "repeat"
    fixed = {"STOPPED": "stop_run", "INTERRUPTED": "interrupt", "LOST": "requeue"}
    if outcome in fixed:
        return fixed[outcome]
    if retry != 0:
        return "retry"
    if on_failure == "continue" and not last:
        return "carry_on"
    return "time_out" if outcome == "TIMEOUT" else "fail"


@pytest.mark.parametrize(("outcome", "repeats", "retry", "on_failure", "stop"), TABLE)
def test_the_first_run_is_followed_by_what_the_table_says(
    outcome: str, repeats: int, retry: int, on_failure: str, stop: datetime | None
) -> None:
    move = after(
        outcome, repeats=repeats, retry_failed=retry, on_failure=on_failure, stop_time=stop
    )
    assert move.name == expected(outcome, repeats, retry, on_failure, stop)
    assert TaskStatus.RUNNING in move.rule.sources


@given(
    outcome=st.sampled_from(OUTCOMES),
    repeats=st.integers(0, 5),
    retry=st.integers(-1, 5),
    on_failure=st.sampled_from(OnFailure.ALL),
    counts=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    period=st.sampled_from([0, 60, 10**9, 10**12, 10**18]),
    stop=st.sampled_from(STOP_TIMES),
    cronline=st.sampled_from([None, "0 9 * * *", "@reboot"]),
    only_worker=st.sampled_from([None, "web1#4711"]),
)
def test_whatever_a_row_holds_the_decided_move_is_legal_and_says_where_the_task_stands(
    outcome: str,
    repeats: int,
    retry: int,
    on_failure: str,
    counts: tuple[int, int, int],
    period: int,
    stop: datetime | None,
    cronline: str | None,
    only_worker: str | None,
) -> None:
    run, failed, lost = counts
    task = a_task(
        repeats=repeats,
        retry_failed=retry,
        on_failure=on_failure,
        times_run=run,
        times_failed=failed,
        times_lost=lost,
        period=period,
        stop_time=stop,
        cronline=cronline,
        only_worker=only_worker,
    )
    move = decide(task, outcome, started=NINE)
    assert TaskStatus.RUNNING in move.rule.sources
    then = applied(task, move)
    assert then.times_run - run in (0, 1)
    if move.target == TaskStatus.QUEUED:
        assert then.assigned_worker_name == ""
        assert then.next_run_time is not None
    if move.unblocks:
        assert outcome == Outcome.COMPLETED


# --- success --------------------------------------------------------------------------------------


def test_a_success_counts_the_run_and_forgets_failures_losses_and_reason() -> None:
    move = after(Outcome.COMPLETED, times_run=4, times_failed=2, times_lost=1)
    wanted = {"times_run": 5, "times_failed": 0, "times_lost": 0, "reason": None}
    assert dict(move.changes) == wanted


def test_a_repeating_task_is_due_a_period_after_the_start_of_its_run() -> None:
    move = after(Outcome.COMPLETED, repeats=0, period=90, started=NINE + MINUTE)
    assert move.changes["next_run_time"] == NINE + timedelta(seconds=150)
    assert move.changes["assigned_worker_name"] == ""


def test_the_last_of_three_repeats_finishes_and_keeps_its_owner_and_its_time() -> None:
    names = [after(Outcome.COMPLETED, repeats=3, times_run=n).name for n in range(3)]
    assert names == ["repeat", "repeat", "finish"]
    assert "next_run_time" not in after(Outcome.COMPLETED, repeats=3, times_run=2).changes


def test_a_next_run_exactly_at_stop_time_is_queued_as_in_web2py() -> None:
    assert after(Outcome.COMPLETED, repeats=0, stop_time=NINE + MINUTE).name == "repeat"


def test_a_task_that_outlives_its_stop_time_says_so_and_unblocks_what_waits() -> None:
    move = after(Outcome.COMPLETED, repeats=0, stop_time=NINE + timedelta(seconds=59))
    assert (move.target, move.unblocks) == (TaskStatus.EXPIRED, True)
    assert move.reason == "its next run would be after its stop_time"
    assert move.changes["times_run"] == 1


def test_a_cron_line_names_the_next_minute() -> None:
    move = after(Outcome.COMPLETED, repeats=0, cronline="*/15 * * * *")
    assert move.changes["next_run_time"] == NINE + timedelta(minutes=15)


# --- failure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMEOUT, Outcome.DIED])
def test_two_retries_are_two_and_the_counter_tells_them(outcome: str) -> None:
    moves = [after(outcome, retry_failed=2, times_failed=n) for n in range(3)]
    last = "time_out" if outcome == Outcome.TIMEOUT else "fail"
    assert [move.name for move in moves] == ["retry", "retry", last]
    assert [move.changes["times_failed"] for move in moves] == [1, 2, 3]
    assert {move.reason for move in moves} == {"because"}
    assert {move.changes["next_run_time"] for move in moves} == {NINE + MINUTE}
    assert all("times_run" not in move.changes for move in moves)


def test_a_task_that_continues_uses_up_the_occurrence_and_starts_to_count_anew() -> None:
    move = after(Outcome.FAILED, repeats=3, retry_failed=2, times_failed=2, on_failure="continue")
    assert move.name == "carry_on"
    assert (move.changes["times_run"], move.changes["times_failed"]) == (1, 0)
    assert not move.unblocks


def test_the_last_occurrence_of_a_task_that_continues_fails_like_any_other() -> None:
    assert after(Outcome.FAILED, repeats=3, times_run=2, on_failure="continue").name == "fail"


@pytest.mark.parametrize(
    ("repeats", "retry", "on_failure"), list(product((1, 2, 7), (0, 1, 4), OnFailure.ALL))
)
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMEOUT, Outcome.DIED])
def test_a_finite_task_that_always_fails_comes_to_rest(
    outcome: str, repeats: int, retry: int, on_failure: str
) -> None:
    task = a_task(repeats=repeats, retry_failed=retry, on_failure=on_failure)
    attempts = 0
    while task.status not in TaskStatus.ENDED:
        task = applied(task, decide(task, outcome, started=NINE))
        attempts += 1
        assert attempts <= repeats * (retry + 1)
    occurrences = repeats if on_failure == OnFailure.CONTINUE else 1
    assert attempts == occurrences * (retry + 1)
    assert task.status in TaskStatus.ENDED_BADLY


# --- losses, stops, interruptions -----------------------------------------------------------------


def test_a_task_whose_workers_die_under_it_is_given_back_twice_and_fails_the_third_time() -> None:
    moves = [decide(a_task(times_lost=n), Outcome.LOST, started=NINE) for n in range(3)]
    assert [move.name for move in moves] == ["requeue", "requeue", "fail"]
    assert [move.changes["times_lost"] for move in moves] == [1, 2, 3]
    assert moves[2].reason == "its worker died 3 times"
    assert "times_failed" not in moves[0].changes and "next_run_time" not in moves[0].changes


def test_how_many_losses_are_too_many_is_an_option() -> None:
    names = [decide(a_task(), Outcome.LOST, started=NINE, max_losses=n).name for n in (1, 2)]
    assert names == ["fail", "requeue"]


def test_a_loss_is_no_failure_so_retries_do_not_help() -> None:
    move = decide(a_task(times_lost=2, retry_failed=-1), Outcome.LOST, started=NINE)
    assert move.name == "fail"


def test_what_was_meant_for_one_worker_alone_fails_with_it() -> None:
    move = decide(a_task(only_worker="web2#1"), Outcome.LOST, started=NINE)
    assert (move.name, move.reason) == ("fail", "its worker web2#1 died")


def test_a_stopped_task_is_disabled_whatever_its_schedule_says() -> None:
    move = decide(a_task(repeats=0, retry_failed=-1), Outcome.STOPPED, started=NINE)
    assert (move.target, move.reason, dict(move.changes)) == (
        TaskStatus.STOPPED,
        "stopped on request",
        {"enabled": False},
    )


def test_an_interrupted_task_is_given_back_and_nothing_is_counted() -> None:
    move = after(Outcome.INTERRUPTED, times_lost=2, times_failed=1)
    assert (move.target, move.reason) == (TaskStatus.QUEUED, "because")
    assert dict(move.changes) == {"assigned_worker_name": ""}


# --- rows edited by hand --------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.FAILED])
@pytest.mark.parametrize("columns", [{"cronline": "61 * * * *"}, {"period": 10**12}])
def test_a_schedule_without_a_next_time_ends_the_task_and_not_the_worker(
    outcome: str, columns: dict[str, Any]
) -> None:
    move = after(outcome, repeats=0, **columns)
    assert move.target == TaskStatus.FAILED
    assert str(move.reason).startswith("its next run time cannot be computed: ")


# --- broadcasts -----------------------------------------------------------------------------------


def test_a_broadcast_is_done_with_its_last_copies_and_waits_for_the_next_before() -> None:
    last = after_fan_out(a_task(status="QUEUED", repeats=1), NINE)
    assert (last.name, "next_run_time" in last.changes) == ("fan_out_last", False)
    more = after_fan_out(a_task(status="QUEUED", repeats=2), NINE)
    assert (more.name, more.changes["next_run_time"]) == ("fan_out", NINE + MINUTE)
    for move in (last, more):
        assert TaskStatus.QUEUED in move.rule.sources
        assert (move.changes["times_run"], move.changes["last_run_time"]) == (1, NINE)


def test_a_broadcast_without_a_next_time_is_stopped_with_the_reason() -> None:
    move = after_fan_out(a_task(status="QUEUED", repeats=0, cronline="@reboot"), NINE)
    assert move.target == TaskStatus.STOPPED and TaskStatus.QUEUED in move.rule.sources
    assert "@reboot" in move.changes["reason"]


# --- reasons --------------------------------------------------------------------------------------


def test_a_reason_is_cut_to_what_its_column_holds() -> None:
    assert short(None) is None
    assert short("x" * REASON_LIMIT) == "x" * REASON_LIMIT
    cut = short("x" * (REASON_LIMIT + 1))
    assert cut is not None and len(cut) == REASON_LIMIT and cut.endswith("x...")


def test_a_task_that_was_asked_to_stop_does_not_go_on_though_its_run_ended_by_itself() -> None:
    for outcome in (Outcome.COMPLETED, Outcome.FAILED, Outcome.LOST, Outcome.INTERRUPTED):
        task = a_task(repeats=0, retry_failed=-1)
        move = decide(task, outcome, started=datetime(2026, 1, 31, 4, 30), stop_requested=True)
        assert (move.name, move.changes["enabled"]) == ("stop_run", False)
    done = decide(a_task(), Outcome.COMPLETED, started=datetime(2026, 1, 31), stop_requested=True)
    assert done.name == "finish"
