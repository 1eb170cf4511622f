"""A worker passes over rows that others hold: it waits for none while it holds another one."""

from __future__ import annotations

from typing import Any

import pytest
from support.databases import SERVERS
from support.home import Connect, engine_on, scheduler_on
from support.plans import heard

from plugin_scheduler.store import task_rows

pytestmark = pytest.mark.parametrize("database", SERVERS, indirect=True)


def hold(caller: Any, table: str, row_id: int) -> None:
    """Keep a row in a transaction that does not end yet."""
    caller.executesql(f"SELECT id FROM {table} WHERE id = {row_id} FOR UPDATE")


def test_a_dead_leader_whose_row_is_held_keeps_no_worker_from_leading(
    connect: Connect,
) -> None:
    with engine_on(connect) as store:
        dead, alive = (store.workers.register(name, {}) for name in ("dead", "alive"))
        worker, db = store.db.scheduler_worker, store.db
        db(worker.id == dead).update(is_ticker=True, lease_until=1.0)
        db.commit()
        caller = connect()
        hold(caller, "scheduler_worker", dead)
        assert store.workers.lead(alive)
        caller.rollback()


def test_a_worker_holds_its_own_row_before_that_of_the_last_leader(connect: Connect) -> None:
    with engine_on(connect) as store:
        alive, dead = (store.workers.register(name, {}) for name in ("alive", "dead"))
        worker, db = store.db.scheduler_worker, store.db
        db(worker.id == dead).update(is_ticker=True, lease_until=1.0)
        db.commit()
        with heard(db) as sent:
            assert store.workers.lead(alive)
        locking = [sql for sql, _ in sent if "UPDATE" in sql]
        assert f"({alive})" in locking[0] and "SKIP LOCKED" not in locking[0]
        assert f"({dead})" in locking[1] and "SKIP LOCKED" in locking[1]
        assert [row.is_ticker for row in db(worker).select(orderby=worker.id)] == [True, False]
        db.commit()


@pytest.mark.parametrize("held", ["good", "odd"])
def test_a_row_that_cannot_be_read_changes_nothing_in_what_is_locked(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    caller = connect()
    scheduler = scheduler_on(caller)
    good, other, odd = (scheduler.queue_task("add").id for _ in range(3))
    caller.commit()
    for name in ("_quick_record", "_record"):
        monkeypatch.setattr(task_rows, name, _refusing(getattr(task_rows, name), odd))
    with engine_on(connect) as store:
        task = store.db.scheduler_task
        hold(caller, "scheduler_task", {"good": good, "odd": odd}[held])
        with store.dialect.transaction():
            found = store.tasks.read(task.id > 0, lock="skip", orderby=task.id)
            assert [one.id for one in found] == ([other] if held == "good" else [good, other])
            assert list(store.tasks.rows.unreadable) == ([odd] if held == "good" else [])
            caller.rollback()
            mine = {one.id for one in found} | store.tasks.rows.unreadable.keys()
            with engine_on(connect) as another, another.dialect.transaction():
                free = another.tasks.unheld(another.db.scheduler_task, [good, other, odd])
                assert free == {good, other, odd} - mine, "what was read is kept"


def _refusing(method: Any, task_id: int) -> Any:
    """As for a row that cannot be read."""

    def call(row: Any) -> Any:
        if task_id == (row["id"] if hasattr(row, "keys") else row[0]):
            raise ValueError("odd")
        return method(row)

    return call
