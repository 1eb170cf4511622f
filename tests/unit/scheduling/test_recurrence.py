"""When a task runs next, in simulated time."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from plugin_scheduler.scheduling.cron import AT_FORMS
from plugin_scheduler.scheduling.recurrence import (
    first_run_time,
    in_words,
    may_retry,
    next_run_time,
    runs_again,
)

NINE = datetime(2026, 5, 1, 9)


def after(
    started: datetime,
    *,
    start_time: datetime | None = NINE,
    period: int = 60,
    prevent_drift: bool = False,
    cronline: str | None = None,
) -> datetime:
    return next_run_time(
        started=started,
        start_time=start_time,
        period=period,
        prevent_drift=prevent_drift,
        cronline=cronline,
    )


def simulate(
    runs: int, period: int, prevent_drift: bool, takes: float, late: tuple[float, float]
) -> list[datetime]:
    """The starts of a task: each a little after it is due, and never before the last run ended."""
    rng = random.Random(1)
    due, free, starts = NINE, NINE, []
    for _ in range(runs):
        started = max(due, free) + timedelta(seconds=rng.uniform(*late))
        starts.append(started)
        free = started + timedelta(seconds=takes)
        due = after(started, period=period, prevent_drift=prevent_drift)
        assert due.microsecond == 0
    return starts


def gaps(starts: list[datetime]) -> list[float]:
    return [(later - earlier).total_seconds() for earlier, later in pairwise(starts)]


def test_with_prevent_drift_a_hundred_runs_of_3_s_stay_on_the_grid_of_10_s() -> None:
    starts = simulate(100, 10, True, takes=3, late=(0.005, 0.4))
    off_grid = [(s - NINE).total_seconds() - 10 * k for k, s in enumerate(starts)]
    assert all(0 <= seconds <= 0.5 for seconds in off_grid)


@pytest.mark.parametrize("period", [1, 10, 30, 3600])
def test_without_prevent_drift_spacing_is_at_least_the_period_and_hardly_more(period: int) -> None:
    spacing = gaps(simulate(100, period, False, takes=0.3, late=(0.005, 0.05)))
    assert min(spacing) >= period - 0.1
    assert sum(spacing) / len(spacing) <= period + 0.5


def test_without_prevent_drift_late_starts_never_shorten_the_spacing_by_more_than_a_tenth() -> None:
    assert min(gaps(simulate(300, 5, False, takes=1, late=(0.0, 3.0)))) >= 4.9


def test_a_task_that_always_fails_never_starts_twice_in_one_slot() -> None:
    starts = simulate(500, 60, True, takes=0.001, late=(0.0, 0.05))
    slots = [int((s - NINE).total_seconds() // 60) for s in starts]
    assert may_retry(times_failed=len(starts), retry_failed=-1)
    assert slots == list(range(500))


def test_a_run_longer_than_its_period_skips_the_slots_it_missed() -> None:
    assert after(NINE + timedelta(seconds=150), prevent_drift=True) == NINE + timedelta(minutes=3)


def test_a_start_exactly_on_the_grid_is_followed_by_the_next_point() -> None:
    assert after(NINE, prevent_drift=True) == NINE + timedelta(minutes=1)


def test_a_task_run_before_its_start_time_is_still_due_at_its_start_time() -> None:
    assert after(NINE - timedelta(hours=5), prevent_drift=True) == NINE


def test_a_fraction_in_the_start_time_cannot_bring_the_next_point_before_the_start() -> None:
    start_time = NINE + timedelta(seconds=0.05)
    started = NINE + timedelta(seconds=60.03)
    following = after(started, start_time=start_time, prevent_drift=True)
    assert following == NINE + timedelta(minutes=2)


def test_the_period_is_counted_from_start_to_start() -> None:
    assert after(NINE + timedelta(hours=1), period=90) == NINE + timedelta(hours=1, seconds=90)


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [(0, 60), (5, 60), (100, 60), (101, 61), (500, 61), (999, 61)]
)
def test_a_tenth_of_a_second_is_forgiven_and_more_goes_to_the_next_second(
    milliseconds: int, seconds: int
) -> None:
    started = NINE + timedelta(milliseconds=milliseconds)
    assert after(started) == NINE + timedelta(seconds=seconds)


def test_prevent_drift_without_a_start_time_or_a_period_changes_nothing() -> None:
    started = NINE + timedelta(seconds=7)
    assert after(started, start_time=None, prevent_drift=True) == started + timedelta(seconds=60)
    assert after(started, period=0, prevent_drift=True) == started


@pytest.mark.parametrize("prevent_drift", [False, True])
def test_a_cron_line_wins_over_the_period(prevent_drift: bool) -> None:
    following = after(
        NINE + timedelta(seconds=0.02), prevent_drift=prevent_drift, cronline="*/15 * * * *"
    )
    assert following == NINE + timedelta(minutes=15)


def test_an_empty_cron_line_is_none() -> None:
    assert after(NINE, cronline="") == NINE + timedelta(seconds=60)
    assert first_run_time(start_time=NINE, cronline="") == NINE


def test_a_new_task_runs_first_at_its_start_time() -> None:
    assert first_run_time(start_time=NINE, cronline=None) == NINE


def test_a_new_task_with_a_cron_line_runs_first_strictly_after_its_start_time() -> None:
    assert first_run_time(start_time=NINE, cronline="0 9 * * *") == NINE + timedelta(days=1)
    early = NINE - timedelta(seconds=1)
    assert first_run_time(start_time=early, cronline="0 9 * * *") == NINE


def test_a_wrong_cron_line_is_refused_when_the_next_time_is_asked_for() -> None:
    with pytest.raises(ValueError, match="minute '61'"):
        after(NINE, cronline="61 * * * *")


def test_a_task_runs_again_until_it_has_run_as_often_as_asked() -> None:
    assert [runs_again(times_run=n, repeats=3) for n in (1, 2, 3, 4)] == [True, True, False, False]
    assert not runs_again(times_run=1, repeats=1)


def test_zero_repeats_mean_for_ever() -> None:
    assert runs_again(times_run=1_000_000, repeats=0)


def test_a_failed_task_is_tried_again_as_often_as_asked() -> None:
    assert [may_retry(times_failed=n, retry_failed=2) for n in (0, 1, 2)] == [True, True, False]
    assert not may_retry(times_failed=0, retry_failed=0)


def test_minus_one_means_tried_again_for_ever() -> None:
    assert may_retry(times_failed=1_000_000, retry_failed=-1)


@pytest.mark.parametrize(
    ("period", "repeats", "cronline", "words"),
    [
        (60, 1, None, "once"),
        (300, 0, None, "every 5 minutes"),
        (60, 0, None, "every minute"),
        (90, 0, None, "every 90 seconds"),
        (1, 0, None, "every second"),
        (3600, 3, None, "every hour, 3 times"),
        (172800, 0, None, "every 2 days"),
        (604800, 2, None, "every week, 2 times"),
        (0, 0, None, "without a pause"),
        (60, 0, "0 3 * * *", "at 03:00 every day (0 3 * * *)"),
        (60, 1, "0 6 * * 1", "at 06:00 on Monday (0 6 * * 1), once"),
        (60, 4, "@Weekly", "at 00:00 on Sunday (@Weekly), 4 times"),
        (60, 0, "1,2,3,5,8,13,21 * * * *", "1,2,3,5,8,13,21 * * * *"),
        (60, 0, "not {a} cron line", "not {a} cron line"),
    ],
)
def test_a_schedule_is_told_in_words(
    period: int, repeats: int, cronline: str | None, words: str
) -> None:
    assert in_words(period=period, repeats=repeats, cronline=cronline) == words


def test_when_a_schedule_begins_and_ends_is_told_where_it_is_known() -> None:
    words = in_words(period=60, repeats=0, first=NINE, until=NINE + timedelta(hours=1))
    assert words == f"every minute, first on {NINE:%Y-%m-%d} 09:00, until {NINE:%Y-%m-%d} 10:00"


@pytest.mark.parametrize("form", AT_FORMS)
def test_every_at_form_is_explained(form: str) -> None:
    assert in_words(period=60, repeats=0, cronline=form).endswith(f" ({form})")
