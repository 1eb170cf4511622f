"""This scheduler: its public API for queueing, and the real command as the worker.

One worker with two slots (two processes) and default settings. The row of every task is kept with
its status. The row of a run, with result, times and output, is kept for tasks that return
something. SQLite is in write-ahead mode with synchronous=NORMAL, as set by workers. Committed data
is not lost. A task whose worker dies is given back and runs again.
"""

from __future__ import annotations

import sys
from typing import ClassVar

from pydal import DAL

from bench.peers import ROOT, Peer
from plugin_scheduler import Scheduler

UUIDS = {
    "sqlite": "lower(hex(randomblob(16)))",
    "postgres": "gen_random_uuid()::text",
    "mysql": "uuid()",
}


class OnSQLite(Peer):
    name, title, needs = "ours", "plugin_scheduler, SQLite", "sqlite"
    packages: ClassVar[tuple[str, ...]] = ("plugin_scheduler", "pydal")
    settings = "scheduler.py -n 2; SQLite WAL, synchronous=NORMAL"
    others: ClassVar[tuple[str, ...]] = ("tomorrow", "finished", "elsewhere")

    def connect(self) -> None:
        self.db = DAL(self.place.uri, folder=self.place.folder)
        if self.place.kind == "sqlite":
            self.db.executesql("PRAGMA journal_mode=WAL")  # as set by the first worker
        self.scheduler = Scheduler(self.db, tasks={})
        self.db.commit()
        self._first = 0

    def enqueue(self, count: int, work: str) -> None:
        self._mark()
        self.scheduler.queue_tasks({"function": work} for _ in range(count))
        self.db.commit()

    def enqueue_one(self, work: str) -> None:
        self.scheduler.queue_task(work)
        self.db.commit()

    def _mark(self) -> None:
        """Store the id from which on `left` counts: a range of the primary key."""
        task = self.db.scheduler_task
        self._first = (self.db(task).select(task.id.max()).first()[task.id.max()] or 0) + 1

    def left(self) -> int:
        task = self.db.scheduler_task
        count: int = self.db((task.id >= self._first) & (task.status != "COMPLETED")).count()
        self.db.commit()
        return count

    def add_others(self, sort: str, count: int) -> None:
        """Queue one task with the API, and copy its row."""
        group = "elsewhere" if sort == "elsewhere" else "main"
        task = self.scheduler.queue_task("nothing", group_name=group)
        if sort == "tomorrow":
            date = self.db.scheduler_task(task.id).next_run_time.replace(year=9000)
            self.db.scheduler_task(task.id).update_record(start_time=date, next_run_time=date)
        if sort == "finished":
            self.db.scheduler_task(task.id).update_record(status="COMPLETED", times_run=1)
        names = [name for name in self.db.scheduler_task.fields if name not in ("id", "uuid")]
        columns, made = ", ".join(names), 1
        while made < count:
            some = f"SELECT {columns} FROM scheduler_task LIMIT {count - made}"
            self.db.executesql(
                f"INSERT INTO scheduler_task (uuid, {columns})"
                f" SELECT {UUIDS[self.place.kind]}, {columns} FROM ({some}) AS copied"
            )
            made *= 2
        self.db.commit()
        tables = "TABLE scheduler_task" if self.place.kind == "mysql" else "scheduler_task"
        self.db.executesql(f"ANALYZE {tables}")
        self.db.commit()

    def command(self, slots: int) -> list[str]:
        where = ["-u", self.place.uri, "-f", self.place.folder]
        tasks = ["-t", str(ROOT / "bench/work.py")]
        how = ["-n", str(slots), "-L", "WARNING"]
        return [sys.executable, str(ROOT / "scheduler.py"), *where, *tasks, *how]

    def disconnect(self) -> None:
        self.db.close()


class OnPostgreSQL(OnSQLite):
    name, title, needs = "ours-postgres", "plugin_scheduler, PostgreSQL", "postgres"
    packages: ClassVar[tuple[str, ...]] = (*OnSQLite.packages, "psycopg2-binary")
    settings = "scheduler.py -n 2; PostgreSQL fsync=on"


class OnMySQL(OnSQLite):
    name, title, needs = "ours-mysql", "plugin_scheduler, MariaDB or MySQL", "mysql"
    packages: ClassVar[tuple[str, ...]] = (*OnSQLite.packages, "pymysql")
    settings = "scheduler.py -n 2; innodb_flush_log_at_trx_commit=1"
