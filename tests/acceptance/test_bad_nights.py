"""The worst nights: locks, sleep, poison rows, redirected output, stray processes."""

from __future__ import annotations

import signal
import sqlite3
import time
from pathlib import Path

import pytest
from apps_for_tests import APP, write_app
from kit import CONT, INT, STOP, TERM, Lab, Worker, eventually, is_alive

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
    assert (task.times_lost, len(lab.runs(running))) == (0, 1)


def test_a_refused_second_worker_of_a_name_leaves_the_firsts_work_alone(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    lab.start_worker("-b", "0.3", "-w", "w1")
    running = lab.queue("long", 4)
    lab.becomes(running, "RUNNING")
    second = lab.start_worker("-b", "0.3", "-w", "w1", ready=False)
    assert second.wait() == 2
    assert lab.task(running).status == "RUNNING"
    lab.becomes(running, "COMPLETED")
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


def test_a_task_that_redirects_or_closes_its_output_is_told_as_what_it_was(lab: Lab) -> None:
    lab.write_tasks(
        SOURCE
        + """
def redirects():
    fd = os.open("elsewhere", os.O_WRONLY | os.O_CREAT)
    os.dup2(fd, 1); os.dup2(fd, 2)
    print("lost")
    return "done"
def closes():
    sys.stdout.close(); sys.stderr.close()
    return "done"
def closes_deeper():
    os.close(1); os.close(2)
    return "done"
def prints():
    print("here")
    return "done"
"""
    )
    lab.start_worker()
    for name in ("redirects", "closes", "closes_deeper"):
        lab.becomes(lab.queue(name, timeout=20), "COMPLETED", within=8)
        after = lab.queue("prints")
        lab.becomes(after, "COMPLETED", within=8)
        assert lab.runs(after)[0].run_output == "here\n"


def test_a_child_left_behind_hides_neither_a_death_nor_a_slot(lab: Lab) -> None:
    lab.write_tasks(
        SOURCE
        + """
def leaves_a_child():
    if os.fork() == 0:
        os.setsid()
        time.sleep(30)
        os._exit(0)
def dies(): os._exit(3)
"""
    )
    lab.start_worker()
    lab.becomes(lab.queue("leaves_a_child"), "COMPLETED")
    task = lab.becomes(lab.queue("dies", timeout=60), "FAILED", within=8)
    assert "exit status 3" in task.reason
    lab.becomes(lab.queue("quick"), "COMPLETED", within=8)


def test_processes_that_a_task_makes_can_be_ended_like_any_other(lab: Lab) -> None:
    lab.write_tasks(
        SOURCE
        + """
import multiprocessing
def pool():
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as workers:
        assert workers.map(abs, [-1, -2]) == [1, 2]
    child = context.Process(target=time.sleep, args=(60,))
    child.start(); child.terminate(); child.join(5)
    return child.exitcode
"""
    )
    lab.start_worker()
    task_id = lab.queue("pool", timeout=30)
    lab.becomes(task_id, "COMPLETED", within=15)
    assert lab.runs(task_id)[0].run_result == str(-signal.SIGTERM)


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


@pytest.fixture
def threaded(lab: Lab) -> Lab:
    """An app that starts a thread when it is loaded, so that its runners cannot be forked."""
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()\n"
    work = "def long(): time.sleep(60)\ndef dies(): os._exit(3)\ndef quick(): pass\n"
    lab.folder = write_app(lab.folder, "shop", thread + APP + work)
    return lab


def start_shop(lab: Lab, *arguments: str) -> Worker:
    worker = Worker(["-K", "shop", *arguments], lab.folder.parent.parent, {})
    lab.workers.append(worker)
    return worker


def test_runners_that_were_not_forked_die_with_their_supervisor(threaded: Lab) -> None:
    worker = start_shop(threaded)
    task_id = threaded.queue("long", application_name="shop")
    threaded.becomes(task_id, "RUNNING")
    family = [process.pid for process in worker.family()]
    assert "runners are started as new interpreters" in worker.log and len(family) >= 2
    worker.kill()
    eventually(lambda: not any(is_alive(pid) for pid in family), 5)


def test_a_spawned_runner_that_dies_is_told_in_words_too(threaded: Lab) -> None:
    worker = start_shop(threaded)
    task = threaded.becomes(threaded.queue("dies", application_name="shop"), "FAILED")
    assert "exit status 3" in task.reason
    threaded.becomes(threaded.queue("quick", application_name="shop"), "COMPLETED")
    worker.send(TERM)
    assert worker.wait() == 0


def test_ctrl_c_is_answered_while_an_app_takes_its_time_to_load(tmp_path: Path) -> None:
    write_app(tmp_path, "slow", "open('loading', 'w').close()\nimport time\ntime.sleep(60)\n")
    worker = Worker(["-K", "slow"], tmp_path, {})
    try:
        eventually(lambda: (tmp_path / "loading").exists(), 10)
        family = [process.pid for process in worker.family()]
        worker.send(INT)
        assert worker.wait(5) == 130
        eventually(lambda: not any(is_alive(pid) for pid in family), 3)
    finally:
        if worker.process.poll() is None:
            worker.kill()


def test_nothing_is_left_in_the_temporary_folder(lab: Lab) -> None:
    place = lab.folder / "tmp"
    place.mkdir()
    lab.write_tasks("def much(): return 'y' * 3_000_000\ndef big(): mark(); return 'y' * 3_000_000")
    worker = lab.start_worker(TMPDIR=str(place))
    lab.becomes(lab.queue("much"), "COMPLETED")
    lab.becomes(lab.queue("big"), "COMPLETED")
    spool = next(place.iterdir())
    eventually(lambda: [path.name for path in spool.iterdir()] == ["alive"])
    assert spool.stat().st_mode & 0o077 == 0
    worker.kill()
    lab.start_worker(TMPDIR=str(place)).send(TERM)
    lab.workers[-1].wait()
    assert list(place.iterdir()) == [], "the next one removes what a dead one has left"


def test_a_broadcast_reaches_the_workers_of_its_own_app_only(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    first = lab.start_worker("-w", "one")
    copies = lab.queue("quick", "hello", broadcast=True, application_name="elsewhere")
    lab.db(lab.db.scheduler_worker.worker_name == "one").update(application_name="lab")
    lab.db.commit()
    lab.becomes(lab.queue("quick"), "COMPLETED")
    assert lab.task(copies).times_run == 0 and first.process.poll() is None
    lab.db(lab.db.scheduler_worker.worker_name == "one").update(application_name="elsewhere")
    lab.db.commit()
    eventually(lambda: len(lab.marks("hello")) == 1, 6)
