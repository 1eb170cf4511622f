"""Where does the terminal look? From `-K app` or `-u uri` to a scheduler and a browser.

I own that way, and waiting for a task. I call hosts, api and browse. I never print, and never make
a database file: looking must leave nothing behind.
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

LOOK_EVERY = 0.2  # seconds, while a task is waited for
STANDALONE = "standalone"  # the application of tasks that belong to no app


@dataclass(frozen=True)
class Desk:
    """What a sub-command works with: the scheduler, and a browser for the same tasks. ``lacks`` is
    what tables of an older version lack; most of the browser needs tables that lack nothing."""

    scheduler: Scheduler
    browser: Queries
    lacks: Sequence[Lack] = ()

    def alive(self) -> list[str]:
        """The names of the workers that are alive; also of older versions, on tables of theirs."""
        lack = next((one for one in self.lacks if one.table == "scheduler_worker"), None)
        if lack is not None and lack.is_missing:
            return []
        workers = self.browser.workers(lacking=lack.columns if lack else ())
        return [worker.name for worker in workers if worker.alive]

    def complete_tables(self) -> None:
        """Add what the tables lack, over a connection of its own: the app may not allow that."""
        self.scheduler.db.rollback()  # who looked at a table holds it
        db = DAL(**place_of(self.scheduler.db), attempts=1)
        try:
            define_tables(db, now=self.scheduler.now, application_name=STANDALONE)
            db.commit()
        finally:
            db.close()

    def named(self, ref: str) -> TaskView:
        """The task of that id or uuid, as it is now; NotFound where there is none."""
        self.scheduler.db.rollback()  # ends this connection's view of the past
        task = self.browser.task(ref)
        if task is None:
            where = f" of app {self.browser.application}" if self.browser.application else ""
            raise NotFound(f"there is no task {ref}{where}")
        return task

    def wait(self, ref: str, seconds: float | None) -> TaskView:
        """Look at a task until it has ended, or the time is over; None does not wait at all."""
        until = SYSTEM.monotonic() + (seconds or 0)
        while True:
            task = self.named(ref)
            over = seconds is None or (seconds >= 0 and SYSTEM.monotonic() >= until)
            if over or task.status in TaskStatus.ENDED:
                return task
            SYSTEM.sleep(LOOK_EVERY)


@contextlib.contextmanager
def opened(where: Mapping[str, Any]) -> Iterator[Desk]:
    """Find the scheduler; whatever stays open in its database is rolled back at the end."""
    if where["uri"] and where["app"]:
        raise ConfigError("name an app with -K, or a database with -u, not both")
    takes_old = where.get("takes_old_tables", False)
    lacks: list[Lack] = []
    try:
        with only_looking() if takes_old else contextlib.nullcontext(lacks) as lacks:
            scheduler, application = _of_uri(where) if where["uri"] else _of_app(where)
    except ConfigError as error:
        if not lacks:
            raise
        raise ConfigError(
            f"{error}. The scheduler's tables there are not those of this version, and are not "
            "changed to load the app: call scheduler.py upgrade -u URI first"
        ) from error
    except SchedulerError:
        raise
    except Exception as error:  # each driver raises its own kind for: not now
        if is_passing(error):
            raise StoreUnavailable(f"the database cannot be used now: {why(error)}") from error
        raise
    try:
        with dialect_for(scheduler.db, SYSTEM, scheduler.settings).errors():
            lacks = _check_tables(scheduler.db, takes_old)
            known = scheduler.catalog.names()
            browser = Queries(scheduler.db, scheduler.settings, application, known)
            yield Desk(scheduler, browser, lacks)
    finally:
        scheduler.db.close()


def _of_app(where: Mapping[str, Any]) -> tuple[Scheduler, str]:
    app = (where["app"] or "").partition(":")[0].strip()
    if not app:
        raise ConfigError("where to look? name an app with -K, or a database with -u and -f")
    if not py4web.is_app_name(app):
        raise ConfigError(f"-K {where['app']!r}: {app!r} is no app name")
    folder = os.path.abspath(where["apps_folder"])
    py4web.check(app, folder)
    home = load({"kind": "py4web", "app": app, "folder": folder}).home
    assert isinstance(home, Scheduler)
    return home, home.application_name


def _of_uri(where: Mapping[str, Any]) -> tuple[Scheduler, str]:
    """A scheduler for all that is in a database; without a file of tasks any name can be queued."""
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
    scheduler.catalog = catalog  # not the public functions of this module
    return scheduler, ""


def _check_sqlite_file(uri: str, folder: str) -> None:
    """SQLite would make an empty file out of a typing mistake."""
    if not os.path.isdir(folder):
        raise ConfigError(f"no folder {folder}; -f names the folder of the database files")
    path = os.path.join(folder, uri.partition("://")[2])
    if uri.startswith("sqlite://") and not os.path.isfile(path):
        raise ConfigError(
            f"no database file {path}; name its folder with -f, or start a worker first"
        )


def _connected(uri: str, folder: str) -> Any:
    try:
        return DAL(uri, folder=folder, **module.credentials(uri), attempts=1)
    except Exception as error:  # each driver raises its own kind for: cannot connect
        where = module.without_password(uri)
        raise kind_of(error)(f"database {where} cannot be opened: {why(error)}") from error


def _check_tables(db: Any, takes_old: bool) -> list[Lack]:
    """What the tables lack, for who takes old ones; else an error says that they are not right."""
    try:
        if not (lacks := lacks_of(db) if takes_old else []):
            queries.touch(db)
        return lacks
    except Exception as error:  # each driver raises its own kind for: no such table
        where = module.without_password(db._uri)
        remedy = "" if is_passing(error) else "; start a worker first, it makes the tables"
        raise kind_of(error)(
            f"the scheduler's tables in {where} cannot be read: {why(error)}{remedy}"
        ) from error
