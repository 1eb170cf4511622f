"""What a type checker and the import itself say of mistakes in declarations and calls."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from mypy import api
from pydal import DAL

from plugin_scheduler import ConfigError, Scheduler
from plugin_scheduler.core.task_columns import ChangedTask, NewTask, TaskColumns
from plugin_scheduler.operations.edit_task import EDITABLE
from plugin_scheduler.operations.enqueue import NO_DEFAULTS

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
from __future__ import annotations

from datetime import datetime

from plugin_scheduler import Scheduler

scheduler = Scheduler(None)

@scheduler.task
def add(a: int, b: int = 1) -> int:
    return a + b

@scheduler.task(timeout=30, name="mail", secret=["password"])
def send(to: str, password: str) -> None: ...

@scheduler.task(retry_failed=2)
async def fetch(url: str) -> bytes:
    return b""

number: int = add(1, b=2)
add("x")  # wrong
send(1, "")  # wrong
reveal_type(fetch)
scheduler.queue_task(add, [1], period=60, start_time=datetime(2031, 1, 1), cronline=None)
scheduler.queue_task("add", pvars={"a": 1}, group_name="mail", uuid="one")
scheduler.queue_task(**{**scheduler.like_task(1), "args": "[5]"})
scheduler.queue_task(add, [1], timeuot=3)  # wrong
scheduler.queue_task(add, [1], timeout="3")  # wrong
scheduler.edit_task(1, priority=5, args="[1]")
scheduler.edit_task(1, uuid="x")  # wrong

@scheduler.task(timeuot=3)  # wrong
def late() -> None: ...

@scheduler.task(args="[1]")  # wrong
def fixed(a: int) -> None: ...
"""


def test_a_type_checker_keeps_the_types_of_tasks_and_finds_misspelled_columns(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    kept = str(ROOT / ".mypy_cache" / "of_users")  # the first time takes some seconds
    options = ["--strict", "--ignore-missing-imports", "--follow-imports=silent", "--no-pretty"]
    told, errors, _ = api.run([*options, f"--cache-dir={kept}", str(program)])
    assert errors == ""
    lines = PROGRAM.splitlines()
    wrong = [number for number, line in enumerate(lines, 1) if line.endswith("# wrong")]
    found = {int(number) for number in re.findall(r"program.py:(\d+): error", told)}
    assert sorted(found) == wrong, told
    assert re.search(
        r"\(url: (builtins.)?str\) -> .*Coroutine\[Any, Any, (builtins.)?bytes\]", told
    )


def test_the_types_name_the_columns_that_can_be_given() -> None:
    assert set(get_type_hints(ChangedTask)) == set(EDITABLE)
    assert set(get_type_hints(NewTask)) == {*EDITABLE, "application_name", "uuid", "status"}
    assert set(get_type_hints(TaskColumns)) == {*EDITABLE, "application_name"} - {*NO_DEFAULTS}


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(DAL("sqlite:memory"), tasks={"given": len})


def add(a: int, b: int = 1) -> int:
    return a + b


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"timeuot": 3}, "timeuot is not a column of scheduler_task; did you mean timeout?"),
        ({"timeout": 2**31}, "timeout must be a whole number from 1 to 2147483647"),
        ({"cronline": "61 * * * *"}, "minute '61' is not between 0 and 59"),
        ({"group_name": "a,b"}, "group_name cannot contain ','"),
        ({"prevent_drift": True, "period": 0}, "prevent_drift needs a period"),
        ({"secret": ["c"]}, 'add has no argument "c"'),
        ({"secret": 5}, "secret must be a list"),
        ({"times_run": 3}, "times_run is written only by the scheduler"),
        ({"start_time": "soon"}, "start_time must be a date with a time"),
        ({"uuid": "mine"}, "uuid belongs to a single task: pass it to queue_task"),
        ({"pargs": [1]}, "pargs belongs to a single task: pass it to queue_task"),
        ({"enabled": None}, "enabled must be True or False, not None"),
        ({"name": "given"}, "task name 'given' already belongs to builtins.len; give"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_mistake_in_a_declaration_is_raised_when_the_module_is_imported(
    scheduler: Scheduler, columns: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)) as caught:
        scheduler.task(**columns)(add)
    assert "test_types.add" in str(caught.value)
    assert scheduler.catalog.names() == ["given"]


def test_a_good_declaration_asks_no_database(scheduler: Scheduler) -> None:
    told: list[str] = []
    execute = scheduler.db._adapter.execute
    scheduler.db._adapter.execute = lambda sql, *args, **options: (
        told.append(sql),
        execute(sql, *args, **options),
    )
    columns: dict[str, Any] = {"cronline": "@daily", "repeats": 0, "secret": ["a"], "timeout": 5}
    assert scheduler.task(add, **columns) is add
    assert scheduler.task(**columns)(add) is add  # the module was loaded again
    assert told == []
    del scheduler.db._adapter.execute
    answer = scheduler.queue_task(add, [1])
    assert scheduler.db.scheduler_task(answer.id).timeout == 5


def test_a_function_without_a_name_needs_one(scheduler: Scheduler) -> None:
    with pytest.raises(ConfigError, match="is not a task name"):
        scheduler.task(partial(add, 1))
    scheduler.task(partial(add, 1), name="increase")
    with pytest.raises(ConfigError, match="'add' cannot be a task: it is not a function"):
        scheduler.task("add")  # type: ignore[call-overload]
