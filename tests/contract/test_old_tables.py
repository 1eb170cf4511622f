"""A database that web2py filled: ours adds what it needs, and changes nothing that is there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugin_scheduler.models import TABLES, migrations
from plugin_scheduler.models.migrations import RENAMED
from pydal import DAL, Field
from pydal.helpers.classes import ExecutionHandler
from support.databases import Database
from support.home import Connect, scheduler_on
from support.old_tables import VERSIONS, WHEN, OldApp, types_of

from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM

MakeOld = Callable[..., OldApp]

#: Opens the tables as an app does, at a sign, or dies before its n-th change of a definition.
HOST = """
import os, signal, sys, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)  # of drivers
from pydal import DAL
from pydal.helpers.classes import ExecutionHandler
from plugin_scheduler import Scheduler
uri, folder, dies_at = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Accident(ExecutionHandler):
    seen = 0
    def before_execute(self, command):
        if command.startswith(("ALTER TABLE", "CREATE TABLE")):
            Accident.seen += 1
            if Accident.seen == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

DAL.execution_handlers = [*DAL.execution_handlers, Accident]
db = DAL(uri, folder=folder)
db.executesql("SELECT 1")
db.rollback()
print("ready", flush=True)
sys.stdin.readline()
Scheduler(db, tasks={})
print("done", flush=True)
"""


@pytest.fixture
def make_old(database: Database, tmp_path: Path) -> MakeOld:
    """An app of web2py with some tasks, in the folder that our app has, too."""

    def make(version: str = "2.4", more: list[Field] | None = None, **size: int) -> OldApp:
        app = OldApp(database.uri, tmp_path, version, more or [])
        app.make(**size)
        return app

    return make


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said to the database by whoever connects from now on."""
    commands: list[str] = []

    class Ear(ExecutionHandler):
        def before_execute(self, command: str) -> None:
            commands.append(command)

    monkeypatch.setattr(DAL, "execution_handlers", [Ear])
    return commands


def start_host(database: Database, folder: Path, dies_at: int = 0) -> subprocess.Popen[str]:
    """Another process, on another host as far as it can tell."""
    arguments = [database.uri, str(folder), str(dies_at)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    lines: dict[str, Any] = {"text": True, "bufsize": 1}
    return subprocess.Popen([sys.executable, "-c", HOST, *arguments], **pipes, **lines)


def seen(app: OldApp, connect: Connect) -> tuple[Any, Any]:
    """All old values, and all types."""
    db = connect()
    answer = app.rows(db), types_of(db)
    db.commit()
    return answer


def added(before: Any, after: Any) -> dict[str, set[str]]:
    """Columns that are new; whatever was there must be what it was."""
    assert {
        table: {name: after[table][name] for name in columns} for table, columns in before.items()
    } == before
    new = {table: set(after[table]) - set(before.get(table, ())) for table in after}
    return {table: columns for table, columns in new.items() if columns}


def ours(db: Any, app: OldApp) -> dict[str, set[str]]:
    """What our tables have and theirs lack."""
    there = {table: {"id", *names} for table, names in app.columns.items()}
    lacking = {table: set(db[table].fields) - there.get(table, set()) for table in TABLES}
    return {table: columns for table, columns in lacking.items() if columns}


@pytest.mark.parametrize("notes", ["copied along", "lost"])
@pytest.mark.parametrize("version", VERSIONS)
def test_old_tables_get_our_columns_and_every_row_stays_as_it_is(
    connect: Connect, make_old: MakeOld, heard: list[str], version: str, notes: str
) -> None:
    app = make_old(version, tasks=2000 if notes == "lost" else 50)
    if notes == "lost":
        app.lose_notes()
    before, kept = seen(app, connect), app.notes()
    heard.clear()
    scheduler = scheduler_on(connect())
    assert not any(re.match("UPDATE|.* DROP ", command) for command in heard), heard
    after = seen(app, connect)
    assert after[0] == before[0]
    assert added(before[1], after[1]) == ours(scheduler.db, app)
    assert app.notes() == kept  # web2py's files are web2py's
    for table, columns in ours(scheduler.db, app).items():
        empty = " AND ".join(f"{column} IS NULL" for column in columns)
        found = scheduler.db.executesql(f"SELECT count(*) FROM {table} WHERE {empty}")
        assert found[0][0] == len(after[0].get(table, ()))


@pytest.mark.parametrize("version", VERSIONS)
def test_old_tasks_can_be_asked_for_and_new_ones_queued(
    connect: Connect, make_old: MakeOld, version: str
) -> None:
    make_old(version).lose_notes()
    scheduler = scheduler_on(connect())
    db = scheduler.db
    tasks = list(db(db.scheduler_task).select(orderby=db.scheduler_task.id))
    assert tasks[0].enabled is True and tasks[0].start_time == WHEN and tasks[0].priority is None
    assert scheduler.task_status(tasks[3].uuid, output=True).scheduler_run.status == "STOPPED"
    assert scheduler.stop_task(tasks[0].id) == 1
    assert scheduler.requeue(tasks[4].id) == 1
    assert scheduler.queue_task("add", [3, 4]).errors == {}
    assert scheduler.terminate("main") >= 2


@pytest.mark.parametrize(
    ("version", "notes"),
    [*zip(VERSIONS, ["lost", "copied along"] * 2, strict=True), ("2.4", "copied along")],
)
def test_web2py_works_with_the_tables_afterwards_and_then_we_again(
    connect: Connect, make_old: MakeOld, version: str, notes: str
) -> None:
    app = make_old(version)
    if notes == "lost":
        app.lose_notes()
    first = scheduler_on(connect())
    mine = first.queue_task("add", [1, 2], priority=7)
    first.db.commit()
    before = seen(app, connect)
    if notes == "lost":
        app.find_notes()
    old = app.open()
    row = old.scheduler_task(mine.id)
    assert (row.status, row.args, row.enabled) == ("QUEUED", "[1, 2]", True)
    theirs = old.scheduler_task.insert(function_name="add", uuid="theirs", status="QUEUED")
    old.scheduler_run.insert(task_id=theirs, status="RUNNING", worker_name="web3#3")
    old(old.scheduler_task.id == theirs).update(times_run=3)
    old.commit()
    assert types_of(old) == before[1]  # web2py has taken nothing away
    old.close()
    second = scheduler_on(connect())
    row = second.task_status("theirs")
    assert (row.times_run, row.group_name, row.priority) == (3, "main", None)
    assert second.db.scheduler_task(mine.id).priority == 7


def test_a_second_start_asks_and_does_nothing_else(
    connect: Connect, make_old: MakeOld, tmp_path: Path, heard: list[str]
) -> None:
    make_old().lose_notes()
    scheduler_on(connect())
    heard.clear()
    scheduler_on(connect())
    assert heard and all(re.match("SELECT|PRAGMA|SET", command) for command in heard), heard
    assert list(tmp_path.glob("*.table")) == []


def test_columns_tables_and_rows_of_the_app_stay(connect: Connect, make_old: MakeOld) -> None:
    app = make_old(more=[Field("colour", default="red")])  # in pydal's notes, too
    db = connect()
    db.executesql("ALTER TABLE scheduler_run ADD COLUMN price INTEGER DEFAULT 3")
    db.commit()
    before = seen(app, connect)
    scheduler_on(connect())
    after = seen(app, connect)
    assert after[0] == before[0] and "colour" not in added(before[1], after[1])["scheduler_task"]
    colours, prices = (
        "SELECT DISTINCT colour FROM scheduler_task",
        "SELECT price FROM scheduler_run",
    )
    assert [tuple(row) for row in db.executesql(colours)] == [("red",)]
    assert {row[0] for row in db.executesql(prices)} == {3}


def test_what_runs_said_before_web2py_2_4_stays_under_its_old_names(
    connect: Connect,
) -> None:
    db = connect()
    db.define_table("scheduler_task", Field("uuid", length=255, unique=True))
    task = Field("scheduler_task", "reference scheduler_task")
    db.define_table("scheduler_run", task, Field("output", "text"), Field("result", "text"))
    task_id = db.scheduler_task.insert(uuid="x")
    db.scheduler_run.insert(scheduler_task=task_id, output="hello", result="3")
    db.commit()
    db = scheduler_on(connect()).db
    old = "SELECT scheduler_task, output, result FROM scheduler_run"
    assert [tuple(row) for row in db.executesql(old)] == [(task_id, "hello", "3")]
    assert db.scheduler_run(1).run_output is None
    copied = "task_id = scheduler_task, run_output = output, run_result = result"
    db.executesql(f"UPDATE scheduler_run SET {copied}")  # as the how-to says
    assert db.scheduler_run(1).run_output == "hello" and db.scheduler_run(1).task_id == task_id


# -- at the same time, half-way, and not at all --------------------------------------------------


def test_several_hosts_may_bring_the_tables_up_to_date_at_once(
    connect: Connect, database: Database, make_old: MakeOld, tmp_path: Path
) -> None:
    app = make_old("2.9", tasks=500)
    app.lose_notes()
    before = seen(app, connect)
    folders = [tmp_path] * 4
    if database.server:
        folders = [tmp_path / name for name in "abcd"]
        for folder in folders:
            folder.mkdir()
    hosts = [start_host(database, folder) for folder in folders]
    assert [host.stdout and host.stdout.readline() for host in hosts] == ["ready\n"] * 4
    for host in hosts:
        assert host.stdin and host.stdin.write("go\n")
    assert [host.communicate(timeout=60)[0] for host in hosts] == ["done\n"] * 4
    scheduler = scheduler_on(connect(), migrate=False)
    after = seen(app, connect)
    assert after[0] == before[0]
    assert added(before[1], after[1]) == ours(scheduler.db, app)


@pytest.mark.parametrize("statement", [1, 2, 8, 9, 15, 16])
def test_what_a_killed_start_left_half_done_the_next_one_completes(
    connect: Connect, database: Database, make_old: MakeOld, tmp_path: Path, statement: int
) -> None:
    app = make_old("2.9")
    app.lose_notes()
    before = seen(app, connect)
    host = start_host(database, tmp_path, dies_at=statement)
    assert host.communicate("go\n", timeout=60)[0] == "ready\n" and host.returncode == -9
    half = seen(app, connect)
    scheduler = scheduler_on(connect())
    after = seen(app, connect)
    assert half[0] == after[0] == before[0]
    assert added(before[1], half[1]) != added(before[1], after[1]) == ours(scheduler.db, app)


# -- columns of ours that have another name now --------------------------------------------------

RENAMES = [(table, old, new) for table, names in RENAMED.items() for old, new in names.items()]


@pytest.fixture
def old_names(connect: Connect) -> Callable[[], list[Any]]:
    """Tables as an earlier version of ours made them, with rows; gives what is in them now."""
    db = scheduler_on(connect()).db
    db.scheduler_history.insert(noted_at=WHEN, who="ann", did="stop", task_id=3)
    db.scheduler_metric.bulk_insert([{"epoch_minute": n, "completed": n} for n in range(9)])
    for table, old, new in RENAMES:
        kind = types_of(db)[table][new]
        ways = {True: f"CHANGE {new} `{old}` {kind}", False: f'RENAME COLUMN {new} TO "{old}"'}
        db.executesql(f"ALTER TABLE {table} {ways[db._uri.startswith('mysql')]}")
    db.commit()

    def rows() -> list[Any]:
        fresh = connect()
        scheduler_on(fresh)
        return [fresh(fresh[table]).select().as_list() for table, *_ in RENAMES]

    return rows


def names_of(connect: Connect) -> dict[str, set[str]]:
    return {table: set(columns) for table, columns in types_of(connect()).items()}


def are_renamed(connect: Connect) -> list[bool]:
    there = names_of(connect)
    return [new in there[table] and old not in there[table] for table, old, new in RENAMES]


def test_columns_with_an_old_name_are_renamed_and_keep_what_is_in_them(
    connect: Connect, old_names: Callable[[], list[Any]], heard: list[str]
) -> None:
    assert are_renamed(connect) == [False, False]
    [[note], counts] = old_names()
    assert are_renamed(connect) == [True, True]
    assert (note["noted_at"], note["who"], note["task_id"]) == (WHEN, "ann", 3)
    assert [(row["epoch_minute"], row["completed"]) for row in counts] == [(n, n) for n in range(9)]
    assert not any(re.match("UPDATE|DELETE|.* DROP |.* ADD ", command) for command in heard), heard
    heard.clear()
    old_names()
    assert all(re.match("SELECT|PRAGMA|SET", command) for command in heard), heard


def test_old_names_are_told_where_nothing_may_be_changed(
    connect: Connect, old_names: Callable[[], list[Any]]
) -> None:
    for options, ours in (({"migrate": False}, {"migrate": False}), ({"fake_migrate": True}, {})):
        with pytest.raises(ConfigError) as error:
            scheduler_on(connect(**options), **ours)
        said = str(error.value)
        assert "scheduler_history.at must be renamed to noted_at" in said
        assert "scheduler_metric.minute must be renamed to epoch_minute" in said
        assert "start the app once with migrate=True" in said and "has no" not in said
    assert are_renamed(connect) == [False, False]


def test_several_hosts_rename_at_once_and_a_killed_one_is_continued(
    connect: Connect,
    database: Database,
    old_names: Callable[[], list[Any]],
    tmp_path: Path,
) -> None:
    killed = start_host(database, tmp_path, dies_at=2)
    assert killed.communicate("go\n", timeout=60)[0] == "ready\n" and killed.returncode == -9
    assert are_renamed(connect) == [True, False]
    hosts = [start_host(database, tmp_path) for _ in range(3)]
    assert [host.stdout and host.stdout.readline() for host in hosts] == ["ready\n"] * 3
    for host in hosts:
        assert host.stdin and host.stdin.write("go\n")
    assert [host.communicate(timeout=60)[0] for host in hosts] == ["done\n"] * 3
    assert are_renamed(connect) == [True, True]
    assert [len(rows) for rows in old_names()] == [1, 9]


def test_a_database_whose_names_are_checked_takes_our_tables(connect: Connect) -> None:
    scheduler = scheduler_on(connect(check_reserved=["all"]))
    assert scheduler.queue_task("add").errors == {}


# -- what may not be changed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"migrate": False}, {"migrate_enabled": False}, {"fake_migrate_all": True}],
    ids=["migrate", "migrate_enabled", "fake_migrate_all"],
)
def test_who_may_not_migrate_touches_nothing_and_is_told_what_is_missing(
    connect: Connect, make_old: MakeOld, options: dict[str, bool]
) -> None:
    app = make_old("2.9")
    before = seen(app, connect), app.notes()
    not_ours = {"migrate": False} if options == {"migrate": False} else {}
    with pytest.raises(ConfigError) as error:
        scheduler_on(connect(**options), **not_ours)
    said = str(error.value)
    assert "scheduler_task has no broadcast, cronline, priority" in said
    assert "scheduler_worker has no worker_stats, lease_until" in said
    assert "there is no scheduler_task_deps" in said and "migrate=True" in said
    assert (seen(app, connect), app.notes()) == before


def test_a_worker_leaves_old_tables_to_the_app(
    connect: Connect, database: Database, make_old: MakeOld, tmp_path: Path
) -> None:
    make_old("2.14")
    where = {"uri": database.uri, "folder": str(tmp_path), "driver_args": None}
    with pytest.raises(ConfigError, match="scheduler_task has no broadcast, cronline, priority"):
        Store.open(where, Settings(), SYSTEM)


def test_a_table_that_somebody_holds_is_told_and_the_next_start_goes_on(
    connect: Connect, database: Database, make_old: MakeOld, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_old()
    app.lose_notes()
    before = seen(app, connect)
    holder = connect()
    if database.server is None:
        holder.executesql("BEGIN IMMEDIATE TRANSACTION")
    holder.executesql("SELECT count(*) FROM scheduler_task")
    monkeypatch.setattr(migrations, "PATIENCE", 1)
    hurried = {} if database.server else {"driver_args": {"timeout": 0.2}}
    with pytest.raises(ConfigError, match=r"scheduler_task could not be .*[lL]ock"):
        scheduler_on(connect(**hurried))
    holder.rollback()
    db = scheduler_on(connect()).db
    after = seen(app, connect)
    assert after[0] == before[0] and added(before[1], after[1]) == ours(db, app)


@pytest.mark.parametrize("migrate", [True, "our_"])
def test_tables_that_are_gone_are_made_again_whatever_files_tell(
    connect: Connect, migrate: Any
) -> None:
    db = connect()
    scheduler_on(db, migrate=migrate)
    for table in reversed(TABLES):
        db.executesql(f"DROP TABLE {table}")
    db.commit()
    assert scheduler_on(connect(), migrate=migrate).queue_task("add").errors == {}


def test_a_table_can_be_dropped_by_pydal_and_made_again(connect: Connect) -> None:
    db = scheduler_on(connect()).db
    db.scheduler_task_deps.drop()
    assert "scheduler_task_deps" not in types_of(db)
    db = scheduler_on(connect()).db
    assert "on_failure" in types_of(db)["scheduler_task_deps"]


def test_a_database_that_cannot_be_asked_is_left_to_pydal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_ENGINES", {})
    app = OldApp("sqlite://storage.sqlite", tmp_path, "2.14")
    app.make()
    for _ in range(2):
        db = DAL(app.uri, folder=str(tmp_path))
        assert scheduler_on(db).queue_task("add").errors == {}
        db.close()
