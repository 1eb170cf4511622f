"""What an app may ask and order: tasks found, stopped and run again, workers, tasks that wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.home import Connect, add_worker, scheduler_on, statuses_of_workers

from plugin_scheduler import JobGraph, Scheduler
from plugin_scheduler.core.errors import BadTask, DependencyCycle
from plugin_scheduler.core.types import RunStatus, TaskStatus, WorkerStatus

ACTIVE, DISABLED, KILL = WorkerStatus.ACTIVE, WorkerStatus.DISABLED, WorkerStatus.KILL
TERMINATE, STOP_TASK = WorkerStatus.TERMINATE, WorkerStatus.STOP_TASK

Refer = Callable[[Scheduler, Any], Any]
WAYS: dict[str, Refer] = {
    "id": lambda scheduler, task: int(task.id),
    "uuid": lambda scheduler, task: task.uuid,
    "query": lambda scheduler, task: scheduler.db.scheduler_task.task_name == task.task_name,
    "row": lambda scheduler, task: task,
    "answer": lambda scheduler, task: scheduler.task_status(task.id),
    "row with its run": lambda scheduler, task: scheduler.task_status(task.id, output=True),
}
ways = pytest.mark.parametrize("refer", WAYS.values(), ids=WAYS)


def new_task(scheduler: Scheduler, status: str = TaskStatus.QUEUED, **columns: Any) -> Any:
    """A task where it is wanted, with an open run when it runs."""
    task_id = int(scheduler.queue_task("add", **{"task_name": "one", **columns}).id)
    db = scheduler.db
    run_id = None
    if status == TaskStatus.RUNNING:
        run_id = db.scheduler_run.insert(task_id=task_id, status=RunStatus.RUNNING)
    db(db.scheduler_task.id == task_id).update(status=status, run_id=run_id)
    return db.scheduler_task(task_id)


# -- task_status ---------------------------------------------------------------------------------


@ways
def test_a_task_is_found_by_whatever_names_it(scheduler: Scheduler, refer: Refer) -> None:
    new_task(scheduler, task_name="other")
    task = new_task(scheduler)
    new_task(scheduler, task_name="other")
    assert scheduler.task_status(refer(scheduler, task)).id == task.id


def test_of_many_the_newest_is_found_and_of_none_nothing(scheduler: Scheduler) -> None:
    older, newer = new_task(scheduler), new_task(scheduler)
    assert older.id < scheduler.task_status(scheduler.db.scheduler_task.id > 0).id == newer.id
    nobody = scheduler.db.scheduler_task.task_name == "nobody"
    for output in (False, True):
        for ref in (99, "no such uuid", nobody):
            assert scheduler.task_status(ref, output=output) is None


def test_output_brings_the_newest_run_and_its_result(scheduler: Scheduler) -> None:
    task = new_task(scheduler)
    before = scheduler.task_status(task.id, output=True)
    assert before.scheduler_task.id == task.id
    assert before.scheduler_run.id is before.scheduler_run.status is before.result is None
    for result in ("1", '{"a": [7]}'):
        scheduler.db.scheduler_run.insert(task_id=task.id, run_result=result, run_output="hello")
    after = scheduler.task_status(task.uuid, output=True)
    assert after.result == {"a": [7]} and after.scheduler_run.run_output == "hello"


@pytest.mark.parametrize("ref", [None, 1.5, True, b"x", [1], {"id": 1}], ids=repr)
def test_what_names_no_task_is_refused_in_words(scheduler: Scheduler, ref: Any) -> None:
    with pytest.raises(BadTask, match="id, uuid, Query or Row, not by"):
        scheduler.task_status(ref)


# -- stop and requeue ----------------------------------------------------------------------------


@ways
@pytest.mark.parametrize("status", TaskStatus.WAITING)
def test_a_waiting_task_is_stopped_at_once(scheduler: Scheduler, refer: Refer, status: str) -> None:
    task, other = new_task(scheduler, status), new_task(scheduler, task_name="other")
    assert scheduler.stop_task(refer(scheduler, task)) == 1
    stopped = scheduler.task_status(task.id)
    assert (stopped.status, stopped.enabled) == (TaskStatus.STOPPED, False)
    assert stopped.reason == "stopped on request"
    assert scheduler.task_status(other.id).status == TaskStatus.QUEUED


def test_a_running_task_is_asked_to_stop(scheduler: Scheduler) -> None:
    task = new_task(scheduler, TaskStatus.RUNNING)
    assert scheduler.stop_task(task.id) == 1
    found = scheduler.task_status(task.id, output=True)
    assert found.scheduler_task.status == TaskStatus.RUNNING
    assert found.scheduler_run.stop_requested is True


@pytest.mark.parametrize("status", TaskStatus.ENDED)
def test_an_ended_task_cannot_be_stopped(scheduler: Scheduler, status: str) -> None:
    task = new_task(scheduler, status)
    assert scheduler.stop_task(task.id) is None and scheduler.stop_task(99) is None
    assert scheduler.task_status(task.id).status == status


def test_a_query_stops_many(scheduler: Scheduler) -> None:
    statuses = ("QUEUED", "ASSIGNED", "RUNNING", "FAILED")
    tasks = [new_task(scheduler, status) for status in statuses]
    assert scheduler.stop_task(scheduler.db.scheduler_task.task_name == "one") == 3
    found = [scheduler.task_status(task.id).status for task in tasks]
    assert found == ["STOPPED", "STOPPED", "RUNNING", "FAILED"]


@ways
@pytest.mark.parametrize("status", TaskStatus.ENDED)
def test_an_ended_task_runs_again_with_fresh_counters_and_its_schedule(
    scheduler: Scheduler, refer: Refer, status: str
) -> None:
    task = new_task(scheduler, period=3600, repeats=5, cronline="@daily", enabled=False)
    task.update_record(status=status, times_failed=3, times_lost=2, times_run=4, reason="bad")
    assert scheduler.requeue(refer(scheduler, task)) == 1
    again = scheduler.task_status(task.id)
    assert (again.status, again.enabled, again.reason) == (TaskStatus.QUEUED, True, None)
    assert (again.times_failed, again.times_lost, again.assigned_worker_name) == (0, 0, "")
    assert again.next_run_time <= scheduler.now()
    assert (again.period, again.repeats, again.cronline) == (3600, 5, "@daily")


@pytest.mark.parametrize("status", ["QUEUED", "ASSIGNED", "RUNNING"])
def test_what_has_not_ended_is_not_requeued(scheduler: Scheduler, status: str) -> None:
    task = new_task(scheduler, status)
    assert scheduler.requeue(task.id) == 0
    assert scheduler.task_status(task.id).status == status


def test_an_expired_task_needs_a_new_stop_time(scheduler: Scheduler) -> None:
    task = new_task(scheduler, TaskStatus.EXPIRED)
    task.update_record(stop_time=scheduler.now() - timedelta(hours=1))
    with pytest.raises(BadTask, match=f"task {task.id}: its stop_time has passed"):
        scheduler.requeue(task.id)
    later = (scheduler.now() + timedelta(hours=1)).replace(microsecond=0)
    assert scheduler.requeue(task.id, stop_time=later) == 1
    assert scheduler.task_status(task.id).stop_time == later


def test_what_was_skipped_because_of_a_task_is_requeued_with_it(scheduler: Scheduler) -> None:
    child, parent, last = (new_task(scheduler, TaskStatus.STOPPED) for _ in range(3))
    child.update_record(status=TaskStatus.FAILED)
    for one, awaited in ((parent, child), (last, parent)):
        one.update_record(
            reason=f"skipped: task {awaited.id} FAILED", reason_code="skipped", enabled=False
        )
        JobGraph(scheduler.db).add_deps(one.id, awaited.id)
    assert scheduler.requeue(child.id) == 3
    for task in (child, parent, last):
        assert scheduler.task_status(task.id).status == TaskStatus.QUEUED


# -- workers -------------------------------------------------------------------------------------


@pytest.fixture
def farm(scheduler: Scheduler) -> Scheduler:
    add_worker(scheduler.db, "w1", ["main"], is_ticker=True)
    add_worker(scheduler.db, "w2", ["main", "mail"])
    add_worker(scheduler.db, "w3", ["mail"])
    add_worker(scheduler.db, "w4", ["mailing", "Mail", "m_il"])
    return scheduler


ORDERS = {"disable": DISABLED, "terminate": TERMINATE, "kill": KILL}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"worker_name": "w3"}, "w3"),
        ({"worker_name": "w3", "group_names": "main"}, "w3"),
        ({"worker_name": "nobody"}, ""),
        ({"worker_name": ""}, ""),
        ({}, "w1 w2"),
        ({"group_names": "main"}, "w1 w2"),
        ({"group_names": "mail"}, "w2 w3"),
        ({"group_names": "ma"}, ""),
        ({"group_names": "m%l"}, ""),
        ({"group_names": "m_il"}, "w4"),
        ({"group_names": ["main", "mail"]}, "w1 w2 w3"),
        ({"group_names": ["mail"], "limit": 1}, "w2"),
        ({"limit": 1}, "w1"),
        ({"limit": 0}, ""),
        ({"group_names": "main", "limit": 9}, "w1 w2"),
    ],
    ids=str,
)
@pytest.mark.parametrize("order", ORDERS)
def test_an_order_reaches_exactly_the_workers_it_is_meant_for(
    farm: Scheduler, order: str, given: dict[str, Any], meant: str
) -> None:
    names = set(meant.split())
    assert getattr(farm, order)(**given) == len(names)
    expected = {
        name: ORDERS[order] if name in names else ACTIVE for name in ("w1", "w2", "w3", "w4")
    }
    assert statuses_of_workers(farm.db) == expected


def test_resume_wakes_exactly_those_it_is_meant_for(farm: Scheduler) -> None:
    db = farm.db
    db(db.scheduler_worker.worker_name.belongs(["w1", "w2"])).update(status=DISABLED)
    assert farm.resume(worker_name="w2") == 1
    assert statuses_of_workers(db) == {"w1": DISABLED, "w2": ACTIVE, "w3": ACTIVE, "w4": ACTIVE}
    assert farm.resume("mail") == 0
    assert farm.resume(["main", "mail"], limit=1) == 1
    assert set(statuses_of_workers(db).values()) == {ACTIVE}


@pytest.mark.parametrize("status", [TERMINATE, KILL, STOP_TASK])
def test_resume_takes_no_order_back(farm: Scheduler, status: str) -> None:
    db = farm.db
    db(db.scheduler_worker.worker_name == "w1").update(status=status)
    farm.resume()
    assert statuses_of_workers(db)["w1"] == status


def test_a_worker_that_was_told_to_leave_is_not_called_back(farm: Scheduler) -> None:
    farm.terminate(worker_name="w1")
    assert farm.disable() == 1 and statuses_of_workers(farm.db)["w1"] == TERMINATE
    assert farm.kill() == 2 and farm.terminate() == 0
    assert statuses_of_workers(farm.db)["w1"] == KILL


def test_an_order_is_not_committed(farm: Scheduler) -> None:
    farm.db.commit()
    farm.kill()
    farm.db.rollback()
    assert set(statuses_of_workers(farm.db).values()) == {ACTIVE}


def test_workers_are_listed_by_name_and_the_ticker_alone(farm: Scheduler) -> None:
    workers = farm.get_workers()
    assert list(workers) == ["w1", "w2", "w3", "w4"]
    assert workers["w2"].group_names == ["main", "mail"] and workers["w2"].status == ACTIVE
    assert set(workers["w1"]) >= {"first_heartbeat", "last_heartbeat", "is_ticker", "worker_stats"}
    assert list(farm.get_workers(only_ticker=True)) == ["w1"]


# -- tasks that wait for tasks -------------------------------------------------------------------


def test_a_job_is_ordered_in_layers_and_committed(scheduler: Scheduler, connect: Connect) -> None:
    book, pages, cover, words = (new_task(scheduler).id for _ in range(4))
    job = JobGraph(scheduler.db, "make a book")
    for parent, child in ((book, pages), (book, cover), (pages, words)):
        job.add_deps(parent, child)
    job.add_deps(scheduler.task_status(cover), scheduler.task_status(words), on_failure="run")
    assert job.validate() == [{words}, {pages, cover}, {book}]
    scheduler.db.rollback()
    row = scheduler_on(connect()).db.scheduler_task_deps(4)
    assert (row.job_name, row.task_parent, row.task_child) == ("make a book", cover, words)
    assert (row.can_visit, row.on_failure) == (False, "run")


def test_a_ring_is_named_and_rolled_back(scheduler: Scheduler) -> None:
    db = scheduler.db
    first, second, third = (new_task(scheduler).id for _ in range(3))
    db.commit()
    job = JobGraph(db, "ring")
    for parent, child in ((first, second), (second, third), (third, first)):
        job.add_deps(parent, child)
    with pytest.raises(DependencyCycle) as caught:
        job.validate()
    assert caught.value.path[0] == caught.value.path[-1]
    assert set(caught.value.path) == {first, second, third}
    assert f"task {first} waits for task {second}" in str(caught.value)
    assert db(db.scheduler_task_deps).isempty() and db(db.scheduler_task).count() == 3


def test_one_job_can_be_looked_at_alone(scheduler: Scheduler) -> None:
    first, second = (new_task(scheduler).id for _ in range(2))
    JobGraph(scheduler.db, "one").add_deps(first, second)
    JobGraph(scheduler.db, "other").add_deps(second, first)
    job = JobGraph(scheduler.db, "one")
    assert job.validate("one") == [{second}, {first}]
    assert job.validate("nothing") == []
    scheduler.db.commit()
    with pytest.raises(DependencyCycle):
        job.validate()


def test_an_unknown_way_to_go_on_is_refused(scheduler: Scheduler) -> None:
    with pytest.raises(BadTask, match="stop, run, wait"):
        JobGraph(scheduler.db).add_deps(1, 2, on_failure="explode")
    assert scheduler.db(scheduler.db.scheduler_task_deps).isempty()
