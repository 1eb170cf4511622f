"""What the schedule and its calendar promise, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from plugin_scheduler.models import INDEXES
from support.databases import SQLITE_FILE, Database
from support.home import lab_on
from support.kit import Lab

from plugin_scheduler import JobGraph
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import RunStatus, TaskStatus
from plugin_scheduler.queries import Queries
from plugin_scheduler.system.clock import TurnedClock

NOW = datetime(2026, 1, 31, 12, 0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Shelf:
    """A lab's tables, and a browser whose clock stands still."""

    def __init__(self, lab: Lab) -> None:
        self.db = lab.db
        self.browser = self.browser_of("lab")
        with self.browser._dialect.reading():
            self.browser._dialect.prepare_tables(INDEXES)

    def browser_of(self, application: str) -> Queries:
        clock = TurnedClock(NOW)
        browser = Queries(self.db, Settings(), application, (), clock)
        browser._dialect.epoch = clock.epoch  # also where a server has a clock of its own
        return browser

    def task(self, **columns: Any) -> int:
        given = {"function_name": "add", "task_name": "add", "next_run_time": NOW, **columns}
        return int(self.db.scheduler_task.insert(**given))

    def lanes(self) -> dict[str, Any]:
        return {one.name or one.function: one for one in self.browser.next_hours().lanes}


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    return Shelf(lab)


def test_only_what_still_repeats_is_listed_for_ever_first(shelf: Shelf) -> None:
    thrice = shelf.task(repeats=3, times_run=1)
    forever = shelf.task(repeats=0)
    running = shelf.task(repeats=0, status=TaskStatus.RUNNING, last_run_time=NOW)
    shelf.task()
    for status in TaskStatus.ENDED:
        shelf.task(repeats=2, status=status)
    shelf.task(repeats=0, application_name="another")
    found = shelf.browser.repeating()
    assert [one.task.id for one in found.items] == [forever, running, thrice]
    assert [one.left for one in found.items] == [None, None, 2]
    assert found.left_out == (0, False) and found.at == NOW


def test_each_says_its_schedule_in_words_and_its_next_five_runs(shelf: Shelf) -> None:
    shelf.task(repeats=0, period=3600, next_run_time=NOW + HOUR)
    shelf.task(repeats=0, cronline="0 6 L * *", next_run_time=NOW + 18 * HOUR)
    hourly, monthly = shelf.browser.repeating().items
    assert "every hour" in hourly.words
    assert hourly.following == [NOW + number * HOUR for number in range(1, 6)]
    assert len(monthly.following) == 5 and monthly.following[1].day == 28


def test_how_the_last_run_ended_is_told_with_the_task(shelf: Shelf) -> None:
    task_id = shelf.task(repeats=0)
    run_id = shelf.db.scheduler_run.insert(
        task_id=task_id, status=RunStatus.FAILED, start_time=NOW - HOUR
    )
    shelf.db(shelf.db.scheduler_task.id == task_id).update(run_id=run_id)
    shelf.task(repeats=0)
    failed, fresh = shelf.browser.repeating().items
    assert (failed.last_status, failed.last_start) == (RunStatus.FAILED, NOW - HOUR)
    assert (fresh.last_status, fresh.last_start) == (None, None)


def test_how_many_are_left_out_is_said(shelf: Shelf) -> None:
    ids = [shelf.task(repeats=0) for _ in range(5)]
    found = shelf.browser.repeating(limit=3)
    assert [one.task.id for one in found.items] == ids[:3]
    assert found.left_out == (2, False)


def test_tasks_that_were_to_repeat_for_ever_and_ended_are_told_newest_first(shelf: Shelf) -> None:
    ids = [shelf.task(repeats=0, status=status) for status in TaskStatus.ENDED_BADLY]
    shelf.task(repeats=3, status=TaskStatus.FAILED)
    assert [one.id for one in shelf.browser.repeating().ended] == ids[::-1]


def test_a_row_without_a_period_keeps_no_other_from_being_shown(shelf: Shelf) -> None:
    shelf.task(repeats=0, period=None)
    assert len(shelf.browser.repeating().items) == 1
    assert len(shelf.browser.next_hours().lanes) == 1
    assert shelf.browser.next_days(2).totals


def test_one_off_tasks_come_in_the_order_of_time_whatever_their_group_and_priority(
    shelf: Shelf,
) -> None:
    hours = {5: ("main", 0), 2: ("mail", 7), 9: ("main", -3), 1: ("main", 0), 30: ("main", 0)}
    ids = {
        hour: shelf.task(group_name=group, priority=priority, next_run_time=NOW + hour * HOUR)
        for hour, (group, priority) in hours.items()
    }
    shelf.task(next_run_time=NOW - HOUR)  # it is due, and no matter of a calendar
    shelf.task(next_run_time=NOW + HOUR, enabled=False)
    shelf.task(next_run_time=NOW + HOUR, repeats=0)
    shelf.task(next_run_time=NOW + 2 * HOUR, stop_time=NOW + HOUR)
    found = shelf.browser.one_offs(NOW, NOW + DAY)
    assert [one.id for one in found.items] == [ids[hour] for hour in (1, 2, 5, 9)]
    assert found.items[0].due == NOW + HOUR and not found.more
    few = shelf.browser.one_offs(NOW, NOW + DAY, limit=2)
    assert [one.id for one in few.items] == [ids[1], ids[2]] and few.more


def test_the_next_hours_have_a_lane_for_each_task_and_one_for_each_function(shelf: Shelf) -> None:
    daily = shelf.task(task_name="daily", repeats=0, period=86400, next_run_time=NOW + HOUR)
    shelf.task(task_name="busy", repeats=0, period=5)
    shelf.task(task_name="later", repeats=0, next_run_time=NOW + 2 * DAY)
    shelf.task(task_name="off", repeats=0, enabled=False)
    one = shelf.task(function_name="mail", next_run_time=NOW + 3 * HOUR)
    other = shelf.task(function_name="mail", next_run_time=NOW + 2 * HOUR)
    lanes = shelf.lanes()
    assert list(lanes) == ["busy", "daily", "mail"]
    assert lanes["daily"].dots == [NOW + HOUR] and lanes["daily"].task_id == daily
    assert [band.count for band in lanes["busy"].bands] == [17280] and lanes["busy"].dots == []
    assert lanes["mail"].dots == [NOW + 2 * HOUR, NOW + 3 * HOUR]
    assert lanes["mail"].ids == [other, one] and lanes["mail"].task_id is None


def test_many_one_off_tasks_of_a_function_become_a_band(shelf: Shelf) -> None:
    for number in range(10):
        shelf.task(next_run_time=NOW + HOUR + number * timedelta(seconds=10))
    alone = shelf.task(next_run_time=NOW + 5 * HOUR)
    lane = shelf.lanes()["add"]
    assert [band.count for band in lane.bands] == [10] and lane.ids == [alone]


def test_the_next_days_are_counted_for_each_task(shelf: Shelf) -> None:
    shelf.task(task_name="busy", repeats=0, period=1)
    shelf.task(task_name="daily", repeats=0, cronline="0 6 * * *", next_run_time=NOW + 18 * HOUR)
    shelf.task(function_name="mail", next_run_time=NOW + 3 * HOUR)
    found = shelf.browser.next_days(3)
    assert found.days == [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 2)]
    counts = {one.name or one.function: one.counts for one in found.shares}
    assert counts == {"busy": [43200, 86400, 86400], "daily": [0, 1, 1], "mail": [1, 0, 0]}
    assert found.totals == [43201, 86401, 86401]


def test_what_waits_for_others_is_not_foretold_but_counted(shelf: Shelf) -> None:
    first = shelf.task(next_run_time=NOW - HOUR)
    second = shelf.task(repeats=0)
    third = shelf.task(next_run_time=NOW + HOUR)
    job = JobGraph(shelf.db, "job")
    job.add_deps(second, first)
    job.add_deps(third, first)
    for calendar in (shelf.browser.next_hours(), shelf.browser.next_days(3)):
        assert calendar.waiting == 2
    assert shelf.lanes() == {}
    (listed,) = shelf.browser.repeating().items
    assert listed.waits and listed.following == []


def test_where_too_many_one_off_tasks_are_due_it_is_said_until_when_they_are_shown(
    shelf: Shelf,
) -> None:
    for number in range(4):
        shelf.task(next_run_time=NOW + number * HOUR)
    found = shelf.browser.next_hours(most=3)
    assert found.one_offs_more and found.one_offs_until == NOW + 2 * HOUR


def test_only_the_tasks_of_the_app_are_in_a_calendar(shelf: Shelf) -> None:
    shelf.task(repeats=0, application_name="another")
    shelf.task(next_run_time=NOW + HOUR, application_name="another")
    assert shelf.browser.next_hours().lanes == []
    assert len(shelf.browser_of("").next_hours().lanes) == 2


@pytest.fixture
def sqlite_shelf(tmp_path: Path) -> Iterator[Shelf]:
    """There a text can stand for a time."""
    with lab_on(Database(SQLITE_FILE), tmp_path) as one:
        yield Shelf(one)


def test_a_row_that_cannot_be_read_keeps_no_other_from_being_shown(sqlite_shelf: Shelf) -> None:
    shelf = sqlite_shelf
    shelf.task(task_name="good", repeats=0)
    shelf.task(task_name="mail", function_name="mail", next_run_time=NOW + HOUR)
    for bad in (shelf.task(repeats=0), shelf.task(next_run_time=NOW + HOUR)):
        late = "UPDATE scheduler_task SET last_run_time = '2026-13-45'"
        shelf.db.executesql(f"{late}, stop_time = 'never' WHERE id = {bad}")
    assert [one.task.name for one in shelf.browser.repeating().items] == ["good"]
    assert {"good", "mail"} <= {*shelf.lanes()}
