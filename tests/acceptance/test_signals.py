"""Signals of terminals, shells and service managers, at every moment of a worker's life."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.kit import COMMAND, Lab, eventually, is_alive

SLEEPERS = """
def long(seconds=60):
    mark("began"); db.commit()
    time.sleep(seconds)
    return "slept"
"""
#: A driver that pydal tries to import, as it tries all that it knows.
DRIVER = """
import os, signal, sys
if {who!r} in " ".join(sys.orig_argv):
    os.kill(os.getpid(), signal.{name})
raise ImportError("no driver")
"""


def test_each_signal_has_its_meaning_and_none_counts_as_a_loss(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker()
    task_id = lab.queue("long")
    eventually(lambda: lab.marks("began"), 40)
    (run,) = lab.runs()
    for process in worker.family():  # as `systemctl kill` and `pkill` reach them, too
        for number in (1, 2, 3, 10, 12):
            process.send_signal(number)
    worker.send(signal.SIGUSR2)
    worker.send(signal.SIGUSR1)
    label = f"run {run.id} of task {task_id} long for "
    eventually(lambda: label in worker.log)
    assert "signal SIGUSR2 ignored" in worker.log
    assert (
        "leader: yes, database: answers; 0 tasks claimed but not running, 1 running" in worker.log
    )
    worker.send(signal.SIGQUIT)
    assert worker.wait() == 128 + signal.SIGQUIT
    row = lab.task(task_id)
    assert (row.status, row.times_lost, row.times_failed) == ("QUEUED", 0, 0)
    assert len(lab.marks("began")) == 1, "its runner was hurt"
    assert "Traceback" not in worker.log


def test_a_terminal_that_hangs_up_ends_a_worker_as_sigterm_does_but_not_under_nohup(
    lab: Lab,
) -> None:
    lab.write_tasks(SLEEPERS)
    _ = lab.db
    base = ["-u", lab.uri, "-f", str(lab.folder), "-t", str(lab.folder / "tasks.py"), "-b", "0.3"]
    left = hung_up([*COMMAND, *base], lab.folder)
    stays = hung_up(["nohup", *COMMAND, *base], lab.folder)
    try:
        eventually(lambda: len(lab.worker_names()) == 2, 60)
        task_id = lab.queue("long", 1)
        lab.becomes(task_id, "RUNNING", within=60)
        for _, terminal in (left, stays):
            os.close(terminal)
        assert wait(left[0]) == 0
        assert lab.becomes(task_id, "COMPLETED", within=60).times_lost == 0
        assert is_alive(stays[0]) and len(lab.worker_names()) == 1
        os.kill(stays[0], signal.SIGTERM)
        assert wait(stays[0]) == 0
    finally:
        for pid, _ in (left, stays):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_a_hangup_without_a_terminal_loads_the_app_anew_and_what_runs_ends_as_it_began(
    lab: Lab,
) -> None:
    source = """
        def version():
            return {0}
        def long():
            mark("began"); db.commit()
            while not os.path.exists("go"):
                time.sleep(0.02)
            return {0}
        """
    lab.write_tasks(source.format(1))
    worker = lab.start_worker("-n", "2")
    first = lab.queue("long")
    eventually(lambda: lab.marks("began"), 40)
    lab.write_tasks(source.format(22) + "\n        def newer(): return 3")
    worker.send(signal.SIGHUP)
    eventually(lambda: "has reloaded its app: 4 tasks known" in worker.log, 60)
    newer = lab.queue("newer")
    lab.becomes(newer, "COMPLETED", within=60)
    lab.write_tasks("1 / 0")
    worker.send(signal.SIGHUP)
    eventually(lambda: "could not reload its app and keeps" in worker.log, 60)
    assert "ZeroDivisionError" in worker.log
    second = lab.queue("version")
    lab.becomes(second, "COMPLETED", within=60)
    (lab.folder / "go").touch()
    lab.becomes(first, "COMPLETED", within=60)
    results = [lab.runs(one)[0].run_result for one in (first, newer, second)]
    assert results == ["1", "3", "22"]
    assert all(lab.task(one).times_lost == 0 for one in (first, newer, second))
    family = {process.pid for process in worker.family()}
    worker.send(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert not any(map(is_alive, family))
    assert "Traceback" not in worker.log


def hung_up(command: list[str], folder: Path) -> tuple[int, int]:
    """A process with a terminal of its own; its pid, and the terminal's other end."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(folder)  # nohup writes a file there
        os.execvp(command[0], command)
    os.set_inheritable(terminal, False)  # or the next one would hold this one open
    return pid, terminal


def wait(pid: int) -> int:
    def ended() -> tuple[int, int] | None:
        found = os.waitpid(pid, os.WNOHANG)
        return found if found[0] else None

    return os.waitstatus_to_exitcode(eventually(ended, 60, "it leaves")[1])


@pytest.mark.parametrize("way", ["script", "module"])
def test_ctrl_c_while_drivers_are_imported_is_not_lost(lab: Lab, way: str) -> None:
    lab.write_tasks(SLEEPERS)
    _ = lab.db
    who = "scheduler.py" if way == "script" else "plugin_scheduler"
    (lab.folder / "cx_Oracle.py").write_text(DRIVER.format(who=who, name="SIGINT"))
    command = COMMAND if way == "script" else [sys.executable, "-m", "plugin_scheduler"]
    arguments = ["-u", lab.uri, "-f", ".", "-t", "tasks.py"]
    code, said = run(lab.folder, [*command, *arguments])
    assert (code, said.count("Traceback")) == (130, 0), said
    assert "this worker stopped: Ctrl+C during startup" in said


def test_signals_that_reach_a_forkserver_while_it_loads_do_no_harm(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    for number, name in enumerate(("SIGINT", "SIGTERM", "SIGHUP")):
        driver = ("cx_Oracle", "kinterbasdb", "Sybase")[number]
        (lab.folder / f"{driver}.py").write_text(DRIVER.format(who="forkserver", name=name))
    worker = lab.start_worker(PYTHONPATH=str(lab.folder))
    assert lab.becomes(lab.queue("long", 0), "COMPLETED", within=60)
    assert "Traceback" not in worker.log


def run(folder: Path, command: list[str]) -> tuple[int, str]:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=90)
    return done.returncode, done.stdout + done.stderr


def test_a_worker_whose_log_nobody_reads_works_and_stops_like_any_other(lab: Lab) -> None:
    lab.write_tasks("def fails(): raise ValueError('a line of the log' * 5)")
    ids = [lab.queue("fails") for _ in range(200)]
    unread, log = os.pipe()
    fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, 4096)
    where = ["-u", lab.uri, "-f", str(lab.folder), "-t", str(lab.folder / "tasks.py")]
    worker = subprocess.Popen(
        [*COMMAND, *where, "-b", "1", "-L", "DEBUG"], stdin=subprocess.DEVNULL, stderr=log
    )
    try:
        lab.becomes(ids[-1], "FAILED")
        assert len(os.read(unread, 4096)) > 3500, "the pipe was full"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    finally:
        worker.kill()
        worker.wait()
        os.close(unread)
        os.close(log)
