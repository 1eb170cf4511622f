"""What the timeline promises, on every database."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from support.kit import Lab

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import RunStatus, WorkerStatus
from plugin_scheduler.queries import Queries
from plugin_scheduler.queries.timeline import WorkerTimeline, begin_in_lane
from plugin_scheduler.system.clock import TurnedClock

NOW = datetime(2026, 1, 31, 12, 0)
MINUTE = timedelta(minutes=1)


class Shelf:
    """A lab's tables, and a browser whose clock stands still."""

    def __init__(self, lab: Lab) -> None:
        self.db, self.clock = lab.db, TurnedClock(NOW)
        self.browser = Queries(self.db, Settings(), "lab", (), self.clock)
        self.browser._dialect.epoch = self.clock.epoch  # also where a server has its own
        self.task_id = self.task()

    def task(self, **columns: Any) -> int:
        given = {"function_name": "add", "task_name": "sum", "next_run_time": NOW, **columns}
        return int(self.db.scheduler_task.insert(**given))

    def worker(self, name: str, slots: int = 1, since: datetime | None = None) -> None:
        self.db.scheduler_worker.insert(
            worker_name=name,
            status=WorkerStatus.ACTIVE,
            group_names=["main"],
            first_heartbeat=since,
            lease_until=self.clock.epoch() + 5,
            worker_stats={"slots": slots, "application": "lab"},
        )

    def run(self, ago: float, lasted: float, worker: str = "w1", **columns: Any) -> int:
        """One that began some minutes ago and took some minutes."""
        start = NOW - ago * MINUTE
        given = {
            "task_id": self.task_id,
            "status": RunStatus.COMPLETED,
            "start_time": start,
            "stop_time": start + lasted * MINUTE,
            "duration": lasted * 60.0,
            "worker_name": worker,
            **columns,
        }
        return int(self.db.scheduler_run.insert(**given))

    def at_work(self, ago: float, worker: str = "w1") -> int:
        open_end = {"stop_time": None, "duration": None, "status": RunStatus.RUNNING}
        return self.run(ago, 0, worker, **open_end)

    def metric(self, runs: int, seconds: float, worker: str = "w1", **columns: Any) -> None:
        given = {
            "application_name": "lab",
            "epoch_minute": int(self.clock.epoch() // 60),
            **columns,
        }
        self.db.scheduler_metric.insert(
            worker_name=worker, function_name="add", completed=runs, run_seconds=seconds, **given
        )

    def rows(self, minutes: int = 60) -> dict[str, WorkerTimeline]:
        return {row.worker: row for row in self.browser.timeline(60 * minutes).rows}


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    return Shelf(lab)


def test_runs_are_bars_in_the_row_of_their_worker(shelf: Shelf) -> None:
    shelf.worker("w1")
    run_id = shelf.run(30, 10, status=RunStatus.FAILED)
    at_work = shelf.at_work(5)
    first, second = shelf.rows()["w1"].bars
    assert (first.run_id, first.task_id, first.name) == (run_id, shelf.task_id, "sum")
    assert (first.function, first.status, first.seconds) == ("add", RunStatus.FAILED, 600)
    assert (first.start, first.stop) == (NOW - 30 * MINUTE, NOW - 20 * MINUTE)
    assert (second.run_id, second.stop, second.seconds) == (at_work, NOW, 300)


def test_what_was_at_work_in_the_window_is_there_whenever_it_began(shelf: Shelf) -> None:
    long = shelf.run(300, 290)
    shelf.run(300, 100)
    at_work = shelf.at_work(3000)
    recent = shelf.run(20, 1)
    ids = {bar.run_id for bar in shelf.rows()["w1"].bars}
    assert ids == {long, at_work, recent}


def test_who_was_idle_has_a_row_and_so_has_who_left(shelf: Shelf) -> None:
    shelf.worker("idle", slots=2)
    shelf.run(10, 1, "gone")
    rows = shelf.rows()
    assert list(rows) == ["gone", "idle"]
    assert (rows["idle"].bars, rows["idle"].busy, rows["idle"].slots) == ([], 0, 2)
    assert rows["idle"].known and rows["idle"].alive and not rows["gone"].known


def test_how_busy_a_worker_was_is_a_share_of_its_slots_and_of_the_window(shelf: Shelf) -> None:
    shelf.worker("w1", slots=2)
    shelf.run(90, 60)  # half of it before the window
    shelf.run(30, 15)
    shelf.at_work(15)
    assert shelf.rows()["w1"].busy == pytest.approx((30 + 15 + 15) / 120)


def test_a_worker_that_came_later_is_judged_by_the_time_it_was_there(shelf: Shelf) -> None:
    shelf.worker("w1", since=NOW - 10 * MINUTE)
    shelf.run(10, 5)
    assert shelf.rows()["w1"].busy == pytest.approx(0.5)


def test_runs_that_were_not_kept_count_all_the_same(shelf: Shelf) -> None:
    shelf.worker("w1")
    shelf.run(30, 6)
    shelf.metric(runs=10, seconds=12 * 60)
    shelf.metric(runs=90, seconds=0, epoch_minute=0)
    shelf.metric(runs=90, seconds=0, application_name="other")
    found = shelf.browser.timeline(3600)
    (row,) = found.rows
    assert (row.runs, found.unkept) == (10, 9)
    assert row.busy == pytest.approx(12 / 60)


def test_bars_that_overlap_are_in_different_lanes(shelf: Shelf) -> None:
    shelf.worker("w1", slots=1)
    shelf.run(30, 10)
    shelf.run(25, 10)
    shelf.run(19, 2)
    row = shelf.rows()["w1"]
    assert [bar.lane for bar in row.bars] == [0, 1, 0] and row.lanes == 2


def test_a_lane_is_free_again_at_the_instant_at_which_its_run_ended() -> None:
    ends: list[datetime] = []
    spans = [(0, 10), (0, 5), (5, 9), (6, 7), (10, 11)]
    found = [begin_in_lane(ends, NOW + a * MINUTE, (b - a) * MINUTE) for a, b in spans]
    assert [lane for lane, _ in found] == [0, 1, 1, 2, 0]
    assert [start for _, start in found] == [NOW + a * MINUTE for a, _ in spans]


def test_quick_runs_of_the_same_second_stand_one_after_the_other(shelf: Shelf) -> None:
    shelf.worker("w1")
    for _ in range(8):
        shelf.run(5, 0.1 / 60)
    row = shelf.rows()["w1"]
    assert row.lanes == 1
    starts = [(bar.start - row.bars[0].start).total_seconds() for bar in row.bars]
    assert starts == pytest.approx([number / 10 for number in range(8)])


def test_where_bars_are_missing_a_worker_is_judged_by_the_time_that_has_them(shelf: Shelf) -> None:
    shelf.worker("w1")
    for number in range(5):
        shelf.run(50 - 10 * number, 5)
    (row,) = shelf.browser.timeline(3600, most=2).rows
    assert row.busy == pytest.approx(10 / 20)


def test_the_newest_are_shown_and_since_when_is_said(shelf: Shelf) -> None:
    ids = [shelf.run(50 - number, 1) for number in range(5)]
    found = shelf.browser.timeline(3600, most=3)
    assert [bar.run_id for bar in found.rows[0].bars] == ids[-3:]
    assert found.cut and found.shown_since == NOW - 48 * MINUTE
    whole = shelf.browser.timeline(3600, most=5)
    assert not whole.cut and whole.shown_since == whole.since == NOW - 60 * MINUTE


def test_only_runs_of_the_apps_own_tasks_are_shown(shelf: Shelf) -> None:
    shelf.run(10, 1, task_id=shelf.task(application_name="other"))
    assert shelf.rows() == {}


def test_a_run_written_by_web2py_without_a_duration_ends_at_its_stop_time(shelf: Shelf) -> None:
    shelf.run(10, 2, duration=None)
    shelf.run(5, 0, duration=None, stop_time=None)
    first, second = shelf.rows()["w1"].bars
    assert first.seconds == 120 and second.seconds == 0
