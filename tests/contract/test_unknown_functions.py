"""Tasks of functions that a worker does not know wait, and stand in the way of no other task."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from support.home import Connect, add_worker, engine_on, scheduler_on
from support.makers import NINE
from support.plans import heard

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, TaskStatus
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.fetcher import MOST, Fetcher
from plugin_scheduler.worker.unknown_functions import LOOK_EVERY, SKIP_AT_MOST, KnownFunctions

WAIT = 600


class IdlePool:
    """Runners that take everything and report nothing."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def takers(self) -> int:
        return 1

    def idle(self) -> int:
        return 1

    def load(self) -> list[Order]:
        return []

    def hand_out(self, order: Order) -> bool:
        self.given.append(order.task.function_name)
        return True


def intake_on(store: Store, pool: Any, clock: TurnedClock) -> Fetcher:
    functions = KnownFunctions(["add"], WAIT, clock)
    staying: Any = SimpleNamespace(takes_work=True)
    return Fetcher(
        store, pool, staying, Settings(unknown_function_wait=WAIT), "me", functions, clock
    )


def test_known_functions_run_behind_any_number_of_unknown_ones_and_nothing_is_read_in_a_loop(
    connect: Connect,
) -> None:
    clock, pool = TurnedClock(NINE), IdlePool()
    with engine_on(connect) as store:
        db = connect()
        task, now = scheduler_on(db).db.scheduler_task, store.dialect.now()
        unknown = {"function_name": "newer", "task_name": "newer", "status": TaskStatus.QUEUED}
        unknown |= {"application_name": "lab", "next_run_time": now - timedelta(hours=1)}
        task.bulk_insert([unknown] * (MOST + 1))
        scheduler_on(db).queue_task("add")
        db.commit()
        intake = intake_on(store, pool, clock)
        intake.feed()
        intake.feed()
        assert pool.given == ["add"]
        with heard(store.db) as sent:
            for _ in range(5):
                intake.look_now_and_then()
                intake.feed()
        assert sent == []
        assert store.db(store.db.scheduler_task.function_name == "newer").isempty() is False
        assert store.db(task.status == TaskStatus.QUEUED).count() == MOST + 1


def test_unknown_functions_are_read_past_once_and_what_comes_before_is_seen_soon(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, pool = TurnedClock(NINE), IdlePool()
    with engine_on(connect) as store:
        db, now = connect(), store.dialect.now().replace(microsecond=0)
        task = scheduler_on(db).db.scheduler_task

        def queue(name: str, minutes: int, count: int = 1) -> None:
            due = {"next_run_time": now - timedelta(minutes=minutes), "status": TaskStatus.QUEUED}
            row = {"function_name": name, "task_name": name, "application_name": "lab", **due}
            task.bulk_insert([row] * count)
            db.commit()

        take, read = store.claims.take, []

        def slow_take(*given: Any) -> Any:
            clock.turn(0.1)
            read.append(given[-1].since)
            return take(*given)

        monkeypatch.setattr(store.claims, "take", slow_take)
        queue("newer", 60, 20)
        for minutes in (30, 20, 10, 5):
            queue("add", minutes)
        intake, counts = intake_on(store, pool, clock), []
        for _ in range(3):
            with heard(store.db) as sent:
                intake.look_again()
                intake.feed()
            counts.append(len(sent))
        assert read == [None, None, now - timedelta(minutes=20)]
        assert (len(pool.given), counts[2]) == (3, counts[1]), "no statement more"
        queue("add", 45)
        intake.look_again()
        intake.feed()
        assert len(pool.given) == 4
        deadline = intake.next_deadline()
        assert deadline is not None and deadline - clock.monotonic() <= SKIP_AT_MOST
        clock.turn(deadline - clock.monotonic())
        intake.feed()
        assert len(pool.given) == 5


def test_after_the_wait_they_fail_unless_a_live_worker_knows_them(connect: Connect) -> None:
    clock = TurnedClock(NINE)
    with engine_on(connect) as store:
        db = connect()
        task = scheduler_on(db).db.scheduler_task
        now = store.dialect.now()

        def queue(name: str, ago: float) -> int:
            when = now - timedelta(seconds=ago)
            columns = {"application_name": "lab", "task_name": name, "next_run_time": when}
            return int(task.insert(function_name=name, status=TaskStatus.QUEUED, **columns))

        typo, late, deployed = queue("tpyo", 2 * WAIT), queue("tpyo", 1), queue("newer", 2 * WAIT)
        knows = {"tasks": ["add", "newer"], "application": "lab"}
        alive = store.dialect.epoch() + 600
        add_worker(db, "new", ["main"], lease_until=alive, worker_stats=knows)
        blog = {"tasks": ["tpyo"], "application": "blog"}
        add_worker(db, "other", ["main"], lease_until=alive, worker_stats=blog)
        db.commit()
        intake = intake_on(store, IdlePool(), clock)
        for _ in range(int(WAIT / LOOK_EVERY)):
            statuses = {row.id: row.status for row in store.db(task).select()}
            assert set(statuses.values()) == {TaskStatus.QUEUED}
            intake.feed()
            clock.turn(LOOK_EVERY)
            store.db.commit()
            intake.look_now_and_then()
        rows = {row.id: row for row in store.db(task).select()}
        assert [rows[one].status for one in (typo, late, deployed)] == [
            TaskStatus.FAILED,
            TaskStatus.QUEUED,
            TaskStatus.QUEUED,
        ]
        assert rows[typo].reason == "unknown function: tpyo"
