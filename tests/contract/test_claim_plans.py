"""A claim reads one stretch of an index for each priority that has something due, however many
tasks wait for tomorrow or are done; and it asks no more often where there are more priorities."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from plugin_scheduler.models import INDEXES, TABLES
from support.databases import SERVERS, Database, Shared
from support.home import Connect, scheduler_on
from support.plans import SORTING, WHOLE, heard, is_mysql, plan

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM

MANY, A_FEW, PRIORITIES = 10_000, 200, 10
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
    store = another(db)
    with store.dialect.reading():
        assert store.dialect.prepare_tables(INDEXES) == []
    for table in TABLES:
        db.executesql(f"ANALYZE {'TABLE ' if is_mysql(db) else ''}{table}")
    db.commit()
    return store


def another(db: Any) -> Store:
    """One that has not looked yet."""
    return Store(db, Settings(), SYSTEM, "lab")


def fill(db: Any, status: str, count: int, first: datetime) -> None:
    rows = ", ".join(
        f"('{status}-{first:%d%H}-{number}', '{status}', 'main', {number % PRIORITIES}, 'T', 'F', "
        f"'{first + timedelta(seconds=number):%Y-%m-%d %H:%M:%S}', 'add', 'lab')"
        for number in range(count)
    )
    db.executesql(f"INSERT INTO scheduler_task ({COLUMNS}) VALUES {rows}")
    db.commit()


def set_priorities(db: Any, priority: str, where: str = "status = 'QUEUED'") -> None:
    db.executesql(f"UPDATE scheduler_task SET priority = {priority} WHERE {where}")
    db.commit()


def claim(store: Store, limit: int = 100, name: str = "web1") -> int:
    return len(store.claims.take(name, ["main"], limit, NOW).orders)


def test_no_statement_of_a_claim_sorts_the_backlog_or_reads_all_of_it(store: Store) -> None:
    with heard(store.db) as first:
        assert claim(store, 20) == 20
    with heard(store.db) as usual:
        assert claim(store) == 100
        assert store.claims.next_due(["main"], NOW) == NOW + timedelta(days=1)
    assert usual
    for sql, values in [*first, *usual]:
        words = plan(store.db, sql, values)
        assert not [word for word in SORTING if word in words], (sql, words)
        assert not re.search(WHOLE, words), (sql, words)


def test_what_is_due_and_what_is_next_are_read_from_the_claims_index_alone(store: Store) -> None:
    claim(store, 20)
    with heard(store.db) as sent:
        claim(store)
        store.claims.next_due(["main"], NOW)
    searches = [sql for sql, _ in sent if "group_name" in sql.partition("WHERE")[2]]
    assert len(searches) == 3  # priorities, tasks, the next one to come
    for sql in searches:
        words = plan(store.db, sql)
        indexes = set(re.findall(r"scheduler_task_(?!deps)\w+_idx", used(store.db, words)))
        assert indexes == {CLAIM_INDEX}, words


def used(db: Any, words: str) -> str:
    """Without the indexes that might have been used."""
    if not is_mysql(db):
        return words
    rows = [line.split(", '")[5:] for line in words.splitlines()]
    return "\n".join(" ".join(row) for row in rows)


def test_a_claim_asks_no_more_often_where_many_priorities_are_in_use(store: Store) -> None:
    db, counts = store.db, {}
    for case, priority in (("ten", "id % 10"), ("one", "0")):
        set_priorities(db, priority)
        one = another(db)
        claim(one, 20)
        with heard(db) as sent:
            assert claim(one, 20) == 20
            assert one.claims.next_due(["main"], NOW)
        counts[case] = len(sent)
    assert counts["ten"] == counts["one"] <= 7


def test_it_is_as_many_for_a_worker_that_has_just_come_and_meets_each_for_the_first_time(
    store: Store,
) -> None:
    with heard(store.db) as sent:
        assert claim(store) == 100
    assert len(sent) <= PRIORITIES + 7


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_where_a_plan_does_not_tell_how_much_is_read_the_server_does(store: Store) -> None:
    def entries_read() -> int:
        counts = store.db.executesql("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(count) for _, count in counts)

    before = entries_read()
    assert claim(store) == 100
    assert store.claims.next_due(["main"], NOW)
    assert entries_read() - before < MANY / 5


def test_a_priority_that_comes_later_is_found_and_one_that_went_is_missed_by_nobody(
    store: Store,
) -> None:
    set_priorities(store.db, "5")
    assert claim(store, 20) == 20
    for priority in ("-7", "NULL", "1000"):
        due = f"status = 'QUEUED' AND next_run_time < '{NOW}' AND priority = 5 AND id % 3 = 0"
        set_priorities(store.db, priority, due)
        there = store.claims.take("web1", ["main"], A_FEW, NOW).orders
        found = {order.task.priority for order in there}
        assert found == {5, int(priority) if priority != "NULL" else 0}
        store.tasks.hand_back(there, "web1")
        set_priorities(store.db, "5")
    assert claim(store, A_FEW) == A_FEW - 20


def test_many_priorities_that_came_and_went_are_forgotten(store: Store) -> None:
    set_priorities(store.db, "id % 40")
    assert claim(store, A_FEW) == A_FEW
    set_priorities(store.db, "id % 2 * 50")
    assert claim(store) == 0
    with heard(store.db) as sent:
        assert claim(store) == 0
    assert max(len(re.findall("LIMIT 1", sql)) for sql, _ in sent) < 40


def test_several_groups_are_asked_for_at_once(store: Store) -> None:
    store.db.executesql("UPDATE scheduler_task SET group_name = 'other' WHERE id % 2 = 0")
    store.db.commit()
    groups = ["main", "other", "nobody's", "100 % {odd}"]
    assert len(store.claims.take("web1", groups, 20, NOW).orders) == 20
    with heard(store.db) as sent:
        taken = store.claims.take("web1", groups, 150, NOW).orders
    assert {order.task.group_name for order in taken} == {"main", "other"}
    assert len(taken) == 150 and len(sent) <= 7


@pytest.mark.parametrize("database", SERVERS, indirect=True)
def test_two_that_claim_at_once_each_get_a_share_of_every_priority(
    store: Store, connect: Connect
) -> None:
    db = connect()
    scheduler_on(db)
    shares = []

    def meanwhile(tasks: Any) -> Any:
        shares.append({task.id for task in tasks})
        other = another(db).claims.take("web2", ["main"], 50, NOW).orders
        shares.append({order.task.id for order in other})
        return tasks

    taken = store.claims.take("web1", ["main"], 50, NOW, meanwhile).orders
    assert {order.task.id for order in taken} == shares[0]
    assert not shares[0] & shares[1] and len(shares[0]) == 50


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_priorities_that_are_no_whole_numbers_stop_nobody(store: Store) -> None:
    due = f"status = 'QUEUED' AND next_run_time < '{NOW}'"
    for number, odd in enumerate(("-0.5", "'urgent'", "x'ff'", "9e999", "-9e999", "1e-7", "NULL")):
        set_priorities(store.db, odd, f"{due} AND id % 10 = {number}")
    taken = store.claims.take("web1", ["main"], A_FEW, NOW).orders
    assert {order.task.priority for order in taken} == {0, 6, 7, 8}  # -0.5 and 1e-7 are read as 0
    assert store.claims.next_due(["main"], NOW) is not None


def test_a_group_without_tasks_has_none(store: Store) -> None:
    assert not store.claims.take("web1", ["reports"], 10, NOW).orders
    assert store.claims.next_due(["reports"], NOW) is None


def test_what_is_due_next_is_the_soonest_of_all_priorities(store: Store) -> None:
    later = NOW + timedelta(days=2)
    assert store.claims.next_due(["main"], NOW) == NOW + timedelta(days=1)
    assert store.claims.next_due(["main"], later) is None
