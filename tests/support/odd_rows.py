"""Rows that nothing of ours writes: each column of each table with each kind of odd value in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from plugin_scheduler.core.types import RunStatus, TaskStatus, WorkerStatus

DEEP = "[" * 980 + "]" * 980
DEEPER = "[" * 100_000 + "]" * 100_000
INFINITE = "1e999"  # SQLite reads it as infinity
TEXTS = ("", "x", "\x1b[2J\u202e<script>", "\U0001f600", "[", "{}", "null", DEEP, DEEPER)
NO_TEXT = "CAST(x'61ff' AS TEXT)"  # of SQLite: a text in no encoding
NUMBERS = (None, -1, 0, 2**31 - 1, 2**63 - 1, -(2**63))
FLOATS = (None, -1.0, 0.0, 1e300, -1e300)
TIMES = (None, "0001-01-01 00:00:00", "9999-12-31 23:59:59", "1969-12-31 23:59:59")
#: What SQLite takes for anything.
ANYTHING: tuple[Any, ...] = (
    *("x", "", "NaN", "2026-13-45", "2026-02-30 25:61:61", "99999-01-01", b"\xff\xfe", b"x"),
    *(float("inf"), 1.5, 2**62, -1),
)
DOCUMENTS = ("null", "1", '"x"', "[]", '[1, {"a": null}]', "{}", DEEP, '{"a": 1e400}', "true")
BROKEN = ("{", '{"a": NaN}', "Infinity", "'x'", DEEPER, "\x00")
#: What each fact of a worker is replaced by, one at a time.
FACTS: tuple[Any, ...] = (
    *("x", None, -1, 1e308, 10**400, True, [], {}, [[]], {"a": {"b": []}}, [None, 1, "x"], "1e999"),
)
STATS = {
    "pid": 1,
    "host": "h",
    "slots": 2,
    "sleep": 1,
    "application": "lab",
    "running": [{"run": 1, "function": "add"}],
    "queue": 0,
    "load": 0.5,
    "cpus": 2,
    "cpu": 1.0,
    "memory": 1,
    "version": "1",
    "python": "3",
    "database": "sqlite",
    "started_at": "2026-01-31T12:00:00",
    "runner_deaths": 0,
    "database_errors": 0,
    "tasks": ["add"],
    "tasks_total": 1,
    "unknown_functions": [],
    "total": 1,
    "errors": 0,
    "boot_error": None,
    "clock_skew": 0.0,
    "time_zone": "UTC",
    "zone_trouble": None,
    "wake_up_trouble": None,
}
PLAIN = ("integer", "bigint", "reference scheduler_task", "boolean")


class Odd(NamedTuple):
    """A row whose one column holds something odd."""

    table: str
    column: str
    value: Any
    id: int

    def __str__(self) -> str:
        return f"{self.table}.{self.column} = {self.value!r:.60}"


class OddRows:
    """Good rows, and odd ones beside them."""

    def __init__(self, db: Any, now: datetime) -> None:
        self.db, self.is_sqlite = db, db._adapter.dbengine == "sqlite"
        self.now = now.replace(microsecond=0)
        self.odd: list[Odd] = []
        self.refused = 0
        self.good_task = self.task(task_name="the good one")
        self.good_run = self.run(run_output="the good output")
        self.worker("the good worker")

    # -- good rows ---------------------------------------------------------------------------------

    def task(self, **columns: Any) -> int:
        given = {
            "application_name": "lab",
            "function_name": "add",
            "task_name": "add",
            "group_name": "main",
            "status": TaskStatus.QUEUED,
            "repeats": 0,
            "secret": None,
            "next_run_time": self.now,
            **columns,
        }
        return int(self.db.scheduler_task.insert(**given))

    def run(self, status: str = RunStatus.FAILED, **columns: Any) -> int:
        given = {
            "task_id": self.good_task,
            "status": status,
            "start_time": self.now - timedelta(seconds=60),
            "stop_time": self.now - timedelta(seconds=30),
            "duration": 30.0,
            "worker_name": "the good worker",
            "traceback": "ValueError: x",
            **columns,
        }
        return int(self.db.scheduler_run.insert(**given))

    def worker(self, name: str, **columns: Any) -> int:
        given = {
            "worker_name": name,
            "status": WorkerStatus.ACTIVE,
            "group_names": ["main"],
            "is_ticker": True,
            "worker_stats": STATS,
            "first_heartbeat": self.now,
            "last_heartbeat": self.now,
            "lease_until": 4_000_000_000.0,
            "application_name": "lab",
            **columns,
        }
        return int(self.db.scheduler_worker.insert(**given))

    def _good(self, table: str, number: int) -> int:
        db = self.db
        if table == "scheduler_task":
            return self.task(status=TaskStatus.ALL[number % len(TaskStatus.ALL)])
        if table == "scheduler_run":
            run = self.run(RunStatus.ALL[number % len(RunStatus.ALL)])
            task = self.task(status=TaskStatus.RUNNING, run_id=run)
            db(db.scheduler_run.id == run).update(task_id=task)
            return run
        if table == "scheduler_worker":
            return self.worker(f"odd {number}")
        if table == "scheduler_task_deps":
            pair = {"task_parent": self.task(), "task_child": self.task()}
            return int(db.scheduler_task_deps.insert(job_name="job", can_visit=False, **pair))
        if table == "scheduler_history":
            given = {"who": "ann", "did": "stop", "noted_at": self.now, "task_id": self.good_task}
            return int(db.scheduler_history.insert(application_name="lab", **given))
        minute = int(datetime.now().timestamp()) // 60
        names = {"worker_name": "the good worker", "function_name": "add", "group_name": "main"}
        counts = {"completed": 1, "failed": 1, "application_name": "lab"}
        return int(db.scheduler_metric.insert(epoch_minute=minute, **names, **counts))

    # -- odd ones ----------------------------------------------------------------------------------

    def fill(self, most: int | None = None, tables: tuple[str, ...] = ()) -> None:
        """Write each odd value into each column of each table; of each column at most so many."""
        self.db.commit()
        for table in self.db.tables:
            if not table.startswith("scheduler_") or (tables and table not in tables):
                continue
            for place, field in enumerate(self.db[table]):
                every = [] if field.type == "id" else list(self.values(field))
                turn = place % max(1, len(every))
                for value in (every[turn:] + every[:turn])[: most or None]:
                    self._write(field, value)
        self.db.commit()

    def values(self, field: Any) -> Iterator[Any]:
        if field.type in PLAIN:
            yield from NUMBERS
        elif field.type == "double":
            yield from FLOATS
        elif field.type == "datetime":
            yield from TIMES
        elif field.type == "json":
            yield from (None, *DOCUMENTS)
            yield from BROKEN if self.is_sqlite else ()
            if field.name == "worker_stats":
                facts = ((name, fact) for name in STATS for fact in FACTS)
                yield from (json.dumps({**STATS, name: fact}) for name, fact in facts)
        else:
            yield from (None, *TEXTS, *((NO_TEXT,) if self.is_sqlite else ()))
        if self.is_sqlite:
            yield from ANYTHING

    def _write(self, field: Any, value: Any) -> None:
        """By a statement of its own; what the database refuses cannot be there."""
        table, hole = str(field._table), "?" if self.is_sqlite else "%s"
        row_id = self._good(table, len(self.odd))
        self.db.commit()
        sql = f"UPDATE {table} SET {field._rname or field.name} = {hole} WHERE id = {row_id}"
        try:
            if value == NO_TEXT:
                self.db.executesql(sql.replace("?", NO_TEXT))
            else:
                self.db.executesql(sql, (value,))
            self.db.commit()
        except Exception:  # each driver has its own kind
            self.db.rollback()
            self.db.executesql(f"DELETE FROM {table} WHERE id = {row_id}")
            self.refused += 1
        else:
            self.odd.append(Odd(table, field.name, value, row_id))

    def of(self, table: str) -> list[Odd]:
        return [one for one in self.odd if one.table == table]
