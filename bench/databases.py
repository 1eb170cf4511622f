"""SQLite, PostgreSQL and MySQL side by side, in one run: `python -m bench.databases`

For each: from the return of the commit to the first statement of the task's function, with an idle
worker; and how many tasks that do nothing one worker with two slots drains in a second. The
databases take their turns, round after round, and the medians are told, so that a noisy machine is
noisy for all. Servers are throw-away ones on this machine, with their durable settings; SQLite is
in write-ahead mode, as workers leave it.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydal import DAL

from plugin_scheduler import Scheduler

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from databases import MySQL, PostgreSQL

TASKS = "import time\ndef now(): return time.time()\ndef nothing(): return None\n"
ROUNDS, STARTS, DRAINED = 3, 40, 2000
HASTE = ("--fsync", "--full_page_writes", "--innodb-flush-log", "--innodb-doublewrite")


class Durable:
    """Without the settings that make tests fast."""

    def command(self) -> list[str]:
        whole: list[str] = super().command()  # type: ignore[misc]
        return [part for part in whole if not part.startswith(HASTE)]


class DurablePostgreSQL(Durable, PostgreSQL):
    """PostgreSQL as people run it."""


class DurableMySQL(Durable, MySQL):
    """MySQL or MariaDB as people run it."""


def main() -> None:
    found: dict[str, dict[str, list[float]]] = {}
    with contextlib.ExitStack() as stack:
        places = {"SQLite": "sqlite://storage.sqlite"}
        for server in (DurablePostgreSQL, DurableMySQL):
            running = stack.enter_context(server())
            places[running.title] = stack.enter_context(running.fresh_database())
        folders = {name: stack.enter_context(tempfile.TemporaryDirectory()) for name in places}
        for number in range(1, ROUNDS + 1):
            for name, uri in places.items():
                print(f"round {number}: {name}", file=sys.stderr, flush=True)
                measure(uri, folders[name], found.setdefault(name, {"delays": [], "rates": []}))
    tell(found)


def measure(uri: str, folder: str, into: dict[str, list[float]]) -> None:
    Path(folder, "tasks.py").write_text(TASKS)
    db = DAL(uri, folder=folder)
    scheduler = Scheduler(db, tasks={})
    db.commit()
    with a_worker(uri, folder):
        run(scheduler)  # the first start is not an idle worker's
        into["delays"] += [run(scheduler) for _ in range(STARTS)]
    scheduler.queue_tasks({"function": "nothing"} for _ in range(DRAINED))
    db.commit()
    with a_worker(uri, folder):
        into["rates"].append(drain(scheduler))
    db.close()


@contextlib.contextmanager
def a_worker(uri: str, folder: str) -> Iterator[None]:
    where = ["-u", uri, "-f", folder, "-t", f"{folder}/tasks.py", "-n", "2", "-L", "WARNING"]
    worker = subprocess.Popen([sys.executable, "-m", "plugin_scheduler", *where])
    try:
        yield
    finally:
        worker.terminate()
        worker.wait()


def run(scheduler: Scheduler) -> float:
    """Seconds from the commit to the first statement."""
    time.sleep(0.3)
    task = scheduler.queue_task("now")
    scheduler.db.commit()
    committed = time.time()
    while True:
        status: Any = scheduler.task_status(task.id, output=True)
        scheduler.db.commit()
        if status.scheduler_task.status == "COMPLETED":
            return float(status.result) - committed
        time.sleep(0.01)


def drain(scheduler: Scheduler) -> float:
    """Tasks a second, between the first tenth and the last."""
    task = scheduler.db.scheduler_task
    pending = (task.function_name == "nothing") & (task.status != "COMPLETED")
    marks: list[tuple[float, int]] = []
    while True:
        left = scheduler.db(pending).count()
        scheduler.db.commit()
        marks.append((time.monotonic(), left))
        if not left:
            break
        time.sleep(0.05)
    steady = [mark for mark in marks if 0.1 * DRAINED < mark[1] < 0.9 * DRAINED]
    (begun, first), (ended, last) = steady[0], steady[-1]
    return (first - last) / (ended - begun)


def tell(found: dict[str, dict[str, list[float]]]) -> None:
    usual = statistics.median(found["SQLite"]["rates"])
    print(f"{'':12} {'start p50':>10} {'start p95':>10} {'tasks/s':>9} {'of SQLite':>9}")
    for name, one in found.items():
        centiles, rate = statistics.quantiles(one["delays"], n=100), statistics.median(one["rates"])
        print(
            f"{name:12} {centiles[49] * 1000:7.1f} ms {centiles[94] * 1000:7.1f} ms"
            f" {rate:9.0f} {rate / usual:9.2f}"
        )


if __name__ == "__main__":
    main()
