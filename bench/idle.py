"""How fast does an idle worker start a task, and what does waiting cost? `python -m bench.idle`

With default settings on SQLite: the time from the return of the commit to the first statement of
the task's function, and the share of one core that the idle worker takes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from pydal import DAL

from plugin_scheduler import Scheduler

TASKS = "import time\ndef now(): return time.time()\n"
STARTS, PAUSE, IDLE = 100, 0.1, 20.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tasks.py").write_text(TASKS)
        db = DAL("sqlite://storage.sqlite", folder=folder)
        scheduler = Scheduler(db, tasks={})
        worker = start_worker(folder)
        try:
            run(scheduler)  # the first start is not an idle worker's
            delays = [run(scheduler) for _ in range(STARTS)]
            share = idle_share(worker.pid)
        finally:
            worker.terminate()
            worker.wait()
    tell(delays, share)


def start_worker(folder: str) -> subprocess.Popen[bytes]:
    where = ["-u", "sqlite://storage.sqlite", "-f", folder, "-t", f"{folder}/tasks.py"]
    return subprocess.Popen([sys.executable, "-m", "plugin_scheduler", *where, "-L", "WARNING"])


def run(scheduler: Scheduler) -> float:
    """Seconds from the commit to the first statement."""
    time.sleep(PAUSE)
    task = scheduler.queue_task("now")
    scheduler.db.commit()
    committed = time.time()
    while True:
        status = scheduler.task_status(task.id, output=True)
        scheduler.db.commit()
        if status.scheduler_task.status == "COMPLETED":
            return float(status.result) - committed
        time.sleep(0.01)


def idle_share(pid: int) -> float:
    """Share of a core of the worker and all its processes."""
    time.sleep(1)
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    before = [sum(process.cpu_times()[:2]) for process in family]
    time.sleep(IDLE)
    after = [sum(process.cpu_times()[:2]) for process in family]
    return (sum(after) - sum(before)) / IDLE


def tell(delays: list[float], share: float) -> None:
    centiles = statistics.quantiles(delays, n=100)
    print(f"start latency, {len(delays)} tasks, SQLite, default settings:")
    for name, seconds in (("p50", centiles[49]), ("p95", centiles[94]), ("max", max(delays))):
        print(f"  {name}  {seconds * 1000:6.1f} ms")
    print(f"idle worker: {share:.2%} of a core")


if __name__ == "__main__":
    main()
