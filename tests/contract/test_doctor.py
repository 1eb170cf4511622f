"""The doctor finds what is wrong, says how grave it is and what helps, and changes nothing."""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plugin_scheduler.models import INDEXES
from support.databases import Database
from support.home import scheduler_on
from support.kit import REPOSITORY, Lab
from support.shelf import Shelf

from plugin_scheduler import doctor
from plugin_scheduler.cli.main import main
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.worker.registration import VERSION

HELD = {"status": TaskStatus.RUNNING, "assigned_worker_name": "gone"}


def exam(shelf: Shelf, **settings: Any) -> doctor.Exam:
    shelf.db.commit()
    one = doctor.Exam(shelf.db, shelf.browser, Settings(**settings))
    one.dialect.epoch = shelf.clock.epoch  # type: ignore[method-assign]
    return one


def found(shelf: Shelf, **settings: Any) -> dict[str, doctor.Finding]:
    return {one.code: one for one in doctor.examine(exam(shelf, **settings))}


@pytest.fixture
def healthy(shelf: Shelf) -> Shelf:
    """Indexes as a worker makes them, and two workers."""
    dialect = shelf.browser._dialect
    with dialect.reading():
        assert dialect.prepare_tables(INDEXES) == []
    for name in ("w1", "w2"):
        stats = shelf.stats(version=VERSION, python="3.11.7", tasks=["add"])
        shelf.worker(name, worker_stats=stats)
    task = shelf.task(application_name="lab")
    shelf.db.scheduler_run.insert(task_id=task, status="COMPLETED")
    shelf.db.commit()
    return shelf


def test_nothing_is_found_where_all_is_well(healthy: Shelf) -> None:
    assert {one.severity for one in found(healthy, sqlite_wal=False).values()} <= {"note"}


def test_what_is_wrong_in_the_tables_is_found(healthy: Shelf, database: Database) -> None:
    db = healthy.db
    waits = {"task_parent": 1, "task_child": None, "can_visit": False}
    db.scheduler_task_deps.insert(**waits)
    db.scheduler_run.insert(task_id=None, status="COMPLETED")
    healthy.task(application_name="lab", **HELD)
    healthy.task(application_name="lab", status=TaskStatus.FAILED, reason_code="bad_row")
    healthy.task(application_name="lab", group_name="gpu")
    healthy.task(application_name="lab", function_name="unheard_of")
    odd = healthy.task(application_name="lab")
    db.executesql(f"UPDATE scheduler_task SET status = 'GARBAGE' WHERE id = {odd}")
    of_table = " ON scheduler_run" if database.uri.startswith("mysql") else ""
    db.executesql(f"DROP INDEX scheduler_run_status_idx{of_table}")
    told = found(healthy)
    assert told["status_odd"].severity == told["group_unserved"].severity == "error"
    assert told["function_unknown"].severity == "error"
    assert told["runs_without_task"].sentence == "1 run without a task"
    assert told["dependencies_without_task"].sentence.startswith(
        "1 dependency refers to a deleted task"
    )
    assert "worker gone, which is not alive" in told["tasks_without_worker"].sentence
    assert "FAILED because of unreadable values" in told["rows_condemned"].sentence
    if not database.is_plain:
        assert told["index_missing"].sentence.endswith("are missing: scheduler_run_status_idx")
    assert all(one.cure for one in told.values())


def test_what_is_wrong_with_workers_is_found(shelf: Shelf) -> None:
    stats = {"python": "3.11.7", "boot_error": "no app", "zone_trouble": "another zone"}
    shelf.worker("w2", worker_stats=shelf.stats(version="0.0.1", **stats))
    shelf.worker("w3", worker_stats=shelf.stats(version="0.0.2", clock_skew=90, python="3.12.1"))
    shelf.worker("w4", lives=-60)
    failing = {"error": "out of range", "in_a_row": 3}
    shelf.worker("w5", worker_stats=shelf.stats(version="0.0.1", last_claim_error=failing))
    told = found(shelf)
    assert {"versions_mixed", "no_leader", "worker_silent", "worker_time"} < set(told)
    assert told["runner_not_started"].severity == told["claims_fail"].severity == "error"
    assert "0.0.1: w2, w5; 0.0.2: w3" in told["versions_mixed"].sentence or "3.12" in str(told)
    shelf.db(shelf.db.scheduler_worker.id > 0).delete()
    assert found(shelf)["no_worker"].severity == "warning"
    shelf.worker("w6", worker_stats=shelf.stats(version="0.0.1"))
    assert "0.0.1" in found(shelf)["version_here"].sentence


def test_settings_of_the_database_are_looked_at(healthy: Shelf, database: Database) -> None:
    if database.server is None:
        assert "wal_off" not in found(healthy)  # a worker sees to that
        healthy.db.executesql("PRAGMA journal_mode=DELETE")
        assert ("wal_off" in found(healthy)) is not database.is_plain
    elif database.uri.startswith("postgres"):
        for setting, code in (
            ("default_transaction_isolation = 'serializable'", "isolation"),
            ("default_transaction_read_only = on", "database_read_only"),
        ):
            healthy.db.executesql(f"SET {setting}")
            assert code in found(healthy)
            healthy.db.executesql("RESET ALL")
    healthy.browser._dialect.db.commit()


def test_a_check_that_fails_is_told_and_the_others_go_on(
    healthy: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd_check(exam: doctor.Exam) -> Iterator[doctor.Finding]:
        exam.ask("SELECT no_such_column FROM scheduler_task")
        return iter(())

    monkeypatch.setattr(doctor, "CHECKS", (odd_check, *doctor.CHECKS))
    healthy.task(application_name="lab", **HELD)
    told = found(healthy)
    assert told["not_checked"].sentence.startswith("odd check could not be checked: ")
    assert "tasks_without_worker" in told


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_is_wrong_with_this_machine_is_found(
    healthy: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        told = found(healthy)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert {"folder_not_writable", "descriptors_few"} <= set(told)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "plugin-scheduler-x").mkdir()
    assert "folder_leftovers" in found(healthy)


def test_the_command_answers_people_and_scripts(
    lab: Lab, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    db = scheduler_on(lab.db).db
    db.scheduler_task.insert(function_name="add", application_name="lab")
    db.commit()
    where = ["-u", database.uri, "-f", str(lab.folder)]
    assert main(["doctor", *where, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["error"] >= 1 and told["findings"][0]["severity"] == "error"
    assert {"code", "severity", "sentence", "cure"} == set(told["findings"][0])
    assert main(["doctor", *where]) == 2
    shown = capsys.readouterr().out
    assert 'error   group_unserved: no live worker serves group "main"' in shown
    assert "        cure: start a worker for the group" in shown


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_every_code_is_documented(shelf: Shelf) -> None:
    text = (REPOSITORY / "docs" / "how-to" / "check-with-doctor.md").read_text("utf-8")
    assert [code for code in doctor.CODES if f"`{code}`" not in text] == []
    severities = {severity for severity, _ in doctor.CODES.values()}
    assert severities == {"error", "warning", "note"}
