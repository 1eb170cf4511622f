"""The store: all access of the workers to the scheduler's tables.

One round of a worker's main loop, or one maintenance job, is one transaction. The parts are:

- `task_rows`: rows of tasks as records;
- `claim_conditions`, `priority_scan`: which tasks may be claimed;
- `claims`, `bulk`: claiming tasks;
- `task_reports`, `transitions`: the status of tasks, from the start of a run to its report;
- `workers`: registration, heartbeats, leader election, commands;
- `maintenance_checks`, `maintenance`: what the leader does for all workers;
- `metrics`, `metrics_buffer`: counts of runs;
- `worker_events`, `audit_log`: the history.

The store does not decide what follows from an outcome, and does not access processes.
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
    """The store of one worker, on its own connection; the app's connection is never used."""

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
        self.maintenance = Maintenance(self.dialect, self.outlook, self.tasks)
        #: Optional database objects that could not be created.
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
        """Connect with the app's arguments; raise `StoreUnavailable` on failure.

        The app creates the tables, so nothing is migrated here. Indexes and triggers are created
        if ``prepares`` is True.
        """
        try:
            require_file(where["uri"], where.get("folder"))
            options = driver_args(where["uri"], where["driver_args"], settings)
            db = DAL(migrate=False, attempts=1, **{**where, "driver_args": options})
        except RuntimeError as error:  # pydal raises RuntimeError if it cannot connect
            raise StoreUnavailable(str(error)) from error
        try:
            define_tables(db, now=dialect_for(db, clock, settings).now, migrate=False)
            store = cls(db, settings, clock, application)
            with store.dialect.reading():
                store.lacks = store.dialect.prepare_tables(INDEXES) if prepares else []
                store.dialect.escape_letters(TABLES)
        except BaseException as error:  # a worker may retry many times: do not leak connections
            close_connection(db)
            if isinstance(error, RuntimeError):
                raise StoreUnavailable(str(error)) from error
            raise
        return store

    def close(self) -> None:
        """Close the connection."""
        self.db.close()
