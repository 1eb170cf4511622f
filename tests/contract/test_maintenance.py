"""What the leader does for all: bounded, and never held up by one row that somebody holds."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from support.databases import SERVERS
from support.home import Connect, engine_on, scheduler_on

from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.types import RunStatus, TaskStatus
from plugin_scheduler.store import Store
from plugin_scheduler.store.maintenance import BATCH, LEVELS

HOUR = timedelta(hours=1)
on_servers = pytest.mark.parametrize("database", SERVERS, indirect=True)


def add_overdue(store: Store, count: int) -> list[int]:
    now, task = store.dialect.now(), store.db.scheduler_task
    rows = [
        {"function_name": "add", "application_name": "lab", "stop_time": now - HOUR}
        for _ in range(count)
    ]
    ids = [int(number) for number in task.bulk_insert(rows)]
    store.db.commit()
    return ids


def statuses(store: Store) -> list[str]:
    task = store.db.scheduler_task
    found = [row.status for row in store.db(task).select(task.status, orderby=task.id)]
    store.db.commit()
    return found


def hold(db: Any, task_id: int) -> None:
    """As a transaction does that edits a row and takes its time."""
    db.executesql(f"SELECT id FROM scheduler_task WHERE id = {task_id} FOR UPDATE")


def test_a_round_expires_so_many_and_leaves_the_rest_to_the_next(connect: Connect) -> None:
    with engine_on(connect) as store:
        add_overdue(store, BATCH[1] + 3)
        assert store.maintenance.expire_overdue() == BATCH[1]
        assert store.maintenance.expire_overdue() == 3
        assert set(statuses(store)) == {TaskStatus.EXPIRED}


@on_servers
def test_a_task_that_somebody_holds_keeps_no_other_from_expiring(connect: Connect) -> None:
    with engine_on(connect) as store:
        held, other = add_overdue(store, 2)
        somebody = connect()
        hold(somebody, held)
        assert store.maintenance.expire_overdue() == 1
        assert statuses(store) == [TaskStatus.QUEUED, TaskStatus.EXPIRED]
        somebody.rollback()
        assert store.maintenance.expire_overdue() == 1 and other


@on_servers
def test_a_waiting_task_that_somebody_holds_keeps_no_other_from_being_let_go(
    connect: Connect,
) -> None:
    with engine_on(connect) as store:
        db, now = store.db, store.dialect.now()
        rows = {"function_name": "add", "application_name": "lab", "next_run_time": now}
        done = db.scheduler_task.insert(**rows, status=TaskStatus.COMPLETED)
        held, other = (db.scheduler_task.insert(**rows) for _ in range(2))
        for waits in (held, other):
            db.scheduler_task_deps.insert(task_parent=waits, task_child=done)
        db.commit()
        somebody = connect()
        hold(somebody, held)
        assert store.maintenance.unblock() == 1
        somebody.rollback()
        assert store.maintenance.unblock() == 1
        assert store.maintenance.unblock() == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_long_chain_is_skipped_in_few_rounds_and_requeued_as_a_whole(connect: Connect) -> None:
    length = 1200
    with engine_on(connect) as store:
        db, scheduler = store.db, scheduler_on(connect())
        rows = [{"function_name": "add", "application_name": "lab"} for _ in range(length)]
        ids = db.scheduler_task.bulk_insert(rows)
        waits = [{"task_parent": after, "task_child": id} for id, after in itertools.pairwise(ids)]
        db.scheduler_task_deps.bulk_insert(waits)
        db(db.scheduler_task.id == ids[0]).update(status=TaskStatus.FAILED, enabled=False)
        db.commit()
        assert store.maintenance.unblock() == LEVELS
        skipped = db.scheduler_task.status == TaskStatus.STOPPED
        assert db(skipped).count() == LEVELS
        told = db(skipped).select(limitby=(0, 1)).first()  # the others as that one
        columns = {name: told[name] for name in ("status", "enabled", "reason", "reason_code")}
        db(db.scheduler_task.id > ids[0]).update(**columns)
        db.commit()
        assert scheduler.requeue(ids[0]) == length
        scheduler.db.commit()
        assert set(statuses(store)) == {TaskStatus.QUEUED}


def test_a_task_that_is_to_wait_all_the_same_is_told_why_once(connect: Connect) -> None:
    with engine_on(connect) as store:
        db, now = store.db, store.dialect.now()
        rows = {"function_name": "add", "application_name": "lab", "next_run_time": now}
        bad = db.scheduler_task.insert(**rows, status=TaskStatus.FAILED)
        waits = db.scheduler_task.insert(**rows)
        db.scheduler_task_deps.insert(task_parent=waits, task_child=bad, on_failure="wait")
        db.commit()
        assert (store.maintenance.unblock(), store.maintenance.unblock()) == (1, 0)
        assert db.scheduler_task(waits).reason.startswith(f"it waits for task {bad}")
        db.scheduler_task(bad).update_record(status=TaskStatus.COMPLETED)
        db.commit()
        assert store.maintenance.unblock() == 1, "it is let go all the same"


def test_an_answer_that_was_lost_makes_no_worker_give_way_to_itself(connect: Connect) -> None:
    with engine_on(connect) as store:
        mine = {"token": "1", "application": "lab"}
        first = store.workers.register("w1", mine)
        assert store.workers.register("w1", mine) == first
        with pytest.raises(ConfigError, match="used by a live worker"):
            store.workers.register("w1", {"token": "2"})


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_a_stop_is_told_to_a_run_that_began_after_the_callers_transaction(
    connect: Connect,
) -> None:
    with engine_on(connect) as store:
        caller = connect()
        scheduler = scheduler_on(caller)
        task_id = scheduler.queue_task("add").id
        caller.commit()
        assert caller.scheduler_task(task_id).status == TaskStatus.QUEUED, "it has looked"
        claim = store.claims.take("w1", ["main"], 1, store.dialect.now() + HOUR)
        (order,) = claim.orders
        assert scheduler.stop_task(task_id) == 1
        assert scheduler.stop_task(task_id) == 1, "and so as often as it is asked"
        caller.commit()
        run = caller.scheduler_run(order.run_id)
        assert run.status == RunStatus.RUNNING and run.stop_requested


def broadcast(store: Store) -> int:
    columns = {"function_name": "add", "application_name": "lab", "broadcast": True}
    now = store.dialect.now()
    task_id = store.db.scheduler_task.insert(**columns, next_run_time=now, group_name="main")
    store.db.commit()
    return int(task_id)


def test_who_leaves_takes_the_copies_of_broadcasts_along_that_were_for_it_alone(
    connect: Connect,
) -> None:
    with engine_on(connect) as store:
        ids = {name: store.workers.register(name, {}) for name in ("leaves", "stays")}
        broadcast(store)
        assert store.maintenance.fan_out_broadcasts(store.workers.all()) == 2
        store.maintenance.leave(ids["leaves"], "leaves")
        task = store.db.scheduler_task
        copies = store.db(task.only_worker != None).select()
        assert {row.only_worker: (row.status, row.reason) for row in copies} == {
            "leaves": (TaskStatus.STOPPED, "its worker stopped"),
            "stays": (TaskStatus.QUEUED, None),
        }


@on_servers
def test_a_task_that_somebody_holds_keeps_no_worker_from_leaving(connect: Connect) -> None:
    with engine_on(connect) as store:
        worker_id = store.workers.register("leaves", {})
        broadcast(store)
        assert store.maintenance.fan_out_broadcasts(store.workers.all()) == 1
        [held] = add_overdue(store, 1)
        db = connect()
        hold(db, held)
        store.maintenance.leave(worker_id, "leaves")
        db.rollback()
        assert sorted(statuses(store)) == [TaskStatus.COMPLETED, TaskStatus.QUEUED, "STOPPED"]


def test_copies_of_a_broadcast_are_as_discreet_as_their_original(connect: Connect) -> None:
    with engine_on(connect) as store:
        store.workers.register("w1", {})
        task = store.db.scheduler_task
        store.db(task.id == broadcast(store)).update(secret='["password", 0]')
        store.db.commit()
        assert store.maintenance.fan_out_broadcasts(store.workers.all()) == 1
        [copy] = store.db(task.only_worker == "w1").select()
        assert copy.secret == '["password", 0]'


def test_nothing_is_broadcast_to_one_who_has_left_meanwhile(connect: Connect) -> None:
    with engine_on(connect) as store:
        ids = {name: store.workers.register(name, {}) for name in ("leaves", "stays")}
        broadcast(store)
        alive = store.workers.all()
        store.maintenance.leave(ids["leaves"], "leaves")
        assert store.maintenance.fan_out_broadcasts(alive) == 1


@on_servers
def test_a_dead_workers_row_that_somebody_holds_is_known_and_a_look_keeps_nobody_from_it(
    connect: Connect,
) -> None:
    with engine_on(connect) as store, engine_on(connect) as other:
        names = ("alive", "free", "held")
        ids = {name: store.workers.register(name, {}) for name in names}
        worker, db = store.db.scheduler_worker, connect()
        store.db(worker.worker_name != "alive").update(lease_until=1)
        store.db.commit()
        db.executesql(f"SELECT id FROM scheduler_worker WHERE id = {ids['held']} FOR UPDATE")
        workers = store.workers.all()
        assert store.workers.held(workers) == {"held"}
        with other.dialect.reading():
            other.dialect.select(worker.id == ids["free"], [worker.id], lock="look")
            assert store.workers.held(workers) == {"held"}
        db.rollback()
        assert store.workers.held(workers) == set()


def test_a_worker_that_leaves_while_its_row_is_being_read_was_not_there(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine_on(connect) as store:
        worker_id = store.workers.register("unreadable", {})
        kept = store.workers.register("kept", {})
        one_by_one = store.workers._record

        def too_late(number: int) -> Any:
            store.db(store.db.scheduler_worker.id == worker_id).delete()
            return one_by_one(number)

        monkeypatch.setattr(store.workers, "_record", too_late)
        monkeypatch.setattr(store.workers, "_as_record", _fails_once(store.workers._as_record))
        assert [row.id for row in store.workers.all()] == [kept]


def _fails_once(method: Any) -> Any:
    """As it does for a row that cannot be read."""
    calls: list[Any] = []

    def call(row: Any) -> Any:
        calls.append(row)
        if len(calls) == 1:
            raise ValueError("unreadable")
        return method(row)

    return call
