"""queue_task and queue_tasks: what they answer, what they refuse, and what they store."""

from __future__ import annotations

import decimal
import json
import time
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from pydal import Field
from support.home import Connect, add_worker, scheduler_on

from plugin_scheduler import Scheduler
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.operations.enqueue import SCHEDULERS_OWN

NINE = datetime(2031, 5, 1, 9, 0)


def stored(scheduler: Scheduler, answer: Any) -> Any:
    assert answer.errors == {}, answer.errors
    return scheduler.db.scheduler_task(answer.id)


def errors_of(scheduler: Scheduler, *given: Any, **columns: Any) -> dict[str, str]:
    """Why nothing is queued."""
    answer = scheduler.queue_task(*given, **columns)
    assert (answer.id, answer.uuid) == (None, None) and answer.errors
    assert scheduler.db(scheduler.db.scheduler_task).isempty()
    return dict(answer.errors)


# -- answers -------------------------------------------------------------------------------------


def test_the_answer_has_id_uuid_and_errors_as_attributes_and_as_keys(scheduler: Scheduler) -> None:
    good = scheduler.queue_task("add", [3, 4])
    assert good.id == good["id"] == 1 and good.uuid == good["uuid"] and len(good.uuid) == 36
    assert good.errors == good["errors"] == {}
    bad = scheduler.queue_task("nothing of ours")
    assert bad.id is bad["id"] is bad.uuid is bad["uuid"] is None
    assert bad.errors == bad["errors"] and list(bad.errors) == ["function_name"]


def test_web2pys_defaults_are_stored(scheduler: Scheduler) -> None:
    before = scheduler.now().replace(microsecond=0)
    task = stored(scheduler, scheduler.queue_task("add"))
    assert (task.task_name, task.function_name, task.application_name) == ("add", "add", "lab")
    assert (task.args, task.vars, task.group_name) == ("[]", "{}", "main")
    assert (task.repeats, task.period, task.timeout, task.retry_failed) == (1, 60, 60, 0)
    assert task.enabled is True and task.broadcast is False and task.prevent_drift is False
    assert task.stop_time is None and task.cronline is None and task.assigned_worker_name == ""
    assert before <= task.start_time <= scheduler.now() and task.next_run_time == task.start_time


def test_a_function_itself_or_its_name_can_be_given(scheduler: Scheduler) -> None:
    function = scheduler.catalog.find("report")
    assert stored(scheduler, scheduler.queue_task(function)).function_name == "report"
    named = scheduler.queue_task(function_name="report", task_name="weekly")
    assert stored(scheduler, named).task_name == "weekly"


def test_every_column_that_is_not_the_schedulers_own_can_be_given(scheduler: Scheduler) -> None:
    given = {
        "application_name": "shop/default",
        "task_name": "sums",
        "group_name": "mail",
        "status": TaskStatus.QUEUED,
        "broadcast": True,
        "uuid": "my-own",
        "args": "[1]",
        "vars": '{"b": 1}',
        "enabled": False,
        "start_time": NINE,
        "next_run_time": NINE + timedelta(hours=1),
        "stop_time": NINE + timedelta(days=1),
        "repeats": 0,
        "retry_failed": -1,
        "period": 30,
        "prevent_drift": True,
        "cronline": "*/5 * * * *",
        "timeout": 7,
        "sync_output": 2,
        "priority": 5,
        "on_failure": "continue",
        "only_worker": "w1",
        "secret": '["a", 0]',
    }
    task = stored(scheduler, scheduler.queue_task("add", **given))
    names = set(scheduler.db.scheduler_task.fields) - {"id", "function_name"}
    assert names - set(SCHEDULERS_OWN) == set(given)  # a new column belongs to one of the two
    assert {name: task[name] for name in given} == given


def test_nothing_is_committed_for_the_caller(connect: Connect) -> None:
    scheduler = scheduler_on(connect())
    other = scheduler_on(connect())
    answer = scheduler.queue_task("add")
    assert other.task_status(answer.uuid) is None
    scheduler.db.rollback()
    assert scheduler.task_status(answer.uuid) is None
    answer, *_ = scheduler.queue_tasks([{"function": "add"}] * 3)
    other.db.rollback()
    assert other.task_status(answer.uuid) is None
    scheduler.db.commit()
    other.db.rollback()
    assert other.task_status(answer.uuid) is not None


def test_immediate_tells_the_ticker_and_nobody_else(scheduler: Scheduler) -> None:
    add_worker(scheduler.db, "w1", ["main"], is_ticker=True)
    add_worker(scheduler.db, "w2", ["main"])
    scheduler.queue_task("add")
    assert {row.status for row in scheduler.get_workers().values()} == {"ACTIVE"}
    scheduler.queue_task("add", immediate=True)
    assert {name: row.status for name, row in scheduler.get_workers().items()} == {
        "w1": "PICK",
        "w2": "ACTIVE",
    }


# -- many ----------------------------------------------------------------------------------------


def test_many_tasks_are_queued_at_once(scheduler: Scheduler) -> None:
    answers = scheduler.queue_tasks(
        {"function": "add", "pargs": [n], "pvars": {"b": n}, "priority": n} for n in range(5)
    )
    tasks = [stored(scheduler, answer) for answer in answers]
    assert [(task.args, task.vars) for task in tasks][:2] == [
        ("[0]", '{"b": 0}'),
        ("[1]", '{"b": 1}'),
    ]
    assert [task.priority for task in tasks] == [0, 1, 2, 3, 4]
    assert len({answer.uuid for answer in answers}) == 5
    assert scheduler.queue_tasks([]) == []


def test_of_many_tasks_none_is_queued_when_one_is_wrong(scheduler: Scheduler) -> None:
    answers = scheduler.queue_tasks([{"function": "add"}, {"function": "add", "timeout": 0}])
    assert [list(answer.errors) for answer in answers] == [[], ["timeout"]]
    assert [(answer.id, answer.uuid) for answer in answers] == [(None, None)] * 2
    assert scheduler.db(scheduler.db.scheduler_task).isempty()


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"args": "[1"}, """must be a JSON list such as [1, "two"]: Expecting ',' delimiter"""),
        ({"args": '{"a": 1}'}, 'must be a JSON list such as [1, "two"], not a dict'),
        ({"vars": "[]"}, 'must be a JSON dict such as {"a": 1, "b": "two"}, not a list'),
        ({"vars": "a=1"}, 'must be a JSON dict such as {"a": 1, "b": "two"}: Expecting value'),
        ({"args": [1j]}, "cannot be stored as JSON: [0] is of type complex"),
        ({"cronline": "61 * * * *"}, "minute '61' is not between 0 and 59"),
        ({"cronline": "* * *"}, "it has 3 fields and needs 5: minute hour day-of-month"),
        ({"cronline": 5}, "it has 1 field and needs 5"),
        (
            {"function_name": "nope"},
            "'nope' is not a task of this app; known tasks: add, echo, report",
        ),
        ({"group_name": "  "}, "must not be empty; the default is 'main'"),
        ({"group_name": ["main"]}, "must be the name of a group, not a list"),
        (
            {"status": "DONE"},
            "must be QUEUED for a new task; use enabled=False to keep it from running",
        ),
        ({"on_failure": "explode"}, "must be one of stop, continue"),
        ({"task_name": "x" * 513}, "is 513 characters long; the maximum is 512"),
        ({"uuid": "x" * 256}, "255"),
        ({"period": -1}, "must be a whole number from 0 to 2147483647"),
        ({"timeout": 0}, "must be a whole number from 1 to 2147483647"),
        ({"repeats": "twice"}, "must be a whole number from 0 to 2147483647"),
        ({"priority": 1001}, "must be a whole number from -1000 to 1000"),
        ({"start_time": "tomorrow"}, "must be a date with a time"),
        ({"colour": "red"}, "is not a column of scheduler_task; the columns are: application_name"),
        ({"id": 5}, "is not a column of scheduler_task"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_said_about_its_field_and_nothing_is_queued(
    scheduler: Scheduler, columns: dict[str, Any], sentence: str
) -> None:
    errors = errors_of(scheduler, **{"function": "add", **columns})
    assert list(errors) == list(columns)
    assert sentence in next(iter(errors.values()))


def test_every_wrong_field_is_named_at_once(scheduler: Scheduler) -> None:
    errors = errors_of(scheduler, "nope", args="{", period=-1, cronline="x", colour=1)
    assert set(errors) == {"function_name", "args", "period", "cronline", "colour"}


def test_no_function_at_all_is_refused(scheduler: Scheduler) -> None:
    assert errors_of(scheduler) == {"function_name": "must name the function to run"}
    assert "has no name" in errors_of(scheduler, lambda: 1)["function_name"]


@pytest.mark.parametrize("pargs", [5, "bob", {"a": 1}, b"x"], ids=repr)
def test_arguments_that_are_no_list_are_refused(scheduler: Scheduler, pargs: Any) -> None:
    assert "list" in errors_of(scheduler, "add", pargs)["args"]


@pytest.mark.parametrize("pvars", [[1], "a=1", 5], ids=repr)
def test_named_arguments_that_are_no_dict_are_refused(scheduler: Scheduler, pvars: Any) -> None:
    assert "dict" in errors_of(scheduler, "add", [], pvars)["vars"]


def test_a_uuid_that_is_taken_is_refused(scheduler: Scheduler) -> None:
    scheduler.queue_task("add", uuid="mine")
    assert list(scheduler.queue_task("add", uuid="mine").errors) == ["uuid"]


@pytest.mark.parametrize("stop", [NINE, NINE - timedelta(1), "2031-04-30 09:00:00"], ids=str)
def test_a_task_that_could_never_start_is_refused(scheduler: Scheduler, stop: Any) -> None:
    errors = errors_of(scheduler, "add", start_time=NINE, stop_time=stop)
    assert errors == {"stop_time": "must be after start_time; otherwise the task never starts"}


def test_a_grid_without_a_period_is_refused(scheduler: Scheduler) -> None:
    assert list(errors_of(scheduler, "add", prevent_drift=True, period=0)) == ["prevent_drift"]


# -- times ---------------------------------------------------------------------------------------


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("utc_time", [False, True])
def test_naive_and_aware_times_mean_the_same_instant(
    connect: Connect, new_york: None, utc_time: bool
) -> None:
    scheduler = scheduler_on(connect(), utc_time=utc_time)
    zone = timezone.utc if utc_time else None
    instant = NINE.replace(tzinfo=zone) if utc_time else NINE.astimezone()
    ways = [
        NINE,
        instant,
        instant.astimezone(timezone.utc),
        instant.astimezone(),
        instant.astimezone(timezone(timedelta(hours=5, minutes=30))),
    ]
    for way in ways:
        times = {"start_time": way, "stop_time": way + timedelta(hours=1)}
        task = stored(scheduler, scheduler.queue_task("add", **times))
        assert (task.start_time, task.next_run_time) == (NINE, NINE)
        assert task.stop_time == NINE + timedelta(hours=1)
        task = stored(scheduler, scheduler.queue_task("add", next_run_time=way))
        assert task.next_run_time == NINE


@pytest.mark.parametrize("start", [NINE, "2031-05-01 09:00:00", "2031-05-01T09:00"], ids=str)
def test_the_first_run_follows_the_start_time_or_the_cron_line(
    scheduler: Scheduler, start: Any
) -> None:
    task = stored(scheduler, scheduler.queue_task("add", start_time=start))
    assert (task.start_time, task.next_run_time) == (NINE, NINE)
    daily = scheduler.queue_task("add", start_time=start, cronline="30 10 * * *")
    assert stored(scheduler, daily).next_run_time == NINE.replace(hour=10, minute=30)


# -- values --------------------------------------------------------------------------------------


def test_values_that_json_does_not_know_are_stored_in_a_plain_form(scheduler: Scheduler) -> None:
    db = scheduler.db
    person = db.define_table("person", Field("name"), Field("born", "date"))
    person.insert(name="Ann", born=date(2001, 2, 3))
    ann = {"id": 1, "name": "Ann", "born": "2001-02-03"}
    key = uuid.uuid4()
    pairs: list[tuple[Any, Any]] = [
        (NINE, "2031-05-01T09:00:00"),
        (NINE.replace(tzinfo=timezone.utc), "2031-05-01T09:00:00+00:00"),
        (date(2031, 5, 1), "2031-05-01"),
        (decimal.Decimal("12.50"), "12.50"),
        (key, str(key)),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, "ü"), [1, "ü"]),
        (b"bytes", "bytes"),
        (person(1), ann),
        (db(person).select(), [ann]),
        ({"deep": [{"in": {NINE.date()}}]}, {"deep": [{"in": ["2031-05-01"]}]}),
    ]
    given, expected = zip(*pairs, strict=True)
    task = stored(scheduler, scheduler.queue_task("echo", list(given), {"row": person(1)}))
    assert json.loads(task.args) == list(expected)
    assert json.loads(task.vars) == {"row": ann}
    assert scheduler.task_status(scheduler.queue_task("add", (1, 2)).id).args == "[1, 2]"


@pytest.mark.parametrize(
    ("pargs", "pvars", "field", "parts"),
    [
        ([1, object()], {}, "args", ["pargs", "[1]", "object"]),
        ([[{"a": object()}]], {}, "args", ["pargs", "[0][0]['a']", "object"]),
        ([], {"to": lambda: 1}, "vars", ["pvars", "['to']", "function"]),
        ([b"\xff"], {}, "args", ["pargs", "[0]", "bytes"]),
        ([], {"when": {NINE: 1}}, "vars", ["pvars", "datetime"]),
    ],
)
def test_an_argument_that_cannot_be_stored_is_named_with_its_type(
    scheduler: Scheduler, pargs: Any, pvars: Any, field: str, parts: list[str]
) -> None:
    errors = errors_of(scheduler, "add", pargs, pvars)
    assert list(errors) == [field]
    assert [part for part in parts if part not in errors[field]] == []
