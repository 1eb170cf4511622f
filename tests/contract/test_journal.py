"""Who did what is kept, with the work itself or not at all."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from plugin_scheduler import Scheduler
from plugin_scheduler.store.audit_log import AuditLog

NINE = datetime(2031, 5, 1, 9, 0)


@pytest.fixture
def journal(scheduler: Scheduler) -> AuditLog:
    return AuditLog(scheduler.db, lambda: NINE)


def test_a_note_tells_who_did_what_when_and_what_else_there_is_to_say(journal: AuditLog) -> None:
    journal.note("ann", "edit", 7, changed={"priority": [0, 5]}, day=date(2031, 5, 2))
    [note] = journal.of_task(7)
    assert (note.at, note.who, note.did, note.task_id) == (NINE, "ann", "edit", 7)
    assert note.detail == {"changed": {"priority": [0, 5]}, "day": "2031-05-02"}
    assert journal.of_task(8) == []


def test_the_latest_note_comes_first_and_only_as_many_as_are_asked_for(journal: AuditLog) -> None:
    for did in ("queue", "stop", "requeue"):
        journal.note("ann", did, 7)
    assert [note.did for note in journal.of_task(7, limit=2)] == ["requeue", "stop"]


def test_what_was_done_to_a_worker_is_found_by_its_name(journal: AuditLog) -> None:
    journal.note("ann", "disable", worker_name="w1")
    journal.note("ann", "stop", 7)
    assert [(one.did, one.worker_name) for one in journal.of_worker("w1")] == [("disable", "w1")]


def test_the_same_is_noted_for_a_thousand_tasks_at_once(journal: AuditLog) -> None:
    journal.note_many("o'hara 50%", "stop", range(1, 1203), of=1202, why="it's {late} \\ 100%")
    for task_id in (1, 500, 501, 1202):
        [note] = journal.of_task(task_id)
        assert (note.who, note.did) == ("o'hara 50%", "stop")
        assert note.detail == {"of": 1202, "why": "it's {late} \\ 100%"}
    assert journal.of_task(1203) == []
    journal.note_many("ann", "stop", [])


def test_letters_that_a_database_lacks_spoil_no_note(journal: AuditLog) -> None:
    journal.note("a\x00nn" + "x" * 300, "ed\udce9it", 7, text=["caf\udce9", {"\x00": "\x00"}])
    [note] = journal.of_task(7)
    assert note.who.startswith("a\ufffdnnxx") and note.did == "ed?it"
    assert note.detail == {"text": ["caf?", {"\ufffd": "\ufffd"}]}


def test_a_note_is_kept_only_with_the_transaction_it_was_made_in(
    scheduler: Scheduler, journal: AuditLog
) -> None:
    journal.note("ann", "stop", 7)
    journal.note_many("ann", "stop", [7, 8])
    scheduler.db.rollback()
    assert journal.of_task(7) == []
    journal.note("ann", "stop", 7)
    scheduler.db.commit()
    assert len(journal.of_task(7)) == 1


def test_a_note_outlives_its_task(scheduler: Scheduler, journal: AuditLog) -> None:
    task = scheduler.db.scheduler_task
    made = scheduler.queue_task("add")
    journal.note("ann", "delete", made.id)
    scheduler.db(task.id == made.id).delete()
    assert [note.did for note in journal.of_task(made.id)] == ["delete"]
