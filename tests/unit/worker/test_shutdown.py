"""Signals, orders and idleness: what makes a worker leave, when, and with which exit code."""

from __future__ import annotations

import signal
from typing import Any, cast

import pytest
from support.makers import NINE

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Outcome
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.shutdown import LAST_WORDS, Shutdown

TERM, INT = signal.SIGTERM, signal.SIGINT
W = "web1#4711"


class RecordingPool:
    """A pool with so many runs at work, that notes what it was asked to end."""

    def __init__(self) -> None:
        self.running = 0
        self.ends: list[tuple[str, str]] = []

    def live_runs(self) -> list[int]:
        return list(range(self.running))

    def kill_all_runs(self, outcome: str, reason: str) -> None:
        self.ends.append((outcome, reason))
        self.running = 0


class Bench:
    """A worker's staying, its clock and its pool."""

    def __init__(self, **options: Any) -> None:
        self.clock, self.pool = TurnedClock(NINE), RecordingPool()
        self.staying = Shutdown(Settings(**options), self.clock)

    def signal(self, *numbers: int) -> None:
        self.staying.heed(numbers, cast(Pool, self.pool), W)

    def order(self, status: str) -> None:
        self.staying.follow(status, cast(Pool, self.pool), W)

    def wait(self, seconds: float) -> None:
        self.clock.turn(seconds)
        self.staying.enforce(cast(Pool, self.pool))

    def left_with(self, busy: bool = False) -> int | None:
        """Its exit code; None while it stays."""
        return self.staying.exit_code if self.staying.is_over(busy) else None

    @property
    def due_in(self) -> float | None:
        deadline = self.staying.deadline
        return None if deadline is None else deadline - self.clock.monotonic()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_new_worker_takes_work_and_stays(bench: Bench) -> None:
    assert bench.staying.takes_work
    assert bench.left_with() is None
    assert bench.due_in is None
    assert [bench.staying.words(running) for running in (False, True)] == ["ACTIVE", "RUNNING"]


# --- signals --------------------------------------------------------------------------------------


def test_sigterm_lets_runs_finish_and_then_the_worker_leaves_as_told(bench: Bench) -> None:
    bench.pool.running = 1
    bench.signal(TERM)
    assert not bench.staying.takes_work
    assert bench.staying.words(True) == "TERMINATE"
    assert (bench.left_with(busy=True), bench.due_in) == (None, 30)
    bench.wait(29.9)
    assert bench.left_with(busy=False) == 0
    assert bench.pool.ends == []


def test_when_the_grace_is_over_runs_are_given_back_and_the_exit_code_says_so(bench: Bench) -> None:
    bench.pool.running = 2
    bench.signal(TERM)
    bench.wait(30)
    reason = "its worker stopped (SIGTERM, and the grace period has ended)"
    assert bench.pool.ends == [(Outcome.INTERRUPTED, reason)]
    assert bench.left_with(busy=True) is None
    assert bench.left_with(busy=False) == 143


def test_a_grace_that_is_over_with_nothing_running_does_not_wait_for_a_database_for_ever(
    bench: Bench,
) -> None:
    bench.signal(TERM)
    bench.wait(30)
    assert (bench.pool.ends, bench.due_in) == ([], LAST_WORDS)
    assert bench.left_with(busy=True) is None
    bench.wait(LAST_WORDS)
    assert bench.left_with(busy=True) == 1


def test_a_second_sigterm_ends_runs_now(bench: Bench) -> None:
    bench.pool.running = 1
    bench.signal(TERM, TERM)
    assert bench.pool.ends[0][0] == Outcome.INTERRUPTED
    assert bench.left_with() == 143


@pytest.mark.parametrize("before", [(), (TERM,)])
def test_ctrl_c_ends_runs_now(bench: Bench, before: tuple[int, ...]) -> None:
    bench.pool.running = 1
    bench.signal(*before, INT)
    assert bench.pool.ends == [
        (Outcome.INTERRUPTED, "its worker stopped (Ctrl+C)"),
    ]
    assert bench.staying.words(True) == "KILL"
    assert bench.left_with() == 130


def test_a_hangup_lets_runs_finish_and_coming_twice_it_is_no_second_sigterm(bench: Bench) -> None:
    bench.pool.running = 1
    bench.signal(signal.SIGHUP, signal.SIGHUP)
    assert (bench.pool.ends, bench.due_in, bench.staying.why) == ([], 30, "SIGHUP")
    bench.wait(30)
    assert "(SIGHUP, and the grace period has ended)" in bench.pool.ends[0][1]
    assert bench.left_with() == 129


def test_sigquit_ends_runs_now(bench: Bench) -> None:
    bench.pool.running = 1
    bench.signal(signal.SIGQUIT)
    assert len(bench.pool.ends) == 1
    assert bench.left_with() == 131


def test_the_first_sigterm_gives_its_grace_also_to_a_worker_that_was_draining_already(
    bench: Bench,
) -> None:
    bench.pool.running = 1
    bench.order("TERMINATE")
    bench.signal(TERM)
    assert (bench.pool.ends, bench.due_in) == ([], 30)
    bench.signal(TERM)
    assert len(bench.pool.ends) == 1


def test_reports_of_killed_runs_have_ten_seconds_to_be_stored(bench: Bench) -> None:
    bench.signal(INT)
    assert (bench.left_with(busy=True), bench.due_in) == (None, LAST_WORDS)
    bench.wait(LAST_WORDS)
    assert bench.left_with(busy=True) == 130


# --- orders ---------------------------------------------------------------------------------------


def test_a_disabled_worker_rests_until_it_is_resumed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for status in ("DISABLED", "DISABLED"):
        bench.order(status)
    assert (bench.staying.takes_work, bench.staying.words(True)) == (False, "DISABLED")
    assert bench.left_with() is None
    for status in ("ACTIVE", "ACTIVE"):
        bench.order(status)
    assert bench.staying.takes_work
    assert [record.message for record in caplog.records] == [
        "worker web1#4711 is paused and claims no new tasks until it is resumed",
        "worker web1#4711 is resumed",
    ]


def test_the_order_to_terminate_has_no_grace_and_waits_for_what_runs(bench: Bench) -> None:
    bench.order("TERMINATE")
    bench.wait(100_000)
    assert (bench.left_with(busy=True), bench.left_with(busy=False)) == (None, 0)


def test_the_order_to_terminate_does_not_wait_for_ever_for_a_database_that_refuses_a_run(
    bench: Bench,
) -> None:
    bench.staying.mind_refused(["run 1"])
    bench.wait(1000)
    assert (bench.left_with(busy=True), bench.due_in) == (None, None), "it was not told to leave"
    bench.order("TERMINATE")
    bench.staying.mind_refused(["run 1"])
    assert bench.due_in == 30 + LAST_WORDS, "as long as after SIGTERM"
    bench.wait(20)
    bench.staying.mind_refused([])
    assert bench.due_in is None
    bench.staying.mind_refused(["run 2", "run 3"])
    bench.wait(30 + LAST_WORDS - 1)
    bench.staying.mind_refused(["run 2", "run 3"])
    assert bench.left_with(busy=True) is None
    bench.wait(1)
    bench.staying.mind_refused(["run 2", "run 3"])
    assert bench.left_with(busy=True) == 1
    why = "command TERMINATE; the database has rejected run 2, run 3 for 40 s"
    assert bench.staying.why == why


def test_the_order_to_kill_ends_runs_and_leaves_with_0_since_it_was_told_to(bench: Bench) -> None:
    bench.pool.running = 1
    for _ in range(2):
        bench.order("KILL")
    assert bench.pool.ends == [
        (Outcome.INTERRUPTED, "its worker stopped (command KILL)"),
    ]
    assert bench.left_with() == 0
    bench.wait(LAST_WORDS)
    assert bench.left_with(busy=True) == 1


@pytest.mark.parametrize("late", ["ACTIVE", "DISABLED"])
def test_a_worker_that_leaves_is_not_called_back(bench: Bench, late: str) -> None:
    bench.order("TERMINATE")
    bench.order(late)
    assert not bench.staying.takes_work
    assert bench.staying.words(False) == "TERMINATE"
    assert bench.left_with() == 0


# --- idleness -------------------------------------------------------------------------------------


def test_a_worker_leaves_after_so_many_beats_without_anything_to_do() -> None:
    bench = Bench(max_empty_runs=3)
    for pending in (False, False, True, False, False):
        bench.staying.count_beat(pending, W)
        assert bench.left_with() is None
    bench.staying.count_beat(False, W)
    assert bench.left_with() == 0
    assert bench.staying.why == "3 heartbeats without due tasks"


def test_a_worker_whose_database_is_away_for_too_long_leaves_at_once_with_a_code_of_its_own() -> (
    None
):
    bench = Bench(db_outage_limit=60)
    bench.pool.running = 2
    bench.staying.give_up(61.4, cast(Pool, bench.pool))
    assert [outcome for outcome, _ in bench.pool.ends] == [Outcome.INTERRUPTED]
    assert bench.left_with(busy=True) == 75
    assert "did not answer for 61 s" in bench.staying.why
