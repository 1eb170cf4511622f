"""Somebody looks at a run: how its worker learns of it, and whom that wakes up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from support.home import Connect, engine_on, scheduler_on
from support.kit import eventually

from plugin_scheduler.core.types import RunStatus, TaskStatus
from plugin_scheduler.database.dialects.postgres_triggers import CHANNEL
from plugin_scheduler.operations.worker_commands import WATCH
from plugin_scheduler.store import Store


class Watched:
    """A task that worker "w1" runs by the tables; what an app and that worker see of it."""

    def __init__(self, connect: Connect, store: Store) -> None:
        self.db, self.store = connect(), store
        self.scheduler = scheduler_on(self.db)
        self.run_id = self.run()

    def run(self) -> int:
        task, run = self.db.scheduler_task, self.db.scheduler_run
        columns = {"status": TaskStatus.RUNNING, "assigned_worker_name": "w1"}
        task_id = task.insert(function_name="add", **columns)
        run_id = int(run.insert(task_id=task_id, status=RunStatus.RUNNING, worker_name="w1"))
        self.db(task.id == task_id).update(run_id=run_id)
        self.db.commit()
        return run_id

    def write(self, **columns: object) -> None:
        self.db(self.db.scheduler_run.id == self.run_id).update(**columns)
        self.db.commit()

    def watch(self) -> int:
        """Look at it; how many runs that were."""
        count = self.scheduler.watch_run(self.run_id)
        self.db.commit()
        return count

    def watched(self) -> dict[int, float]:
        return self.store.tasks.wishes([self.run_id], "w1").watched


@pytest.fixture
def run(connect: Connect) -> Iterator[Watched]:
    with engine_on(connect) as store:
        yield Watched(connect, store)


def test_the_worker_learns_which_run_is_looked_at_and_for_how_long(run: Watched) -> None:
    assert run.watched() == {}
    other = run.run()
    assert run.watch() == 1
    wishes = run.store.tasks.wishes([run.run_id, other], "w1")
    assert list(wishes.watched) == [run.run_id] and wishes.ends == {}
    assert WATCH - 5 < wishes.watched[run.run_id] <= WATCH + 1


def test_who_looked_once_is_forgotten_and_where_nobody_ever_did_it_is_well(run: Watched) -> None:
    for until in (run.store.dialect.epoch() - 1, None, 0.0):
        run.write(watched_until=until)
        assert run.watched() == {}


def test_a_run_that_is_over_or_not_there_cannot_be_watched(run: Watched) -> None:
    run.write(status=RunStatus.COMPLETED)
    assert run.watch() == 0
    assert run.scheduler.watch_run(run.run_id + 1000) == 0


def test_a_watched_run_is_ended_like_any_other(run: Watched) -> None:
    run.watch()
    run.write(stop_requested=True)
    assert run.store.tasks.wishes([run.run_id], "w1").ends == {run.run_id: "stop"}
    assert run.store.tasks.wishes([run.run_id], "w2").ends == {run.run_id: "taken"}


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_the_bell_rings_for_who_begins_to_look_and_not_for_who_goes_on(run: Watched) -> None:
    with closing(psycopg2.connect(**run.db._adapter.driver_args)) as listener:
        listener.autocommit = True
        listener.cursor().execute(f"LISTEN {CHANNEL}")

        def heard() -> list[str]:
            """All until now: what is rung for here comes last, and is left out."""
            run.db.executesql(f"NOTIFY {CHANNEL}, 'here'")
            run.db.commit()
            eventually(
                lambda: listener.poll() or "here" in [one.payload for one in listener.notifies]
            )
            news, listener.notifies[:] = [one.payload for one in listener.notifies], []
            return news[:-1]

        run.watch()
        assert heard() == ["public.scheduler_run"]
        run.watch()
        run.write(run_output="more")
        assert heard() == []
        run.write(watched_until=run.store.dialect.epoch() - 1)
        assert heard() == []
        run.watch()
        assert heard() == ["public.scheduler_run"]
