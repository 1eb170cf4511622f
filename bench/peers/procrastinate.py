"""Procrastinate on PostgreSQL: `procrastinate worker -c 2`.

One process runs two jobs at a time in its event loop; tasks are coroutines. The row of a job is
kept with its status and its events, or deleted after a success (--delete-jobs). Return values are
not stored. Committed data is not lost. A job whose worker died is found as stalled, and must be
retried by code of the app.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import procrastinate
import psycopg

from bench.peers import Peer, program
from bench.work import ASYNC_WORK

JOBS = "INSERT INTO procrastinate_jobs (queue_name, task_name, status, scheduled_at)"


def make(connector: Any) -> tuple[procrastinate.App, dict[str, Any]]:
    made = procrastinate.App(connector=connector)
    return made, {name: made.task(name=name)(one) for name, one in ASYNC_WORK.items()}


if "BENCH_URL" in os.environ:
    app, _ = make(procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_URL"]))


class Procrastinate(Peer):
    name, title, needs = "procrastinate", "Procrastinate, PostgreSQL", "postgres"
    packages: ClassVar[tuple[str, ...]] = ("procrastinate", "psycopg")
    settings = "procrastinate worker -c 2; PostgreSQL fsync=on; no results"
    others: ClassVar[tuple[str, ...]] = ("tomorrow", "finished", "elsewhere")

    def prepare(self) -> None:
        with self._opened().open() as app:
            app.schema_manager.apply_schema()

    def _opened(self) -> procrastinate.App:
        self.app, self.tasks = make(procrastinate.SyncPsycopgConnector(conninfo=self.url))
        return self.app

    def connect(self) -> None:
        self._opened().open()
        self.db = psycopg.connect(self.url, autocommit=True)
        self._first = 0

    def enqueue(self, count: int, work: str) -> None:
        (last,) = self.db.execute("SELECT max(id) FROM procrastinate_jobs").fetchone()
        self._first = (last or 0) + 1
        for start in range(0, count, 1000):
            self.tasks[work].batch_defer(*[{}] * min(1000, count - start))

    def enqueue_one(self, work: str) -> None:
        self.tasks[work].defer()

    def left(self) -> int:
        pending = "id >= %s AND status IN ('todo', 'doing')"
        query = f"SELECT count(*) FROM procrastinate_jobs WHERE {pending}"
        return int(self.db.execute(query, [self._first]).fetchone()[0])

    def add_others(self, sort: str, count: int) -> None:
        """Add the rows before the worker starts, which takes the queue `default` only."""
        row = {
            "tomorrow": "'default', 'nothing', 'todo', now() + interval '1 day'",
            "finished": "'default', 'nothing', 'succeeded', NULL",
            "elsewhere": "'elsewhere', 'nothing', 'todo', NULL",
        }[sort]
        self.db.execute(f"{JOBS} SELECT {row} FROM generate_series(1, {count})")
        self.db.execute("ANALYZE")

    def command(self, slots: int) -> list[str]:
        how = ["-c", str(slots), "-q", "default"]
        how += ["--delete-jobs", "never" if self.keep else "successful"]
        return [program("procrastinate"), "--app", "bench.peers.procrastinate.app", "worker", *how]

    def disconnect(self) -> None:
        self.app.close()
        self.db.close()
