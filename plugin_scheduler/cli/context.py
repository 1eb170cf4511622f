"""Open the scheduler that `-K app` or `-u uri` names, and wait for tasks.

Does not print, and does not create a database file: a misspelled name must leave nothing behind.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydal import DAL

from plugin_scheduler import queries
from plugin_scheduler.core.errors import ConfigError, NotFound, SchedulerError, StoreUnavailable
from plugin_scheduler.core.registry import Catalog
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.database.dialects import dialect_for, is_passing
from plugin_scheduler.loaders import load, module, py4web
from plugin_scheduler.loaders.loaded_app import kind_of, place_of, why
from plugin_scheduler.models import define_tables
from plugin_scheduler.models.migrations import Lack, lacks_of, only_looking
from plugin_scheduler.queries import Queries
from plugin_scheduler.queries.views import TaskView
from plugin_scheduler.scheduler import Scheduler
from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.system.pydal_access import uri_of

LOOK_EVERY = 0.2  # seconds between two polls while waiting for a task
STANDALONE = "standalone"  # the application of tasks without an app


@dataclass(frozen=True)
class Desk:
    """The scheduler of a sub-command, and the queries for its tasks.

    ``lacks`` are missing tables and columns of an older version; most queries need all of them.
    """

    scheduler: Scheduler
    queries: Queries
    lacks: Sequence[Lack] = ()

    def alive(self) -> list[str]:
        """Return the names of the live workers, also from tables of older versions."""
        lack = next((one for one in self.lacks if one.table == "scheduler_worker"), None)
        if lack is not None and lack.is_missing:
            return []
        workers = self.queries.workers(lacking=lack.columns if lack else ())
        return [worker.name for worker in workers if worker.alive]

    def complete_tables(self) -> None:
        """Add missing tables and columns over a separate connection: the app may not migrate."""
        self.scheduler.db.rollback()  # a read locks the tables
        db = DAL(**place_of(self.scheduler.db), attempts=1)
        try:
            define_tables(db, now=self.scheduler.now, application_name=STANDALONE)
            db.commit()
        finally:
            db.close()

    def named(self, ref: str) -> TaskView:
        """Return the task of that id or uuid as it is now; raise NotFound if there is none."""
        self.scheduler.db.rollback()  # the next query reads a new snapshot
        task = self.queries.task(ref)
        if task is None:
            where = f" of app {self.queries.application}" if self.queries.application else ""
            raise NotFound(f"there is no task {ref}{where}")
        return task

    def wait(self, ref: str, seconds: float | None) -> TaskView:
        """Poll a task until it has ended or the time is over; with None, do not wait."""
        until = SYSTEM.monotonic() + (seconds or 0)
        while True:
            task = self.named(ref)
            over = seconds is None or (seconds >= 0 and SYSTEM.monotonic() >= until)
            if over or task.status in TaskStatus.ENDED:
                return task
            SYSTEM.sleep(LOOK_EVERY)


@contextlib.contextmanager
def opened(where: Mapping[str, Any]) -> Iterator[Desk]:
    """Open the scheduler; close its database at the end."""
    if where["uri"] and where["app"]:
        raise ConfigError("-K and -u cannot be combined: an app has its own database")
    takes_old = where.get("takes_old_tables", False)
    lacks: list[Lack] = []
    try:
        with only_looking() if takes_old else contextlib.nullcontext(lacks) as lacks:
            scheduler, application = _of_uri(where) if where["uri"] else _of_app(where)
    except ConfigError as error:
        if not lacks:
            raise
        raise ConfigError(
            f"{error}. The scheduler's tables are of an older version, and loading the app does "
            "not change them: run scheduler.py upgrade -u URI first"
        ) from error
    except SchedulerError:
        raise
    except Exception as error:  # each driver has its own exceptions for an unavailable database
        if is_passing(error):
            raise StoreUnavailable(f"the database cannot be used now: {why(error)}") from error
        raise
    try:
        with dialect_for(scheduler.db, SYSTEM, scheduler.settings).errors():
            lacks = _check_tables(scheduler.db, takes_old)
            known = scheduler.catalog.names()
            reader = Queries(scheduler.db, scheduler.settings, application, known)
            yield Desk(scheduler, reader, lacks)
    finally:
        scheduler.db.close()


def _of_app(where: Mapping[str, Any]) -> tuple[Scheduler, str]:
    app = (where["app"] or "").partition(":")[0].strip()
    if not app:
        raise ConfigError("no app given: use -K APP, or -u URI and -f FOLDER")
    if not py4web.is_app_name(app):
        raise ConfigError(f"-K {where['app']!r}: {app!r} is not an app name")
    folder = os.path.abspath(where["apps_folder"])
    py4web.check(app, folder)
    home = load({"kind": "py4web", "app": app, "folder": folder}).home
    assert isinstance(home, Scheduler)
    return home, home.application_name


def _of_uri(where: Mapping[str, Any]) -> tuple[Scheduler, str]:
    """Return a scheduler for all tasks in a database; without a task file it takes any name."""
    uri, folder = where["uri"], os.path.abspath(where["folder"])
    settings = Settings(utc_time=where["utc_time"])
    _check_sqlite_file(uri, folder)
    if where["file"]:
        path = os.path.abspath(where["file"])
        module.check(uri, folder, path)
        spec = {"uri": uri, "folder": folder, "tasks": path, "settings": settings.as_dict()}
        home = load({"kind": "file", **spec}).home
        db, catalog = home.db, home.catalog
    else:
        db, catalog = _connected(uri, folder), Catalog(None, {})
        now = dialect_for(db, SYSTEM, settings).now
        define_tables(db, now=now, migrate=False, application_name=STANDALONE)
    scheduler = Scheduler(
        db, migrate=False, utc_time=settings.utc_time, application_name=STANDALONE
    )
    scheduler.catalog = catalog  # instead of the public functions of this module
    return scheduler, ""


def _check_sqlite_file(uri: str, folder: str) -> None:
    """Refuse a file that does not exist: SQLite would create an empty one."""
    if not os.path.isdir(folder):
        raise ConfigError(f"folder {folder} not found; -f names the folder of the database files")
    path = os.path.join(folder, uri.partition("://")[2])
    if uri.startswith("sqlite://") and not os.path.isfile(path):
        raise ConfigError(
            f"database file {path} not found; give its folder with -f, or start a worker, which "
            "creates it"
        )


def _connected(uri: str, folder: str) -> Any:
    try:
        return DAL(uri, folder=folder, **module.credentials(uri), attempts=1)
    except Exception as error:  # each driver has its own exceptions for a failed connection
        where = module.without_password(uri)
        raise kind_of(error)(f"database {where} cannot be opened: {why(error)}") from error


def _check_tables(db: Any, takes_old: bool) -> list[Lack]:
    """Return missing tables and columns if the sub-command accepts them; else raise an error."""
    try:
        if not (lacks := lacks_of(db) if takes_old else []):
            queries.touch(db)
        return lacks
    except Exception as error:  # each driver has its own exceptions for a missing table
        where = module.without_password(uri_of(db))
        remedy = "" if is_passing(error) else "; start a worker, which creates the tables"
        raise kind_of(error)(
            f"the scheduler's tables in {where} cannot be read: {why(error)}{remedy}"
        ) from error
