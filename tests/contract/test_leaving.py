"""A worker that was told to leave does so, whatever the database refuses."""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable
from typing import Any

import pytest
from support.home import Connect, engine_on, scheduler_on
from support.refusing import FORGIVING, REFUSING, ask

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.system.signals import Signals
from plugin_scheduler.worker import fetcher, shutdown
from plugin_scheduler.worker.main_loop import MainLoop
from plugin_scheduler.worker.outages import StartPatience
from plugin_scheduler.worker.registration import Registration

ME = "me"


class NoRunners(Pool):
    """A pool that starts no process, and does something when the worker has its row."""

    then: Callable[[], None]

    def staff(self, settings: Settings, spawns: bool) -> None:
        self.then()


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"], indirect=True)
def test_an_order_to_terminate_ends_a_worker_while_a_run_cannot_be_given_back(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutdown, "LAST_WORDS", 1.0)
    monkeypatch.setattr(fetcher, "REFUSED_AGAIN", 0.4)
    db = connect()
    scheduler = scheduler_on(db)
    ids = [scheduler.queue_task("add", [1, 2]).id for _ in range(2)]
    db.commit()
    engine, task, worker = str(db._adapter.dbengine), db.scheduler_task, db.scheduler_worker
    with engine_on(connect) as store, engine_on(connect) as other, caplog.at_level(logging.INFO):
        with selectors.DefaultSelector() as selector, Signals() as signals:
            pool, settings = NoRunners({}, selector, SYSTEM), Settings(heartbeat=1, grace=0)
            me = Registration(ME, "lab", ("add",), {})
            main_loop = MainLoop(store, pool, selector, settings, me, SYSTEM)

            def begin() -> None:
                orders = other.claims.take(ME, ("main",), 2, other.dialect.now()).orders
                ask(db, REFUSING[engine], "scheduler_task", ids[0])
                pool._spawner.news.unbegun += orders
                db(worker.worker_name == ME).update(status="TERMINATE")
                db.commit()

            pool.then = begin
            with monkeypatch.context() as patch:
                patch.setattr(store, "close", lambda: None)  # this test does
                code = main_loop.work(False, signals, StartPatience(1, SYSTEM, SYSTEM.sleep))
        assert code == 1
        assert (
            f"command TERMINATE; the database has rejected run {run_of(db, ids[0])} of task"
            in (caplog.messages[-1])
        )
        tries = [line for line in caplog.messages if "cannot be given back" in line]
        assert 2 <= len(tries) <= 4
        assert [task[one].status for one in ids] == [TaskStatus.RUNNING, TaskStatus.QUEUED]
        assert db(worker).isempty()
        ask(db, FORGIVING[engine], "scheduler_task")
        assert [one.id for one in other.maintenance.requeue_lost(ME)] == [ids[0]], "others find it"
        db.commit()


def run_of(db: Any, task_id: int) -> int:
    return int(db.scheduler_task[task_id].run_id)
