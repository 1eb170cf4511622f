"""Runner handle: conclusions from the scoreboard, the output and the orders of a runner."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_runners import FakeRunner
from support.makers import NINE, an_order

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Outcome
from plugin_scheduler.execution.mailbox import packed
from plugin_scheduler.execution.output_buffer import mark
from plugin_scheduler.execution.runner_handle import (
    CLOCKS,
    HESITATING,
    LEAVING,
    LOADING,
    LOOK,
    RunnerHandle,
    end_outdated,
    unborn_runner,
)
from plugin_scheduler.system.clock import TurnedClock

SETTINGS = Settings()
LIMIT = SETTINGS.output_limit


class Bench:
    """A runner that is ready, and the ends that its process would hold."""

    def __init__(self) -> None:
        self.clock = TurnedClock(NINE)
        with unborn_runner("nonce") as (self.runner, ends):
            self.fake = FakeRunner(self.clock, ends)
        self.runner.ready, self.runner.born_at = True, self.now

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def give(self, *run_ids: int, **columns: Any) -> list[Order]:
        orders = [an_order(id=run_id, run_id=run_id, **columns) for run_id in run_ids]
        for order in orders:
            packet, _ = packed(order)
            assert self.runner.lane.send(packet)
            self.runner.given(order, self.now)
        return orders

    def close(self) -> None:
        self.runner.close_files(SimpleNamespace(unregister=lambda file: None))  # type: ignore[arg-type]
        self.fake.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


# --- orders ---------------------------------------------------------------------------------------


def test_a_runner_takes_orders_and_is_idle_without_any(bench: Bench) -> None:
    assert (bench.runner.takes_orders, bench.runner.is_idle) == (True, True)
    bench.give(81)
    assert (bench.runner.takes_orders, bench.runner.is_idle) == (True, False)


@pytest.mark.parametrize("why", ["not ready", "retires", "gone", "outdated", "its run is ended"])
def test_a_runner_takes_no_order_if_it_would_not_begin_it(bench: Bench, why: str) -> None:
    runner = bench.runner
    if why == "not ready":
        runner.ready = False
    elif why == "retires":
        runner.retire(bench.now)
    elif why == "gone":
        runner.end(bench.now)
    elif why == "outdated":
        runner.outdated = True
    else:
        bench.give(81)
        bench.fake.begin()
        run = runner.refresh_live_run(SETTINGS)
        assert run is not None
        run.end_as(Outcome.STOPPED, "why", bench.now)
    assert not runner.takes_orders


def test_only_orders_that_have_not_begun_can_be_taken_back(bench: Bench) -> None:
    bench.give(81, 82, 83)
    bench.fake.begin()
    assert [order.run_id for order in bench.runner.waiting()] == [82, 83]
    assert [order.run_id for order in bench.runner.take_back()] == [82, 83]
    assert list(bench.runner.orders) == [81]


@pytest.mark.parametrize(
    ("most", "process", "done", "given", "has_left"),
    [
        (3, None, 0, 2, True),
        (3, None, 1, 2, False),
        (3, None, 3, 0, False),
        (1, None, 5, 5, True),  # it forks a process for each run
        (1, object(), 0, 0, True),
        (1, object(), 0, 1, False),
    ],
)
def test_a_runner_gets_no_order_that_it_would_not_reach_before_it_retires(
    bench: Bench, most: int, process: object, done: int, given: int, has_left: bool
) -> None:
    bench.runner.process, bench.runner.runs = process, done
    bench.give(*range(1, given + 1))
    assert bench.runner.has_runs_left(Settings(runner_max_runs=most)) == has_left
    bench.runner.process = None


# --- scoreboard -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_id", "began", "is_sane"),
    [
        (81, 0.0, True),
        (81, CLOCKS, True),
        (81, CLOCKS + 0.1, False),
        (81, -0.1, False),
        (81, math.nan, False),
        (82, 0.0, True),
        (99, 0.0, False),
        (0, 0.0, True),
        (0, math.inf, True),
    ],
)
def test_a_scoreboard_shows_an_order_that_began_in_the_life_of_its_runner_or_the_last_answer(
    bench: Bench, run_id: int, began: float, is_sane: bool
) -> None:
    bench.give(81, 82)
    bench.fake.board.begin(run_id, bench.now + began)
    assert bench.runner.has_sane_board(bench.now) == is_sane


def test_a_scoreboard_that_still_shows_the_last_answer_is_as_it_should_be(bench: Bench) -> None:
    [order] = bench.give(81)
    bench.fake.begin()
    bench.runner.answered(order, bench.now)
    assert bench.runner.has_sane_board(bench.now)
    assert bench.runner.at_work() is None


def test_a_report_is_expected_of_the_oldest_order_after_it_has_begun(bench: Bench) -> None:
    bench.give(81, 82)
    assert not bench.runner.expects_report_of(81)
    bench.fake.begin()
    assert bench.runner.expects_report_of(81)
    assert not bench.runner.expects_report_of(82)
    assert not bench.runner.expects_report_of(99)


def test_a_runner_is_stuck_when_its_run_takes_long(bench: Bench) -> None:
    bench.give(81)
    bench.clock.turn(1.0)
    assert not bench.runner.is_stuck(bench.now), "nothing has begun"
    bench.fake.begin()
    bench.clock.turn(LOOK)
    assert not bench.runner.is_stuck(bench.now)
    bench.clock.turn(0.01)
    assert bench.runner.is_stuck(bench.now)


# --- deadlines ------------------------------------------------------------------------------------


def test_the_next_look_is_soon_before_a_run_is_seen_and_then_at_its_deadline(bench: Bench) -> None:
    bench.give(81, timeout=60)
    assert bench.runner.next_look(bench.now, 2.0) == bench.now + LOOK
    bench.fake.begin()
    bench.runner.refresh_live_run(SETTINGS)
    assert bench.runner.next_look(bench.now, 2.0) == bench.now + 60


def test_the_next_look_is_when_a_run_becomes_long_if_an_order_waits_behind_it(
    bench: Bench,
) -> None:
    bench.give(81, 82, timeout=60)
    bench.fake.begin()
    bench.runner.refresh_live_run(SETTINGS)
    assert bench.runner.next_look(bench.now, 2.0) == pytest.approx(bench.now + LOOK, abs=0.01)
    bench.clock.turn(LOOK * 2)
    assert bench.runner.next_look(bench.now, 2.0) == pytest.approx(bench.now + 60 - LOOK * 2)


def test_the_last_moment_of_an_order_counts_from_when_the_runner_was_free(bench: Bench) -> None:
    assert bench.runner.last_moment(2.0) == math.inf
    first, _ = bench.give(81, 82, timeout=60)
    limit = HESITATING + 60 + 2.0
    assert bench.runner.last_moment(2.0) == bench.now + limit
    bench.clock.turn(10.0)
    bench.runner.answered(first, bench.now)
    assert bench.runner.last_moment(2.0) == bench.now + limit


def overdue_after(bench: Bench, seconds: float) -> bool:
    """Return whether the runner is overdue after that time, but not a moment before."""
    before = bench.runner.is_overdue(bench.now + seconds)
    return not before and bench.runner.is_overdue(bench.now + seconds + 0.01)


def test_an_idle_runner_is_never_overdue(bench: Bench) -> None:
    assert not bench.runner.is_overdue(bench.now + 1e6)


def test_a_runner_is_overdue_if_it_begins_no_order_does_not_exit_or_does_not_get_ready(
    bench: Bench,
) -> None:
    bench.give(81)
    assert overdue_after(bench, HESITATING)
    bench.fake.begin()
    assert not bench.runner.is_overdue(bench.now + 1e6)
    bench.runner.retire(bench.now)
    assert overdue_after(bench, LEAVING)
    bench.runner.retiring_since, bench.runner.ready = None, False
    assert overdue_after(bench, LOADING)
    bench.runner.end(bench.now)
    assert not bench.runner.is_overdue(bench.now + 1e6)


# --- output ---------------------------------------------------------------------------------------


def test_output_belongs_to_the_run_whose_mark_follows_it(bench: Bench) -> None:
    bench.give(81, 82)
    data = b"one" + mark("nonce", 81) + b"two" + mark("nonce", 82) + b"three"
    bench.runner.sort_output(data, LIMIT)
    assert bench.runner.output_of(81, LIMIT).text() == "one"
    assert bench.runner.output_of(82, LIMIT).text() == "two"
    assert bench.runner.printed is not None and bench.runner.printed.text() == "three"


def test_output_whose_mark_is_still_in_the_pipe_is_read_for_the_report(bench: Bench) -> None:
    bench.give(81)
    os.write(bench.fake.output, b"one" + mark("nonce", 81) + b"two")
    assert bench.runner.output_of(81, LIMIT).text() == "one"
    assert bench.runner.printed is not None and bench.runner.printed.text() == "two"


def test_output_whose_mark_is_lost_is_that_of_the_run_that_reported(bench: Bench) -> None:
    bench.give(81)
    os.write(bench.fake.output, b"one")
    assert bench.runner.output_of(81, LIMIT).text() == "one"
    assert bench.runner.printed is None


def test_output_before_a_run_is_seen_is_read_first(bench: Bench) -> None:
    bench.give(81, 82)
    os.write(bench.fake.output, b"one" + mark("nonce", 81) + b"two")
    bench.fake.begin()
    bench.fake.begin()
    run = bench.runner.refresh_live_run(SETTINGS)
    assert run is not None
    assert (run.order.run_id, run.output.text()) == (82, "two")


def test_the_pool_tells_the_runner_how_much_output_it_has_read(bench: Bench) -> None:
    assert bench.runner.read_output() is None
    os.write(bench.fake.output, b"printed")
    assert bench.runner.read_output() == b"printed"
    assert bench.fake.board.output_read == 7


# --- ends -----------------------------------------------------------------------------------------


def test_the_fate_of_a_runner_is_that_of_its_first_end(bench: Bench) -> None:
    bench.give(81)
    bench.fake.begin()
    bench.runner.end(bench.now)
    bench.runner.end(bench.now + 1, Outcome.LOST, "first")
    bench.runner.end(bench.now + 2, Outcome.INTERRUPTED, "second")
    assert bench.runner.gone_since == bench.now
    [run] = bench.runner.last_runs(SETTINGS)
    assert (run.ending, run.reason) == (Outcome.LOST, "first")
    assert bench.runner.orders == {}


def test_a_run_that_was_ended_before_keeps_its_outcome_when_its_runner_is_killed(
    bench: Bench,
) -> None:
    bench.give(81)
    bench.fake.begin()
    run = bench.runner.refresh_live_run(SETTINGS)
    assert run is not None
    run.end_as(Outcome.TIMEOUT, "too long", bench.now)
    bench.runner.end(bench.now, Outcome.INTERRUPTED, "killed")
    assert bench.runner.last_runs(SETTINGS) == [run]
    assert (run.ending, run.reason) == (Outcome.TIMEOUT, "too long")


def test_behind_an_overwritten_scoreboard_only_the_first_order_counts_as_begun(
    bench: Bench,
) -> None:
    bench.give(81, 82)
    bench.fake.board.begin(99, bench.now)
    assert [run.order.run_id for run in bench.runner.last_runs(SETTINGS)] == [81]
    assert list(bench.runner.orders) == [82]


def test_a_run_whose_begin_is_no_time_began_when_the_runner_was_free(bench: Bench) -> None:
    bench.give(81)
    free_since = bench.now
    bench.clock.turn(1.0)
    bench.fake.board.begin(81, math.nan)
    run = bench.runner.refresh_live_run(SETTINGS)
    assert run is not None and run.began == free_since


def test_the_exit_status_of_a_new_interpreter_is_asked_for_until_it_is_known(bench: Bench) -> None:
    codes = iter([None, -9, 0])
    bench.runner.process = SimpleNamespace(poll=lambda: next(codes))
    for expected in (None, 9, 9):
        bench.runner.ask_status()
        assert bench.runner.status == expected
    bench.runner.process = None


def test_a_runner_has_left_when_its_end_of_the_channel_is_closed(bench: Bench) -> None:
    assert not bench.runner.has_left()
    bench.fake.say(b"\xff\xff\xff\xff")
    assert not bench.runner.has_left()
    bench.fake.channel.abandon()
    assert bench.runner.has_left()


# --- reload ---------------------------------------------------------------------------------------


def test_after_a_reload_idle_runners_of_the_old_app_end_and_busy_ones_go_on() -> None:
    benches = [Bench() for _ in range(4)]
    idle, busy, new, gone = (bench.runner for bench in benches)
    for number, bench in enumerate(benches):
        bench.runner.home = number
    idle.outdated = busy.outdated = gone.outdated = True
    idle.ready = False
    benches[1].give(81)
    gone.end(1.0)
    assert end_outdated([idle, busy, new, gone], 5.0) == [0, 1, 2, 3]
    assert [runner.gone_since for runner in (idle, busy, new, gone)] == [5.0, None, None, 1.0]
    assert idle.ready, "its end is no failed start"
    for bench in benches:
        bench.close()


def test_a_runner_whose_files_cannot_all_be_made_leaves_none_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def blank_page() -> int:
        raise OSError(28, "no space left")

    monkeypatch.setattr("plugin_scheduler.execution.runner_handle.blank_page", blank_page)
    with pytest.raises(OSError, match="no space"), unborn_runner("nonce"):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_ends_of_the_process_are_closed_here_after_the_start() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with unborn_runner("nonce") as (runner, ends):
        assert isinstance(runner, RunnerHandle) and len(ends) == 5
    runner.close_files(SimpleNamespace(unregister=lambda file: None))  # type: ignore[arg-type]
    assert len(os.listdir("/proc/self/fd")) == before
