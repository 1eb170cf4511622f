"""One odd row raises nothing in the API: what can be read is answered, the rest told in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.databases import SERVERS, Shared
from support.home import connections, scheduler_on
from support.odd_rows import OddRows

from plugin_scheduler import JobGraph, Scheduler
from plugin_scheduler.core.errors import BadTask, SchedulerError

TABLES = ("scheduler_task", "scheduler_run", "scheduler_worker", "scheduler_task_deps")
OF_A_TASK: dict[str, Callable[[Scheduler, int], Any]] = {
    "task_status": lambda scheduler, ref: scheduler.task_status(ref).id,  # type: ignore[union-attr]
    "its run": lambda scheduler, ref: scheduler.task_status(ref, output=True).scheduler_task.id,  # type: ignore[union-attr]
    "explain": lambda scheduler, ref: scheduler.explain(ref).state,
    "like_task": lambda scheduler, ref: scheduler.like_task(ref),
    "edit_task": lambda scheduler, ref: scheduler.edit_task(ref, priority=1),
    "stop_task": lambda scheduler, ref: scheduler.stop_task(ref),
    "requeue": lambda scheduler, ref: scheduler.requeue(ref),
}
OF_ALL: dict[str, Callable[[Scheduler], Any]] = {
    "get_workers": lambda scheduler: scheduler.get_workers()["the good worker"].status,
    "the leader": lambda scheduler: scheduler.get_workers(only_ticker=True),
    "disable": lambda scheduler: scheduler.disable(),
    "resume": lambda scheduler: scheduler.resume(),
    "terminate": lambda scheduler: scheduler.terminate("main", limit=1),
    "kill": lambda scheduler: scheduler.kill(worker_name="the good worker"),
    "immediate": lambda scheduler: scheduler.queue_task("add", immediate=True).id,
    "validate": lambda scheduler: JobGraph(scheduler.db).validate(),
}


@pytest.fixture(params=["sqlite", *SERVERS])
def scheduler(
    request: pytest.FixtureRequest, servers: Shared, tmp_path: Path
) -> Iterator[Scheduler]:
    with servers.database(request.param, quick=True) as database:
        uri = "sqlite:memory" if request.param == "sqlite" else database.uri
        with connections(tmp_path, uri) as connect:
            yield scheduler_on(connect())


def test_an_odd_row_raises_nothing_but_errors_that_say_what_cannot_be_read(
    scheduler: Scheduler,
) -> None:
    rows = OddRows(scheduler.db, scheduler.now())
    rows.fill(4 if rows.is_sqlite else 2, TABLES)
    faults: list[str] = []

    def try_one(what: str, ask: Callable[..., Any], *given: Any) -> None:
        try:
            ask(scheduler, *given)
        except SchedulerError:
            pass
        except Exception as error:  # whatever a driver or a parser raises
            faults.append(f"{what}: {type(error).__name__}: {error}"[:300])
        scheduler.db.rollback()

    for name, ask in OF_ALL.items():
        try_one(name, ask)
    for odd in rows.of("scheduler_task"):
        for name, of_task in OF_A_TASK.items():
            try_one(f"{name} of {odd}", of_task, odd.id)
    run = scheduler.db.scheduler_run
    for odd in rows.of("scheduler_run"):
        [(task_id,)] = scheduler.db.executesql(f"SELECT task_id FROM {run} WHERE id = {odd.id}")
        if odd.column != "task_id":
            try_one(f"its run, {odd}", OF_A_TASK["its run"], task_id)
        try_one(f"watch_run of {odd}", lambda scheduler, one: scheduler.watch_run(one), odd.id)
    assert len(rows.odd) > 50
    assert not faults, "\n".join([str(len(faults)), *faults[:20]])


def odd_task(scheduler: Scheduler, **columns: str) -> int:
    task_id = int(scheduler.queue_task("add", [1, 2]).id)
    db = scheduler.db
    for name, value in columns.items():
        sql = f"UPDATE scheduler_task SET {name} = {value} WHERE id = {task_id}"
        db.executesql(sql)
    db.scheduler_run.insert(task_id=task_id, status="COMPLETED", run_result="{", run_output="said")
    db.commit()
    return task_id


@pytest.mark.parametrize("scheduler", ["sqlite"], indirect=True)
def test_what_can_be_read_of_an_odd_task_is_answered(scheduler: Scheduler) -> None:
    task_id = odd_task(scheduler, stop_time="'never'", status="'FAILED'", task_name="x'61ff'")
    row = scheduler.task_status(task_id)
    assert row and (row.status, row.task_name, row.stop_time) == ("FAILED", "a\ufffd", None)
    assert list(row.odd) == ["stop_time"]
    both = scheduler.task_status(task_id, output=True)
    assert both and (both.scheduler_task.stop_time, both.result) == (None, None)
    assert both.odd.keys() == {"stop_time", "run_result"} and both.scheduler_run.run_result == "{"
    for ask in (scheduler.explain, scheduler.requeue):
        with pytest.raises(BadTask, match=rf"Task {task_id} cannot be read: stop_time: "):
            ask(task_id)
    assert scheduler.stop_task(task_id) is None
    later = scheduler.now().replace(microsecond=0) + timedelta(days=1)
    assert scheduler.requeue(task_id, stop_time=later) == 1
    assert scheduler.task_status(task_id).stop_time == later  # type: ignore[union-attr]
    assert scheduler.stop_task(task_id) == 1


def test_an_ordinary_row_is_pydals_own_and_says_nothing_odd(scheduler: Scheduler) -> None:
    task_id = scheduler.queue_task("add").id
    row = scheduler.task_status(task_id)
    assert row and row.get("odd") is None
    row.update_record(priority=3)
    assert scheduler.task_status(task_id, output=True).scheduler_task.priority == 3  # type: ignore[union-attr]
