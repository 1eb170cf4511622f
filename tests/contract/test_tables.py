"""The four tables: web2py's columns first, and an app may define them in any way it likes."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from plugin_scheduler.models import TABLES
from pydal import Field
from support.databases import SERVERS, Database
from support.home import Connect, add_worker, scheduler_on
from support.kit import Lab

from plugin_scheduler.core.types import TaskStatus

MADE = object()  # a default that is made for each row
CRON = 'Discard "period", use this cron expr instead'

#: web2py's columns in its order: name, type, default, comment.
COLUMNS: dict[str, list[tuple[str, str, Any, str | None]]] = {
    "scheduler_task": [
        ("id", "id", None, None),
        ("application_name", "string", "lab", None),
        ("task_name", "string", None, None),
        ("group_name", "string", "main", None),
        ("status", "string", "QUEUED", None),
        ("broadcast", "boolean", False, None),
        ("function_name", "string", None, None),
        ("uuid", "string", MADE, None),
        ("args", "text", "[]", None),
        ("vars", "text", "{}", None),
        ("enabled", "boolean", True, None),
        ("start_time", "datetime", MADE, None),
        ("next_run_time", "datetime", MADE, None),
        ("stop_time", "datetime", None, None),
        ("repeats", "integer", 1, "0=unlimited"),
        ("retry_failed", "integer", 0, "-1=unlimited"),
        ("period", "integer", 60, "seconds"),
        ("prevent_drift", "boolean", False, "Exact start_times between runs"),
        ("cronline", "string", None, CRON),
        ("timeout", "integer", 60, "seconds"),
        ("sync_output", "integer", 0, "update output every n sec: 0=never"),
        ("times_run", "integer", 0, None),
        ("times_failed", "integer", 0, None),
        ("last_run_time", "datetime", None, None),
        ("assigned_worker_name", "string", "", None),
    ],
    "scheduler_run": [
        ("id", "id", None, None),
        ("task_id", "reference scheduler_task", None, None),
        ("status", "string", None, None),
        ("start_time", "datetime", None, None),
        ("stop_time", "datetime", None, None),
        ("run_output", "text", None, None),
        ("run_result", "text", None, None),
        ("traceback", "text", None, None),
        ("worker_name", "string", "me", None),
    ],
    "scheduler_worker": [
        ("id", "id", None, None),
        ("worker_name", "string", None, None),
        ("first_heartbeat", "datetime", None, None),
        ("last_heartbeat", "datetime", None, None),
        ("status", "string", None, None),
        ("is_ticker", "boolean", False, None),
        ("group_names", "list:string", ["main", "mail"], None),
        ("worker_stats", "json", None, None),
    ],
    "scheduler_task_deps": [
        ("id", "id", None, None),
        ("job_name", "string", "job_0", None),
        ("task_parent", "integer", None, None),
        ("task_child", "reference scheduler_task", None, None),
        ("can_visit", "boolean", False, None),
    ],
}

NOT_WRITABLE = {
    "scheduler_task": "application_name status times_run times_failed last_run_time "
    "assigned_worker_name",
    "scheduler_worker": "is_ticker",
}
UNIQUE = {("scheduler_task", "uuid"), ("scheduler_worker", "worker_name")}


@pytest.mark.parametrize("table", COLUMNS)
def test_the_columns_of_web2py_come_first_with_their_types_defaults_and_comments(
    connect: Connect, table: str
) -> None:
    db = connect()
    scheduler_on(db, worker_name="me", group_names=["main", "mail"])
    expected = COLUMNS[table]
    for field, (name, kind, default, comment) in zip(db[table], expected, strict=False):
        assert (field.name, field.type) == (name, kind)
        assert callable(field.default) if default is MADE else field.default == default
        assert comment is None or field.comment == comment
    assert len(db[table].fields) >= len(expected)


@pytest.mark.parametrize("table", COLUMNS)
def test_a_column_of_ours_may_be_missing_from_a_row_that_web2py_wrote(
    connect: Connect, table: str
) -> None:
    db = connect()
    scheduler_on(db)
    ours = db[table].fields[len(COLUMNS[table]) :]
    assert not any(db[table][name].notnull for name in ours)


def test_what_web2py_closes_to_forms_is_closed_and_what_is_unique_is_unique(
    connect: Connect,
) -> None:
    db = connect()
    scheduler_on(db)
    for table, names in NOT_WRITABLE.items():
        assert [name for name in names.split() if db[table][name].writable] == []
    unique = {(table, field.name) for table in TABLES for field in db[table] if field.unique}
    assert unique == UNIQUE and db.scheduler_task.uuid.length == 255
    assert str(db.scheduler_task._format) == "(%(id)s) %(task_name)s"


# -- defined twice, and in other ways ------------------------------------------------------------


def one_is_queued_and_found(scheduler: Any) -> None:
    answer = scheduler.queue_task("add")
    assert answer.errors == {}
    scheduler.db.commit()
    found = scheduler.task_status(answer.id)
    assert found.status == TaskStatus.QUEUED and found.uuid == answer.uuid
    assert scheduler.task_status(answer.uuid).id == answer.id


def test_a_second_scheduler_on_one_database_uses_the_same_tables(connect: Connect) -> None:
    db = connect()
    first = scheduler_on(db)
    tables = [db[name] for name in TABLES]
    second = scheduler_on(db)
    assert all(db[name] is table for name, table in zip(TABLES, tables, strict=True))
    one_is_queued_and_found(first)
    one_is_queued_and_found(second)


def test_two_connections_to_one_file_share_the_tables(connect: Connect) -> None:
    first, second = scheduler_on(connect()), scheduler_on(connect())
    answer = first.queue_task("add")
    first.db.commit()
    assert second.task_status(answer.uuid).id == answer.id
    one_is_queued_and_found(second)


def test_without_migration_the_tables_that_are_there_are_used(connect: Connect) -> None:
    one_is_queued_and_found(scheduler_on(connect()))
    one_is_queued_and_found(scheduler_on(connect(), migrate=False))
    one_is_queued_and_found(scheduler_on(connect(migrate=False, migrate_enabled=False)))


def test_a_prefix_names_the_files_of_the_definitions(connect: Connect, tmp_path: Path) -> None:
    one_is_queued_and_found(scheduler_on(connect(), migrate="our_"))
    one_is_queued_and_found(scheduler_on(connect(), migrate="our_"))
    assert {path.name for path in tmp_path.glob("our_*")} == {f"our_{one}.table" for one in TABLES}


def test_lazy_tables_are_harmless(connect: Connect) -> None:
    db = connect(lazy_tables=True)
    one_is_queued_and_found(scheduler_on(db))
    one_is_queued_and_found(scheduler_on(db))
    one_is_queued_and_found(scheduler_on(connect()))


@pytest.mark.parametrize("option", ["fake_migrate", "fake_migrate_all"])
def test_a_faked_migration_uses_the_tables_that_are_there(
    connect: Connect, tmp_path: Path, option: str
) -> None:
    one_is_queued_and_found(scheduler_on(connect()))
    for path in tmp_path.glob("*.table"):  # what a move to another machine loses
        path.unlink()
    one_is_queued_and_found(scheduler_on(connect(**{option: True})))
    one_is_queued_and_found(scheduler_on(connect()))


# -- signatures, record versioning and filters ---------------------------------------------------


def sign_all_tables(db: Any) -> None:
    """What an app does that wants to know who changed what, in every table."""
    db._common_fields += [
        Field("is_active", "boolean", default=True),
        Field("modified_on", "datetime", default=datetime.now, update=datetime.now),
    ]
    db.define_table("article", Field("title"))


def version_signed_tables(db: Any) -> None:
    """py4web's auth.enable_record_versioning(db)."""
    for table in list(db):
        if "modified_on" in table.fields:
            table._enable_record_versioning()


def hide_everything(db: Any) -> None:
    for table in list(db):
        table._common_filter = lambda query, table=table: table.id < 0


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_signatures_and_versions_of_all_tables_leave_the_scheduler_alone(
    connect: Connect, first: bool, lazy: bool
) -> None:
    db = connect(lazy_tables=lazy)
    sign_all_tables(db)
    if first:
        version_signed_tables(db)
    scheduler = scheduler_on(db)
    version_signed_tables(db)
    assert not any("is_active" in db[name].fields for name in TABLES)
    assert not any("scheduler" in name for name in db.tables if name.endswith("_archive"))
    one_is_queued_and_found(scheduler)
    assert db.article.insert(title="x") and "is_active" in db.article.fields


def test_an_archive_of_our_own_tables_does_not_hide_them(connect: Connect) -> None:
    # MySQL wants references of the same type as the ids, which have 64 bits.
    scheduler = scheduler_on(connect(bigint_id=True))
    db = scheduler.db
    for name in TABLES:
        db[name]._enable_record_versioning()
    one_is_queued_and_found(scheduler)
    add_worker(db, "w1", ["main"])
    assert scheduler.disable() == 1 and list(scheduler.get_workers()) == ["w1"]


def test_a_filter_on_all_tables_hides_nothing_from_the_api(connect: Connect) -> None:
    scheduler = scheduler_on(connect())
    db = scheduler.db
    add_worker(db, "w1", ["main"], is_ticker=True)
    hide_everything(db)
    one_is_queued_and_found(scheduler)
    task_id = scheduler.queue_task("add", immediate=True).id
    assert list(scheduler.get_workers(only_ticker=True)) == ["w1"]
    assert scheduler.get_workers()["w1"].status == "PICK"
    assert scheduler.disable() == 1
    assert scheduler.task_status(task_id, output=True).scheduler_task.id == task_id
    assert scheduler.stop_task(task_id) == 1
    assert scheduler.requeue(task_id) == 1


def test_tasks_run_under_signatures_versions_and_filters(lab: Lab) -> None:
    lab.write_tasks("def add(a, b): return a + b")
    db = lab.db
    sign_all_tables(db)
    version_signed_tables(db)
    hide_everything(db)
    lab.start_worker("-E", "1", ready=False)
    answer = lab.scheduler.queue_task("add", [3, 4])
    db.commit()
    assert lab.workers[0].wait() == 0, lab.workers[0].log
    db.commit()
    found = lab.scheduler.task_status(answer.id, output=True)
    assert (found.scheduler_task.status, found.result) == (TaskStatus.COMPLETED, 7)


VISITS = """
import os, sys
from pydal import DAL
from plugin_scheduler import Scheduler
uri, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
wait, go = os.pipe()
def visit():
    os.close(go)
    os.read(wait, 1)  # ends when all are there
    options = {"timeout": 0.05} if uri.startswith("sqlite") else {}
    db = DAL(uri, folder=folder, driver_args=options)
    scheduler = Scheduler(db, tasks={})
    if options:
        db.executesql("PRAGMA busy_timeout = 30000")
    answer = scheduler.queue_task("add")
    assert not answer.errors
    db.commit()
    db.close()
pids = []
for _ in range(count):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            visit()
            status = 0
        finally:
            sys.excepthook(*sys.exc_info()) if status else None
            os._exit(status)
    pids.append(pid)
os.close(go)
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in pids))
"""


@pytest.mark.parametrize("database", ["sqlite", *SERVERS], indirect=True)
def test_many_first_visits_at_once_find_the_tables_made(
    database: Database, connect: Connect, tmp_path: Path
) -> None:
    visits, db = 24 if database.server is None else 8, connect()
    for table in reversed(TABLES):  # an emptied database still has its tables
        db.executesql(f"DROP TABLE IF EXISTS {table}")
    db.commit()
    command = [sys.executable, "-c", VISITS, database.uri, str(tmp_path), str(visits)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    scheduler_on(db)
    assert db(db.scheduler_task).count() == visits
