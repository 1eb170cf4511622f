"""A run never outlives the lease of its worker: what another may start is no longer running."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from support.cables import Cable
from support.kit import CONT, STOP, TERM, Lab, Worker, eventually, is_alive
from support.makers import an_order
from support.pools import Runners

from plugin_scheduler.system.clock import SYSTEM

LAPSED = "its worker could not renew its lease in time"
SOURCE = """
def long():
    "Until there is a file `enough`; writes down when it was alive, and who belongs to it."
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    with open(f"pids-{current_task.run_id}", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    with open(f"alive-{current_task.run_id}", "w", buffering=1) as file:
        while not os.path.exists("enough"):
            file.write(f"{time.time()}\\n")
            time.sleep(0.01)
    child.kill()
    child.wait()
    return "done"
def fails():
    while not os.path.exists("enough"): time.sleep(0.01)
    raise ValueError("by itself")
def quick(name="quick"): mark(name)
"""
SPAWNED = "import threading\nthreading.Thread(target=time.sleep, args=(999,), daemon=True).start()"
LOOP = """
from plugin_scheduler import Scheduler
scheduler = Scheduler(db, dict(long=long, quick=quick), heartbeat=0.5, application_name="lab")
if __name__ == "__main__": sys.exit(scheduler.loop())
"""


def times(lab: Lab, run_id: int) -> list[float]:
    """When a run of `long` was alive."""
    path = lab.folder / f"alive-{run_id}"
    return [float(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def family(lab: Lab, run_id: int) -> list[int]:
    return [int(pid) for pid in (lab.folder / f"pids-{run_id}").read_text().split()]


def is_enough(lab: Lab) -> None:
    (lab.folder / "enough").touch()


def start(lab: Lab, way: str) -> Worker:
    """A worker with a heartbeat of 0.5 s, so with a lease of 3.5 s."""
    lab.write_tasks(SOURCE + {"spawned": SPAWNED, "loop": LOOP}.get(way, ""))
    if way != "loop":
        return lab.start_worker("-b", "0.5")
    assert lab.db
    lab.workers.append(Worker(["tasks.py"], lab.folder, {}, command=[sys.executable]))
    eventually(lab.worker_names)
    return lab.workers[0]


@contextlib.contextmanager
def locked(lab: Lab, how: str = "IMMEDIATE") -> Iterator[None]:
    """Meanwhile nobody else can write."""
    other = sqlite3.connect(lab.folder / "storage.sqlite", isolation_level=None, timeout=30)
    other.execute(f"BEGIN {how}")
    yield
    other.execute("COMMIT")
    other.close()


def put_to_sleep(lab: Lab, worker: Worker) -> float:
    """SIGSTOP, though not inside a transaction, or nobody could work; the end of its lease."""
    with locked(lab):
        worker.send(STOP)
        eventually(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED)
    return float(lab.worker_row(worker).lease_until)


def running(lab: Lab, function: str = "long") -> int:
    task_id = lab.queue(function)
    lab.becomes(task_id, "RUNNING")
    if function == "long":
        eventually(lambda: times(lab, lab.runs(task_id)[0].id))
    return task_id


@pytest.mark.parametrize("way", ["forked", "spawned", "loop"])
def test_a_run_is_gone_with_all_it_started_before_another_worker_may_start_it_again(
    lab: Lab, way: str
) -> None:
    sleeper = start(lab, way)
    task_id = running(lab)
    assert ("new interpreters" in sleeper.log) == (way == "spawned")
    slept = time.time()
    lease = put_to_sleep(lab, sleeper)
    other = lab.start_worker("-b", "0.5")
    eventually(lambda: len(lab.runs(task_id)) == 2, 15)
    first, second = (run.id for run in lab.runs(task_id))
    assert not any(is_alive(pid) for pid in family(lab, first))
    eventually(lambda: times(lab, second))
    sleeper.send(CONT)
    eventually(lambda: "dropped" in sleeper.log)
    is_enough(lab)
    lab.becomes(task_id, "COMPLETED")
    assert slept + 1 < times(lab, first)[-1] < lease < times(lab, second)[0]
    assert [run.status for run in lab.runs(task_id)] == ["STOPPED", "COMPLETED"]
    other.send(TERM)
    assert other.wait() == 0
    lab.becomes(lab.queue("quick"), "COMPLETED")
    assert sleeper.log.count("dropped") == 1 and "unexpected" not in sleeper.log


def test_what_ended_with_the_lease_of_a_lone_sleeper_is_given_back_and_not_counted(
    lab: Lab,
) -> None:
    sleeper = start(lab, "forked")
    task_id = running(lab)
    [first] = lab.runs(task_id)
    lease = put_to_sleep(lab, sleeper)
    eventually(lambda: not any(is_alive(pid) for pid in family(lab, first.id)), 8)
    assert times(lab, first.id)[-1] < lease
    sleeper.send(CONT)
    eventually(lambda: len(lab.runs(task_id)) == 2)
    task = lab.becomes(task_id, "RUNNING")
    assert (task.times_lost, task.times_failed) == (0, 0)
    first = lab.runs(task_id)[0]
    assert (first.status, first.reason) == ("STOPPED", LAPSED)
    is_enough(lab)
    lab.becomes(task_id, "COMPLETED")


def test_a_run_that_ended_by_itself_while_its_worker_slept_is_what_it_was(lab: Lab) -> None:
    sleeper = start(lab, "forked")
    task_id = running(lab, "fails")
    lease = put_to_sleep(lab, sleeper)
    is_enough(lab)
    eventually(lambda: time.time() > lease, 8)
    sleeper.send(CONT)
    assert "by itself" in lab.becomes(task_id, "FAILED").reason
    assert len(lab.runs(task_id)) == 1


def test_while_nobody_can_write_to_the_database_runs_go_on_and_are_stored_once(lab: Lab) -> None:
    worker = start(lab, "forked")
    lab.start_worker("-b", "0.5")
    task_id = running(lab)
    [run] = lab.runs(task_id)
    with locked(lab, "EXCLUSIVE"):
        leases = [row.lease_until for row in lab.fresh()(lab.db.scheduler_worker).select()]
        eventually(lambda: time.time() > max(leases) + 2, 10)
        is_enough(lab)
        eventually(lambda: not any(is_alive(pid) for pid in family(lab, run.id)[1:]))
        lab.fresh()
    lab.becomes(task_id, "COMPLETED")
    assert times(lab, run.id)[-1] > max(leases)
    assert [(row.id, row.run_result) for row in lab.runs(task_id)] == [(run.id, '"done"')]
    logs = "".join(one.log for one in lab.workers)
    assert logs.count(f"run {run.id} of task") == 1 and LAPSED not in worker.log


@contextlib.contextmanager
def behind_a_cable(lab: Lab) -> Iterator[tuple[Cable, Worker]]:
    """A worker that reaches its database through it; all others do so directly."""
    cable = Cable(lab.server.address.port)
    lab.write_tasks(SOURCE)
    direct, _ = lab.uri, lab.db
    try:
        lab.uri = lab.uri.replace(f":{lab.server.address.port}/", f":{cable.port}/")
        worker = lab.start_worker("-b", "0.5")
        lab.uri = direct
        yield cable, worker
    finally:
        cable.close()


def taken_over(lab: Lab, task_id: int) -> tuple[int, int]:
    """Wait for the second run of a task, of which the first must have ended; both runs' ids."""
    eventually(lambda: len(lab.runs(task_id)) == 2, 15)
    first, second = (run.id for run in lab.runs(task_id))
    assert not any(is_alive(pid) for pid in family(lab, first))
    eventually(lambda: times(lab, second))
    return first, second


def test_a_host_that_is_cut_off_ends_its_runs_before_others_start_them_again(
    server_lab: Lab,
) -> None:
    lab = server_lab
    with behind_a_cable(lab) as (cable, cut_off):
        task_id = running(lab)
        cable.cut()
        cut_at = time.time()
        lab.start_worker("-b", "0.5")
        first, second = taken_over(lab, task_id)
        cable.mend()
        eventually(lambda: "dropped" in cut_off.log)
        is_enough(lab)
        lab.becomes(task_id, "COMPLETED")
        assert cut_at + 1 < times(lab, first)[-1] < times(lab, second)[0]
        assert [run.status for run in lab.runs(task_id)] == ["STOPPED", "COMPLETED"]
        assert cut_off.log.count("dropped") == 1


def test_a_worker_whose_own_proxy_goes_away_ends_its_runs_before_others_start_them_again(
    server_lab: Lab,
) -> None:
    """It is refused as by a server that is down, though the server is up."""
    lab = server_lab
    with behind_a_cable(lab) as (cable, _):
        task_id = running(lab)
        other = lab.start_worker("-b", "0.5")
        cable.pull_out()
        gone_at = time.time()
        first, second = taken_over(lab, task_id)
        is_enough(lab)
        lab.becomes(task_id, "COMPLETED")
        assert gone_at + 1 < times(lab, first)[-1] < times(lab, second)[0]
        assert lab.runs(task_id)[1].worker_name == lab.worker_row(other).worker_name


def test_runs_go_on_while_a_database_server_is_down_for_longer_than_the_lease(
    own_lab: Lab,
) -> None:
    lab = own_lab
    lab.write_tasks(SOURCE)
    workers = [lab.start_worker("-b", "0.5", "--slots", "2") for _ in range(2)]
    task_id = running(lab)
    [run] = lab.runs(task_id)
    for _ in range(500):  # so that the server goes away in the middle of questions
        lab.scheduler.queue_task("quick")
    lab.db.commit()
    lab.becomes(lab.queue("quick", priority=100), "COMPLETED")
    lab.db.close()
    lab._db = None  # its connection would be a broken one
    lab.server.stop()
    down_at = time.time()
    eventually(lambda: time.time() > down_at + 6, 10)
    is_enough(lab)
    eventually(lambda: not any(is_alive(pid) for pid in family(lab, run.id)[1:]))
    lab.server.start()
    lab.becomes(task_id, "COMPLETED")
    assert times(lab, run.id)[-1] > down_at + 5
    assert [(row.id, row.run_result) for row in lab.runs(task_id)] == [(run.id, '"done"')]
    assert not any("died" in worker.log for worker in workers)


def test_nothing_is_handed_out_after_the_lease_and_runners_come_back_with_the_next(
    lab: Lab,
) -> None:
    runners = Runners(lab, SOURCE)
    pool = runners.pool
    try:
        runners.until(lambda: pool.idle() == 1)
        [old] = pool.runners
        pool.allow(SYSTEM.monotonic())
        assert not pool.hand_out(an_order(function_name="quick"))
        runners.until(lambda: old not in pool.runners and pool.idle() == 1)
        assert not pool.hand_out(an_order(function_name="quick"))
        pool.allow(SYSTEM.monotonic() + 60)
        assert pool.hand_out(an_order(function_name="quick"))
        results = []
        runners.until(lambda: results.extend(pool.news().results) or results)
        assert results[0].outcome == "COMPLETED"
    finally:
        runners.close()
