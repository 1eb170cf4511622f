"""The worst nights: locks, sleep, poison rows, redirected output, stray processes."""

from __future__ import annotations

import sqlite3
import time

import pytest
from support.kit import CONT, STOP, Lab, eventually

SOURCE = """
def quick(name="quick"): mark(name)
def long(seconds=60):
    db.mark.insert(name="began", run_id=current_task.run_id, at=time.time()); db.commit()
    time.sleep(seconds)
    return "slept"
"""


def hold_the_write_lock(lab: Lab, seconds: float) -> None:
    """What an app does that writes first and thinks afterwards."""
    other = sqlite3.connect(lab.folder / "storage.sqlite", isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > seconds, seconds + 5)
    other.execute("COMMIT")
    other.close()


def test_a_lock_longer_than_the_lease_buries_nobody(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    workers = [lab.start_worker("-b", "0.3") for _ in range(2)]
    running = [lab.queue("long", 7) for _ in range(2)]
    for task_id in running:
        lab.becomes(task_id, "RUNNING")
    hold_the_write_lock(lab, 4)  # the lease is 2.9 s
    for task_id in running:
        task = lab.becomes(task_id, "COMPLETED")
        assert (task.times_lost, len(lab.runs(task_id))) == (0, 1)
    assert not any("died" in worker.log for worker in workers)


def test_a_worker_that_slept_alone_does_not_bury_itself(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    worker = lab.start_worker("-b", "0.3")
    running = lab.queue("long", 6)
    lab.becomes(running, "RUNNING")
    worker.send(STOP)
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 4, 6)
    worker.send(CONT)
    task = lab.becomes(running, "COMPLETED")
    first, second = lab.runs(running)
    assert (first.outcome, second.outcome) == ("INTERRUPTED", "COMPLETED")
    assert first.reason_code == "lease_lost" and "could not renew its lease" in first.reason
    assert task.times_lost == 0 and "died" not in worker.log


def test_a_refused_second_worker_of_a_name_leaves_the_firsts_work_alone(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    lab.start_worker("-b", "0.3", "-w", "w1")
    running = lab.queue("long", 14)
    lab.becomes(running, "RUNNING")
    second = lab.start_worker("-b", "0.3", "-w", "w1", ready=False)
    assert second.wait() == 2
    assert lab.task(running).status == "RUNNING"
    lab.becomes(running, "COMPLETED", within=20)
    assert len(lab.runs(running)) == 1


def test_a_worker_that_wakes_up_and_finds_its_name_taken_leaves(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    first = lab.start_worker("-b", "0.3", "-w", "w1")
    running = lab.queue("long", 5)
    lab.becomes(running, "RUNNING")
    first.send(STOP)
    lab.start_worker("-b", "0.3", "-w", "w1", ready=False)
    eventually(lambda: len(lab.runs(running)) == 2, 12)
    first.send(CONT)
    assert first.wait() == 2
    lab.becomes(running, "COMPLETED")
    assert [run.status for run in lab.runs(running)] == ["STOPPED", "COMPLETED"]


def test_a_text_that_no_database_takes_does_not_stop_the_worker(lab: Lab) -> None:
    lab.write_tasks(SOURCE + "\ndef bad(): raise ValueError('caf\\udce9\\x00.txt')")
    lab.start_worker()
    task = lab.becomes(lab.queue("bad"), "FAILED")
    assert task.reason.startswith("ValueError: caf?")
    lab.becomes(lab.queue("quick"), "COMPLETED")


UNREADABLE = {
    "a time that is a number": ("next_run_time", 5),
    "an empty time": ("next_run_time", ""),
    "a day that is none": ("next_run_time", "2026-01-32 00:00:00"),
    "a stop_time in words": ("stop_time", "never"),
    "bytes that are no UTF-8": ("args", b'["caf\xe9"]'),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_row_that_cannot_be_read_stands_in_nobodys_way(lab: Lab, what: str) -> None:
    lab.write_tasks(SOURCE)
    column, value = UNREADABLE[what]
    poison = lab.queue("quick", "poison", priority=5)
    raw = sqlite3.connect(lab.folder / "storage.sqlite")
    text = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
    raw.execute(f"UPDATE scheduler_task SET {column} = {text} WHERE id = ?", (value, poison))
    raw.commit()
    worker = lab.start_worker("-b", "0.5")
    lab.becomes(lab.queue("quick"), "COMPLETED")

    def status() -> str:
        return str(raw.execute("SELECT status FROM scheduler_task WHERE id = 1").fetchone()[0])

    eventually(lambda: status() == ("COMPLETED" if value == "" else "FAILED"), 5)
    assert worker.process.poll() is None
    raw.close()


@pytest.mark.parametrize("status", ["STOPPED", "QUEUED"])
def test_a_status_edited_by_hand_ends_the_run_and_closes_its_row(lab: Lab, status: str) -> None:
    lab.write_tasks(SOURCE)
    lab.start_worker("-n", "2")
    task_id = lab.queue("long", 3)
    lab.becomes(task_id, "RUNNING")
    lab.db.scheduler_task(task_id).update_record(status=status)
    lab.db.commit()
    eventually(lambda: lab.runs(task_id)[0].status == "STOPPED", 6)
    if status == "QUEUED":
        lab.becomes(task_id, "COMPLETED")
        first, second = lab.runs(task_id)
        assert second.status == "COMPLETED" and first.id < second.id
    else:
        assert lab.task(task_id).status == "STOPPED"


def test_a_running_task_whose_history_is_deleted_starts_anew(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    lab.start_worker()
    task_id = lab.queue("long", 2)
    lab.becomes(task_id, "RUNNING")
    first = lab.task(task_id).run_id
    lab.db(lab.db.scheduler_run).delete()
    lab.db.commit()
    lab.becomes(task_id, "COMPLETED")
    assert [run.id > first for run in lab.runs(task_id)] == [True]


def test_groups_edited_by_hand_are_what_the_worker_serves(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    lab.start_worker()
    mail = lab.queue("quick", group_name="mail")
    lab.fresh()
    lab.db(lab.db.scheduler_worker).update(group_names=["mail"])
    lab.db.commit()
    lab.becomes(mail, "COMPLETED", within=5)
    main = lab.queue("quick")
    lab.becomes(lab.queue("quick", group_name="mail"), "COMPLETED", within=5)
    assert lab.task(main).status == "QUEUED"


def test_a_broadcast_reaches_the_workers_of_its_own_app_only(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    first = lab.start_worker("-w", "one")
    lab.db(lab.db.scheduler_worker.worker_name == "one").update(application_name="lab")
    lab.db.commit()
    lease = lab.worker_row(first).lease_until
    # The round that is going on may have read the row before.
    eventually(lambda: lab.worker_row(first).lease_until > lease)
    copies = lab.queue("quick", "hello", broadcast=True, application_name="elsewhere")
    lab.becomes(lab.queue("quick"), "COMPLETED")
    assert lab.task(copies).times_run == 0 and first.process.poll() is None
    lab.db(lab.db.scheduler_worker.worker_name == "one").update(application_name="elsewhere")
    lab.db.commit()
    eventually(lambda: len(lab.marks("hello")) == 1, 6)


def test_locks_that_come_again_and_again_do_not_keep_a_dead_worker_alive(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    dead = lab.start_worker("-b", "0.5")
    running = lab.queue("long", 1)
    lab.becomes(running, "RUNNING")
    dead.kill()
    lab.start_worker("-b", "0.5", ready=False)
    for _ in range(4):
        hold_the_write_lock(lab, 1.5)
        began = time.monotonic()
        eventually(lambda since=began: time.monotonic() - since > 1.2)
    assert len(lab.runs(running)) == 2, "recovered between the locks"


def test_tasks_that_are_deleted_while_a_worker_has_them_in_hand_harm_nobody(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    worker = lab.start_worker()
    for _ in range(20):
        lab.becomes(lab.queue("quick"), "COMPLETED")  # short ones: more are taken in hand
    task = lab.db.scheduler_task
    lab.scheduler.queue_task("long", [2])
    lab.scheduler.queue_tasks({"function": "quick", "pargs": ["in hand"]} for _ in range(200))
    lab.db.commit()
    eventually(lambda: not lab.fresh()(task.status == "RUNNING").isempty())
    lab.db(task.status.belongs(("RUNNING", "QUEUED"))).delete()
    lab.db.commit()
    lab.becomes(lab.queue("quick"), "COMPLETED")
    assert worker.process.poll() is None and "unexpected" not in worker.log


def test_a_task_of_tomorrow_that_cannot_be_read_is_found_too(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    lab.queue("quick")
    raw = sqlite3.connect(lab.folder / "storage.sqlite")
    raw.execute("UPDATE scheduler_task SET next_run_time = '2099-99-99 10:00:00'")
    raw.commit()
    worker = lab.start_worker("-b", "0.3")
    raw.execute("INSERT INTO scheduler_worker (worker_name, lease_until) VALUES ('odd', 'soon')")
    raw.commit()
    lab.becomes(lab.queue("quick", priority=0), "COMPLETED")
    query = "SELECT status FROM scheduler_task WHERE id = 1"
    eventually(lambda: raw.execute(query).fetchone()[0] == "FAILED", 5)
    names = "SELECT worker_name FROM scheduler_worker"
    eventually(lambda: "odd" not in str(raw.execute(names).fetchall()), 8)
    assert worker.process.poll() is None
    raw.execute("UPDATE scheduler_task SET status = 'QUEUED', priority = -0.5")
    raw.commit()
    raw.close()
    lab.becomes(lab.queue("quick"), "COMPLETED")
