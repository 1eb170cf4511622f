"""Upper limit for any scheduler that stores its tasks in this database.

Without a scheduler and without running tasks: one connection of the plain driver takes batches of
200 tasks, writes a row for each run when it begins, and its end and result when it ends, with two
commits for each batch. SQLite is in write-ahead mode with synchronous=NORMAL; PostgreSQL has fsync
on. No scheduler that stores as much can do more with one connection.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from bench.places import Place
from bench.rounds import Bench, Found

TITLE = "The plain driver, as the upper limit"
METRIC = "rate"
BATCH = 200
TABLES = (
    "CREATE TABLE task (id {key}, function_name TEXT, status TEXT, due DOUBLE PRECISION)",
    "CREATE TABLE run (id {key}, task_id INTEGER, status TEXT, start_time DOUBLE PRECISION,"
    " stop_time DOUBLE PRECISION, result TEXT)",
    "CREATE INDEX task_due ON task (status, due)",
)
DUE = f"SELECT id FROM task WHERE status = 'QUEUED' AND due <= 1 ORDER BY due LIMIT {BATCH}"


def run(bench: Bench) -> None:
    def measure(case: str, name: str) -> Found:
        with bench.places.fresh(name) as place:
            opened = on_sqlite(place) if name == "sqlite" else on_postgres(place)
            with contextlib.closing(opened) as db:
                return {"rate": ("tasks/s", drain(db, name, max(BATCH, bench.tasks)))}

    cases = [("batches of 200", kind) for kind in ("sqlite", "postgres")]
    bench.interleave("limit", cases, measure)


def on_sqlite(place: Place) -> Any:
    db = sqlite3.connect(f"{place.folder}/plain.sqlite")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    return db


def on_postgres(place: Place) -> Any:
    return psycopg2.connect(place.dsn)


def drain(db: Any, kind: str, count: int) -> float:
    cursor = db.cursor()
    key = "INTEGER PRIMARY KEY" if kind == "sqlite" else "SERIAL PRIMARY KEY"
    for table in TABLES:
        cursor.execute(table.format(key=key))
    rows = [("one", "QUEUED", 0)] * count
    many(cursor, "INSERT INTO task (function_name, status, due) VALUES", rows)
    db.commit()
    begun = time.monotonic()
    while batch(db, cursor):
        pass
    return count / (time.monotonic() - begun)


def batch(db: Any, cursor: Any) -> int:
    """Claim, begin and commit; end, store and commit a batch; return its size. A run has the id
    of its task."""
    cursor.execute(DUE)
    numbers = [number for (number,) in cursor.fetchall()]
    if not numbers:
        return 0
    tasks = f"UPDATE task SET status = {{!r}} WHERE id IN ({', '.join(map(str, numbers))})"
    cursor.execute(tasks.format("RUNNING"))
    rows = [(number, number, "RUNNING", time.time()) for number in numbers]
    many(cursor, "INSERT INTO run (id, task_id, status, start_time) VALUES", rows)
    db.commit()
    finish(cursor, [(number, time.time(), "1") for number in numbers])
    cursor.execute(tasks.format("COMPLETED"))
    db.commit()
    return len(numbers)


def finish(cursor: Any, ends: list[tuple[int, float, str]]) -> None:
    change = "UPDATE run SET status = 'COMPLETED', stop_time = {}, result = {} "
    if isinstance(cursor, sqlite3.Cursor):
        cursor.executemany(change.format("?2", "?3") + "WHERE id = ?1", ends)
    else:
        given = "FROM (VALUES %s) AS new (id, stop_time, result) WHERE run.id = new.id"
        execute_values(
            cursor, change.format("new.stop_time", "new.result") + given, ends, None, 1000
        )


def many(cursor: Any, insert: str, rows: list[Any]) -> None:
    if isinstance(cursor, sqlite3.Cursor):
        cursor.executemany(f"{insert} ({', '.join('?' * len(rows[0]))})", rows)
    else:
        execute_values(cursor, f"{insert} %s", rows, page_size=1000)
