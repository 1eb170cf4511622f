"""The scheduler's tables as web2py made them, with rows as it left them: where people come from.

I know which version had which columns, and fill them with what is found in the wild. The types on a
database are those that pydal, which is web2py's, makes of them. I never call the product.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from plugin_scheduler.models import TABLES
from pydal import DAL, Field

#: 2.4 was the first with these names; 2.9 stands for the early ones of its line, and 2.14 for what
#: had neither broadcasts nor cron lines. With these the tables have not changed since.
VERSIONS = ("2.4", "2.9", "2.14", "now")

#: Column, type, and the first version that has it. Statistics were text wherever server or driver
#: knew no other way to keep JSON.
COLUMNS: dict[str, list[tuple[str, str, str]]] = {
    "scheduler_task": [
        ("application_name", "string", "2.4"),
        ("task_name", "string", "2.4"),
        ("group_name", "string", "2.4"),
        ("status", "string", "2.4"),
        ("broadcast", "boolean", "now"),
        ("function_name", "string", "2.4"),
        ("uuid", "string", "2.4"),
        ("args", "text", "2.4"),
        ("vars", "text", "2.4"),
        ("enabled", "boolean", "2.4"),
        ("start_time", "datetime", "2.4"),
        ("next_run_time", "datetime", "2.4"),
        ("stop_time", "datetime", "2.4"),
        ("repeats", "integer", "2.4"),
        ("retry_failed", "integer", "2.4"),
        ("period", "integer", "2.4"),
        ("prevent_drift", "boolean", "2.9"),
        ("cronline", "string", "now"),
        ("timeout", "integer", "2.4"),
        ("sync_output", "integer", "2.4"),
        ("times_run", "integer", "2.4"),
        ("times_failed", "integer", "2.4"),
        ("last_run_time", "datetime", "2.4"),
        ("assigned_worker_name", "string", "2.4"),
    ],
    "scheduler_run": [
        ("task_id", "reference scheduler_task", "2.4"),
        ("status", "string", "2.4"),
        ("start_time", "datetime", "2.4"),
        ("stop_time", "datetime", "2.4"),
        ("run_output", "text", "2.4"),
        ("run_result", "text", "2.4"),
        ("traceback", "text", "2.4"),
        ("worker_name", "string", "2.4"),
    ],
    "scheduler_worker": [
        ("worker_name", "string", "2.4"),
        ("first_heartbeat", "datetime", "2.4"),
        ("last_heartbeat", "datetime", "2.4"),
        ("status", "string", "2.4"),
        ("is_ticker", "boolean", "2.4"),
        ("group_names", "list:string", "2.4"),
        ("worker_stats", "text or json", "2.14"),
    ],
    "scheduler_task_deps": [
        ("job_name", "string", "2.14"),
        ("task_parent", "integer", "2.14"),
        ("task_child", "reference scheduler_task", "2.14"),
        ("can_visit", "boolean", "2.14"),
    ],
}
UNIQUE = ("uuid", "worker_name")

#: What web2py writes where nobody says anything.
DEFAULTS: dict[str, Any] = {
    "group_name": "main",
    "enabled": True,
    "args": "[]",
    "vars": "{}",
    "repeats": 1,
    "retry_failed": 0,
    "period": 60,
    "timeout": 60,
    "sync_output": 0,
    "times_run": 0,
    "times_failed": 0,
    "assigned_worker_name": "",
}
STATUSES = "QUEUED ASSIGNED RUNNING COMPLETED FAILED TIMEOUT STOPPED EXPIRED".split()
WHEN = datetime(2014, 5, 6, 7, 8, 9)


class OldApp:
    """An app of web2py: its database, and its folder with pydal's notes about the tables."""

    def __init__(self, uri: str, folder: Path, version: str, more: Sequence[Field] = ()) -> None:
        self.uri, self.folder, self.version, self.more = uri, folder, version, more
        self._notes: dict[str, bytes] = {}

    def open(self) -> Any:
        """As each of its requests does; whoever opens it closes it."""
        db = DAL(self.uri, folder=str(self.folder))
        for table in self.columns:
            fields = list(self._fields(table))
            db.define_table(table, *fields, *(self.more if table == "scheduler_task" else ()))
        db.commit()
        return db

    def make(self, tasks: int = len(STATUSES) + 2) -> None:
        """The tables, and that many tasks with what belongs to them."""
        db = self.open()
        fill(db, tasks)
        db.close()

    @property
    def columns(self) -> dict[str, list[str]]:
        """What its tables have, without the id; a table without columns is not there yet."""
        known = VERSIONS[: VERSIONS.index(self.version) + 1]
        found = {
            table: [name for name, _, since in columns if since in known]
            for table, columns in COLUMNS.items()
        }
        return {table: names for table, names in found.items() if names}

    def _fields(self, table: str) -> Iterator[Field]:
        for name, kind, _ in COLUMNS[table]:
            if name in self.columns[table]:
                if kind == "text or json":
                    kind = "json" if self.version == "now" else "text"
                unique = name in UNIQUE and table != "scheduler_run"
                length = 255 if unique and self.version != "2.4" else None
                default = DEFAULTS.get(name) if table == "scheduler_task" else None
                yield Field(name, kind, length=length, unique=unique, default=default)

    def lose_notes(self) -> None:
        """What a move to another folder or machine leaves behind."""
        self._notes = self.notes()
        for name in self._notes:
            (self.folder / name).unlink()

    def find_notes(self) -> None:
        """Back in the old folder."""
        for name, note in self._notes.items():
            (self.folder / name).write_bytes(note)

    def notes(self) -> dict[str, bytes]:
        """pydal's files about the scheduler's tables."""
        return {path.name: path.read_bytes() for path in self.folder.glob("*scheduler*.table")}

    def rows(self, db: Any) -> dict[str, list[tuple[Any, ...]]]:
        """Every old value of every row, as the driver gives it."""
        return {
            table: [
                tuple(row)
                for row in db.executesql(f"SELECT id, {', '.join(names)} FROM {table} ORDER BY id")
            ]
            for table, names in self.columns.items()
        }


def fill(db: Any, tasks: int) -> None:
    """Rows as a scheduler leaves them that was at work until just now."""
    first = {status: 0 for status in STATUSES}
    rows = [a_task(number) for number in range(tasks)]
    known = db.scheduler_task.fields
    known_rows = [{name: row[name] for name in row if name in known} for row in rows]
    ids = db.scheduler_task.bulk_insert(known_rows)
    for task_id, row in zip(ids, rows, strict=True):
        first[row["status"]] = first.get(row["status"]) or task_id
    for number, task_id in enumerate(ids[: 5 * len(STATUSES)]):
        db.scheduler_run.insert(**a_run(number, task_id))
    for number, (name, ticker) in enumerate((("web1#11", True), ("web2#22", False))):
        add_worker(db, name, WHEN + timedelta(seconds=number), is_ticker=ticker)
    _write_odd_things(db)
    if "scheduler_task_deps" in db.tables:
        link = {"job_name": "job_1", "task_child": first["QUEUED"]}
        db.scheduler_task_deps.insert(task_parent=first["STOPPED"], can_visit=False, **link)
        db.scheduler_task_deps.insert(task_parent=first["COMPLETED"], can_visit=True, **link)
        db.scheduler_task_deps.insert(task_parent=None, task_child=None)
    db.commit()


def a_task(number: int) -> dict[str, Any]:
    """Something else each time; every tenth has next to nothing."""
    if number % 10 == 9:
        return {"status": None, "uuid": f"old-{number}", "function_name": None, "group_name": None}
    status = STATUSES[number % len(STATUSES)]
    held = status in ("ASSIGNED", "RUNNING")
    return {
        "application_name": ("shop/default", "shop", None)[number % 3],
        "task_name": (None, "send", "s\u00e4nd 'it' %s {0}")[number % 3],
        "group_name": ("main", "mail")[number % 2],
        "status": status,
        "function_name": "add",
        "uuid": str(uuid.UUID(int=number + 1)),
        "args": ("[]", "[1, 2]", '["\u00fc", null]')[number % 3],
        "vars": ("{}", '{"a": 1}', '{"a": {"b": [true]}}')[number % 3],
        "enabled": number % 5 != 4,
        "broadcast": number % 7 == 6,
        "start_time": WHEN,
        "next_run_time": WHEN + timedelta(seconds=number),
        "stop_time": None if number % 4 else datetime(2037, 12, 31, 23, 59, 59),
        "repeats": number % 4,
        "retry_failed": number % 4 - 1,
        "period": number * 60,
        "prevent_drift": number % 6 == 5,
        "cronline": "0 3 * * *" if number % 8 == 7 else None,
        "timeout": number,
        "sync_output": number % 3,
        "times_run": number % 9,
        "times_failed": number % 2,
        "last_run_time": WHEN if number % 2 else None,
        "assigned_worker_name": "web1#11" if held else ("", None)[number % 2],
    }


def a_run(number: int, task_id: int) -> dict[str, Any]:
    status = ("COMPLETED", "FAILED", "TIMEOUT", "STOPPED", "RUNNING")[number % 5]
    ended = status != "RUNNING"
    return {
        "task_id": task_id if number % 11 != 10 else None,
        "status": status,
        "start_time": WHEN,
        "stop_time": WHEN + timedelta(seconds=number) if ended else None,
        "run_output": ("", "hello\n", "100% \u00e4\u00f6\u00fc\n" * 300, None)[number % 4],
        "run_result": '{"n": 1}' if status == "COMPLETED" else None,
        "traceback": "Traceback ...\n" if status == "FAILED" else None,
        "worker_name": "web1#11",
    }


def add_worker(db: Any, name: str, heard: datetime, **columns: Any) -> None:
    """A worker of web2py that was last heard of then."""
    row: Mapping[str, Any] = {
        "worker_name": name,
        "first_heartbeat": heard - timedelta(hours=1),
        "last_heartbeat": heard,
        "status": "ACTIVE",
        "group_names": ["main", "mail"],
        **columns,
    }
    db.scheduler_worker.insert(**row)


def _write_odd_things(db: Any) -> None:
    """What other programs and other versions wrote: lists that are none, statistics likewise."""
    worker = db.scheduler_worker
    for number, text in enumerate(("|main|", "main", '["main", "mail"]')):
        name = f"odd{number}"
        add_worker(db, name, WHEN)
        _put(db, name, "group_names", text)
        if "worker_stats" in worker.fields and worker.worker_stats.type == "text":
            _put(db, name, "worker_stats", ("{'sleep': 3}", "n/a", "")[number])
    worker.insert(worker_name="nothing")


def _put(db: Any, worker_name: str, column: str, text: str) -> None:
    quoted = text.replace("'", "''")
    db.executesql(
        f"UPDATE scheduler_worker SET {column} = '{quoted}' WHERE worker_name = '{worker_name}'"
    )


def types_of(db: Any) -> dict[str, dict[str, str]]:
    """For each of the tables its columns with their types, as the database tells them."""
    return {table: dict(_columns(db, table)) for table in TABLES if _columns(db, table)}


def _columns(db: Any, table: str) -> list[tuple[str, str]]:
    if db._uri.startswith("sqlite"):
        return [(row[1], row[2]) for row in db.executesql(f"PRAGMA table_info({table})")]
    schema, kind = "current_schema()", "data_type || coalesce(character_maximum_length::text, '')"
    if db._uri.startswith("mysql"):
        schema, kind = "DATABASE()", "column_type"
    return [
        (str(name), str(what))
        for name, what in db.executesql(
            f"SELECT column_name, {kind} FROM information_schema.columns "
            f"WHERE table_schema = {schema} AND table_name = '{table}'"
        )
    ]
