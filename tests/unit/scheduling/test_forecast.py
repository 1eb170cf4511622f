"""What will run when, foretold from a task as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pytest

from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.scheduling.forecast import (
    drawn,
    following,
    minutes_between,
    per_day,
    upcoming,
)
from plugin_scheduler.scheduling.recurrence import next_run_time

NINE = datetime(2026, 5, 1, 9)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Plan:
    """What a forecast must know of a task."""

    status: str = TaskStatus.QUEUED
    enabled: bool = True
    start_time: datetime | None = NINE
    next_run_time: datetime | None = NINE
    last_run_time: datetime | None = None
    stop_time: datetime | None = None
    period: int = 3600
    prevent_drift: bool = False
    cronline: str | None = None
    repeats: int = 0
    times_run: int = 0


def clocks(task: Plan, until: datetime, since: datetime = NINE, limit: int = 100) -> list[str]:
    return [f"{one:%d %H:%M:%S}" for one in upcoming(task, since, until, limit)[0]]


def test_a_period_counts_from_start_to_start() -> None:
    assert clocks(Plan(period=1200), NINE + HOUR) == ["01 09:00:00", "01 09:20:00", "01 09:40:00"]


def test_no_more_than_the_limit_are_told_and_that_there_are_more() -> None:
    task = Plan(period=60)
    assert upcoming(task, NINE, NINE + HOUR, 60) == (
        [NINE + number * timedelta(minutes=1) for number in range(60)],
        False,
    )
    few, more = upcoming(task, NINE, NINE + HOUR, 59)
    assert len(few) == 59 and more


def test_what_is_overdue_is_due_now_and_drifts() -> None:
    late = NINE + timedelta(minutes=7, seconds=3)
    assert clocks(Plan(), NINE + 2 * HOUR, late) == ["01 09:07:03", "01 10:07:03"]


def test_with_prevent_drift_it_comes_back_to_its_grid() -> None:
    late = NINE + timedelta(minutes=7, seconds=3)
    task = Plan(prevent_drift=True)
    assert clocks(task, NINE + 3 * HOUR, late) == ["01 09:07:03", "01 10:00:00", "01 11:00:00"]


def test_only_the_repeats_that_are_left_are_told() -> None:
    left = Plan(repeats=5, times_run=3)
    assert clocks(left, NINE + DAY) == ["01 09:00:00", "01 10:00:00"]
    assert clocks(Plan(repeats=1), NINE + DAY) == ["01 09:00:00"]


def test_the_run_at_work_is_one_of_the_repeats_and_the_next_counts_from_its_start() -> None:
    running = Plan(status=TaskStatus.RUNNING, last_run_time=NINE, repeats=3, times_run=1)
    assert clocks(running, NINE + DAY) == ["01 10:00:00"]
    assert clocks(Plan(status=TaskStatus.RUNNING, last_run_time=NINE, repeats=1), NINE + DAY) == []


def test_a_task_that_was_queued_again_runs_once_more_whatever_it_has_run() -> None:
    assert clocks(Plan(repeats=2, times_run=2), NINE + DAY) == ["01 09:00:00"]


def test_nothing_comes_at_its_stop_time_or_later() -> None:
    task = Plan(stop_time=NINE + 2 * HOUR)
    assert clocks(task, NINE + DAY) == ["01 09:00:00", "01 10:00:00"]
    assert clocks(Plan(stop_time=NINE), NINE + DAY) == []
    assert per_day(task, NINE, [NINE.date()]) == [2]


@pytest.mark.parametrize(
    "task",
    [
        Plan(enabled=False),
        Plan(next_run_time=None),
        *(Plan(status=status) for status in TaskStatus.ENDED),
    ],
)
def test_what_will_not_run_by_itself_is_not_foretold(task: Plan) -> None:
    assert upcoming(task, NINE, NINE + DAY) == ([], False)
    assert per_day(task, NINE, [NINE.date()]) == [0]
    assert drawn(task, NINE, NINE + DAY) == ([], [])
    assert following(task, NINE) == []


def test_a_broken_cron_line_is_foretold_until_it_must_be_read() -> None:
    broken = Plan(cronline="61 * * * *")
    assert following(broken, NINE) == [NINE]
    assert per_day(broken, NINE, [NINE.date()]) == [1]


def test_the_last_day_of_each_month_is_found_however_long_the_month_is() -> None:
    task = Plan(cronline="0 6 L * *", next_run_time=datetime(2028, 1, 31, 6))
    found = following(task, datetime(2028, 1, 15), 3)
    assert found == [datetime(2028, 1, 31, 6), datetime(2028, 2, 29, 6), datetime(2028, 3, 31, 6)]


def test_a_line_for_leap_days_is_followed_over_years() -> None:
    task = Plan(cronline="0 0 29 2 *", next_run_time=datetime(2028, 2, 29))
    assert following(task, NINE, 2) == [datetime(2028, 2, 29), datetime(2032, 2, 29)]


def test_the_hour_that_is_left_out_or_doubled_in_a_zone_is_foretold_like_any_other() -> None:
    """Times are naive; what workers do in such a night is told in the docs."""
    spring = datetime(2026, 3, 29)
    task = Plan(cronline="30 2 * * *", next_run_time=spring.replace(hour=2, minute=30))
    assert clocks(task, spring + 2 * DAY, spring) == ["29 02:30:00", "30 02:30:00"]


LINES = ("*/5 * * * *", "0 9-17 * * 1-5", "30 2 1,15 * 0", "* * L * *", "59 23 31 * *", "@hourly")
PERIODS = (45, 60, 86399, 86400, 90000)
TASKS = [Plan(cronline=line, next_run_time=NINE + 3 * HOUR) for line in LINES]
TASKS += [Plan(period=period, prevent_drift=drift) for period in PERIODS for drift in (True, False)]
TASKS += [
    Plan(period=7, repeats=1000, times_run=10),
    Plan(cronline="*/5 * * * *", stop_time=NINE + DAY),
]


@pytest.mark.parametrize("task", TASKS, ids=str)
@pytest.mark.parametrize("since", [NINE, NINE + timedelta(seconds=20, milliseconds=300)], ids=str)
def test_what_is_counted_is_what_stepping_from_run_to_run_finds(
    task: Plan, since: datetime
) -> None:
    days = [since.date() + number * DAY for number in range(3)]
    until = datetime.combine(days[-1] + DAY, datetime.min.time())
    found = list(stepped(task, since, until))
    assert per_day(task, since, days) == [sum(one.date() == day for one in found) for day in days]
    assert upcoming(task, since, until, len(found)) == (found, False)


def stepped(task: Plan, since: datetime, until: datetime) -> list[datetime]:
    """The slow way."""
    moment, found = max(task.next_run_time or NINE, since), []
    most = task.repeats - task.times_run if task.repeats else 10**9
    end = min(until, task.stop_time or until)
    while moment < end and len(found) < most:
        found.append(moment)
        moment = next_run_time(
            started=moment,
            start_time=task.start_time,
            period=task.period,
            prevent_drift=task.prevent_drift,
            cronline=task.cronline,
        )
    return found


def test_a_task_for_every_second_is_counted_over_years_in_one_step() -> None:
    year = [date(2026, 1, 1) + number * DAY for number in range(365)]
    task = Plan(period=1, next_run_time=datetime(2026, 1, 1))
    assert sum(per_day(task, datetime(2026, 1, 1), year)) == 365 * 86400


def test_moments_of_a_line_are_counted_strictly_between_two_times() -> None:
    assert minutes_between("0 * * * *", NINE, NINE + 2 * HOUR) == 1
    assert minutes_between("0 * * * *", NINE - HOUR / 2, NINE + HOUR / 2) == 1
    assert minutes_between("0 12 * * 0", NINE, NINE) == 0


# --- drawn ----------------------------------------------------------------------------------------


def test_what_comes_seldom_is_drawn_as_dots() -> None:
    dots, bands = drawn(Plan(period=3600), NINE, NINE + DAY)
    assert len(dots) == 24 and bands == []


def test_what_comes_all_the_time_is_drawn_as_one_band_that_says_how_often() -> None:
    dots, (band,) = drawn(Plan(period=5), NINE, NINE + DAY)
    assert dots == [] and band.count == 86400 / 5 and band.every == 5
    assert band.start == NINE and band.end == NINE + DAY - timedelta(seconds=5)


def test_a_band_ends_with_the_repeats_that_are_left() -> None:
    _, (band,) = drawn(Plan(period=60, repeats=10), NINE, NINE + DAY)
    assert band.count == 10 and band.end == NINE + timedelta(minutes=9)


def test_a_task_without_a_pause_fills_the_window() -> None:
    assert following(Plan(period=0), NINE) == [NINE]
    _, (band,) = drawn(Plan(period=0), NINE, NINE + DAY)
    assert (band.start, band.end, band.every) == (NINE, NINE + DAY, 0)


def test_a_negative_period_that_somebody_wrote_by_hand_is_as_none() -> None:
    for drift in (True, False):
        task = Plan(period=-5, prevent_drift=drift)
        assert upcoming(task, NINE, NINE + DAY) == ([NINE], False)
        assert per_day(task, NINE, [NINE.date()]) == [15 * 3600]
        _, (band,) = drawn(task, NINE, NINE + DAY)
        assert band.every == 0


def test_a_line_for_office_hours_is_drawn_as_a_band_for_each_day() -> None:
    task = Plan(cronline="*/5 9-16 * * *")
    dots, bands = drawn(task, NINE, NINE + 2 * DAY)
    assert dots == [] and [band.count for band in bands] == [96, 96]
    assert [band.every for band in bands] == [300, 300]


def test_two_that_are_near_each_other_stay_two_dots() -> None:
    dots, bands = drawn(Plan(cronline="0,1 9 * * *"), NINE, NINE + DAY)
    assert bands == []
    assert dots == [NINE, NINE + timedelta(minutes=1)]
