"""What comes back from runs, many at once: stored whole, or left alone where it comes too late."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from support.home import Connect, engine_on, scheduler_on

from plugin_scheduler.core.types import Order, Outcome, Report, RunStatus, TaskStatus
from plugin_scheduler.store import Store

ME, FOREVER = "me", timedelta(days=1)


@pytest.fixture
def store(connect: Connect) -> Iterator[Store]:
    """With three queued tasks."""
    db = connect()
    scheduler = scheduler_on(db)
    for _ in range(3):
        assert scheduler.queue_task("add", [1, 2]).id
    db.commit()
    with engine_on(connect) as store:
        yield store


def taken(store: Store) -> list[Order]:
    orders = store.claims.take(ME, ("main",), 10, store.dialect.now() + FOREVER).orders
    assert len(orders) == 3
    return orders


def completed(order: Order, result: str | None = None, **more: Any) -> Report:
    return Report(order, Outcome.COMPLETED, order.started, 0.5, result=result, **more)


def runs(store: Store) -> list[tuple[str, str | None, str | None]]:
    run = store.db.scheduler_run
    rows = store.db(run).select(orderby=run.id)
    store.db.commit()
    return [(row.status, row.run_result, row.reason) for row in rows]


def statuses(store: Store) -> set[str]:
    found = {row.status for row in store.db(store.db.scheduler_task).select()}
    store.db.commit()
    return found


def test_many_ends_are_stored_together_and_those_without_a_result_leave_no_row(
    store: Store,
) -> None:
    first, *others = taken(store)
    reports = [
        completed(first, '"text with \' and %s and \\\\"', output="%d"),
        *map(completed, others),
    ]
    done = store.tasks.report(reports, ME)
    assert [move.name for _, move in done if move] == ["finish"] * 3
    assert runs(store) == [(RunStatus.COMPLETED, reports[0].result, None)]
    assert statuses(store) == {TaskStatus.COMPLETED}


def test_each_run_keeps_what_is_its_own_and_what_is_the_same_for_all(store: Store) -> None:
    own = [("1", ""), ("2", "x \U0001f40d"), ("1", None)]
    reports = [
        completed(order, result, output=output)
        for order, (result, output) in zip(taken(store), own, strict=True)
    ]
    store.tasks.report(reports, ME)
    run = store.db.scheduler_run
    rows = store.db(run).select(run.run_result, run.run_output, run.duration, orderby=run.id)
    store.db.commit()
    assert [(row.run_result, row.run_output) for row in rows] == own
    assert {row.duration for row in rows} == {0.5}


def test_large_results_of_one_moment_are_not_too_large_together(store: Store) -> None:
    large = '"' + "x" * 7_000_000 + '"'  # two of them are more than a server usually takes
    done = store.tasks.report([completed(order, large) for order in taken(store)], ME)
    assert [move.name for _, move in done if move] == ["finish"] * 3
    assert [len(result or "") for _, result, _ in runs(store)] == [len(large)] * 3


@pytest.mark.parametrize("result", [None, "3"])
def test_what_is_told_too_late_changes_nothing(store: Store, result: str | None) -> None:
    orders = taken(store)
    assert len(store.maintenance.requeue_lost(ME)) == 3
    before = runs(store)
    assert len(before) == 3 and {status for status, _, _ in before} == {RunStatus.STOPPED}
    done = store.tasks.report([completed(order, result) for order in orders], ME)
    assert [move for _, move in done] == [None] * 3
    assert runs(store) == before and statuses(store) == {TaskStatus.QUEUED}
