"""Reporter: the progress and the output of runs that are in execution."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.fake_store import FakeStore
from support.logged_events import LoggedEvents
from support.makers import NINE, an_order

from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.execution.live_run import LiveRun
from plugin_scheduler.execution.output_buffer import OutputBuffer
from plugin_scheduler.store.task_reports import Wishes
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.reporter import PROGRESS_EVERY, WATCHED_EVERY, Reporter


class Bench:
    """A reporter, and runs in execution."""

    def __init__(self) -> None:
        self.clock = TurnedClock(NINE)
        self.store, self.runs = FakeStore(self.clock), list[LiveRun]()
        large_results = SimpleNamespace(delivered=list, busy=False)
        self.reporter = Reporter(cast(Any, self.store), cast(Any, large_results), "me", self.clock)

    def begin(self, run_id: int = 81, **columns: Any) -> LiveRun:
        order = an_order(id=run_id, run_id=run_id, **columns)
        run = LiveRun(order, Settings(), self.clock.monotonic(), OutputBuffer(10_000))
        self.runs.append(run)
        return run

    def save_after(self, seconds: float = 0.0) -> list[tuple[int, str | None, Any]]:
        """Let the reporter save; return the runs, outputs and progress that were written."""
        self.clock.turn(seconds)
        before = len(self.store.named("tasks.save_live"))
        self.reporter.save_live(self.runs)
        calls = [call.arguments for call in self.store.named("tasks.save_live")[before:]]
        return [(one["run_id"], one["output"], one["progress"]) for one in calls]

    def view(self, run_id: int, seconds: float) -> dict[int, str]:
        """Let a person view the output of a run for that time."""
        self.store.answers["tasks.wishes"] = Wishes({}, {run_id: seconds})
        return self.reporter.unwanted([run_id])

    @property
    def next_in(self) -> float | None:
        deadline = self.reporter.next_deadline(self.runs)
        return None if deadline is None else deadline - self.clock.monotonic()


@pytest.fixture
def bench() -> Bench:
    return Bench()


HALF = {"at": 1, "of": 2, "text": ""}
WHOLE = {"at": 2, "of": 2, "text": ""}


def test_a_run_without_news_is_not_saved(bench: Bench) -> None:
    bench.begin(sync_output=1)
    assert bench.save_after(100) == []
    assert bench.next_in is None


def test_progress_is_saved_soon_and_not_more_often_than_needed(bench: Bench) -> None:
    run = bench.begin()
    run.progressed(HALF)
    assert bench.next_in == pytest.approx(PROGRESS_EVERY)
    assert bench.save_after(PROGRESS_EVERY * 0.9) == []
    assert bench.save_after(PROGRESS_EVERY * 0.2) == [(81, None, HALF)]
    assert bench.next_in is None
    run.progressed(WHOLE)
    assert bench.save_after(PROGRESS_EVERY * 0.9) == []
    assert bench.save_after(PROGRESS_EVERY * 0.2) == [(81, None, WHOLE)]


def test_output_that_no_one_wants_is_not_saved(bench: Bench) -> None:
    run = bench.begin(sync_output=0)
    run.output.write(b"printed")
    assert bench.next_in == float("inf")
    assert bench.save_after(1000) == []


def test_output_is_saved_as_often_as_the_task_asks_for(bench: Bench) -> None:
    run = bench.begin(sync_output=5)
    run.output.write(b"one ")
    assert bench.next_in == pytest.approx(5)
    assert bench.save_after(4.9) == []
    assert bench.save_after(0.1) == [(81, "one ", None)]
    assert bench.save_after(100) == [], "nothing is new"
    run.output.write(b"two")
    assert bench.save_after() == [(81, "one two", None)]
    run.output.write(b"!")
    assert bench.save_after(4.9) == []


def test_progress_goes_with_output_that_is_saved(bench: Bench) -> None:
    run = bench.begin(sync_output=5)
    bench.clock.turn(4.9)
    run.progressed(HALF)
    bench.save_after()
    run.progressed(WHOLE)
    run.output.write(b"printed")
    assert bench.save_after(0.1) == [(81, "printed", WHOLE)]


def test_output_is_saved_often_while_a_person_views_it(bench: Bench) -> None:
    run = bench.begin(sync_output=0)
    run.output.write(b"printed")
    assert bench.view(81, seconds=10) == {}
    assert bench.next_in == pytest.approx(WATCHED_EVERY)
    assert bench.save_after(WATCHED_EVERY) == [(81, "printed", None)]
    run.output.write(b" more")
    assert bench.save_after(WATCHED_EVERY * 0.9) == []
    assert bench.save_after(WATCHED_EVERY * 0.2) == [(81, "printed more", None)]
    run.output.write(b" and more")
    assert bench.save_after(10) == [], "the view is over"


def test_a_viewer_does_not_make_output_rarer_than_the_task_asks_for(bench: Bench) -> None:
    run = bench.begin(sync_output=WATCHED_EVERY / 5)
    run.output.write(b"printed")
    bench.view(81, seconds=10)
    assert bench.next_in == pytest.approx(WATCHED_EVERY / 5)


def test_the_output_of_another_run_is_not_viewed(bench: Bench) -> None:
    bench.begin(81).output.write(b"one")
    bench.begin(82).output.write(b"two")
    bench.view(82, seconds=10)
    assert bench.save_after(WATCHED_EVERY) == [(82, "two", None)]


def test_the_answer_says_which_runs_must_end_and_why(bench: Bench) -> None:
    bench.store.answers["tasks.wishes"] = Wishes({81: "stop", 82: "taken"}, {})
    assert bench.reporter.unwanted([81, 82, 83]) == {81: "stop", 82: "taken"}
    [call] = bench.store.named("tasks.wishes")
    assert call.arguments == {"run_ids": [81, 82, 83], "worker_name": "me"}


def test_what_a_held_row_does_not_take_is_saved_at_the_next_time(bench: Bench) -> None:
    run = bench.begin(sync_output=5)
    run.output.write(b"printed")
    run.progressed(HALF)
    bench.store.fail("tasks.save_live", Locked("held"))
    bench.save_after(5)
    assert bench.save_after(4.9) == [(81, None, HALF)]
    assert bench.save_after(0.1) == [(81, "printed", None)]


def test_a_run_whose_row_refuses_it_is_left_out_and_the_others_go_on(
    bench: Bench, logged: LoggedEvents
) -> None:
    first, second = bench.begin(81), bench.begin(82)
    for run in (first, second):
        run.progressed(HALF)
    bench.store.fail("tasks.save_live", ValueError("refused"))
    assert [run_id for run_id, *_ in bench.save_after(1)] == [81, 82]
    for run in (first, second):
        run.progressed(WHOLE)
    assert [run_id for run_id, *_ in bench.save_after(1)] == [82]
    assert [facts["run"] for facts in logged.of("live_refused")] == [81]
    assert bench.next_in is None


def test_output_that_met_an_outage_is_saved_afterwards_though_nothing_more_is_printed(
    bench: Bench,
) -> None:
    run = bench.begin(sync_output=5)
    run.output.write(b"printed")
    bench.store.fail("tasks.save_live", StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        bench.save_after(5)
    assert bench.save_after(5) == [(81, "printed", None)]
    assert bench.save_after(5) == []


def test_an_outage_is_raised_and_the_progress_is_kept(bench: Bench) -> None:
    run = bench.begin()
    run.progressed(HALF)
    bench.store.fail("tasks.save_live", StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        bench.save_after(1)
    assert bench.save_after() == [(81, None, HALF)]
