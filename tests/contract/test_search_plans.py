"""However many tasks there are, a page reads few of them: none of its statements sorts or counts
all, and what no index knows is walked through in steps by id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from plugin_scheduler.models import INDEXES
from support.databases import SERVERS, Database, Shared
from support.home import Connect, scheduler_on
from support.plans import WHOLE, heard, is_mysql, plan

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.database.dialects import dialect_for
from plugin_scheduler.queries import CappedCount, Filter, Queries
from plugin_scheduler.system.clock import SYSTEM, TurnedClock

MANY, FEW = 12_000, 300
NOW = datetime(2026, 5, 1, 9)
COLUMNS = "uuid, status, group_name, enabled, broadcast, repeats, function_name, application_name"


@pytest.fixture(params=["sqlite", *SERVERS])
def database(request: pytest.FixtureRequest, servers: Shared) -> Iterator[Database]:
    """Not the plain one: it is SQLite without the indexes that its dialect makes."""
    with servers.database(request.param) as one:
        yield one


@pytest.fixture
def browser(connect: Connect) -> Queries:
    """Of many tasks that are done, between some that failed and a few that come again; the time
    stands still, so that there is enough of it."""
    db = connect()
    scheduler_on(db)
    fill(db, TaskStatus.FAILED, "mail", 1, FEW)
    fill(db, TaskStatus.COMPLETED, "main", 1, MANY)
    fill(db, TaskStatus.QUEUED, "main", 0, FEW)
    dialect_for(db, SYSTEM, Settings()).prepare_tables(INDEXES)
    for table in ("scheduler_task", "scheduler_run"):
        db.executesql(f"ANALYZE {'TABLE ' if is_mysql(db) else ''}{table}")
    db.commit()
    return Queries(db, Settings(), "", (), TurnedClock(NOW))


def fill(db: Any, status: str, group: str, repeats: int, count: int) -> None:
    rows = ", ".join(
        f"('{status}-{number}', '{status}', '{group}', 'T', 'F', {repeats}, 'add', 'lab')"
        for number in range(count)
    )
    db.executesql(f"INSERT INTO scheduler_task ({COLUMNS}) VALUES {rows}")
    db.commit()


def said(browser: Queries, wanted: Filter) -> list[str]:
    with heard(browser._db) as sent:
        browser.tasks(wanted)
        browser.count(wanted)
    return [sql for sql, _ in sent]


FILTERS = [
    Filter(),
    Filter(sort="oldest"),
    Filter(after=MANY),
    Filter(status=(TaskStatus.COMPLETED,)),
    Filter(status=(TaskStatus.FAILED,), group="mail", sort="last run"),
    Filter(worker="w1"),
    Filter(repeating=True, sort="next run"),
    Filter(function="nobody"),
    Filter(text="nowhere", in_output=True),
    Filter(enabled=False, sort="priority"),
    Filter(time="last_run_time", since=NOW),
]


@pytest.mark.parametrize("wanted", FILTERS, ids=lambda wanted: repr(wanted)[:60])
def test_no_statement_reads_all_tasks_but_those_that_count_up_to_the_limit(
    browser: Queries, wanted: Filter
) -> None:
    statements = said(browser, wanted)
    for sql in statements:
        if re.search(r"LIMIT 10001\b", sql) or "scheduler_task.id IN" in sql:
            continue  # bounded by themselves, whichever way they go
        where = sql.partition("WHERE")[2]
        steps = re.findall(r"id\W+>= (\d+)\W.*id\W+<= (\d+)", where)
        if steps:
            low, high = map(int, steps[-1])
            assert high - low < 16 * 8 * 2000
        else:
            words = plan(browser._db, sql)
            assert not re.search(WHOLE, words), (sql, words)
    assert len(statements) <= 25


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlite_walks_a_step_by_the_primary_key_and_sorts_nothing(browser: Queries) -> None:
    wanted = Filter(status=(TaskStatus.COMPLETED,), group="main", worker="w", repeating=False)
    step = (browser._task.id >= 100) & (browser._task.id <= 2000)
    query = browser._set(browser.listing._matching(wanted, step))
    words = plan(browser._db, query._select(browser._task.id, orderby=~browser._task.id))
    assert "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in words and "B-TREE" not in words


def test_a_few_are_found_by_the_index_at_the_other_end_of_many(browser: Queries) -> None:
    wanted = Filter(status=(TaskStatus.FAILED,), limit=20)
    page = browser.tasks(wanted)
    assert len(page.items) == 20 and page.looked_to is None
    with heard(browser._db) as sent:
        browser.tasks(wanted)
    assert len(sent) <= 6
    assert browser.count(wanted) == CappedCount(FEW)


def test_a_count_ends_at_the_limit_and_says_so(browser: Queries) -> None:
    assert str(browser.count(Filter())) == "10,000+"
    assert browser.count(Filter(status=(TaskStatus.COMPLETED,))) == CappedCount(10_000, more=True)
    assert browser.count(Filter(function="add", text="QUEUED-")) == CappedCount(FEW)


def test_what_is_too_much_to_sort_is_not_even_tried(browser: Queries) -> None:
    with heard(browser._db) as sent:
        page = browser.tasks(Filter(sort="next run", limit=5))
    assert page.notes and len(page.items) == 5 and len(sent) <= 9


def test_a_page_is_sorted_where_all_that_fit_are_found_in_time(browser: Queries) -> None:
    page = browser.tasks(Filter(text="FAILED-", sort="next run", limit=5))
    assert page.sort == "next run" and len(page.items) == 5 and not page.notes
