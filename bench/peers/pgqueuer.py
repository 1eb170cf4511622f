"""pgqueuer on PostgreSQL: as `pgq run --batch-size 10` (its default), and 100.

Its command does not start with recent versions of typer (an error about `name`), so this module
starts the same manager, with the same event loop (uvloop), with the documented API. One process
runs the fetched tasks in its event loop; tasks are coroutines. It has no slots:
--max-concurrent-tasks limits the number of concurrent tasks, and must be at least twice the batch.
Up to 20 (or 200) tasks therefore sleep at the same time, where other products have two or ten. The
row of a job is deleted when it ends, and a row is added to a log. Return values are not stored.
Tables are "durable", its default. Committed data is not lost. A job whose worker died is taken by
another worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any, ClassVar

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from bench.peers import Peer, program
from bench.work import ASYNC_WORK

JOBS = "INSERT INTO pgqueuer (priority, created, updated, heartbeat, execute_after, status,"
JOBS += " entrypoint, queue_manager_id) SELECT 0, now(), now(), now(),"


async def work(batch: int, bound: int) -> None:
    """Run a manager as `pgq run` does."""
    made = PgQueuer(AsyncpgDriver(await asyncpg.connect(os.environ["BENCH_URL"])))
    for name, function in ASYNC_WORK.items():
        made.entrypoint(name)(without_job(function))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, made.shutdown.set)
    await made.run(batch_size=batch, max_concurrent_tasks=bound)


def without_job(function: Any) -> Any:
    async def call(job: Any) -> None:
        await function()

    return call


class BatchesOf10(Peer):
    name, title, needs = "pgqueuer-10", "pgqueuer, batches of 10", "postgres"
    packages: ClassVar[tuple[str, ...]] = ("pgqueuer", "asyncpg")
    settings = "batch_size=10, max_concurrent_tasks=20; PostgreSQL fsync=on; no results"
    others: ClassVar[tuple[str, ...]] = ("tomorrow", "finished", "elsewhere")
    batch: ClassVar[int] = 10

    def prepare(self) -> None:
        self._pgq("install")

    def _pgq(self, *words: str) -> None:
        command = [program("pgq"), "--pg-dsn", self.url, *words]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def connect(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.db = self._do(asyncpg.connect(self.url))
        self.queries = Queries(AsyncpgDriver(self.db))
        self._first = 0

    def _do(self, awaitable: Any) -> Any:
        return self._loop.run_until_complete(awaitable)

    def enqueue(self, count: int, work: str) -> None:
        self._first = (self._do(self.db.fetchval("SELECT max(id) FROM pgqueuer")) or 0) + 1
        for start in range(0, count, 1000):
            some = min(1000, count - start)
            self._do(self.queries.enqueue([work] * some, [None] * some, [0] * some))

    def enqueue_one(self, work: str) -> None:
        self._do(self.queries.enqueue(work, None))

    def left(self) -> int:
        query = "SELECT count(*) FROM pgqueuer WHERE id >= $1"
        return int(self._do(self.db.fetchval(query, self._first)))

    def add_others(self, sort: str, count: int) -> None:
        row = {
            "tomorrow": "now() + interval '1 day', 'queued', 'nothing', NULL",
            "elsewhere": "now(), 'queued', 'elsewhere', NULL",
        }.get(sort, "")
        statement = f"{JOBS} {row}"
        if sort == "finished":
            statement = "INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint)"
            statement += " SELECT n, 'successful', 0, 'nothing'"
        self._do(self.db.execute(f"{statement} FROM generate_series(1, {count}) AS n"))
        self._do(self.db.execute("ANALYZE"))

    def command(self, slots: int) -> list[str]:
        bound = max(slots, 2 * self.batch)
        return [sys.executable, "-m", "bench.peers.pgqueuer", str(self.batch), str(bound)]

    def disconnect(self) -> None:
        self._do(self.db.close())
        self._loop.close()


class BatchesOf100(BatchesOf10):
    name, title, batch = "pgqueuer-100", "pgqueuer, batches of 100", 100
    settings = "batch_size=100, max_concurrent_tasks=200; PostgreSQL fsync=on; no results"


if __name__ == "__main__":
    uvloop.run(work(int(sys.argv[1]), int(sys.argv[2])))
