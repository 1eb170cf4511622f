"""Two callers queue a task of the same uuid at the same time: one task, and an answer for both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest
from pydal import DAL
from support.databases import Database
from support.home import Connect, scheduler_on

from plugin_scheduler import Scheduler

THERE = {"uuid": "is the uuid of an existing task"}
PATIENCE = 30.0  # seconds

Work = Callable[[Scheduler], Any]


@pytest.fixture
def winner(connect: Connect) -> Scheduler:
    """Its task of the uuid "mine" is there, and not committed yet."""
    scheduler = scheduler_on(connect())
    assert scheduler.queue_task("add", uuid="mine").errors == {}
    return scheduler


@contextmanager
def loser(winner: Scheduler, work: Work) -> Iterator[Future[Any]]:
    """Another session, past the check of the uuid: no row has it that can be seen."""
    checked = threading.Event()

    def look() -> int:
        checked.set()
        return 0

    def session() -> Any:
        where = {"folder": winner.db._adapter.folder, "migrate": False}
        with closing(DAL(winner.db._uri, **where)) as db:
            scheduler = scheduler_on(db, migrate=False)
            db.scheduler_task.priority.default = look  # asked for after the uuid
            return work(scheduler)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(session)
        assert checked.wait(PATIENCE)
        yield future
        future.result(PATIENCE)


def uuids(scheduler: Scheduler) -> set[str]:
    scheduler.db.rollback()
    return {row.uuid for row in scheduler.db(scheduler.db.scheduler_task).select()}


def test_the_second_is_told_and_its_transaction_goes_on(
    winner: Scheduler, database: Database
) -> None:
    def work(scheduler: Scheduler) -> Any:
        if scheduler._dialect.is_remote:  # elsewhere nobody else could write meanwhile
            scheduler.queue_task("add", uuid="before", priority=1)
        answer = scheduler.queue_task("add", uuid="mine")
        scheduler.queue_task("add", uuid="after")
        scheduler.db.commit()
        return answer

    with loser(winner, work) as future:
        winner.db.commit()
        answer = future.result(PATIENCE)
    assert (answer.id, answer.uuid, dict(answer.errors)) == (None, None, THERE)
    assert uuids(winner) - {"before"} == {"mine", "after"}
    assert ("before" in uuids(winner)) == winner._dialect.is_remote


def test_of_many_none_is_queued_and_which_is_told(winner: Scheduler) -> None:
    # Without a dialect there is no savepoint, and what was inserted before could not be undone.
    number = 0 if winner._dialect.name == "any" else 1200
    names = [f"own-{place}" for place in range(number)]
    tasks = [{"function": "add", "uuid": name} for name in (*names, "mine")]

    def work(scheduler: Scheduler) -> Any:
        answers = scheduler.queue_tasks(tasks)
        scheduler.queue_task("add", uuid="after")
        scheduler.db.commit()
        return answers

    with loser(winner, work) as future:
        winner.db.commit()
        answers = future.result(PATIENCE)
    assert {answer.id for answer in answers} == {None}
    assert [dict(answer.errors) for answer in answers] == [{}] * number + [THERE]
    assert uuids(winner) == {"mine", "after"}


def test_where_the_first_takes_it_back_the_second_is_queued(winner: Scheduler) -> None:
    def work(scheduler: Scheduler) -> Any:
        answer = scheduler.queue_task("add", uuid="mine")
        scheduler.db.rollback()  # nothing is committed for the caller
        assert uuids(scheduler) == set()
        answer = scheduler.queue_tasks([{"function": "add", "uuid": "mine"}])[0]
        scheduler.db.commit()
        return answer

    with loser(winner, work) as future:
        winner.db.rollback()
        assert future.result(PATIENCE).errors == {}
    assert uuids(winner) == {"mine"}
