"""What happened to workers is kept in the history; trouble with the history stops nothing."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from support.home import Connect, engine_on, scheduler_on
from support.makers import NINE

from plugin_scheduler import Scheduler
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.core.worker_events import SCHEDULER, WorkerEvent
from plugin_scheduler.queries import Queries
from plugin_scheduler.store.audit_log import AuditLog
from plugin_scheduler.store.worker_events import KEPT, Happened
from plugin_scheduler.system.clock import SYSTEM, TurnedClock
from plugin_scheduler.worker.claim_health import PAUSES, ClaimHealth
from plugin_scheduler.worker.event_queue import MOST, EventQueue
from plugin_scheduler.worker.fetcher import Fetcher
from plugin_scheduler.worker.unknown_functions import KnownFunctions


def test_an_event_is_kept_with_its_worker_its_time_and_its_sentence(connect: Connect) -> None:
    with engine_on(connect) as store:
        events = EventQueue(store, SYSTEM, "w1")
        events.note(WorkerEvent.STARTED, host="h", pid=7, groups="main", slots=2)
        events.note(WorkerEvent.DIED, "w0", host="caf\udce9", seconds=9, tasks=3)
        events.write()
        assert len(events) == 0
        journal = AuditLog(store.db, store.dialect.now)
        [died] = journal.of_worker("w0")
        [started] = journal.of_worker("w1")
        assert (died.who, died.did, died.detail["tasks"]) == (SCHEDULER, "worker_died", 3)
        assert died.event == "died on caf?: no heartbeat for 9 s; tasks given back: 3"
        assert started.event == "started on h, process 7: groups main, slots 2"
        assert abs(died.at - store.dialect.now()) < timedelta(minutes=1)  # type: ignore[operator]
        old = Happened(WorkerEvent.LEFT, "w9", store.dialect.now() - KEPT * 2, {"why": "SIGTERM"})
        store.events.write([old])
        store.events.prune()
        assert journal.of_worker("w9") == [] and len(journal.latest()) == 2


def test_events_wait_while_the_history_cannot_be_written_and_keep_their_time(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with engine_on(connect) as store:
        clock = TurnedClock(store.dialect.now())
        events = EventQueue(store, clock, "w1")
        store.db.executesql("ALTER TABLE scheduler_history RENAME TO elsewhere")
        store.db.commit()
        events.note(WorkerEvent.LEFT, why="SIGTERM")
        clock.turn(60)
        for _ in range(2):
            events.write()
        assert len(events) == 1
        assert [one.message for one in caplog.records if "history" in one.message][1:] == []
        store.db.executesql("ALTER TABLE elsewhere RENAME TO scheduler_history")
        store.db.commit()
        events.write()
        [note] = AuditLog(store.db, store.dialect.now).of_worker("w1")
        late = store.dialect.now() - note.at  # type: ignore[operator]
        assert timedelta(seconds=55) < late < timedelta(seconds=120)
        for _ in range(3 * MOST):
            events.note(WorkerEvent.ROW_GONE)
        assert len(events) == MOST


def test_a_dead_worker_is_a_warning_for_a_day(scheduler: Scheduler, connect: Connect) -> None:
    with engine_on(connect) as store:
        now = store.dialect.now()
        detail = {"host": "h1", "seconds": 12, "tasks": 1}
        for hours in (1, 3, 30):
            at = now - timedelta(hours=hours)
            store.events.write([Happened(WorkerEvent.DIED, f"w{hours}", at, detail)])
        store.events.write([Happened(WorkerEvent.LEFT, "w2", now, {"why": "SIGTERM"})])
    warnings = [one.sentence for one in Queries.of(scheduler).overview().warnings]
    assert [one for one in warnings if "died" in one] == [
        "worker w1 on h1 died 60 min ago; 1 task given back",
        "worker w3 on h1 died 3 h ago; 1 task given back",
    ]


def test_explain_and_the_overview_tell_of_claims_that_fail(connect: Connect) -> None:
    scheduler = scheduler_on(connect())
    task_id = scheduler.queue_task("add", [1, 2]).id
    scheduler.db.commit()
    health, browser = ClaimHealth(SYSTEM), Queries.of(scheduler)
    with engine_on(connect) as store:
        stats = {"slots": 1, "sleep": 3, "tasks": ["add"], "application": "lab"}
        me = store.workers.register("w1", stats)
        for _ in range(3):
            health.failed(ValueError("ids are\n used up"))
        store.workers.beat(me, {**stats, **health.about(store.dialect.now())})
        seen = browser.explain(browser.task(task_id))
        assert seen.state == "it does not run now"
        assert seen.reasons[0].startswith(
            "worker w1 cannot claim tasks, its last 3 attempts failed"
        )
        assert "ValueError: ids are used up" in seen.reasons[0]
        assert seen.reasons[0] in [one.sentence for one in browser.overview().warnings]
        health.succeeded()
        store.workers.beat(me, {**stats, **health.about(store.dialect.now())})
        scheduler.db.commit()  # ends this connection's view of the past
        seen = browser.explain(browser.task(task_id))
        assert (seen.state, seen.reasons) == ("it is ready: a worker will claim it shortly", [])
        assert browser.task(task_id).status == TaskStatus.QUEUED


def test_a_claim_that_the_database_refuses_is_tried_again_after_a_pause(connect: Connect) -> None:
    clock = TurnedClock(NINE)
    pool = SimpleNamespace(takers=lambda: 1, idle=lambda: 1, load=list, hand_out=lambda _: True)
    with engine_on(connect) as store:
        scheduler = scheduler_on(connect())
        ids = [scheduler.queue_task("add", [1, 2]).id for _ in range(2)]
        scheduler.db.commit()
        functions = KnownFunctions(["add"], 60, clock)
        staying = SimpleNamespace(takes_work=True)
        intake = Fetcher(store, pool, staying, Settings(), "w1", functions, clock)  # type: ignore[arg-type]
        intake.feed()
        store.db.executesql("CREATE UNIQUE INDEX one_run ON scheduler_run (worker_name)")
        store.db.commit()
        for _ in range(2):
            intake.look_again()
            intake.feed()  # the second one does not ask: the pause is not over
        assert intake.health.about(NINE)["last_claim_error"]["in_a_row"] == 1
        assert intake.next_deadline() == intake.health.retry_at > clock.monotonic()
        where = " ON scheduler_run" if "mysql" in store.db._uri else ""
        store.db.executesql(f"DROP INDEX one_run{where}")
        store.db.commit()
        clock.turn(PAUSES[0])
        intake.feed()
        assert intake.health.about(NINE)["last_claim_error"] is None
        tasks = store.db(store.db.scheduler_task.id.belongs(ids)).select()
        assert {task.status for task in tasks} == {TaskStatus.RUNNING}
