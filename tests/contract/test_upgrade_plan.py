"""Old tables get ids of 64 bits, and sequences that count on, and keep every row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from plugin_scheduler.models import ids, upgrade_plan
from pydal import Field
from support.databases import Database
from support.home import Connect, add_worker, scheduler_on
from support.old_tables import OldApp, types_of

from plugin_scheduler.cli.main import main

pytestmark = pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)


@pytest.fixture
def old(connect: Connect, database: Database, tmp_path: Path) -> Any:
    """Tables of web2py with rows, and a table of the app that refers to tasks."""
    OldApp(database.uri, tmp_path, "now", []).make()
    db = connect()
    scheduler_on(db)
    db.define_table("parcel", Field("task", "reference scheduler_task"))
    db.parcel.insert(task=1)
    db.commit()
    return db


def rows(db: Any) -> list[Any]:
    db.commit()
    tables = ("scheduler_task", "scheduler_run", "scheduler_task_deps", "parcel")
    return [sorted(db.executesql(f"SELECT * FROM {table}"), key=str) for table in tables]


def told_to_drop(db: Any) -> str:
    """Do what the obstacle says before; what is to be done afterwards."""
    said = upgrade_plan.obstacle(db)
    assert said.startswith("parcel.task, a table of the app, refers to scheduler_task.")
    parts = re.findall(r"`(ALTER TABLE .*?(?:ibfk_1|CASCADE ON UPDATE [A-Z ]+))`", said)
    db.executesql(parts[0])
    assert upgrade_plan.obstacle(db) == ""
    return parts[1]


def test_ids_get_wider_and_every_row_and_reference_stays(old: Any, database: Database) -> None:
    before, plan = rows(old), upgrade_plan.plan(old)
    tables = [step.table for step in plan if step.kind == upgrade_plan.WIDEN]
    assert tables[:2] == ["scheduler_task", "scheduler_run"]
    if database.uri.startswith("mysql"):
        key = told_to_drop(old)
    else:
        assert tables[-1] == "parcel" and upgrade_plan.obstacle(old) == ""
    assert all(step.size > 0 for step in plan if step.kind == upgrade_plan.WIDEN)
    assert upgrade_plan.carry_out(old, plan[0])  # and here it was interrupted
    rest = upgrade_plan.plan(old)
    assert [step.table for step in rest if step.kind == upgrade_plan.WIDEN] == tables[1:]
    assert not upgrade_plan.carry_out(old, plan[0])  # as if two had made the same plan
    for step in rest:
        assert upgrade_plan.carry_out(old, step)
    assert upgrade_plan.plan(old) == [] and rows(old) == before
    if database.uri.startswith("mysql"):
        old.executesql(key)
    assert ids.narrow_columns(old) == []
    assert {one.largest for one in ids.ids_of(old)} == {ids.BIGINT}
    far = 2**31 + 1
    old.executesql(f"INSERT INTO scheduler_run (id, task_id, status) VALUES ({far}, 1, 'RUNNING')")
    assert old(old.scheduler_run.id == far).count() == 1
    with pytest.raises(Exception, match="foreign key"):  # each driver's own
        old.executesql("INSERT INTO scheduler_run (task_id, status) VALUES (123456, 'RUNNING')")
    old.rollback()
    new = old.scheduler_run.insert(task_id=1, status="COMPLETED")
    assert new > 0 and "bigint" in types_of(old)["scheduler_run"]["id"]


def test_the_command_tells_does_and_refuses_beside_workers(
    old: Any, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["-u", database.uri, "-f", str(tmp_path)]
    add_worker(old, "w1", ["main"], lease_until=4e9)
    old.commit()
    assert main(["upgrade", *where, "--dry-run", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"] and told["steps"][0]["table"] == "scheduler_task"
    assert not any(step["done"] for step in told["steps"])
    assert main(["upgrade", *where]) == 2
    assert "1 worker alive: w1" in capsys.readouterr().err and ids.narrow_columns(old)
    if database.uri.startswith("mysql"):
        assert main(["upgrade", *where, "--force"]) == 2
        assert "DROP FOREIGN KEY" in capsys.readouterr().err
        told_to_drop(old)
    old.commit()
    assert main(["upgrade", *where, "--force"]) == 0
    answer = capsys.readouterr()
    assert "done: scheduler_task: 64 bits for id" in answer.out and "1 of " in answer.err
    assert main(["upgrade", *where, "--dry-run"]) == 0
    assert capsys.readouterr().out == "nothing to do\n"


def test_a_table_that_is_held_is_told_and_the_rest_can_be_done_later(
    old: Any, connect: Connect, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugin_scheduler.models.migrations.PATIENCE", 1)
    if database.uri.startswith("mysql"):
        told_to_drop(old)
    holder = connect()
    holder.executesql("SELECT count(*) FROM scheduler_task")
    steps = upgrade_plan.plan(old)
    first = steps[0]
    with pytest.raises(Exception, match=r"scheduler_task could not be .*Another session locks"):
        upgrade_plan.carry_out(old, first)
    holder.rollback()
    assert upgrade_plan.carry_out(old, first)
