"""How runs are counted, before anything is stored."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from plugin_scheduler.core.types import Order, Outcome, Task
from plugin_scheduler.store.metrics_buffer import KEPT, KINDS, Amount, MetricKind, MetricsBuffer

NOON = datetime(2026, 1, 31, 12, 0)
ADD = MetricKind(7, "add", "main", "lab")


def order(waited: float | None = 0.0, **columns: Any) -> Order:
    due = None if waited is None else NOON - timedelta(seconds=waited)
    values = dict.fromkeys(Task._fields) | {"next_run_time": due, "function_name": "add"}
    values |= {"group_name": "main", "application_name": "lab", **columns}
    return Order(Task(**values), 1, NOON)


def test_runs_of_a_minute_are_counted_together_by_function_group_and_app() -> None:
    tally = MetricsBuffer()
    tally.add(7, order(waited=4), Outcome.COMPLETED, 2.0)
    tally.add(7, order(waited=1), Outcome.TIMEOUT, 5.0)
    tally.add(7, order(group_name="mail"), Outcome.COMPLETED, 1.0)
    tally.add(8, order(application_name="lab/default"), Outcome.DIED, 0.5)
    assert tally.news() == {
        ADD: Amount(1, 1, 7.0, 5.0, 5.0, 4.0),
        ADD._replace(group_name="mail"): Amount(1, 0, 1.0, 1.0),
        ADD._replace(epoch_minute=8): Amount(0, 1, 0.5, 0.5),
    }


def test_what_was_interrupted_does_not_count() -> None:
    tally = MetricsBuffer()
    tally.add(7, order(), Outcome.INTERRUPTED, 2.0)
    assert tally.news() == {}


@pytest.mark.parametrize("waited", [None, -3.0])
def test_a_run_without_a_time_at_which_it_was_due_did_not_wait(waited: float | None) -> None:
    tally = MetricsBuffer()
    tally.add(7, order(waited), Outcome.COMPLETED, 1.0)
    assert tally.news() == {ADD: Amount(1, 0, 1.0, 1.0, 0.0, 0.0)}


def test_what_is_stored_is_all_of_a_minute_with_what_was_there_before() -> None:
    tally = MetricsBuffer()
    tally.add(7, order(), Outcome.COMPLETED, 1.0)
    assert tally.unasked() == [ADD]
    tally.told({ADD: Amount(10, 2, 30.0, 9.0)})
    tally.stored(tally.news())
    assert tally.news() == {} == dict.fromkeys(tally.unasked())
    tally.add(7, order(), Outcome.COMPLETED, 1.0)
    assert tally.news() == {ADD: Amount(12, 2, 32.0, 9.0)}


def test_a_minute_that_was_stored_and_is_over_is_asked_for_again() -> None:
    tally = MetricsBuffer()
    tally.add(7, order(), Outcome.COMPLETED, 1.0)
    tally.add(8, order(), Outcome.COMPLETED, 1.0)
    tally.told({})
    tally.stored(tally.news())
    tally.add(7, order(), Outcome.COMPLETED, 1.0)  # a clock was set back
    assert tally.unasked() == [ADD]


def test_what_was_not_stored_is_kept() -> None:
    tally = MetricsBuffer()
    for minute in range(5):
        tally.add(minute, order(), Outcome.COMPLETED, 1.0)
        tally.add(minute, order(), Outcome.FAILED, 1.0)
    assert [(one.completed, one.failed) for one in tally.news().values()] == [(1, 1)] * 5


def test_functions_without_number_are_counted_together() -> None:
    tally = MetricsBuffer()
    for number in range(KINDS + 50):
        for _ in range(2):
            tally.add(7, order(function_name=f"f{number}"), Outcome.COMPLETED, 1.0)
    news = tally.news()
    assert len(news) == KINDS + 1
    assert news[MetricKind(7, "", "", "lab")].completed == 100


def test_what_waits_for_the_database_is_bounded_and_the_newest_is_kept() -> None:
    tally = MetricsBuffer()
    for minute in range(KEPT + 10):
        tally.add(minute, order(), Outcome.COMPLETED, 1.0)
    minutes = [kind.epoch_minute for kind in tally.news()]
    assert minutes == list(range(10, KEPT + 10))
