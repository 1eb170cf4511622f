"""Where is it kept? The engine's only reader and writer of its tables.

I own the transactions: a turn of a worker is one of them, a chore is one of them. My parts are
`rows` (a task's row as a record), `due` (what may be claimed), `claims` (who gets it), `tasks` (its
way from there to its end), `workers` (who is alive, who leads, what was ordered), `outlook` (is
there anything to look after), `chores` (what the leader does for all then), `metrics` (how the
work went) and `events` (what happened to workers). I call dialects and lifecycle. I never decide
what follows from an outcome, and never see a process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydal import DAL

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects import (
    close_connection,
    dialect_for,
    driver_args,
    require_file,
)
from plugin_scheduler.models import INDEXES, TABLES, define_tables
from plugin_scheduler.store.claim_conditions import ClaimConditions
from plugin_scheduler.store.claims import Claims
from plugin_scheduler.store.maintenance import Maintenance
from plugin_scheduler.store.maintenance_checks import MaintenanceChecks
from plugin_scheduler.store.metrics import Metrics
from plugin_scheduler.store.task_reports import TaskReports
from plugin_scheduler.store.worker_events import Events
from plugin_scheduler.store.workers import Workers
from plugin_scheduler.system.clock import Clock


class Store:
    """The engine's own connection; the app's one is never used for this."""

    def __init__(self, db: Any, settings: Settings, clock: Clock, application: str = "") -> None:
        self.db, self.application = db, application
        self.dialect = dialect_for(db, clock, settings)
        due = ClaimConditions(self.dialect, settings, application)
        self.tasks = TaskReports(self.dialect, settings)
        self.claims = Claims(self.dialect, due, self.tasks)
        self.workers = Workers(self.dialect, settings)
        self.outlook = MaintenanceChecks(self.dialect, due)
        self.metrics = Metrics(self.dialect)
        self.events = Events(self.dialect, application)
        self.chores = Maintenance(self.dialect, self.outlook, self.tasks)
        #: What would help, but could not be made in the database.
        self.lacks: list[str] = []

    @classmethod
    def open(
        cls,
        where: Mapping[str, Any],
        settings: Settings,
        clock: Clock,
        application: str = "",
        prepares: bool = True,
    ) -> Store:
        """Connect as the app does, with the app's own arguments; StoreUnavailable names the error.

        The tables are the app's to make, so nothing is migrated here; what helps the work on them
        (indexes, triggers) is made if it ``prepares``.
        """
        try:
            require_file(where["uri"], where.get("folder"))
            options = driver_args(where["uri"], where["driver_args"], settings)
            db = DAL(migrate=False, attempts=1, **{**where, "driver_args": options})
        except RuntimeError as error:  # pydal's word for: cannot connect
            raise StoreUnavailable(str(error)) from error
        try:
            define_tables(db, now=dialect_for(db, clock, settings).now, migrate=False)
            store = cls(db, settings, clock, application)
            with store.dialect.reading():
                store.lacks = store.dialect.prepare_tables(INDEXES) if prepares else []
                store.dialect.escape_letters(TABLES)
        except BaseException as error:  # a worker that waits for its database tries many times
            close_connection(db)
            if isinstance(error, RuntimeError):
                raise StoreUnavailable(str(error)) from error
            raise
        return store

    def close(self) -> None:
        """Let go of the connection."""
        self.db.close()
