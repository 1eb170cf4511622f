"""Random stories of queue, claim, report, stop, edit, requeue, loss and expiry, against a model.

After each step the tables say what the model says, on every database.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.home import Connect, scheduler_on
from support.makers import NINE
from support.task_model import MAX_LOSSES, PERIOD, Modelled

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Outcome, Report
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM, TurnedClock

WORKERS = st.sampled_from(("ann", "bob"))
BY_REPORT = ("COMPLETED", "COMPLETED", "FAILED", "TIMEOUT", "DIED", "INTERRUPTED", "STOPPED")


class Story(RuleBasedStateMachine):
    """One caller and two workers on one database; time stands still until it is turned."""

    db: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.closing, self.clock, self.start = ExitStack(), TurnedClock(NINE), NINE
        self.scheduler = scheduler_on(self.db)
        for name in ("scheduler_run", "scheduler_task_deps", "scheduler_task"):
            self.db(self.db[name]).delete()
        self.db.commit()
        self.scheduler.now = self.clock.now
        where = {"uri": self.db._uri, "folder": self.db._adapter.folder, "driver_args": {}}
        limits = Settings(heartbeat=1, max_losses=MAX_LOSSES)
        self.store = Store.open(where, limits, SYSTEM, "lab")
        self.closing.callback(self.store.close)
        self.store.dialect.now = self.clock.now
        self.store.dialect.epoch = self.clock.epoch
        self.model: dict[int, Modelled] = {}
        self.orders: dict[int, Order] = {}
        self.late: list[tuple[Order, str]] = []

    def teardown(self) -> None:
        self.closing.close()

    def seconds(self) -> int:
        return int((self.clock.now() - self.start).total_seconds())

    # -- what may happen -------------------------------------------------------------------------

    @rule(
        repeats=st.integers(0, 2),
        retries=st.integers(-1, 1),
        on_failure=st.sampled_from(("stop", "continue")),
        wait=st.sampled_from((0, 0, 30)),
        lasts=st.sampled_from((None, None, 90)),
    )
    def queue(
        self, repeats: int, retries: int, on_failure: str, wait: int, lasts: int | None
    ) -> None:
        now = self.seconds()
        stop_time = None if lasts is None else now + wait + lasts
        answer = self.scheduler.queue_task(
            "add",
            repeats=repeats,
            retry_failed=retries,
            on_failure=on_failure,
            period=PERIOD,
            start_time=self.clock.now() + timedelta(seconds=wait),
            stop_time=stop_time and self.start + timedelta(seconds=stop_time),
        )
        assert not answer.errors
        self.db.commit()
        self.model[answer.id] = Modelled(repeats, retries, on_failure, now + wait, stop_time)

    @rule(worker=WORKERS)
    def claim(self, worker: str) -> None:
        now = self.seconds()
        claim = self.store.claims.take(worker, ["main"], 100, self.clock.now())
        due = {task_id for task_id, task in self.model.items() if task.is_claimable(now)}
        assert {order.task.id for order in claim.orders} == due
        for order in claim.orders:
            self.orders[order.task.id] = order
            self.model[order.task.id].claim(worker, now)

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), outcome=st.sampled_from(BY_REPORT))
    def report(self, data: st.DataObject, outcome: str) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.orders)))
        order, task = self.orders.pop(task_id), self.model[task_id]
        [(_, move)] = self.store.tasks.report([self._report(order, outcome)], task.owner)
        assert move is not None
        task.end(outcome)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def report_too_late(self, data: st.DataObject) -> None:
        """A worker that was thought dead wakes up; its report changes nothing."""
        order, worker = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
        [(_, move)] = self.store.tasks.report([self._report(order, Outcome.COMPLETED)], worker)
        assert move is None

    def _report(self, order: Order, outcome: str) -> Report:
        return Report(order, outcome, self.clock.now(), 0.5, result="1", output="words")

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.model)))
        self.scheduler.stop_task(task_id)
        self.db.commit()
        self.model[task_id].stop()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), enabled=st.booleans())
    def edit(self, data: st.DataObject, enabled: bool) -> None:
        """A person disables or enables a waiting task in a database admin."""
        task_id = data.draw(st.sampled_from(sorted(self.model)))
        if self.model[task_id].status == "QUEUED":
            self.db(self.db.scheduler_task.id == task_id).update(enabled=enabled)
            self.db.commit()
            self.model[task_id].enabled = enabled

    @precondition(lambda self: any(task.has_ended for task in self.model.values()))
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        ended = sorted(task_id for task_id, task in self.model.items() if task.has_ended)
        task_id = data.draw(st.sampled_from(ended))
        task, later = self.model[task_id], self.clock.now() + timedelta(days=1)
        if task.stop_time is not None:
            task.stop_time = self.seconds() + 86400
        assert self.scheduler.requeue(task_id, later if task.stop_time else None) == 1
        self.db.commit()
        task.requeue(self.seconds())

    @rule(worker=WORKERS)
    def lose(self, worker: str) -> None:
        """The worker dies, and the leader gives back what it held."""
        self.store.maintenance.requeue_lost(worker)
        for task_id in [one for one in self.orders if self.model[one].owner == worker]:
            self.late.append((self.orders.pop(task_id), worker))
            self.model[task_id].lose()

    @rule()
    def expire(self) -> None:
        self.store.maintenance.expire_overdue()
        for task in self.model.values():
            if task.status == "QUEUED" and task.stop_time and task.stop_time < self.seconds():
                task.status = "EXPIRED"

    @rule(seconds=st.sampled_from((1, 30, 61, 300)))
    def turn_the_clock(self, seconds: int) -> None:
        self.clock.turn(seconds)

    # -- what must hold after each step ----------------------------------------------------------

    @invariant()
    def the_tables_say_what_the_model_says(self) -> None:
        self.db.commit()
        rows = self.db(self.db.scheduler_task).select()
        assert {row.id: _seen(row) for row in rows} == {
            task_id: _expected(task) for task_id, task in self.model.items()
        }
        self.db.commit()

    @invariant()
    def only_a_running_task_has_an_open_run_and_only_one(self) -> None:
        runs = self.db(self.db.scheduler_run.status == "RUNNING").select()
        running = [task_id for task_id, task in self.model.items() if task.status == "RUNNING"]
        assert sorted(run.task_id for run in runs) == sorted(running)
        self.db.commit()


def _seen(row: Any) -> tuple[Any, ...]:
    owner = row.assigned_worker_name if row.status == "RUNNING" else ""
    return row.status, row.enabled, owner, row.times_run, row.times_failed, row.times_lost


def _expected(task: Modelled) -> tuple[Any, ...]:
    owner = task.owner if task.status == "RUNNING" else ""
    return (task.status, task.enabled, owner, task.times_run, task.times_failed, task.times_lost)


def test_whatever_happens_in_whatever_order_the_tables_say_what_the_model_says(
    connect: Connect,
) -> None:
    story = type("StoryHere", (Story,), {"db": connect()})
    run_state_machine_as_test(
        story,
        settings=settings(
            max_examples=20,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate,),  # to make a failing story shorter takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
