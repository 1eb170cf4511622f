"""What the database refuses of one row ends with that row: others are stored, nothing is raised."""

from __future__ import annotations

import logging
import math
from datetime import datetime
from types import SimpleNamespace

import pytest
from support.home import Connect, engine_on, scheduler_on
from support.refusing import FORGIVING, REFUSING, ask

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Outcome, RunStatus, TaskStatus
from plugin_scheduler.execution.live_run import LiveRun, Result
from plugin_scheduler.execution.output_buffer import OutputBuffer
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.fetcher import Fetcher
from plugin_scheduler.worker.large_results import LargeResults
from plugin_scheduler.worker.leader import Leader
from plugin_scheduler.worker.reporter import REFUSED_AGAIN, Reporter
from plugin_scheduler.worker.unknown_functions import KnownFunctions

ME = "me"


def taken(store: Store) -> list[Order]:
    orders = store.claims.take(ME, ("main",), 10, store.dialect.now()).orders
    assert len(orders) == 2
    return orders


def live(order: Order, clock: TurnedClock) -> LiveRun:
    run = LiveRun(order, Settings(), clock.monotonic() - 100, OutputBuffer(1000))
    run.progressed({"at": 1, "of": 2, "text": "half"})
    return run


def result(order: Order) -> Result:
    return Result(order, Outcome.COMPLETED, 0.5, "", result="[1]")


def test_a_row_that_refuses_everything_keeps_no_other_row_from_being_stored(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    db, clock = connect(), TurnedClock(datetime(2026, 5, 1))
    scheduler = scheduler_on(db)
    for _ in range(2):
        scheduler.queue_task("add", [1, 2])
    db.commit()
    engine, run = str(db._adapter.dbengine), db.scheduler_run
    with engine_on(connect) as store, caplog.at_level(logging.WARNING):
        bad, good = taken(store)
        ask(db, REFUSING[engine], "scheduler_run", bad.run_id)
        reporting = Reporter(store, LargeResults({}, Settings(), ME), ME, clock)
        runs = [live(bad, clock), live(good, clock)]
        for _ in range(3):
            reporting.save_live(runs)
            clock.turn(1)
            runs[0].progressed({"at": 2, "of": 2, "text": "all"})
        assert run[good.run_id].progress == {"at": 1, "of": 2, "text": "half"}
        assert run[bad.run_id].progress is None
        db.commit()
        assert reporting.next_deadline(runs) is None
        assert caplog.text.count("live output and progress") == 1

        reporting.collect(News(results=[result(bad), result(good)]))
        for _ in range(3):
            reporting.store()
        assert caplog.text.count("its report cannot be stored") == 1
        assert run[good.run_id].status == RunStatus.COMPLETED
        assert run[bad.run_id].status == RunStatus.RUNNING
        ask(db, FORGIVING[engine], "scheduler_run")
        clock.turn(REFUSED_AGAIN + 1)
        assert reporting.store()
        assert run[bad.run_id].status == RunStatus.COMPLETED
        db.commit()


def test_a_row_that_refuses_to_be_given_back_keeps_no_other_from_it(connect: Connect) -> None:
    db, clock = connect(), TurnedClock(datetime(2026, 5, 1))
    scheduler = scheduler_on(db)
    for _ in range(2):
        scheduler.queue_task("add", [1, 2])
    db.commit()
    engine, task = str(db._adapter.dbengine), db.scheduler_task
    full_pool = SimpleNamespace(takers=lambda: 0, idle=lambda: 0, load=list)
    staying, functions = SimpleNamespace(takes_work=True), KnownFunctions(["add"], 60, clock)
    with engine_on(connect) as store:
        bad, good = taken(store)
        ask(db, REFUSING[engine], "scheduler_task", bad.task.id)
        fetcher = Fetcher(store, full_pool, staying, Settings(), ME, functions, clock)  # type: ignore[arg-type]
        fetcher.collect(News(unbegun=[bad, good]))
        for _ in range(3):
            fetcher.feed()
        assert fetcher.task_ids() == [bad.task.id]
        assert task[good.task.id].status == TaskStatus.QUEUED
        ask(db, FORGIVING[engine], "scheduler_task")
        clock.turn(REFUSED_AGAIN + 1)
        fetcher.feed()
        assert task[bad.task.id].status == TaskStatus.QUEUED
        db.commit()


def test_a_row_that_refuses_to_go_back_from_a_worker_keeps_no_other_from_it(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither from one that forgot of it, nor from a dead one; and the leader lives on."""
    db, clock = connect(), TurnedClock(datetime(2026, 5, 1))
    scheduler = scheduler_on(db)
    ids = [scheduler.queue_task("add", [1, 2]).id for _ in range(4)]
    db.commit()
    engine, task = str(db._adapter.dbengine), db.scheduler_task
    with engine_on(connect) as store, caplog.at_level(logging.WARNING):
        worker_id = store.workers.register(ME, {})
        store.workers.register("dead", {})
        for name in (ME, "dead"):
            store.claims.take(name, ("main",), 2, store.dialect.now())
        ask(db, REFUSING[engine], "scheduler_task", ids[0])
        more = [one.replace("refuse", "refuse_too") for one in REFUSING[engine]]
        ask(db, more, "scheduler_task", ids[2])
        store.db(store.db.scheduler_worker.worker_name == "dead").update(lease_until=1.0)
        store.db.commit()
        ticker = Leader(store, Settings(heartbeat=1), clock, ME)
        for _ in range(8):
            clock.turn(1)
            workers = ticker.try_become_leader(worker_id)
            ticker.look_after(workers, ())
        statuses = [row.status for row in db(task).select(orderby=task.id)]
        assert statuses == ["RUNNING", "QUEUED", "RUNNING", "QUEUED"]
        told = [line for line in caplog.messages if "the database rejected" in line]
        assert [line.partition(": ")[0] for line in told] == [
            f"the database rejected an update of task {one} add" for one in (ids[0], ids[2])
        ]
        db.commit()


def test_an_open_run_that_refuses_to_be_closed_is_told_and_its_task_goes_back(
    connect: Connect,
) -> None:
    db = connect()
    scheduler = scheduler_on(db)
    task_id = scheduler.queue_task("add", [1, 2]).id
    db.commit()
    with engine_on(connect) as store:
        store.claims.take("gone", ("main",), 1, store.dialect.now())
        run_id = db.scheduler_run.insert(worker_name="gone", status=RunStatus.RUNNING)
        db.commit()
        ask(db, REFUSING[str(db._adapter.dbengine)], "scheduler_run", run_id)
        assert [task.id for task in store.maintenance.requeue_lost("gone")] == [task_id]
        assert list(store.tasks.refused) == ["closing the open runs of worker gone"]
        assert db.scheduler_task[task_id].status == TaskStatus.QUEUED
        db.commit()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_chore_that_the_database_refuses_does_not_end_the_leader(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    db, clock = connect(), TurnedClock(datetime(2026, 5, 1))
    scheduler = scheduler_on(db)
    late = scheduler.queue_task("add", [1, 2]).id
    db(db.scheduler_task.id == late).update(stop_time=datetime(2020, 1, 1))
    db.commit()
    ask(db, REFUSING["sqlite"], "scheduler_task", late)
    with engine_on(connect) as store, caplog.at_level(logging.WARNING):
        worker_id = store.workers.register(ME, {})
        ticker = Leader(store, Settings(heartbeat=1), clock, ME)
        for _ in range(3):
            clock.turn(1)
            ticker.look_after(ticker.try_become_leader(worker_id), ())
    said = "the database rejected maintenance step 'expire overdue': refused"
    assert caplog.messages == [said]


def test_a_beat_is_stored_whatever_its_statistics_hold(connect: Connect) -> None:
    db = connect()
    scheduler_on(db)
    with engine_on(connect) as store:
        worker = db.scheduler_worker
        worker_id = store.workers.register(ME, {"load": math.nan})
        odd = {"load": [math.inf, 1.0], "why": "\x00", "boot_error": "\ud800", "pid": 7}
        assert store.workers.beat(worker_id, odd)
        stats = worker[worker_id].worker_stats
        assert stats.get("pid") == 7 or "refused" in stats
        db.commit()


def test_an_error_of_a_row_is_told_from_one_of_the_connection(connect: Connect) -> None:
    db = connect()
    scheduler_on(db)
    with engine_on(connect) as store:
        worker = store.db.scheduler_worker
        store.workers.register(ME, {})
        with pytest.raises(Exception) as refused, store.dialect.transaction():
            worker.insert(worker_name=ME)
        assert store.dialect.blames_values(refused.value)
        assert not isinstance(refused.value, StoreUnavailable)
