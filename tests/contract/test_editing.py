"""A task that waits is changed as it was meant, checked like a new one, and never by accident."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.home import Connect, scheduler_on

from plugin_scheduler import Scheduler
from plugin_scheduler.core.errors import BadTask, NotFound
from plugin_scheduler.core.redaction import HIDDEN
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.operations.edit_task import EDITABLE, as_text
from plugin_scheduler.queries import Queries

NINE = datetime(2031, 5, 1, 9, 0)


@pytest.fixture
def task_id(scheduler: Scheduler) -> int:
    return int(scheduler.queue_task("add", [1, 2], start_time=NINE).id)


def row_of(scheduler: Scheduler, task_id: int) -> Any:
    return scheduler.db.scheduler_task(task_id)


def shown(scheduler: Scheduler, task_id: int) -> dict[str, str]:
    """What a form has: texts, and dots for secrets."""
    row, view = row_of(scheduler, task_id), Queries.of(scheduler).task(task_id)
    assert view is not None
    texts = {name: as_text(row[name]) for name in EDITABLE}
    return {**texts, "args": view.args, "vars": view.vars}


def edited(scheduler: Scheduler, task_id: int, **columns: Any) -> Any:
    answer = scheduler.edit_task(task_id, **columns)
    assert not answer.errors and answer.id == task_id, answer.errors
    return row_of(scheduler, task_id)


def errors_of(scheduler: Scheduler, task_id: int, *given: Any, **columns: Any) -> dict[str, str]:
    before = row_of(scheduler, task_id).as_dict()
    answer = scheduler.edit_task(task_id, *given, **columns)
    assert answer.id is None and answer.changed == {}
    assert row_of(scheduler, task_id).as_dict() == before
    return dict(answer.errors)


def test_what_is_given_is_changed_and_nothing_else(scheduler: Scheduler, task_id: int) -> None:
    before = row_of(scheduler, task_id).as_dict()
    answer = scheduler.edit_task(task_id, priority=5, group_name="mail", timeout=60)
    assert answer.changed == {"priority": [0, 5], "group_name": ["main", "mail"]}
    after = row_of(scheduler, task_id).as_dict()
    assert after == {**before, "priority": 5, "group_name": "mail"}


def test_every_column_of_a_form_can_be_changed_by_its_text(
    scheduler: Scheduler, task_id: int
) -> None:
    given = {
        "task_name": "sum",
        "function_name": "report",
        "args": "[7]",
        "vars": "{}",
        "secret": '["day", 0]',
        "group_name": "mail",
        "priority": 7,
        "enabled": False,
        "broadcast": True,
        "only_worker": "w1",
        "start_time": "2031-06-01T09:00:00",
        "next_run_time": "2031-06-01T10:00:00",
        "stop_time": "2031-07-01T09:00:00",
        "repeats": 0,
        "period": 90,
        "cronline": "0 3 * * *",
        "prevent_drift": True,
        "timeout": 5,
        "retry_failed": -1,
        "on_failure": "continue",
        "sync_output": 2,
    }
    assert given.keys() == set(EDITABLE)
    row = edited(scheduler, task_id, shown=shown(scheduler, task_id), **given)
    assert {name: as_text(row[name]) for name in EDITABLE} == {
        name: as_text(value) for name, value in given.items()
    }


def test_a_form_that_is_saved_as_it_was_changes_nothing(scheduler: Scheduler, task_id: int) -> None:
    before, form = row_of(scheduler, task_id).as_dict(), shown(scheduler, task_id)
    answer = scheduler.edit_task(task_id, form, **form)
    assert (answer.errors, answer.changed) == ({}, {})
    assert row_of(scheduler, task_id).as_dict() == before


def test_what_others_changed_meanwhile_stays_and_is_told_where_it_matters(
    scheduler: Scheduler, task_id: int
) -> None:
    form = shown(scheduler, task_id)
    edited(scheduler, task_id, priority=5, args="[3, 4]")
    row = edited(scheduler, task_id, shown=form, **{**form, "timeout": "7"})
    assert (row.priority, row.args, row.timeout) == (5, "[3, 4]", 7)
    found = errors_of(scheduler, task_id, form, **{**form, "priority": "9", "timeout": "8"})
    assert set(found) == {"timeout", "priority"}
    assert "was changed in the meantime" in found["priority"]


def test_what_is_wrong_is_told_for_each_column(scheduler: Scheduler, task_id: int) -> None:
    wrong = {"period": "soon", "cronline": "77 * * * *", "args": "7", "colour": "red"}
    assert set(errors_of(scheduler, task_id, **wrong)) == set(wrong)
    early = errors_of(scheduler, task_id, stop_time=NINE - timedelta(days=1))
    assert "must be after start_time" in early["stop_time"]
    assert (
        "known tasks: add, echo, report"
        in errors_of(scheduler, task_id, function_name="x")["function_name"]
    )
    assert set(errors_of(scheduler, task_id, prevent_drift=True, period=0)) == {"prevent_drift"}


def test_what_was_wrong_before_keeps_nobody_from_mending_something_else(
    scheduler: Scheduler, task_id: int
) -> None:
    row_of(scheduler, task_id).update_record(period=-5, stop_time=NINE - timedelta(days=9))
    assert edited(scheduler, task_id, priority=5).priority == 5


def test_a_new_schedule_says_when_it_runs_next(scheduler: Scheduler, task_id: int) -> None:
    later = NINE + timedelta(hours=3)
    row = edited(scheduler, task_id, start_time=later)
    assert (row.start_time, row.next_run_time) == (later, later)
    row = edited(scheduler, task_id, cronline="30 3 * * *")
    assert row.next_run_time > scheduler.now() and f"{row.next_run_time:%H:%M}" == "03:30"
    assert row.next_run_time - scheduler.now() <= timedelta(hours=25)
    row = edited(scheduler, task_id, cronline="30 4 * * *", next_run_time=NINE)
    assert row.next_run_time == NINE
    assert edited(scheduler, task_id, cronline="").next_run_time == NINE


def test_only_a_task_that_waits_is_changed(scheduler: Scheduler, task_id: int) -> None:
    for status in TaskStatus.ALL:
        row_of(scheduler, task_id).update_record(status=status)
        if status == TaskStatus.QUEUED:
            assert edited(scheduler, task_id, priority=1)
            continue
        with pytest.raises(BadTask) as caught:
            scheduler.edit_task(task_id, priority=2)
        told = "is claimed or running" if status in TaskStatus.HELD else f"has ended ({status})"
        assert told in str(caught.value) and row_of(scheduler, task_id).priority != 2
    with pytest.raises(NotFound, match="there is no task 99"):
        scheduler.edit_task(99, priority=2)


def test_a_worker_that_was_quicker_wins(
    scheduler: Scheduler, task_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the task and the writing somebody claims it."""
    write = scheduler._write

    def claimed_first(row: Any, *given: Any) -> bool:
        row_of(scheduler, task_id).update_record(status=TaskStatus.RUNNING)
        return write(row, *given)

    monkeypatch.setattr(scheduler, "_write", claimed_first)
    answer = scheduler.edit_task(task_id, priority=5)
    assert list(answer.errors) == ["priority"] and row_of(scheduler, task_id).priority == 0


def test_another_like_it_is_queued_from_now_on(scheduler: Scheduler) -> None:
    given = {"period": 90, "repeats": 0, "timeout": 5, "group_name": "mail", "priority": 3}
    first = scheduler.queue_task("add", [1, 2], {}, start_time=NINE, secret=["b"], **given)
    columns = scheduler.like_task(first.uuid)
    assert not columns.keys() & {"uuid", "start_time", "status", "id", "times_run"}
    made = scheduler.queue_task(**columns)
    assert not made.errors
    one, other = row_of(scheduler, first.id), row_of(scheduler, made.id)
    kept = [name for name in EDITABLE if name not in ("start_time", "next_run_time")]
    assert [one[name] for name in kept] == [other[name] for name in kept]
    assert other.next_run_time <= scheduler.now() and other.uuid != one.uuid


# -- secrets ---------------------------------------------------------------------------------------


@pytest.fixture
def secretive(connect: Connect) -> Scheduler:
    def join(user: str, password: str = "", *rest: str) -> None: ...

    one = scheduler_on(connect())
    one.task(secret=["password"])(join)
    return one


def test_what_was_changed_is_told_without_secrets(secretive: Scheduler) -> None:
    task_id = secretive.queue_task("join", ["ann", "hunter2"]).id
    answer = secretive.edit_task(task_id, args='["bob", "hunter3"]', priority=1)
    assert answer.changed["args"] == [f'["ann", {hidden()}]', f'["bob", {hidden()}]']
    assert json.loads(row_of(secretive, task_id).args) == ["bob", "hunter3"]
    only_that = secretive.edit_task(task_id, args='["bob", "hunter4"]')
    assert list(only_that.changed) == ["args"] and "hunter" not in repr(only_that)
    assert json.loads(row_of(secretive, task_id).args) == ["bob", "hunter4"]


def hidden() -> str:
    return json.dumps(HIDDEN)


def test_what_is_secret_stays_so_with_other_arguments(secretive: Scheduler) -> None:
    task_id = secretive.queue_task("join", ["ann", "x"], secret=["rest"]).id
    row = edited(secretive, task_id, args='["ann", "x", "y", "z"]')
    view = Queries.of(secretive).task(task_id)
    assert view is not None and json.loads(view.args) == ["ann", HIDDEN, HIDDEN, HIDDEN]
    assert json.loads(row.args) == ["ann", "x", "y", "z"]
    row = edited(secretive, task_id, secret="")
    assert json.loads(row.secret) == ["password", 1]
    assert "did you mean" in errors_of(secretive, task_id, secret=["usr"])["secret"]


def test_a_form_with_dots_is_compared_with_dots(secretive: Scheduler) -> None:
    task_id = secretive.queue_task("join", ["ann", "hunter2"]).id
    form = shown(secretive, task_id)
    assert "hunter2" not in repr(form)
    row = edited(secretive, task_id, shown=form, **{**form, "args": '["bob", "hunter3"]'})
    assert json.loads(row.args) == ["bob", "hunter3"]
    stale = errors_of(secretive, task_id, form, **{**form, "args": '["eve", "x"]'})
    assert "was changed in the meantime" in stale["args"]


def test_a_secret_that_nobody_understands_any_more_stays_in_force(secretive: Scheduler) -> None:
    """Its parameter has another name since, or somebody wrote it by hand."""
    for secret in ('["old_password", 1]', "password"):
        task_id = secretive.queue_task("join", ["ann", "hunter2"]).id
        row_of(secretive, task_id).update_record(secret=secret)
        assert edited(secretive, task_id, enabled=False).secret == secret
        assert "hunter2" not in repr(shown(secretive, task_id))


def test_an_edit_of_nothing_writes_nothing(secretive: Scheduler) -> None:
    task_id = secretive.queue_task("join", ["ann", "hunter2"]).id
    row_of(secretive, task_id).update_record(secret="[1]")
    assert secretive.edit_task(task_id).changed == {}
    assert row_of(secretive, task_id).secret == "[1]"


def test_what_becomes_secret_is_not_told_as_it_was_before(secretive: Scheduler) -> None:
    task_id = secretive.queue_task("join", ["hunter2", "hunter3"]).id
    answer = secretive.edit_task(task_id, args='["hunter4", "x"]', secret=["user"])
    assert answer.changed["args"] == [f"[{hidden()}, {hidden()}]"] * 2
