"""What tasks leave behind: redirected output, children, daemons, files; and runners that were not
forked."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path

import psutil
import pytest
from support.apps_for_tests import APP, write_app
from support.kit import INT, TERM, Lab, Worker, eventually, is_alive

SOURCE = "import contextlib\ndef quick(name='quick'): mark(name)\n"


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


def test_a_task_that_uses_descriptors_that_are_not_its_own_harms_itself_alone(lab: Lab) -> None:
    lab.write_tasks(
        SOURCE
        + """
def to_all(act):
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            act(fd)
def scribbles():
    to_all(lambda fd: os.write(fd, b"x" * 100))
    time.sleep(60)
def cuts(): to_all(lambda fd: os.ftruncate(fd, 0))
def dies_reading():
    def read(fd):
        os.set_blocking(fd, False)
        os.read(fd, 1000)
    to_all(read)
    os._exit(3)
def shuts():
    os.closerange(3, 64)
    time.sleep(60)
"""
    )
    worker = lab.start_worker("-n", "2")
    task = lab.becomes(lab.queue("scribbles", timeout=600), "FAILED", within=8)
    assert task.reason_code == "runner_unreadable"
    task = lab.becomes(lab.queue("shuts", timeout=600), "FAILED", within=8)
    assert task.reason_code == "runner_died"
    task = lab.becomes(lab.queue("dies_reading", timeout=600), "FAILED", within=8)
    assert "exit status 3" in task.reason
    lab.becomes(lab.queue("cuts"), "COMPLETED", within=8)
    for _ in range(3):
        lab.becomes(lab.queue("quick"), "COMPLETED", within=8)
    assert "Traceback" not in worker.log


def no_more_files(pid: int) -> tuple[int, int]:
    """From now on that process can open none; its limits as they were."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    return resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_process_without_room_delays_or_fails_what_needs_it_and_nothing_else(lab: Lab) -> None:
    lab.write_tasks(
        SOURCE
        + """
import resource
def hoards():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    with contextlib.suppress(OSError):
        while True:
            os.open("/dev/null", 0)
    return "done"
def too_large():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    return "y" * 3_000_000
def large(text): return "z" * 3_000_000
def long():
    while not os.path.exists("end"): time.sleep(0.02)
"""
    )
    worker = lab.start_worker("-n", "2")
    lab.becomes(lab.queue("hoards"), "COMPLETED", within=8)
    task = lab.becomes(lab.queue("too_large"), "FAILED", within=8)
    assert "File too large" in task.reason
    long = lab.queue("long")
    lab.becomes(long, "RUNNING")
    forkserver = next(one for one in worker.family() if "forkserver" in " ".join(one.cmdline()))
    limits = {pid: no_more_files(pid) for pid in (worker.pid, forkserver.pid)}
    large = lab.queue("large", "x" * 200_000)
    lab.becomes(lab.queue("quick"), "COMPLETED", within=8)
    lab.becomes(lab.queue("hoards"), "COMPLETED", within=8)  # its runner has to be replaced
    assert lab.task(long).status == "RUNNING"
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    lab.becomes(lab.queue("quick"), "COMPLETED", within=8)
    (lab.folder / "end").touch()
    lab.becomes(long, "COMPLETED", within=8)
    lab.becomes(large, "COMPLETED", within=15)
    assert "Traceback" not in worker.log


def test_a_child_left_behind_hides_neither_a_death_nor_a_slot(lab: Lab) -> None:
    lab.write_tasks(
        SOURCE
        + """
def leaves_a_child():
    if os.fork() == 0:
        os.setsid()
        with open("child", "w") as file: file.write(str(os.getpid()))
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
    os.kill(int((lab.folder / "child").read_text()), signal.SIGKILL)


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


def test_runners_that_were_not_forked_die_with_their_worker(threaded: Lab) -> None:
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


def test_a_worker_uses_nothing_in_the_shared_temporary_folder(lab: Lab) -> None:
    place = lab.folder / "tmp"
    for name in ("fifo", "of_another", "linked"):
        (place / f"plugin-scheduler-{name}").mkdir(parents=True)
    os.mkfifo(place / "plugin-scheduler-fifo" / "alive")
    os.mkfifo(place / "plugin-scheduler-whole")
    (place / "plugin-scheduler-linked" / "alive").symlink_to("/dev/tty")
    if os.geteuid() == 0:
        os.chown(place / "plugin-scheduler-of_another", 65534, 65534)
    before = sorted(place.rglob("*"))
    lab.write_tasks("def size(text): return len(text)\ndef much(): return 'y' * 3_000_000")
    worker = lab.start_worker(TMPDIR=str(place))
    large, result = lab.queue("size", "x" * 200_000), lab.queue("much")
    lab.becomes(large, "COMPLETED")
    lab.becomes(result, "COMPLETED")
    assert lab.runs(large)[0].run_result == "200000"
    assert len(lab.runs(result)[0].run_result) == 3_000_002
    worker.send(TERM)
    worker.wait()
    assert sorted(place.rglob("*")) == before


def test_a_large_result_outlives_its_process(lab: Lab) -> None:
    lab.write_tasks("def much(): return 'y' * 3_000_000")
    worker = lab.start_worker()
    task_id = lab.queue("much")

    def its_process() -> psutil.Process | None:
        for one in worker.family():
            with contextlib.suppress(psutil.Error):  # it is gone by now
                if "large_result" in " ".join(one.cmdline()):
                    return one
        return None

    one = eventually(its_process)
    one.kill()
    lab.becomes(task_id, "COMPLETED")
    assert len(lab.runs(task_id)[0].run_result) == 3_000_002


def test_a_daemon_of_a_tasks_child_can_be_ended_like_any_other(lab: Lab) -> None:
    lab.write_tasks(
        SOURCE
        + """
def daemonizes():
    if os.fork() == 0:
        mine = os.open("mine", os.O_WRONLY | os.O_CREAT)
        if os.fork() == 0:
            os.write(mine, b"still open")
            open("daemon.pid", "w").write(str(os.getpid()))
            time.sleep(60)
        os._exit(0)
    os.wait()
"""
    )
    lab.start_worker()
    lab.becomes(lab.queue("daemonizes"), "COMPLETED")
    file = lab.folder / "daemon.pid"
    pid = int(eventually(lambda: file.exists() and file.read_text()))
    assert (lab.folder / "mine").read_text() == "still open"
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not is_alive(pid), 3)
