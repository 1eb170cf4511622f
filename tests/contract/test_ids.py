"""Ids have 64 bits in tables that we make; what is left of them elsewhere is known."""

from __future__ import annotations

from typing import Any

import pytest
from plugin_scheduler.models import TABLES, ids, upgrade_plan
from plugin_scheduler.models.migrations import holds_id
from pydal import Field
from support.databases import Database
from support.home import Connect, scheduler_on
from support.old_tables import OldApp, types_of

BEYOND = 2**31 + 7


def id_columns(db: Any) -> dict[str, str]:
    return {
        f"{table}.{column}": kind.lower()
        for table, columns in types_of(db).items()
        for column, kind in columns.items()
        if holds_id(column)
    }


def test_every_column_for_ids_has_64_bits_in_tables_that_we_make(
    connect: Connect, database: Database
) -> None:
    db = connect()
    scheduler_on(db, migrate="our_")
    kinds = id_columns(db)
    assert len(kinds) >= 11 and {f"{table}.id" for table in TABLES} < set(kinds)
    wide = ("bigint", "bigint(20)") if database.server else ("integer",)
    assert {name: kind for name, kind in kinds.items() if kind not in wide} == {}
    assert ids.narrow_columns(db) == []
    db.define_table("scheduler_thing", Field("number", "integer"))
    if database.server:  # the app's own tables are as the app has them
        [[kind]] = db.executesql(
            "SELECT data_type FROM information_schema.columns "
            "WHERE table_name = 'scheduler_thing' AND column_name = 'id'"
        )
        assert kind.startswith("int")


def test_ids_beyond_32_bits_go_all_the_way(connect: Connect) -> None:
    scheduler = scheduler_on(connect())
    db = scheduler.db
    db.executesql(
        f"INSERT INTO scheduler_task (id, uuid, function_name, status) "
        f"VALUES ({BEYOND}, 'far', 'add', 'COMPLETED')"
    )
    run = db.scheduler_run.insert(task_id=BEYOND, status="COMPLETED", run_result="3")
    db(db.scheduler_task.id == BEYOND).update(run_id=BEYOND)
    db.scheduler_task_deps.insert(task_parent=BEYOND, task_child=BEYOND)
    db.scheduler_history.insert(task_id=BEYOND, who="ann", did="stop")
    db.commit()
    row = scheduler.task_status(BEYOND, output=True)
    assert (row.scheduler_task.id, row.scheduler_task.run_id) == (BEYOND, BEYOND)
    assert (row.scheduler_run.id, row.scheduler_run.task_id, row.result) == (run, BEYOND, 3)
    assert db.scheduler_task_deps(1).task_parent == BEYOND
    assert db.scheduler_history(1).task_id == BEYOND


def test_a_table_of_the_app_can_refer_to_tasks(connect: Connect) -> None:
    db = scheduler_on(connect()).db
    db.define_table("parcel", Field("task", "big-reference scheduler_task"))
    task_id = db.scheduler_task.insert(uuid="x", function_name="add")
    parcel = db.parcel.insert(task=task_id)
    assert db.parcel(parcel).task == task_id
    assert db(db.parcel.task == db.scheduler_task.id).count() == 1


def test_old_tables_tell_which_of_their_columns_are_too_small(
    connect: Connect, database: Database, tmp_path: Any
) -> None:
    OldApp(database.uri, tmp_path, "now", []).make()
    db = scheduler_on(connect()).db
    found = {one.name for one in ids.narrow_columns(db)}
    theirs = "scheduler_task.id scheduler_run.id scheduler_run.task_id scheduler_task_deps.id"
    theirs += " scheduler_task_deps.task_child scheduler_task_deps.task_parent scheduler_worker.id"
    assert found == (set(theirs.split()) if database.server else set())


def test_what_is_left_of_the_ids_is_known(connect: Connect, database: Database) -> None:
    db = scheduler_on(connect()).db
    db.scheduler_task.bulk_insert([{"uuid": str(number)} for number in range(9)])
    db.commit()
    task, run = ids.ids_of(db, "scheduler_task", "scheduler_run")
    assert (task.table, task.highest, run.highest) == ("scheduler_task", 9, 0)
    assert task.largest == ids.BIGINT and not task.is_behind and not task.are_used_up
    if database.server:
        assert (task.next, run.next) == (10, 1)
    assert list(ids.running_out(db)) == [] and len(ids.ids_of(db)) == len(TABLES)


#: Ids have 64 bits in every SQLite file.
servers_only = pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)


@pytest.fixture
def narrow(connect: Connect, database: Database) -> Any:
    """The runs' ids as an earlier version made them."""
    db = scheduler_on(connect()).db
    if database.uri.startswith("postgres"):
        db.executesql("ALTER TABLE scheduler_run ALTER id TYPE integer")
        db.executesql("ALTER SEQUENCE scheduler_run_id_seq AS integer")
    else:
        db.executesql("ALTER TABLE scheduler_run MODIFY id INT NOT NULL AUTO_INCREMENT")
    db.commit()
    return db


@servers_only
def test_ids_that_are_used_up_are_told(narrow: Any) -> None:
    last = 2**31 - 1
    narrow.executesql(f"INSERT INTO scheduler_run (id, status) VALUES ({last}, 'COMPLETED')")
    if narrow._uri.startswith("postgres"):
        narrow.executesql(f"SELECT setval('scheduler_run_id_seq', {last})")
    [run] = ids.running_out(narrow)
    assert (run.table, run.largest, run.are_used_up, run.share) == ("scheduler_run", last, True, 1)


@servers_only
def test_a_sequence_behind_its_table_is_told(narrow: Any) -> None:
    narrow.executesql("INSERT INTO scheduler_run (id, status) VALUES (1000, 'COMPLETED')")
    found = list(ids.running_out(narrow))
    if narrow._uri.startswith("mysql"):  # it takes such a row into account
        assert found == []
        return
    [run] = found
    assert run.is_behind and (run.next, run.highest) == (1, 1000)
    assert run.sequence.endswith("scheduler_run_id_seq")
    narrow.executesql("SELECT setval('scheduler_run_id_seq', 1001, false)")
    assert list(ids.running_out(narrow)) == []


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_sequence_behind_its_table_is_set_right(connect: Connect) -> None:
    db = scheduler_on(connect()).db
    db.executesql("INSERT INTO scheduler_run (id, status) VALUES (5, 'COMPLETED')")
    db.commit()
    [step] = upgrade_plan.plan(db)
    assert (step.kind, step.does) == (upgrade_plan.SEQUENCE, "sets the sequence behind id 5")
    assert upgrade_plan.carry_out(db, step)
    assert db.scheduler_run.insert(status="COMPLETED") == 6
