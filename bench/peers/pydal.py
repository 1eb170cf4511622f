"""pydal's own scheduler (pydal.tools.scheduler), with max_concurrent_runs=2.

It forks a process for each task, and sleeps whenever it finds nothing to start. sleep_time is 10 s
by default, with which it would start two tasks in ten seconds; here it is 0.05 s. Status, output
and printed text are kept in the row of the task. It has no command: this module starts its loop as
the manual does. SQLite has pydal's default settings (rollback journal, synchronous=FULL).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import ClassVar

from pydal import DAL
from pydal.tools.scheduler import Scheduler

from bench.peers import Peer
from bench.work import WORK

NAPS = 0.05


def make(uri: str, folder: str, slots: int = 2) -> Scheduler:
    quiet = logging.getLogger("bench.pydal")
    quiet.setLevel(logging.CRITICAL)
    made = Scheduler(
        DAL(uri, folder=folder),
        max_concurrent_runs=slots,
        folder=f"{folder}/output",
        sleep_time=NAPS,
        logger=quiet,
    )
    for name, function in WORK.items():
        made.register_task(name, function)
    return made


class OnSQLite(Peer):
    name, title, needs = "pydal", "pydal.tools.scheduler, SQLite", "sqlite"
    packages: ClassVar[tuple[str, ...]] = ("pydal",)
    settings = f"max_concurrent_runs=2, sleep_time={NAPS} (its default, 10, is slower)"
    has_bulk = False
    pilot = 20

    def connect(self) -> None:
        before = signal.getsignal(signal.SIGCHLD)
        self.scheduler = make(self.place.uri, self.place.folder)
        signal.signal(signal.SIGCHLD, before)  # make() sets it to ignore the end of all children
        self.db = self.scheduler.db

    def enqueue_one(self, work: str) -> None:
        self.scheduler.enqueue_run(work)

    def left(self) -> int:
        count: int = self.db(self.db.task_run.status != "completed").count()
        self.db.commit()
        return count

    def command(self, slots: int) -> list[str]:
        return [sys.executable, "-m", "bench.peers.pydal", str(slots)]

    def disconnect(self) -> None:
        self.db.close()


class OnPostgreSQL(OnSQLite):
    name, title, needs = "pydal-postgres", "pydal.tools.scheduler, PostgreSQL", "postgres"


if __name__ == "__main__":
    make(os.environ["BENCH_URI"], os.environ["BENCH_FOLDER"], int(sys.argv[1])).start()
