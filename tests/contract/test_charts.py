"""What workers count, and what browse makes of it, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from support.home import Connect, engine_on, scheduler_on
from support.kit import Lab

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.queries import Queries
from plugin_scheduler.store import Store
from plugin_scheduler.store.metrics import KEPT, PRUNED
from plugin_scheduler.store.metrics_buffer import Amount, MetricKind
from plugin_scheduler.system.clock import TurnedClock

NOW = datetime(2026, 1, 31, 12, 0, 30)
MINUTE = int(TurnedClock(NOW).epoch() // 60)
ONE = Amount(1, 0, 2.0, 2.0, 1.0, 1.0)


@pytest.fixture
def store(connect: Connect) -> Iterator[Store]:
    scheduler_on(connect())
    with engine_on(connect) as store:
        yield store


def kind(minute: int = MINUTE, function: str = "add", group: str = "main") -> MetricKind:
    return MetricKind(minute, function, group, "lab")


def rows(store: Store) -> list[tuple[str, int, int, float]]:
    metric = store.db.scheduler_metric
    found = store.db(metric).select(orderby=(metric.epoch_minute, metric.worker_name))
    store.db.commit()
    return [(row.worker_name, row.epoch_minute, row.completed, row.run_seconds) for row in found]


def test_counts_are_written_in_the_place_of_those_that_are_there(store: Store) -> None:
    later = kind(MINUTE + 1)
    store.metrics.write("w1", {kind(): ONE})
    store.metrics.write("w2", {kind(): ONE})
    for _ in range(2):  # whether an answer was lost or not
        store.metrics.write("w1", {kind(): ONE.plus(ONE), later: ONE})
    mine, other, new = rows(store)
    assert (mine[2:], other[2:], new[1:3]) == ((2, 4.0), (1, 2.0), (MINUTE + 1, 1))
    assert store.metrics.of("w1", [kind(), later]) == {kind(): ONE.plus(ONE), later: ONE}
    assert store.metrics.of("w3", [kind()]) == {}


def test_many_counts_are_written_at_once(store: Store) -> None:
    many = {kind(function=f"f{number}"): Amount(number, 1, 0.25) for number in range(250)}
    for _ in range(2):
        store.metrics.write("w1", many)
    assert store.metrics.of("w1", list(many)) == many


def test_old_counts_are_removed_some_at_a_time(store: Store) -> None:
    now = store.metrics.minute()
    metric = store.db.scheduler_metric
    for minute, number in ((now - KEPT - 5, PRUNED + 10), (now - KEPT + 5, 1)):
        columns = {"worker_name": "w1", "function_name": "add", "group_name": "main"}
        metric.bulk_insert([{"epoch_minute": minute, **columns}] * number)
    store.db.commit()
    assert [store.metrics.prune(), store.metrics.prune()] == [True, False]
    assert [row[1] for row in rows(store)] == [now - KEPT + 5]


class Week:
    """A lab's counts, looked at by a browser whose clock stands still."""

    def __init__(self, lab: Lab) -> None:
        self.metric, self.browser = lab.db.scheduler_metric, self.browser_of(lab, "lab")

    def browser_of(self, lab: Lab, application: str) -> Queries:
        clock = TurnedClock(NOW)
        browser = Queries(lab.db, Settings(), application, (), clock)
        browser._dialect.epoch = clock.epoch  # also where a server has a clock of its own
        return browser

    def counted(self, ago: int, completed: int = 1, failed: int = 0, **columns: Any) -> None:
        """So many minutes ago."""
        times = {"run_seconds": 2.0, "run_longest": 1.5, "wait_seconds": 4.0, "wait_longest": 3.0}
        names = {"worker_name": "w1", "function_name": "add", "group_name": "main"}
        given = {**times, **names, "application_name": "lab", **columns}
        counts = {"completed": completed, "failed": failed}
        self.metric.insert(epoch_minute=MINUTE - ago, **counts, **given)


@pytest.fixture
def week(lab: Lab) -> Week:
    return Week(lab)


@pytest.mark.parametrize(
    ("span", "number", "minutes"), [("hour", 60, 1), ("day", 96, 15), ("week", 84, 120)]
)
def test_a_span_has_its_stretches_and_gaps_are_no_times(
    week: Week, span: str, number: int, minutes: int
) -> None:
    week.counted(0, 3, 1)
    week.counted(number * minutes)  # too long ago
    charts = week.browser.charts(span)
    assert (len(charts.buckets), charts.seconds) == (number, 60 * minutes)
    *gaps, last = charts.buckets
    assert last.at <= 60 * MINUTE < last.at + charts.seconds
    assert [one.at for one in gaps] == [
        last.at - n * charts.seconds for n in range(number - 1, 0, -1)
    ]
    assert (last.completed, last.failed) == (3, 1) == (charts.completed, charts.failed)
    assert (last.run_mean, last.run_longest) == (0.5, 1.5)
    assert (last.wait_mean, last.wait_longest) == (1.0, 3.0)
    assert {(one.completed, one.failed, one.run_mean, one.wait_longest) for one in gaps} == {
        (0, 0, None, None)
    }


def test_counts_of_a_stretch_are_put_together(week: Week) -> None:
    for ago in (1, 15):
        week.counted(ago, 1, 1)
    week.counted(15, 2, 0, worker_name="w2", run_longest=9.0)
    before = week.browser.charts("day").buckets[-2]
    assert (before.completed, before.failed) == (4, 2)
    assert (before.run_mean, before.run_longest) == (1.0, 9.0)


def test_one_function_group_or_worker_can_be_looked_at(week: Week) -> None:
    week.counted(5)
    week.counted(5, function_name="mail", group_name="slow", worker_name="w2")
    for part in ({"function": "mail"}, {"group": "slow"}, {"worker": "w2"}):
        assert week.browser.charts("hour", **part).completed == 1
    assert week.browser.charts("hour", function="mail", worker="w1").completed == 0


def test_only_the_counts_of_the_app_are_seen_and_those_of_all_without_one(
    lab: Lab, week: Week
) -> None:
    week.counted(5)
    week.counted(5, application_name="shop")
    assert week.browser.charts().completed == 1
    assert week.browser_of(lab, "").charts().completed == 2


def test_what_is_usual_is_known_from_the_last_week(week: Week) -> None:
    assert week.browser.usual("add") is None
    week.counted(3, 3, 1, run_seconds=8.0, run_longest=5.0)
    week.counted(6 * 24 * 60, 4, run_seconds=4.0)
    week.counted(7 * 24 * 60 + 1, 100)
    week.counted(3, function_name="other", run_longest=99.0)
    usual = week.browser.usual("add")
    assert usual is not None
    assert (usual.mean, usual.longest, usual.runs) == (1.5, 5.0, 8)
