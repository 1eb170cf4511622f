"""What tests of all databases start from: a lab on one, or a program with a scheduler alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from pydal import DAL

from plugin_scheduler import Scheduler
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import WorkerStatus
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM
from support.databases import SQLITE_FILE, Database, without_dialect_below
from support.kit import Lab, lab_in

PROGRAM = """
def add(a=1, b=2):
    return a + b

def echo(*args, **kwargs):
    return [args, kwargs]

def report(day=None):
    return day

scheduler = Scheduler(db, application_name="lab", **options)
"""

Connect = Callable[..., Any]


def scheduler_on(db: Any, **options: Any) -> Scheduler:
    """A scheduler whose tasks are `add`, `echo` and `report`."""
    namespace: dict[str, Any] = {"Scheduler": Scheduler, "db": db, "options": options}
    exec(PROGRAM, namespace)
    return namespace["scheduler"]  # type: ignore[no-any-return]


@contextmanager
def engine_on(connect: Connect, prepares: bool = True, **options: Any) -> Iterator[Store]:
    """A store with a connection of its own, opened as a worker does it."""
    db = connect()
    scheduler_on(db)
    where = {"uri": db._uri, "folder": db._adapter.folder, "driver_args": options}
    settings = Settings(heartbeat=1)
    with closing(Store.open(where, settings, SYSTEM, "lab", prepares=prepares)) as store:
        store.dialect.zone = "UTC"
        yield store


@contextmanager
def lab_on(database: Database, folder: Path, **options: Any) -> Iterator[Lab]:
    """A lab there; its workers ask the database as this process does."""
    with lab_in(folder, database.uri, database.server, **options) as lab:
        if database.is_plain:
            lab.env = without_dialect_below("sqlite", folder / "plain")
        yield lab


@contextmanager
def connections(folder: Path, uri: str = SQLITE_FILE) -> Iterator[Connect]:
    """Connections to one database; closed at the end."""
    with ExitStack() as closing:

        def connect(**options: Any) -> Any:
            db = DAL(uri, folder=str(folder), **options)
            closing.callback(db.close)
            return db

        yield connect


def add_worker(db: Any, name: str, groups: list[str], **columns: Any) -> int:
    """A row for a worker that is not there."""
    columns = {"status": WorkerStatus.ACTIVE, "worker_stats": {}, **columns}
    return int(db.scheduler_worker.insert(worker_name=name, group_names=groups, **columns))


def statuses_of_workers(db: Any) -> dict[str, str]:
    rows = db(db.scheduler_worker, ignore_common_filters=True).select()
    return {row.worker_name: row.status for row in rows}
