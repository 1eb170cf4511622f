"""Calls of the API in a transaction that stays open: workers go on, and no caller is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pydal import DAL
from support.kit import Lab, Worker

from plugin_scheduler import Scheduler

SOURCE = """
def stamp(name="stamp"):
    return name
def nap(name):
    while not os.path.exists(name): time.sleep(0.01)
"""
GOES_ON = 6.0  # seconds in which other tasks are done
ROUNDS = 6


@contextlib.contextmanager
def caller_of(lab: Lab) -> Iterator[Scheduler]:
    """A scheduler in a program of its own, with the server's usual isolation level."""
    db = DAL(lab.uri, folder=str(lab.folder), migrate=False)
    namespace: dict[str, Any] = {"Scheduler": Scheduler, "db": db}
    exec("scheduler = Scheduler(db, tasks={}, migrate=False, application_name='lab')", namespace)
    try:
        yield namespace["scheduler"]
    finally:
        db.rollback()
        db.close()


def started(lab: Lab, *arguments: str) -> Worker:
    lab.write_tasks(SOURCE)
    worker = lab.start_worker(*(arguments or ("-n", "2")))
    lab.becomes(lab.queue("stamp"), "COMPLETED")
    return worker


def work_goes_on(lab: Lab, count: int = 12) -> None:
    """Many are claimed, started and stored, each in time."""
    for task_id in [lab.queue("stamp") for _ in range(count)]:
        lab.becomes(task_id, "COMPLETED", within=GOES_ON)


def test_calls_that_are_not_committed_yet_keep_no_other_task_from_running(server_lab: Lab) -> None:
    lab = server_lab
    worker = started(lab)
    later = [lab.queue("stamp", start_time="2099-01-01 00:00:00") for _ in range(9)]
    running = lab.queue("nap", "enough")
    lab.becomes(running, "RUNNING")
    ended = lab.queue("stamp")
    lab.becomes(ended, "COMPLETED")
    with caller_of(lab) as scheduler:
        task = scheduler.db.scheduler_task
        assert scheduler.stop_task(later[0]) == 1
        assert scheduler.stop_task(running) == 1
        assert scheduler.stop_task(task.id.belongs(later[1:8])) == 7
        assert scheduler.edit_task(later[8], priority=3).changed
        assert scheduler.requeue(ended) == 1
        assert scheduler.watch_run(lab.task(running).run_id) == 1
        scheduler.queue_task("stamp", start_time="2099-01-01 00:00:00", immediate=False)
        work_goes_on(lab)
        scheduler.db.commit()
    lab.becomes(running, "STOPPED")
    assert "does not answer" not in worker.log


def test_stopping_tasks_one_by_one_beside_quick_tasks_is_never_refused(server_lab: Lab) -> None:
    lab = server_lab
    worker = started(lab, "-n", "2")
    ids: list[int] = []
    with caller_of(lab) as scheduler:
        for turn in range(ROUNDS):
            ids = [scheduler.queue_task("stamp", [turn]).id for _ in range(40)]
            scheduler.db.commit()
            for task_id in reversed(ids) if turn % 2 else ids:
                scheduler.stop_task(task_id)
            scheduler.db.commit()
    for task_id in ids:
        lab.becomes(task_id, "COMPLETED", "STOPPED")
    assert "unexpected error" not in worker.log and "does not answer" not in worker.log
