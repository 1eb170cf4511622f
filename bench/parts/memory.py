"""Memory of a worker, and its growth: this scheduler only, on SQLite.

Memory is that of all processes of the worker, with shared pages counted once (PSS). "The demo app":
a worker with two runners that has loaded `apps/demo` and has run one of its tasks in each runner.
"No-op tasks": a worker with two runners after --tasks tasks, and after 10 and 20 times as many
(200,000 tasks by default). Growth is from the first to the last of these.

The demo app is copied; nothing is written to the original.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from pydal import DAL

from bench.peers import ROOT, Peer, a_peer, find
from bench.peers.ours import UUIDS, OnSQLite
from bench.places import Place
from bench.rounds import Bench, Found
from plugin_scheduler import Scheduler

TITLE = "Memory of a worker with two runners"
METRIC = "memory"
DEMO, GROWTH = "the demo app", "no-op tasks"
SETTLE = 1.0  # seconds from the end of the last task to the measurement
MANY = (10, 20)
AT_ONCE, LIMIT, MOST_ROUNDS = 50_000, 300.0, 3


class DemoApp(OnSQLite):
    """A worker for a copy of the demo app, with an empty database."""

    def prepare(self) -> None:
        self._apps = Path(self.place.folder, "apps")
        self._apps.mkdir()
        (self._apps / "__init__.py").touch()
        made_by_use = shutil.ignore_patterns("databases", "uploads", "private", "__pycache__")
        shutil.copytree(ROOT / "apps" / "demo", self._apps / "demo", ignore=made_by_use)
        (self._apps / "demo" / "databases").mkdir()

    def connect(self) -> None:
        self.db = DAL(self.place.uri, folder=str(self._apps / "demo" / "databases"))
        self.scheduler = Scheduler(self.db, tasks={}, application_name="demo")
        self.db.commit()
        self._first = 0

    def command(self, slots: int) -> list[str]:
        app = ["-K", "demo", "--apps-folder", str(self._apps)]
        how = ["-n", str(slots), "-L", "WARNING"]
        return [sys.executable, str(ROOT / "scheduler.py"), *app, *how]


def run(bench: Bench) -> None:
    def measure(case: str, name: str) -> Found:
        return the_demo() if case == DEMO else the_growth(name)

    def the_demo() -> Found:
        with bench.places.fresh("sqlite") as place:
            return of_the_demo(place)

    def the_growth(name: str) -> Found:
        with a_peer(find(name), bench.places) as peer:
            return of_many_tasks(peer, bench.tasks)

    names = list(bench.peers(lambda found: found.name == "ours"))
    cases = [(case, name) for case in (DEMO, GROWTH) for name in names]
    bench.interleave("memory", cases, measure, min(bench.rounds, MOST_ROUNDS))


def of_the_demo(place: Place) -> Found:
    """Run one task in each runner: the duration of tasks is still unknown, so none waits for
    another."""
    app = DemoApp(place)
    app.prepare()
    app.connect()
    try:
        app.start()
        app.wait(lambda: len(app.family()) == 4)  # the worker, its forkserver, two runners
        app.enqueue(2, "sales_report")
        app.wait_until_done()
        return settled(app)
    finally:
        app.stop()
        app.disconnect()


def of_many_tasks(peer: Peer, count: int) -> Found:
    peer.start()
    peer.enqueue(2, "nothing")
    peer.wait_until_done()
    found: Found = {"fresh": settled(peer)["memory"]}
    done = 0
    for times in (1, *MANY):
        more(peer, times * count - done)
        done = times * count
        size = settled(peer)
        found[f"{done:,} tasks"] = size["memory"]
    few, many = (float(found[f"{times * count:,} tasks"][1]) for times in (1, MANY[-1]))  # type: ignore[arg-type]
    return {**found, "growth": ("%", 100 * (many / few - 1)), **size}


def more(peer: Peer, count: int) -> None:
    while count > 0:
        copies(peer, min(count, AT_ONCE))
        peer.wait(lambda: not peer.left(), LIMIT, pause=0.2)
        count -= AT_ONCE


def copies(peer: Any, count: int) -> None:
    """Queue one task with the API, and copy its row: queueing is not measured."""
    task = peer.db.scheduler_task
    first = int(peer.scheduler.queue_task("nothing").id)
    columns = ", ".join(name for name in task.fields if name not in ("id", "uuid"))
    made, uuid = 1, UUIDS[peer.place.kind]
    while made < count:
        some = f"SELECT {columns} FROM scheduler_task WHERE id >= {first} LIMIT {count - made}"
        peer.db.executesql(
            f"INSERT INTO scheduler_task (uuid, {columns}) SELECT {uuid}, {columns} FROM ({some})"
        )
        made += min(made, count - made)
    peer.db.commit()


def settled(peer: Peer) -> Found:
    """Measure some time after the last task has ended."""
    time.sleep(SETTLE)
    sizes = [process.memory_full_info() for process in peer.family()]
    return {
        "memory": ("MiB", sum(size.pss for size in sizes) / 2**20),
        "the worker's own": ("MiB", sizes[0].uss / 2**20),
        "processes": ("", float(len(sizes))),
    }
