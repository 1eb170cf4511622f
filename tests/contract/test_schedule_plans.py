"""The schedule reads repeating tasks from an index of their own, and one-off tasks in the order of
their time, however many wait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from plugin_scheduler.models import INDEXES
from support.databases import Database, Shared
from support.home import Connect, scheduler_on

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries import Queries
from plugin_scheduler.system.clock import TurnedClock

NOW, DAY = datetime(2026, 5, 1, 9), timedelta(days=1)
MANY = 3_000
SORTING = ("TEMP B-TREE", "Sort")
WHOLE = r"Seq Scan on scheduler_task\b|SCAN scheduler_task\b(?! USING INDEX scheduler_task_repeat)"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, servers: Shared) -> Iterator[Database]:
    with servers.database(request.param) as one:
        yield one


@pytest.fixture
def browser(connect: Connect) -> Queries:
    """One whose tables hold many one-off tasks and a few that repeat."""
    db = connect()
    scheduler_on(db)
    waiting = [row(number, NOW + DAY / 2 + number * timedelta(seconds=1)) for number in range(MANY)]
    db.scheduler_task.bulk_insert(waiting)
    db.scheduler_task.bulk_insert([row(-number, NOW, repeats=0) for number in range(1, 11)])
    clock = TurnedClock(NOW)
    browser = Queries(db, Settings(), "lab", (), clock)
    browser._dialect.epoch = clock.epoch
    with browser._dialect.reading():
        assert browser._dialect.prepare_tables(INDEXES) == []
    db.executesql("ANALYZE scheduler_task")
    db.commit()
    return browser


def row(number: int, due: datetime, **columns: Any) -> dict[str, Any]:
    given = {"next_run_time": due, "priority": number % 5, "uuid": f"uuid {number}", **columns}
    return {"function_name": "add", "application_name": "lab", **given}


def asked(browser: Queries, what: Any) -> str:
    """What the database would do for these questions about tasks, in its own words."""
    db = browser._db
    db._timings.clear()
    what()
    sent = [sql for sql, _ in db._timings if "FROM" in sql and "scheduler_task_deps" not in sql]
    how = "EXPLAIN QUERY PLAN" if db._uri.startswith("sqlite") else "EXPLAIN"
    return "\n".join(str(line) for sql in sent for line in db.executesql(f"{how} {sql}"))


def test_repeating_tasks_are_read_from_their_own_index(browser: Queries) -> None:
    assert len(browser.repeating().items) == 10
    words = asked(browser, browser.repeating)
    assert "scheduler_task_repeat_idx" in words and "claim_idx" not in words
    assert not re.search(WHOLE, words), words


def test_one_off_tasks_are_read_as_they_are_due_and_never_sorted(browser: Queries) -> None:
    found = browser.one_offs(NOW, NOW + DAY, limit=50)
    assert len(found.items) == 50 and found.more
    words = asked(browser, lambda: browser.schedules._in_level(*level(browser), NOW, NOW + DAY, 50))
    assert "scheduler_task_claim_idx" in words
    assert not [word for word in SORTING if word in words], words


def level(browser: Queries) -> tuple[Any]:
    task = browser._task
    stretch = (task.group_name == "main") & (task.priority == 3)
    return ((task.status == TaskStatus.QUEUED) & stretch,)


def test_no_question_of_a_calendar_reads_all_tasks(browser: Queries) -> None:
    assert not re.search(WHOLE, asked(browser, lambda: browser.next_hours(most=50)))
    assert not re.search(WHOLE, asked(browser, lambda: browser.next_days(most=50)))
