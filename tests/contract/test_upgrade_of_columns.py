"""The operator's commands beside tables of an older version: told first, changed on demand only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugin_scheduler.models.migrations import RENAMED
from support.apps_for_tests import write_app
from support.databases import Database
from support.home import Connect, add_worker, scheduler_on
from support.kit import REPOSITORY
from support.old_tables import OldApp, types_of

from plugin_scheduler.cli.main import main
from plugin_scheduler.core.types import TaskStatus

Run = Callable[..., Any]
RENAMES = [(table, old, new) for table, names in RENAMED.items() for old, new in names.items()]


@pytest.fixture
def run(database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """A sub-command: its exit code, its document (or None), and its errors."""

    def call(*words: str) -> tuple[int, Any, str]:
        where = ["-u", database.uri, "-f", str(tmp_path), "--json"]
        code = main([words[0], *where, *words[1:]])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err

    return call


def names_of(connect: Connect) -> dict[str, set[str]]:
    db = connect()
    found = {table: set(columns) for table, columns in types_of(db).items()}
    db.commit()
    return found


def make_previous(connect: Connect) -> None:
    """Tables as an earlier version of ours made them."""
    db = scheduler_on(connect()).db
    for table, old, new in RENAMES:
        kind = types_of(db)[table][new]
        ways = {True: f"CHANGE {new} `{old}` {kind}", False: f'RENAME COLUMN {new} TO "{old}"'}
        db.executesql(f"ALTER TABLE {table} {ways[db._uri.startswith('mysql')]}")
    db.executesql("ALTER TABLE scheduler_run DROP COLUMN outcome")
    db.executesql("ALTER TABLE scheduler_task DROP COLUMN reason_code")
    add_worker(db, "w1", ["main"], lease_until=4e9)
    db.commit()


def test_old_tables_are_told_and_left_as_they_are(
    connect: Connect, database: Database, tmp_path: Path, run: Run
) -> None:
    OldApp(database.uri, tmp_path, "2.9").make()
    before = names_of(connect)
    tasks = tmp_path / "work.py"
    tasks.write_text("def add(a, b):\n    return a + b\n")
    for more in ((), ("-t", str(tasks))):
        code, plan, _ = run("upgrade", "--dry-run", *more)
        steps = {(step["kind"], step["table"]): step for step in plan["steps"]}
        assert code == 1 and not any(step["done"] for step in plan["steps"])
        assert "broadcast, cronline, priority" in steps["add", "scheduler_task"]["does"]
        assert ("make", "scheduler_task_deps") in steps
        assert (("widen", "scheduler_task") in steps) is bool(database.server)
        code, told, _ = run("doctor", *more)
        found = {one["code"]: one for one in told["findings"]}
        assert code == 2 and "scheduler.py upgrade" in found["tables_old"]["cure"]
        assert "broadcast, cronline, priority" in found["tables_old"]["sentence"]
        assert "not_checked" not in found, found
    assert names_of(connect) == before
    code, done, _ = run("upgrade")
    assert code == 0 and {(one["kind"], one["table"]) for one in done["steps"]} >= set(steps)
    assert run("upgrade", "--dry-run")[:2] == (0, {"dry_run": True, "steps": []})
    assert "tables_old" not in {one["code"] for one in run("doctor")[1]["findings"]}


def test_a_database_without_tables_is_told_as_such(connect: Connect, run: Run) -> None:
    connect().executesql("SELECT 1")
    code, told, _ = run("doctor")
    assert (code, told["findings"][0]["code"]) == (2, "tables_missing")
    assert {step["kind"] for step in run("upgrade", "--dry-run")[1]["steps"]} == {"make"}
    assert names_of(connect) == {}


def test_no_column_gets_another_name_beside_live_workers(connect: Connect, run: Run) -> None:
    make_previous(connect)
    before = names_of(connect)
    code, plan, _ = run("upgrade", "--dry-run")
    assert code == 1 and {step["kind"] for step in plan["steps"]} == {"add", "rename"}
    code, nothing, errors = run("upgrade")
    assert (code, nothing) == (2, None)
    assert "1 worker alive: w1" in errors and "--force" in errors
    assert names_of(connect) == before
    code, done, _ = run("upgrade", "--force")
    assert code == 0 and all(step["done"] for step in done["steps"])
    there = names_of(connect)
    assert all(new in there[table] and old not in there[table] for table, old, new in RENAMES)
    assert "outcome" in there["scheduler_run"] and run("upgrade", "--dry-run")[0] == 0


def test_columns_are_added_beside_workers_of_an_older_version(
    connect: Connect, database: Database, run: Run
) -> None:
    db = scheduler_on(connect()).db
    db.executesql("ALTER TABLE scheduler_run DROP COLUMN outcome")
    db.executesql("ALTER TABLE scheduler_worker DROP COLUMN application_name")
    db.executesql("INSERT INTO scheduler_worker (worker_name, lease_until) VALUES ('w1', 4e9)")
    db.commit()
    assert run("upgrade")[0] == 0
    assert "outcome" in names_of(connect)["scheduler_run"]


def test_tasks_that_an_older_version_skipped_come_along_with_what_failed(
    connect: Connect, run: Run
) -> None:
    scheduler = scheduler_on(connect())
    db = scheduler.db
    ended = {"enabled": False, "status": TaskStatus.STOPPED, "function_name": "add"}
    failed = db.scheduler_task.insert(uuid="failed", function_name="add", status=TaskStatus.FAILED)
    reasons = [f"skipped: it waits for task {failed} add, which FAILED", "skipped: a word of ann"]
    skipped, other = (db.scheduler_task.insert(uuid=one, reason=one, **ended) for one in reasons)
    for waits in (skipped, other):
        db.scheduler_task_deps.insert(task_parent=waits, task_child=failed, can_visit=False)
    db.commit()
    assert run("upgrade", "--dry-run")[0] == 1
    code, done, _ = run("upgrade")
    [step] = done["steps"]
    assert code == 0 and step["does"] == "fills reason_code of 1 skipped task"
    db.commit()
    assert scheduler.requeue(failed) == 2
    rows = db(db.scheduler_task).select(orderby=db.scheduler_task.id)
    assert [row.status for row in rows] == ["QUEUED", "QUEUED", "STOPPED"]
    db.commit()
    assert run("upgrade", "--dry-run")[0] == 0


EMPTY = """
import os
from pydal import DAL
from plugin_scheduler import Scheduler
db = DAL("sqlite://storage.sqlite", folder=os.path.dirname(__file__))
scheduler = Scheduler(db, tasks={})
"""


@pytest.mark.parametrize("queues", [False, True])
def test_an_app_is_loaded_without_changing_old_tables(tmp_path: Path, queues: bool) -> None:
    app = write_app(tmp_path, "shop", EMPTY + 'scheduler.queue_task("add")\n' * queues)
    OldApp("sqlite://storage.sqlite", app, "2.9").make()
    before = (app / "storage.sqlite").read_bytes()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, REPOSITORY / "scheduler.py", *words, "-K", "shop"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    told = [run("upgrade", "--dry-run"), run("doctor")]
    if queues:  # it needs the columns to be loaded at all
        told.append(run("upgrade"))
        assert [one.returncode for one in told] == [2, 2, 2]
        assert all("run scheduler.py upgrade -u URI first" in one.stderr for one in told)
        assert (app / "storage.sqlite").read_bytes() == before
        return
    assert [one.returncode for one in told] == [1, 2], [one.stderr for one in told]
    assert "to do: scheduler_task: adds broadcast" in told[0].stdout
    assert "tables_old: " in told[1].stdout
    assert (app / "storage.sqlite").read_bytes() == before
    assert run("upgrade").returncode == 0 and run("upgrade", "--dry-run").returncode == 0
