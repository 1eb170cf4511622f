"""Values that some database would refuse or change: an error for their field, on each the same."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.home import Connect, scheduler_on

from plugin_scheduler import BadTask, Scheduler
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.operations.edit_task import EDITABLE
from plugin_scheduler.operations.enqueue import FLAGS, SCHEDULERS_OWN

NUMBERS = {"timeout": 1, "period": 0, "repeats": 0, "retry_failed": -1, "sync_output": 0}
TEXTS = [
    "application_name",
    "task_name",
    "group_name",
    "function_name",
    "uuid",
    "cronline",
    "only_worker",
    "on_failure",
]
NOT_WHOLE: list[Any] = [2**31, -(2**31), 2**63, 10**5000, "9" * 5000, 1.0, 1.5, True, "x", "1e3"]
NOT_WHOLE += ["", None, [1], float("nan"), datetime(2031, 1, 1)]
BAD_TEXTS = ["a\x00b", "caf\udce9", "\ud83d", b"bytes", ["a"], 1.5, True, 10**5000]
BAD_TIMES: list[Any] = [
    datetime(999, 12, 31),
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=20))),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=20))),
    "2031-02-30 00:00:00",
    "99999-01-01 00:00:00",
    "2031-01-01\x00",
    5,
    2**70,
    float("inf"),
]


@pytest.fixture
def shared(connect: Connect) -> Scheduler:
    """A scheduler whose times are those of UTC, wherever this runs."""
    return scheduler_on(connect(), utc_time=True)


def refused(scheduler: Scheduler, **columns: Any) -> bool:
    """Nothing is queued, one at a time and several at once, and the column is why."""
    given = {"function_name": "add", **columns}
    single, (many,) = scheduler.queue_task(**given), scheduler.queue_tasks([given])
    assert single.errors == many.errors and (single.id, single.uuid) == (None, None)
    for name, error in single.errors.items():
        by_form = name != "function_name" or isinstance(given[name], str)
        assert isinstance(error, Sentence) or not by_form, "it is said in English alone"
        assert error.isprintable()
    return list(single.errors) == list(columns)


def test_whole_numbers_are_those_that_every_database_takes(shared: Scheduler) -> None:
    taken = [(name, value) for name in NUMBERS for value in NOT_WHOLE]
    taken += [("priority", value) for value in (*NOT_WHOLE, 1001, -1001)]
    assert [one for one in taken if not refused(shared, **dict([one]))] == []
    ends = dict.fromkeys(NUMBERS, 2**31 - 1)
    for given in (ends, NUMBERS, {name: str(value) for name, value in NUMBERS.items()}):
        answer = shared.queue_task("add", **given)
        row = shared.db.scheduler_task(answer.id)
        assert {name: row[name] for name in given} == {k: int(v) for k, v in given.items()}


def test_texts_are_those_that_every_database_takes(shared: Scheduler) -> None:
    taken = [(name, value) for name in TEXTS for value in BAD_TEXTS]
    taken += [(name, value) for name in ("args", "vars") for value in ("[\x00]", '["\udce9"]')]
    assert [one for one in taken if not refused(shared, **dict([one]))] == []
    shared.catalog = type(shared.catalog)({}, {})  # of a program that only queues
    assert refused(shared, function_name="a\x00b") and refused(shared, function_name="caf\udce9")


def test_times_are_those_that_every_database_takes(shared: Scheduler) -> None:
    times = ("start_time", "next_run_time", "stop_time")
    taken = [(name, value) for name in times for value in BAD_TIMES]
    assert [one for one in taken if not refused(shared, **dict([one]))] == []
    last = datetime(9999, 12, 31, 23, 59, 59)
    for moment in (last, datetime.max, datetime(1000, 1, 1)):
        answer = shared.queue_task("add", start_time=moment)
        row = shared.db.scheduler_task(answer.id)
        assert row.start_time == row.next_run_time == moment.replace(microsecond=0)


def test_a_cron_line_without_another_time_is_refused(shared: Scheduler) -> None:
    late = {"start_time": datetime(9999, 6, 1)}
    answer = shared.queue_task("add", cronline="@yearly", **late)
    assert "has no time after 9999-06-01 00:00" in answer.errors["cronline"]
    waits = shared.queue_task("add", start_time=datetime(2031, 6, 1), cronline="@yearly")
    assert list(shared.edit_task(waits.id, **late).errors) == ["cronline"]
    assert list(shared.edit_task(waits.id, start_time=datetime(2032, 6, 1)).errors) == []


def test_a_group_has_a_name_that_a_worker_can_be_told(shared: Scheduler) -> None:
    for name in ("a,b", "a:b", "a|b", "[a]", "a\nb", "a\tb", "x" * 513):
        assert refused(shared, group_name=name), name
    for name in ("high prio", "größe", "a.b-c_d", "a]b"):
        assert shared.queue_task("add", group_name=name).errors == {}, name


def test_yes_and_no_are_said_so_that_every_database_understands(shared: Scheduler) -> None:
    for name in FLAGS:
        for value in (None, "", "maybe", 2, -1, 1.0, [], 2**70):
            assert refused(shared, **{name: value}), (name, value)
        for value, stored in ((0, False), ("False", False), ("yes", True), (1, True)):
            answer = shared.queue_task("add", **{name: value})
            assert shared.db.scheduler_task(answer.id)[name] is stored, (name, value)


def test_what_the_scheduler_writes_cannot_be_given(shared: Scheduler) -> None:
    for name in SCHEDULERS_OWN:
        default = shared.db.scheduler_task[name].default
        for value in (7, "w1", datetime(2031, 1, 1), None, default):
            assert refused(shared, **{name: value}), name
    for status in ("RUNNING", "COMPLETED", "STOPPED", None, 5):
        assert refused(shared, status=status), status
    known = {*EDITABLE, "application_name", "uuid", "status", *SCHEDULERS_OWN}
    assert known == set(shared.db.scheduler_task.fields) - {"id"}


def test_an_edit_is_checked_like_a_new_task(shared: Scheduler) -> None:
    waits, before = shared.queue_task("add", [1]), None
    for name, value in (
        ("timeout", 2**31),
        ("task_name", "a\x00b"),
        ("group_name", "a,b"),
        ("enabled", None),
        ("next_run_time", datetime(1, 1, 1)),
        ("args", "[NaN]"),
        ("args", "[1, 2, 3]"),
        ("vars", '{"nope": 1}'),
        ("times_run", 3),
        ("status", "QUEUED"),
        ("uuid", "other"),
        ("application_name", "shop"),
    ):
        before = before or shared.db.scheduler_task(waits.id).as_dict()
        assert list(shared.edit_task(waits.id, **{name: value}).errors) == [name]
    assert shared.db.scheduler_task(waits.id).as_dict() == before
    assert list(shared.edit_task(waits.id, function_name="report", vars='{"a": 1}').errors) == [
        "vars"
    ]


def test_arguments_are_json_that_every_parser_reads(shared: Scheduler) -> None:
    nan, deep = float("nan"), eval("[" * 90 + "]" * 90)
    for _ in range(2):
        deep = [[[[[deep]]]]] if deep else []
    given: list[Any] = [[nan], [{"a": [float("-inf")]}], [{1: "a", "1": "b"}], ["caf\udce9"]]
    for value in given:
        assert list(shared.queue_task("add", value).errors) == ["args"], value
        assert list(shared.queue_task("add", pvars={"a": value}).errors) == ["vars"], value
    for text in ("[NaN]", "[-Infinity]", "[1e999]", '[{"a": 1, "a": 2}]', "[" * 300 + "]" * 300):
        assert list(shared.queue_task("add", args=text).errors) == ["args"], text[:20]
    assert list(shared.queue_task("add", args="[" * 100_000).errors) == ["args"]


def test_arguments_that_the_function_cannot_take_are_refused(shared: Scheduler) -> None:
    says = "add cannot be called with these arguments: "
    for pargs, pvars, column, why in (
        ([1, 2, 3], {}, "args", "too many positional arguments"),
        ([1], {"c": 1}, "vars", "got an unexpected keyword argument 'c'"),
        ([1], {"a": 1}, "vars", "multiple values for argument 'a'"),
    ):
        ways = [shared.queue_task("add", pargs, pvars)]
        ways += shared.queue_tasks([{"function": "add", "pargs": pargs, "pvars": pvars}])
        assert [one.errors for one in ways] == [{column: says + why}] * 2
    assert list(shared.queue_task("add", args="[1, 2, 3]").errors) == ["args"]
    assert shared.queue_task("add", iter([1, 2])).errors == {}
    assert shared.queue_task("echo", [1, 2, 3], {"c": 1}).errors == {}
    shared.catalog = type(shared.catalog)({}, {})  # of a program that only queues
    assert shared.queue_task("add", [1, 2, 3]).errors == {}


def test_a_new_stop_time_is_one_that_every_database_takes(shared: Scheduler) -> None:
    made = shared.queue_task("add")
    shared.stop_task(made.id)
    for given in (*BAD_TIMES, datetime(2001, 1, 1), "2001-01-01 00:00:00", ""):
        with pytest.raises(BadTask, match="stop_time"):
            shared.requeue(made.id, stop_time=given)
    assert shared.requeue(made.id, stop_time=datetime(2999, 1, 1, tzinfo=timezone.utc)) == 1
    assert shared.db.scheduler_task(made.id).stop_time == datetime(2999, 1, 1)


def test_a_name_that_no_task_can_have_is_a_task_that_is_not_there(shared: Scheduler) -> None:
    shared.queue_task("add")
    for ref in ("a\x00b", "caf\udce9", 2**63, -1, 10**30, 0):
        assert shared.task_status(ref) is None
        assert shared.stop_task(ref) is None


def test_a_declared_stop_time_that_has_passed_keeps_no_app_from_loading(
    shared: Scheduler,
) -> None:
    def over() -> None: ...

    shared.task(stop_time=datetime(2020, 1, 1))(over)
    assert "must be after start_time" in str(shared.queue_task(over).errors["stop_time"])
