"""What was taken and not begun goes back, whoever holds one row of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.databases import SERVERS
from support.home import Connect, engine_on, scheduler_on
from support.makers import NINE

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.fetcher import Fetcher
from plugin_scheduler.worker.outages import PAUSES
from plugin_scheduler.worker.unknown_functions import KnownFunctions

on_servers = pytest.mark.parametrize("database", SERVERS, indirect=True)


def statuses(store: Store) -> list[str]:
    task = store.db.scheduler_task
    found = [row.status for row in store.db(task).select(task.status, orderby=task.id)]
    store.db.commit()
    return found


@on_servers
def test_a_row_that_somebody_holds_keeps_only_its_own_task(connect: Connect) -> None:
    clock, full_pool = TurnedClock(NINE), SimpleNamespace(takers=lambda: 0, idle=lambda: 0)
    full_pool.load = list
    with engine_on(connect) as store:
        caller = connect()
        scheduler = scheduler_on(caller)
        ids = [scheduler.queue_task("add").id for _ in range(3)]
        caller.commit()
        staying = SimpleNamespace(takes_work=True)
        functions = KnownFunctions(["add"], 60, clock)
        fetcher = Fetcher(store, full_pool, staying, Settings(), "me", functions, clock)  # type: ignore[arg-type]
        orders = store.claims.take("me", ["main"], 3, store.dialect.now()).orders
        scheduler.stop_task(ids[1])  # and does not commit yet
        fetcher.collect(News(unbegun=orders))
        fetcher.feed()
        fetcher.feed()
        assert statuses(store) == [TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.QUEUED]
        caller.commit()
        fetcher.feed()
        assert len(fetcher) == 1, "it has its turn in a moment"
        clock.turn(PAUSES[0])
        fetcher.feed()
        assert statuses(store) == [TaskStatus.QUEUED, TaskStatus.STOPPED, TaskStatus.QUEUED]
        assert not len(fetcher)
