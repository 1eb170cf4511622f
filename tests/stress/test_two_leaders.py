"""Two workers that both believe they lead waste work, and break nothing."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psutil
import pytest
from support import spans
from support.home import add_worker
from support.kit import CONT, STOP, Lab, Worker, eventually

from plugin_scheduler.core.errors import Locked
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM

SETTINGS = Settings(heartbeat=1)
HASTY = Settings(heartbeat=0.3)  # for what must wait for a whole lease
DEAD, EACH, BROADCASTS, REPEATS = 12, 4, 6, 25
LEADER = """
from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.store import Store
from plugin_scheduler.worker.leader import Leader

name, where, settings = sys.argv[1], {where!r}, Settings.from_dict({settings!r})
store = Store.open(where, settings, SYSTEM, "lab")
ticker = Leader(store, settings, SYSTEM, name)
worker_id = store.workers.register(name, dict(application="lab"))
rounds = written = 0
print("ready", flush=True)
while not os.path.exists("enough"):
    if os.path.exists("go"):
        store.workers.beat(worker_id, dict(application="lab"))
        workers = ticker.try_become_leader(worker_id)
        ticker.leads = True  # whatever the table says
        written += ticker.look_after(workers, ())
        rounds += 1
    time.sleep(0.001)
print("rounds", rounds, written, store.dialect.conflicts)
"""


def where(lab: Lab) -> dict[str, Any]:
    return {"uri": lab.uri, "folder": str(lab.folder), "driver_args": {}}


@contextlib.contextmanager
def store_on(lab: Lab, settings: Settings = SETTINGS) -> Iterator[Store]:
    store = Store.open(where(lab), settings, SYSTEM, "lab")
    try:
        yield store
    finally:
        store.close()


def start_leaders(lab: Lab) -> list[Worker]:
    """Two programs that do the maintenance all the time, each as if it were alone."""
    lab.write_tasks("def add(a=1): return a")
    assert lab.db
    code = LEADER.format(where=where(lab), settings=SETTINGS.as_dict())
    program = (lab.folder / "tasks.py").read_text() + code
    (lab.folder / "leader.py").write_text(program)
    command = [sys.executable, "leader.py"]
    lab.workers += [Worker([name], lab.folder, {}, command) for name in ("one", "other")]
    eventually(lambda: all("ready" in leader.log for leader in lab.workers), 20)
    return lab.workers


# --- maintenance ---------------------------------------------------------------------------------


def what_the_dead_held(lab: Lab) -> dict[str, list[int]]:
    """Of each dead worker: tasks that it ran, and some that it had only claimed."""
    held: dict[str, list[int]] = {"running": [], "assigned": []}
    for number in range(DEAD):
        name = f"dead{number}"
        add_worker(lab.db, name, ["main"], lease_until=time.time() - 1)
        for status, ids in held.items():
            for _ in range(EACH):
                ids.append(make_task(lab, status=status.upper(), assigned_worker_name=name))
    for task_id in held["running"]:
        owner = lab.db.scheduler_task(task_id).assigned_worker_name
        run = {"task_id": task_id, "status": "RUNNING", "worker_name": owner}
        run_id = lab.db.scheduler_run.insert(start_time=SYSTEM.now(), **run)
        lab.db(lab.db.scheduler_task.id == task_id).update(run_id=run_id)
    return held


def make_task(lab: Lab, **columns: Any) -> int:
    """One that nobody takes: no worker of these tests runs any."""
    columns = {"function_name": "add", "group_name": "nobody", **columns}
    return int(lab.db.scheduler_task.insert(**columns))


def what_waits(lab: Lab) -> dict[int, str]:
    """Tasks that wait for one that ended; what becomes of them."""
    becomes = {}
    for child_status, status in {"COMPLETED": "QUEUED", "FAILED": "STOPPED"}.items():
        for _ in range(DEAD):
            child = make_task(lab, status=child_status)
            parent = make_task(lab)
            lab.db.scheduler_task_deps.insert(
                job_name="job", task_parent=parent, task_child=child, can_visit=False
            )
            becomes[parent] = status
    return becomes


def broadcasts(lab: Lab) -> list[int]:
    how = {"group_name": "main", "broadcast": True, "repeats": REPEATS, "period": 0}
    return [make_task(lab, task_name=f"broadcast{n}", **how) for n in range(BROADCASTS)]


@pytest.mark.slow
def test_two_leaders_do_each_chore_once(each_lab: Lab) -> None:
    lab = each_lab
    leaders = start_leaders(lab)
    held, waiting, calls = what_the_dead_held(lab), what_waits(lab), broadcasts(lab)
    late = SYSTEM.now() - timedelta(seconds=5)
    overdue = [make_task(lab, stop_time=late) for _ in range(DEAD)]
    lab.db.commit()
    (lab.folder / "go").touch()
    task = lab.db.scheduler_task
    calling = (task.broadcast == True) & (task.status == "QUEUED")
    for more in (task.status.belongs(("RUNNING", "ASSIGNED")), calling):
        eventually(lambda more=more: lab.fresh()(more).isempty(), 40)
    eventually(lambda: lab.worker_names() == {"one", "other"})
    (lab.folder / "enough").touch()
    assert [leader.wait() for leader in leaders] == [0, 0]
    tasks = {row.id: row for row in lab.fresh()(task).select()}
    assert {(tasks[n].status, tasks[n].times_lost) for n in held["running"]} == {("QUEUED", 1)}
    assert {(tasks[n].status, tasks[n].times_lost) for n in held["assigned"]} == {("QUEUED", 0)}
    assert [(run.task_id, run.status) for run in lab.runs()] == [
        (task_id, "STOPPED") for task_id in held["running"]
    ]
    assert {n: tasks[n].status for n in waiting} == waiting
    assert {tasks[n].status for n in overdue} == {"EXPIRED"}
    assert {(tasks[n].status, tasks[n].times_run) for n in calls} == {("COMPLETED", REPEATS)}
    copies = Counter((row.task_name, row.only_worker) for row in tasks.values() if row.only_worker)
    assert copies == {
        (f"broadcast{n}", name): REPEATS for n in range(BROADCASTS) for name in ("one", "other")
    }
    assert not any("Traceback" in leader.log for leader in leaders)


# --- the lead -------------------------------------------------------------------------------------


@contextlib.contextmanager
def nobody_writes(lab: Lab) -> Iterator[None]:
    """On SQLite one that is stopped while it writes would stop all; on a server it does not."""
    if lab.server is None:
        lab.fresh().executesql("BEGIN IMMEDIATE")
    yield
    lab.db.commit()


@pytest.mark.slow
def test_a_leader_that_sleeps_is_replaced_and_leads_no_more_when_it_wakes_up(
    each_lab: Lab,
) -> None:
    lab = each_lab
    lab.write_tasks("def add(a=1): return a")
    workers = [lab.start_worker("-b", "0.5") for _ in range(2)]

    def leading() -> Worker | None:
        rows = [lab.worker_row(worker) for worker in workers]
        alive = [row and row.is_ticker and row.lease_until > time.time() for row in rows]
        return workers[alive.index(True)] if alive.count(True) == 1 else None

    sleeper = eventually(leading)
    with nobody_writes(lab):
        sleeper.send(STOP)
        eventually(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED)
    eventually(lambda: leading() not in (sleeper, None), 30)
    sleeper.send(CONT)
    eventually(lambda: "is no longer the leader" in sleeper.log, 30)
    lab.becomes(lab.queue("add"), "COMPLETED")
    assert (
        leading() is not sleeper
        and sum(row.is_ticker for row in lab.fresh()(lab.db.scheduler_worker).select()) == 1
    )
    assert not any("unexpected" in worker.log for worker in workers)


def test_two_that_were_elected_at_the_same_moment_agree_at_their_next_beat(
    server_lab: Lab,
) -> None:
    lab = server_lab
    assert lab.db
    with store_on(lab) as one, store_on(lab) as other, store_on(lab) as third:
        first, second = (
            store.workers.register(name, {}) for store, name in ((one, "a"), (other, "b"))
        )
        late = later(lambda: one.workers.lead(first))
        with third.dialect.transaction():
            worker = third.db.scheduler_worker
            third.db(worker.id == first).update(status="ACTIVE")
            late.start()
            eventually(lambda: waits_for_a_lock(lab))
            with contextlib.suppress(Locked):
                other.workers.lead(second)
        late.join()
        leads = [one.workers.lead(first), other.workers.lead(second)]
        assert leads.count(True) == 1
        assert leads == [row.is_ticker for row in one.workers.all()], "and everybody can see who"


# --- held up in the middle ------------------------------------------------------------------------


def claimed_by(store: Store, name: str, lab: Lab, count: int) -> list[Any]:
    store.workers.register(name, {})
    for _ in range(count):
        lab.queue("add")
    orders = store.claims.take(name, ["main"], count, store.dialect.now()).orders
    assert len(orders) == count
    return orders


def lapse(store: Store, name: str) -> None:
    """It has not beaten for long."""
    with store.dialect.transaction():
        worker = store.db.scheduler_worker
        store.db(worker.worker_name == name).update(lease_until=time.time() - 1)


def test_what_a_worker_held_that_hangs_in_a_transaction_is_given_back_all_the_same(
    server_lab: Lab,
) -> None:
    """It was cut off, or put to sleep, in the middle: nobody tells the server of its end."""
    lab = server_lab
    lab.write_tasks("def add(a=1): return a")
    assert lab.db
    with store_on(lab, HASTY) as hanging, store_on(lab, HASTY) as leader:
        claimed_by(hanging, "hangs", lab, 1)
        lapse(leader, "hangs")
        hanging.dialect._be_connected()
        hanging.dialect.begin()
        for table in (hanging.db.scheduler_worker, hanging.db.scheduler_task):
            assert hanging.db(table).update(id=table.id)

        def given_back() -> bool:
            with contextlib.suppress(Locked):
                return bool(leader.maintenance.requeue_lost("hangs"))
            return False

        eventually(given_back, 2 * HASTY.lease + 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heartbeat", "beyond"), [(0.3, 1.5), (1, 0.2)], ids=["for long", "until just after it"]
)
def test_a_worker_whose_row_somebody_holds_for_longer_than_its_lease_doubles_nothing(
    server_lab: Lab, heartbeat: float, beyond: float
) -> None:
    """It cannot beat, and the leader cannot take its tasks: until the row is free again, and both
    are in a hurry."""
    lab = server_lab
    spans.write_program(lab, f"heartbeat={heartbeat}, slots=1, keep_empty_runs=True")
    ids, lease = [], Settings(heartbeat=heartbeat).lease
    for seconds, cleans_up in ((lease + 2, 0.0), (lease + 3, 1.5)):
        ids.append(lab.queue("append", seconds, cleans_up))
        spans.start_worker(lab)
        eventually(lambda: len(spans.lives(lab)) == len(ids), 20)
    owner = lab.task(ids[-1]).assigned_worker_name
    held = lab.fresh().scheduler_worker.worker_name == owner
    [row] = lab.db(held).select(for_update=True)
    hold_until = row.lease_until + beyond
    eventually(lambda: time.time() > hold_until)
    lab.db.commit()
    eventually(lambda: not spans.left(lab), 40)
    spans.assert_the_laws(lab, ids)


def test_a_leader_that_passed_over_a_held_task_takes_nothing_from_a_worker_that_came_back(
    server_lab: Lab,
) -> None:
    lab = server_lab
    lab.write_tasks("def add(a=1): return a")
    assert lab.db
    with store_on(lab) as mine, store_on(lab) as other, store_on(lab) as third:
        first, second = claimed_by(mine, "web", lab, 2)
        mine.maintenance.leave(1, "web")  # its row is gone, by whatever mistake
        with third.dialect.transaction():
            third.db(third.db.scheduler_task.id == first.task.id).update(priority=0)
            # A row that another transaction holds is passed over: nothing is waited for.
            given_back = other.maintenance.requeue_lost("web")
            assert [task.id for task in given_back] == [second.task.id]
            assert mine.tasks.hand_back([second], "web") == 0
            mine.workers.register("web", {})
            claim = mine.claims.take("web", ["main"], 1, mine.dialect.now())
            assert len(claim.orders) == 1
        assert other.maintenance.requeue_lost("web") == []
        for order in (first, second):
            row = lab.task(order.task.id)
            assert (row.status, row.assigned_worker_name) == ("RUNNING", "web")


def later(call: Callable[[], object]) -> threading.Thread:
    """It will meet a lock, and may give up where this machine is slow to let go of it."""

    def called() -> None:
        with contextlib.suppress(Locked):
            call()

    return threading.Thread(target=called)


def waits_for_a_lock(lab: Lab) -> bool:
    waiting = {
        "postgres": "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
        "mysql": "SHOW STATUS WHERE variable_name = 'innodb_row_lock_current_waits' AND value > 0",
    }
    return bool(lab.server.execute(waiting[lab.server.kind]))
