"""Rows that are not as they should be are told, and nothing else is."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from plugin_scheduler.models import INDEXES
from support.databases import Database
from support.plans import WHOLE, heard, is_mysql, plan
from support.shelf import NOW, Shelf

from plugin_scheduler.core.types import TaskStatus


def odd(shelf: Shelf, status: str | None) -> int:
    task_id = shelf.task(application_name="lab")
    value = "NULL" if status is None else f"'{status}'"
    shelf.db.executesql(f"UPDATE scheduler_task SET status = {value} WHERE id = {task_id}")
    return task_id


def codes(shelf: Shelf) -> list[str]:
    return [one.code for one in shelf.browser.overview().warnings]


def test_a_status_that_is_none_is_told_and_every_other_is_not(shelf: Shelf) -> None:
    for status in TaskStatus.ALL:
        shelf.task(status=status, next_run_time=NOW + timedelta(hours=1))
    before = codes(shelf)
    assert "status_odd" not in before
    null, garbage = odd(shelf, None), odd(shelf, "GARBAGE")
    edges = [odd(shelf, word) for word in ("", "AAA", "QUEUEDX", "ZZZ", "COMPLETE")]
    shelf.task(application_name="other")
    shelf.db.executesql("UPDATE scheduler_task SET status = 'X' WHERE application_name = 'other'")
    told = [one for one in shelf.browser.overview().warnings if one.code == "status_odd"]
    said = "\n".join(str(one.sentence) for one in told)
    assert "2 tasks without a status: no worker claims them" in said  # an empty one is none, too
    assert (
        f'1 task with the invalid status "GARBAGE": no worker claims them (task {garbage})' in said
    )
    assert len(told) == 6 and {one.severity for one in told} == {"error"}
    explained = shelf.browser.explain(shelf.browser.task(null))
    assert explained.state == "it has no status: no worker claims it"
    assert explained.reasons == ["to run it, set its status to QUEUED in scheduler_task"]
    explained = shelf.browser.explain(shelf.browser.task(garbage))
    assert explained.state == 'its status "GARBAGE" is invalid: no worker claims it'
    assert edges


def test_a_sequence_that_lags_is_told_with_its_cure(shelf: Shelf, database: Database) -> None:
    shelf.worker("w1")
    task_id = shelf.task()
    before = codes(shelf)
    shelf.db.executesql("INSERT INTO scheduler_run (id, status) VALUES (500, 'COMPLETED')")
    if not database.uri.startswith("postgres"):
        assert codes(shelf) == before
        return
    [told] = [one for one in shelf.browser.overview().warnings if one.code == "sequence_behind"]
    assert "behind id 500" in told.sentence and "scheduler.py upgrade" in told.sentence
    explained = shelf.browser.explain(shelf.browser.task(task_id))
    assert explained.reasons[0] == told.sentence and explained.state == "it does not run now"


@pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)
def test_ids_that_end_are_told_long_before_with_the_date(shelf: Shelf, database: Database) -> None:
    narrow: dict[bool, Any] = {
        True: ["ALTER TABLE scheduler_run ALTER id TYPE integer"],
        False: ["ALTER TABLE scheduler_run MODIFY id INT NOT NULL AUTO_INCREMENT"],
    }
    is_postgres = database.uri.startswith("postgres")
    for statement in narrow[is_postgres]:
        shelf.db.executesql(statement)
    first, half = NOW - timedelta(days=30), 2**30
    for run_id, when in ((100, first), (half + 100, NOW)):
        shelf.db.executesql(
            "INSERT INTO scheduler_run (id, status, start_time) "
            f"VALUES ({run_id}, 'COMPLETED', '{when:%Y-%m-%d %H:%M:%S}')"
        )
    if is_postgres:
        shelf.db.executesql(f"SELECT setval('scheduler_run_id_seq', {half + 100})")
    [told] = [one for one in shelf.browser.overview().warnings if one.code == "ids_running_out"]
    ends = (shelf.browser.now() + timedelta(days=30)).date()
    assert told.severity == "warning" and "50 % of the ids of scheduler_run" in told.sentence
    assert f"the last one is used by {ends:%Y-%m}" in told.sentence


def test_orphans_are_counted(shelf: Shelf, database: Database) -> None:
    task_id = shelf.task()
    run = {"status": "COMPLETED"}
    shelf.db.scheduler_run.insert(task_id=task_id, **run)
    shelf.db.scheduler_run.insert(task_id=None, **run)
    shelf.db.scheduler_task_deps.insert(task_parent=task_id, task_child=task_id, can_visit=False)
    shelf.db.scheduler_task_deps.insert(task_parent=task_id, task_child=None, can_visit=False)
    shelf.db.scheduler_task_deps.insert(task_parent=10**6, task_child=task_id, can_visit=False)
    shelf.db.scheduler_task_deps.insert(task_parent=task_id, task_child=None, can_visit=True)
    held = {"status": TaskStatus.RUNNING, "assigned_worker_name": "gone"}
    shelf.task(**held)
    shelf.task(**{**held, "assigned_worker_name": "w1"})
    browser = shelf.browser
    assert (browser.runs_without_task(), browser.dependencies_without_task()) == (1, 2)
    assert browser.held_without_worker({"w1"}) == {"gone": 1}
    assert browser.unreadable() == browser.condemned() == []
    bad = shelf.task(status=TaskStatus.FAILED, reason_code="bad_row")
    assert browser.condemned() == [bad]
    if database.server is None:  # which takes any text for a time
        shelf.db.executesql("UPDATE scheduler_task SET next_run_time = 'x' WHERE id = 1")
        assert browser.unreadable() == [1]


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"], indirect=True)
def test_odd_statuses_are_found_by_an_index_beside_many_tasks(shelf: Shelf) -> None:
    db = shelf.db
    rows = [
        {"uuid": f"u{number}", "status": TaskStatus.ALL[number % 8], "application_name": "lab"}
        for number in range(4000)
    ]
    db.scheduler_task.bulk_insert(rows)
    dialect = shelf.browser._dialect
    with dialect.reading():
        assert dialect.prepare_tables(INDEXES) == []
    db.executesql("ANALYZE TABLE scheduler_task" if is_mysql(db) else "ANALYZE scheduler_task")
    found = odd(shelf, "GARBAGE")
    db.commit()
    with heard(db) as said:
        assert [one.first for one in shelf.browser.odd_statuses()] == [found]
    [(sql, values)] = said
    assert re.search(WHOLE, plan(db, sql, values)) is None, plan(db, sql, values)
