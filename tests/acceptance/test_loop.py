"""`loop()`: the program that calls it becomes a worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import os, subprocess, sys, threading, time, signal, logging
from pydal import DAL, Field
from plugin_scheduler import Scheduler
db = DAL("sqlite://s.sqlite", folder=".")
db.define_table("mark", Field("name"), Field("pid", "integer"))
"""
TAIL = """
def outcome():
    db.commit()
    return [(row.status, row.reason) for row in db(db.scheduler_task).select()]
"""


def run(folder: Path, source: str, name: str = "program.py") -> str:
    (folder / name).write_text(HEAD + source)
    done = subprocess.run(
        [sys.executable, "-W", "error", name],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_functions_of_a_script_run_and_what_was_queued_needs_no_commit(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        TAIL
        + """
def hello(name): db.mark.insert(name=name, pid=os.getpid())
if __name__ == "__main__":
    scheduler = Scheduler(db, heartbeat=0.3, max_empty_runs=1)
    scheduler.queue_task(hello, ["world"])
    assert scheduler.loop() == 0
    print(outcome(), [(row.name, row.pid != os.getpid()) for row in db(db.mark).select()])
""",
    )
    assert said == "[('COMPLETED', None)] [('world', True)]\n"


def test_a_program_with_more_than_a_thousand_open_files_is_a_worker_like_any_other(
    tmp_path: Path,
) -> None:
    said = run(
        tmp_path,
        TAIL
        + """
import resource
def hello(): return 1
if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    scheduler = Scheduler(db, heartbeat=0.3, max_empty_runs=1)
    scheduler.queue_task(hello)
    scheduler.loop()
    print(outcome())
""",
    )
    assert said == "[('COMPLETED', None)]\n"


def test_a_scheduler_without_tasks_is_no_worker(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
from plugin_scheduler import ConfigError
try:
    Scheduler(db, {}).loop()
except ConfigError as error:
    print(error)
""",
    )
    assert said.startswith("'standalone' has no tasks for a worker: pass")


def test_functions_of_a_namespace_that_was_execd_run(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        TAIL
        + """
namespace = {"db": db, "Scheduler": Scheduler, "__name__": "models"}
exec('''
def add(a, b): return a + b + W2P_TASK.id * 0
scheduler = Scheduler(db, heartbeat=0.3, max_empty_runs=1)
''', namespace)
scheduler = namespace["scheduler"]
scheduler.queue_task("add", [1, 2])
scheduler.loop()
print(outcome(), db(db.scheduler_run).select().first().run_result)
""",
    )
    assert said == "[('COMPLETED', None)] 3\n"


@pytest.mark.parametrize("use_spawn", [False, True])
def test_a_program_with_busy_threads_that_hold_locks_runs_tasks_without_hanging(
    tmp_path: Path, use_spawn: bool
) -> None:
    (tmp_path / "mytasks.py").write_text(
        HEAD
        + f"""
def log_something(n):
    logging.getLogger("x").warning("%s", n)
    return threading.active_count()
scheduler = Scheduler(db, heartbeat=0.5, max_empty_runs=1, slots=2, use_spawn={use_spawn})
"""
    )
    said = run(
        tmp_path,
        """
import mytasks

def busy():
    handler = logging.StreamHandler()
    while True:
        with handler.lock: time.sleep(0.001)
for _ in range(20): threading.Thread(target=busy, daemon=True).start()
scheduler = mytasks.scheduler
scheduler.queue_tasks({"function": "log_something", "pargs": [n]} for n in range(500))
assert scheduler.loop() == 0
db = mytasks.db
print(db(db.scheduler_task.status == "COMPLETED").count(),
      {row.run_result for row in db(db.scheduler_run).select()})
""",
    )
    assert said == "500 {'1'}\n"


def test_importing_and_making_a_scheduler_changes_nothing_in_the_process(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
import faulthandler
def state():
    umask = os.umask(0); os.umask(umask)
    return ([signal.getsignal(n) for n in (1, 2, 15, 17)], umask, os.getcwd(), sys.stdout,
            sys.stderr, logging.getLogger().handlers, logging.getLogger().level,
            threading.active_count(), faulthandler.is_enabled())
before = state()
import plugin_scheduler.scheduler, plugin_scheduler.worker.main_loop
def f(): pass
scheduler = Scheduler(db)
scheduler.queue_task(f); scheduler.task_status(1, output=True); scheduler.get_workers()
db.close()
assert state() == before, (before, state())
assert subprocess.run(["false"]).returncode == 1
print("unchanged")
""",
    )
    assert said == "unchanged\n"


def test_signal_handlers_are_put_back_after_the_loop(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
def mine(*_): pass
signal.signal(signal.SIGTERM, mine)
def f(): return subprocess.run(["false"]).returncode
scheduler = Scheduler(db, heartbeat=0.3, max_empty_runs=1)
scheduler.queue_task(f)
scheduler.loop()
assert signal.getsignal(signal.SIGTERM) is mine
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert subprocess.run(["false"]).returncode == 1
print(db(db.scheduler_run).select().first().run_result)
""",
    )
    assert said == "1\n"
