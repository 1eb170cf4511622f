"""Many tasks queued in one call: as one by one, to the last character, but in few statements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg2
import pytest
from plugin_scheduler.models import INDEXES
from pydal.validators import IS_INT_IN_RANGE
from support.home import add_worker
from support.kit import eventually

from plugin_scheduler import Scheduler
from plugin_scheduler.database.dialects.postgres_triggers import CHANNEL

NINE = datetime(2031, 5, 1, 9, 0)
TEXTS = (
    "it's",
    "''",
    "'; DROP TABLE scheduler_task; --",
    'a "quoted" word',
    "back\\slash\\",
    "\\'",
    "100 % of %s, %(name)s and {}",
    "a ? b ?? :c $1",
    "one\ntwo\r\nthree\ttab",
    "Grüße, мир, 世界",
    "🐘🦭 emoji",
    "nul \x00 inside",
    "",
    "x" * 5000,
    "NULL",
    "7",
)


def rows_of(scheduler: Scheduler, answers: list[Any]) -> list[tuple[Any, ...]]:
    """What the database holds of them, as the driver gives it; without what each has of its own."""
    assert [answer.errors for answer in answers if answer.errors] == []
    table = scheduler.db.scheduler_task
    fields = [table.id, *(field for field in table if field.name not in ("id", "uuid"))]
    sql = scheduler.db(table)._select(*fields)
    found = {row[0]: row[1:] for row in scheduler.db.executesql(sql)}
    return [found[answer.id] for answer in answers]


def both_ways(scheduler: Scheduler, tasks: list[dict[str, Any]]) -> None:
    """Queued together they are as queued one by one."""
    many = rows_of(scheduler, scheduler.queue_tasks(tasks))
    single = rows_of(scheduler, [scheduler.queue_task(**task) for task in tasks])
    assert many == single


@contextmanager
def counted(db: Any) -> Iterator[list[str]]:
    """The statements of a while."""
    execute, told = db._adapter.execute, []

    def tell(command: str, *args: Any, **options: Any) -> Any:
        told.append(command)
        return execute(command, *args, **options)

    db._adapter.execute = tell
    try:
        yield told
    finally:
        del db._adapter.execute


# -- the same ------------------------------------------------------------------------------------


def test_ten_thousand_get_their_ids_and_uuids_and_hold_what_was_asked(scheduler: Scheduler) -> None:
    scheduler.queue_task("add")
    answers = scheduler.queue_tasks({"function": "add", "pargs": [n]} for n in range(10_000))
    sql = "SELECT id, uuid, args FROM scheduler_task ORDER BY id"
    _, *found = scheduler.db.executesql(sql)
    assert [(answer.id, answer.uuid) for answer in answers] == [row[:2] for row in found]
    assert [row[2] for row in found] == [f"[{n}]" for n in range(10_000)]
    assert {len(answer.uuid) for answer in answers} == {36}
    assert answers[0].errors == answers[-1]["errors"] == {}


def test_texts_of_every_kind_arrive_as_they_are(scheduler: Scheduler) -> None:
    scheduler._dialect.prepare_tables(INDEXES)  # widens MySQL's columns for all characters
    moment = {"start_time": NINE}
    both_ways(scheduler, [{"function": "add", "pargs": [text], **moment} for text in TEXTS])
    answers = scheduler.queue_tasks(
        {"function": "echo", "pvars": {"text": text, text: 1}} for text in TEXTS
    )
    for text, answer in zip(TEXTS, answers, strict=True):
        task = scheduler.db.scheduler_task(answer.id)
        assert json.loads(task.vars) == {"text": text, text: 1}
    named = [text for text in TEXTS if text and "\x00" not in text and len(text) <= 512]
    both_ways(scheduler, [{"function": "add", "task_name": text, **moment} for text in named])


def test_columns_that_differ_from_task_to_task_are_stored_as_one_by_one(
    scheduler: Scheduler,
) -> None:
    hours = [NINE + timedelta(hours=n) for n in range(4)]
    differing: list[dict[str, Any]] = [
        {"start_time": hours[0], "stop_time": None, "only_worker": None, "timeout": 7},
        {"start_time": str(hours[1]), "stop_time": hours[3], "only_worker": "", "timeout": "4"},
        {"start_time": hours[2], "stop_time": str(hours[3]), "task_name": "late"},
        {"start_time": hours[0].astimezone(), "cronline": "5 * * * *", "on_failure": None},
        {"start_time": hours[0], "next_run_time": hours[1], "period": "7", "priority": -3},
        {"start_time": hours[0], "only_worker": "w1", "group_name": " mail ", "repeats": 0},
    ]
    both_ways(scheduler, [{"function": "add", **columns} for columns in differing])
    flags = [{"enabled": False}, {"broadcast": True}, {"prevent_drift": True}, {"enabled": "F"}]
    flags += [{"enabled": 0}, {"enabled": "Yes"}]
    both_ways(scheduler, [{"function": "add", "start_time": NINE, **columns} for columns in flags])


def test_values_that_are_equal_but_not_the_same_are_told_apart(scheduler: Scheduler) -> None:
    numbers: list[Any] = ["1", 1, 1]
    both_ways(
        scheduler,
        [{"function": "add", "only_worker": n, "repeats": n, "start_time": NINE} for n in numbers],
    )
    for same in (True, 1.0):
        assert list(scheduler.queue_task("add", repeats=same).errors) == ["repeats"]


def test_all_of_a_call_are_due_at_one_moment(scheduler: Scheduler) -> None:
    answers = scheduler.queue_tasks([{"function": "add"}, {"function": "report"}] * 500)
    table = scheduler.db.scheduler_task
    rows = scheduler.db(table).select(table.start_time, table.next_run_time, distinct=True)
    assert len(answers) == 1000 and [row.start_time for row in rows] == [rows[0].next_run_time]


def test_immediate_tells_the_ticker(scheduler: Scheduler) -> None:
    add_worker(scheduler.db, "w1", ["main"], is_ticker=True)
    scheduler.queue_tasks([{"function": "add"}] * 3, immediate=True)
    assert scheduler.get_workers()["w1"].status == "PICK"


# -- refusals ------------------------------------------------------------------------------------


def test_one_bad_task_among_thousands_keeps_all_out(scheduler: Scheduler) -> None:
    tasks: list[dict[str, Any]] = [{"function": "add", "pargs": [n]} for n in range(2000)]
    tasks[1234]["timeout"] = 0
    answers = scheduler.queue_tasks(tasks)
    assert [n for n, answer in enumerate(answers) if answer.errors] == [1234]
    assert list(answers[1234].errors) == ["timeout"]
    assert {(answer.id, answer.uuid) for answer in answers} == {(None, None)}
    assert scheduler.db(scheduler.db.scheduler_task).isempty()


def test_a_uuid_that_is_taken_or_given_twice_is_refused(scheduler: Scheduler) -> None:
    mine = [{"function": "add", "uuid": f"mine-{n}"} for n in range(1200)]
    assert {answer.id is None for answer in scheduler.queue_tasks(mine[:3])} == {False}
    answers = scheduler.queue_tasks(mine[2:])
    assert [list(answer.errors) for answer in answers[:2]] == [["uuid"], []]
    answers = scheduler.queue_tasks([*mine[5:], mine[5]])
    assert [n for n, answer in enumerate(answers) if answer.errors] == [1195]
    assert list(answers[-1].errors) == ["uuid"]
    assert list(scheduler.queue_tasks([{"function": "add", "uuid": "  "}])[0].errors) == ["uuid"]
    answers = scheduler.queue_tasks(mine[3:])
    assert [answer.uuid for answer in answers] == [task["uuid"] for task in mine[3:]]


def test_a_validator_or_default_that_was_replaced_counts_at_once(scheduler: Scheduler) -> None:
    timeout, task = scheduler.db.scheduler_task.timeout, {"function": "add", "timeout": 30}
    assert scheduler.queue_tasks([task])[0].errors == scheduler.queue_task(**task).errors == {}
    timeout.requires = IS_INT_IN_RANGE(40, 50)
    assert [list(answer.errors) for answer in scheduler.queue_tasks([task])] == [["timeout"]]
    assert list(scheduler.queue_task("add").errors) == ["timeout"]
    timeout.default = 45
    answer = scheduler.queue_task("add")
    assert scheduler.db.scheduler_task(answer.id).timeout == 45


def test_a_default_of_the_apps_own_is_asked_for_each_task(scheduler: Scheduler) -> None:
    numbers = iter(range(100))
    scheduler.db.scheduler_task.priority.default = lambda: next(numbers)
    answers = scheduler.queue_tasks([{"function": "add"}] * 4)
    table = scheduler.db.scheduler_task
    assert [table(answer.id).priority for answer in answers] == [0, 1, 2, 3]


# -- hooks of the app ----------------------------------------------------------------------------


def test_callbacks_of_the_app_see_every_row(scheduler: Scheduler) -> None:
    table, seen = scheduler.db.scheduler_task, []

    def before(row: Any) -> None:
        row["reason"] = f"for {row['args']}"

    table._before_insert.append(before)
    table._after_insert.append(lambda row, row_id: seen.append((int(row_id), row["uuid"])))
    answers = scheduler.queue_tasks({"function": "add", "pargs": [n]} for n in range(3))
    answers.append(scheduler.queue_task("add", [3]))
    assert seen == [(answer.id, answer.uuid) for answer in answers]
    assert [table(answer.id).reason for answer in answers] == [f"for [{n}]" for n in range(4)]
    table._before_insert.append(lambda row: True)
    answers = [scheduler.queue_task("add"), *scheduler.queue_tasks([{"function": "add"}] * 2)]
    assert [answer.id for answer in answers] == [0, 0, 0] and scheduler.db(table).count() == 4


def test_what_the_app_computes_or_filters_is_stored(scheduler: Scheduler) -> None:
    table = scheduler.db.scheduler_task
    table.only_worker.compute = lambda row: f"w{row['priority']}"
    table.task_name.filter_in = lambda name: name.upper()
    tasks = [{"function": "add", "priority": n} for n in range(3)]
    answers = [*scheduler.queue_tasks(tasks), scheduler.queue_task("add", priority=3)]
    rows = [table(answer.id) for answer in answers]
    assert [row.only_worker for row in rows] == ["w0", "w1", "w2", "w3"]
    assert {row.task_name for row in rows} == {"ADD"}


# -- how much is asked ---------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"], indirect=True)
def test_thousands_take_a_few_statements(scheduler: Scheduler) -> None:
    scheduler.queue_task("add")
    with counted(scheduler.db) as told:
        scheduler.queue_tasks({"function": "add", "pargs": [n]} for n in range(5000))
    assert 0 < len(told) <= 5000 / 100
    with counted(scheduler.db) as told:
        scheduler.queue_task("add", [1])
    assert len(told) == 1


def test_a_large_task_gets_a_statement_of_its_own(scheduler: Scheduler) -> None:
    text = "x" * 400_000
    answers = scheduler.queue_tasks([{"function": "add", "pargs": [text]}] * 5)
    task = scheduler.db.scheduler_task(answers[-1].id)
    assert len(answers) == 5 and task.args == f'["{text}"]'


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_thousands_in_one_transaction_ring_once_when_it_is_committed(scheduler: Scheduler) -> None:
    scheduler._dialect.prepare_tables(INDEXES)
    with closing(psycopg2.connect(**scheduler.db._adapter.driver_args)) as listener:
        listener.autocommit = True
        listener.cursor().execute(f"LISTEN {CHANNEL}")
        scheduler.queue_tasks([{"function": "add"}] * 1000)
        listener.cursor().execute("SELECT 1")
        assert listener.notifies == []
        scheduler.db.commit()
        eventually(lambda: listener.poll() or listener.notifies)
        assert [news.payload for news in listener.notifies] == ["public.scheduler_task"]
