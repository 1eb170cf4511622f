"""A claim reads one stretch of an index, however many tasks wait for tomorrow or are done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from databases import SERVERS, Database, Shared
from home import Connect, scheduler_on
from plugin_scheduler.models import INDEXES, TABLES

from plugin_scheduler.clock import SYSTEM
from plugin_scheduler.records import TaskStatus
from plugin_scheduler.settings import Settings
from plugin_scheduler.store import Store

MANY, A_FEW = 4000, 200
NOW = datetime(2026, 5, 1, 9)
COLUMNS = "uuid, status, group_name, priority, enabled, broadcast, next_run_time, function_name, "
COLUMNS += "application_name"
CLAIM_INDEX = "scheduler_task_claim_idx"


@pytest.fixture(params=["sqlite", *SERVERS])
def database(request: pytest.FixtureRequest, servers: Shared) -> Iterator[Database]:
    """Not the plain one: it is SQLite without the indexes that its dialect makes."""
    with servers.database(request.param) as one:
        yield one


@pytest.fixture
def store(connect: Connect) -> Store:
    """A store with a long past, a long future, and a few tasks that are due."""
    db = connect()
    scheduler_on(db)
    fill(db, TaskStatus.COMPLETED, MANY, NOW - timedelta(days=9))
    fill(db, TaskStatus.QUEUED, MANY, NOW + timedelta(days=1))
    fill(db, TaskStatus.QUEUED, A_FEW, NOW - timedelta(hours=2))
    store = Store(db, Settings(), SYSTEM, "lab")
    with store.dialect.reading():
        assert store.dialect.prepare_tables(INDEXES) == []
    for table in TABLES:
        db.executesql(f"ANALYZE {'TABLE ' if is_mysql(db) else ''}{table}")
    db.commit()
    return store


def fill(db: Any, status: str, count: int, first: datetime) -> None:
    rows = ", ".join(
        f"('{status}-{first:%d%H}-{number}', '{status}', 'main', 0, 'T', 'F', "
        f"'{first + timedelta(seconds=number):%Y-%m-%d %H:%M:%S}', 'add', 'lab')"
        for number in range(count)
    )
    db.executesql(f"INSERT INTO scheduler_task ({COLUMNS}) VALUES {rows}")
    db.commit()


def is_mysql(db: Any) -> bool:
    return db._uri.startswith("mysql")


def plan(db: Any, sql: str) -> str:
    """What the database would do, in its own words."""
    how = "EXPLAIN QUERY PLAN" if db._uri.startswith("sqlite") else "EXPLAIN"
    return "\n".join(str(row) for row in db.executesql(f"{how} {sql}"))


def test_the_tasks_that_are_due_are_read_in_the_order_of_the_claims_index(store: Store) -> None:
    db, task = store.db, store.db.scheduler_task
    (level,) = store.claims._due.levels(["main"])
    due = level & store.claims._due.at(NOW)
    words = plan(db, db(due)._select(task.id, orderby=task.next_run_time, limitby=(0, 10)))
    assert CLAIM_INDEX in words
    for sorting in ("TEMP B-TREE", "Sort", "filesort"):
        assert sorting not in words


def test_a_claim_with_row_locks_takes_the_same_way(store: Store) -> None:
    assert len(store.claims.claim("web1", ["main"], 10, NOW).tasks) == 10
    assert not store.claims.claim("web1", ["reports"], 10, NOW).tasks


def test_the_highest_priority_is_found_in_the_index_and_not_by_reading_all(store: Store) -> None:
    db, task = store.db, store.db.scheduler_task
    base = (task.status == TaskStatus.QUEUED) & (task.group_name == "main") & (task.priority < 9)
    words = plan(db, db(base)._select(task.priority, orderby=~task.priority, limitby=(0, 1)))
    assert CLAIM_INDEX in words
    assert "filesort" not in words and "Sort" not in words


def test_what_is_due_next_is_found_in_the_index(store: Store) -> None:
    later = NOW + timedelta(days=2)
    soonest = store.claims.next_due(["main"], NOW)
    assert soonest == NOW + timedelta(days=1)
    assert store.claims.next_due(["main"], later) is None
