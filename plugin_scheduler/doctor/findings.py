"""Findings of the doctor: a stable code, a severity, a sentence, and a remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects import dialect_for
from plugin_scheduler.models.migrations import Lack
from plugin_scheduler.queries import Notice, Queries
from plugin_scheduler.queries.views import WorkerView
from plugin_scheduler.queries.warnings import ERROR, NOTE, WARNING
from plugin_scheduler.system.clock import SYSTEM

PATIENCE = 5  # seconds for a statement

_UPGRADE = "run scheduler.py upgrade"
_RESTART = "restart the worker"
#: The severity and the remedy of each code. Scripts use the codes: never change a code's meaning.
CODES: Mapping[str, tuple[str, str]] = {
    # The database
    "clock_here": (WARNING, "synchronise the clocks (NTP); the database's clock is used"),
    "wal_off": (
        WARNING,
        "start a worker while no other process has the file open, or set sqlite_wal=False",
    ),
    "isolation": (
        WARNING,
        "use READ COMMITTED as the default, or let apps retry failed transactions",
    ),
    "binlog_statement": (ERROR, "set binlog_format to ROW or MIXED on the server"),
    "database_read_only": (ERROR, "connect to the primary server; make the file writable"),
    # The tables
    "tables_missing": (
        ERROR,
        "start a worker, which creates them; or connect to the right database",
    ),
    "tables_old": (
        ERROR,
        "make a backup, stop older workers, then run scheduler.py upgrade (see --dry-run)",
    ),
    "sequence_behind": (ERROR, _UPGRADE),
    "ids_used_up": (ERROR, _UPGRADE),
    "ids_running_out": (WARNING, _UPGRADE),
    "ids_narrow": (NOTE, _UPGRADE),
    "index_missing": (
        WARNING,
        "start a worker whose database user has the right to create indexes",
    ),
    "index_invalid": (WARNING, "DROP INDEX it, then start a worker, which creates it again"),
    "status_odd": (ERROR, "UPDATE scheduler_task SET status = 'QUEUED' WHERE id = ..."),
    "runs_without_task": (
        WARNING,
        "DELETE FROM scheduler_run WHERE task_id IS NULL OR task_id NOT IN "
        "(SELECT id FROM scheduler_task)",
    ),
    "dependencies_without_task": (
        WARNING,
        "start a worker: the leader resolves them within seconds; or delete these rows of "
        "scheduler_task_deps",
    ),
    "tasks_without_worker": (
        WARNING,
        "start a worker: the leader gives the tasks back when the lease has expired",
    ),
    "rows_unreadable": (WARNING, "correct the values, or a worker sets these tasks to FAILED"),
    "rows_condemned": (WARNING, "correct the values, then requeue the tasks"),
    "table_large": (
        NOTE,
        "delete old rows; with discard_results=True successful runs leave no rows",
    ),
    # The work and its workers
    "group_unserved": (ERROR, "start a worker for the group"),
    "function_unknown": (ERROR, "deploy the function, and restart the workers"),
    "overdue": (WARNING, "start a worker: the leader sets these tasks to EXPIRED"),
    "no_worker": (WARNING, "start a worker: scheduler.py -K APP"),
    "no_leader": (ERROR, "start another worker; a leader is elected within seconds"),
    "worker_silent": (
        WARNING,
        "check whether its host is up; its row is removed when its lease has expired",
    ),
    "worker_unreadable": (
        WARNING,
        "correct the values; the worker writes its row at each heartbeat",
    ),
    "worker_died": (
        NOTE,
        "check the logs of the worker and of the system (for example: out of memory)",
    ),
    "runner_not_started": (ERROR, "remove the cause that is shown; the worker retries"),
    "claims_fail": (ERROR, "remove the cause; the worker retries"),
    "worker_time": (WARNING, "synchronise the clocks; set time_zone or utc_time for all workers"),
    "zone_here": (WARNING, "set time_zone or utc_time for all programs"),
    "late_news": (WARNING, "see docs/how-to/deploy-on-many-machines.md"),
    "worker_unknown_functions": (WARNING, _RESTART),
    "versions_mixed": (WARNING, "install one version for all workers, and restart them"),
    "version_here": (NOTE, "restart the workers, or use their version"),
    # This machine
    "folder_not_writable": (ERROR, "make the folder writable, or set TMPDIR (XDG_RUNTIME_DIR)"),
    "folder_full": (WARNING, "free space there, or set TMPDIR to another file system"),
    "folder_leftovers": (
        NOTE,
        "remove these folders when no worker of an earlier version runs",
    ),
    "descriptors_few": (WARNING, "raise the limit: ulimit -n, or LimitNOFILE of the systemd unit"),
    "not_checked": (WARNING, "grant the database user this right, or use another user"),
}


@dataclass(frozen=True)
class Finding:
    """One fault of the installation."""

    code: str
    severity: str
    sentence: str
    cure: str


def finding(code: str, sentence: str) -> Finding:
    severity, cure = CODES[code]
    return Finding(code, severity, sentence, cure)


def of_notice(notice: Notice) -> Finding:
    """Make a finding of a warning of the overview, with its remedy."""
    return Finding(notice.code, notice.severity, str(notice.sentence), CODES[notice.code][1])


class Exam:
    """The data for the checks. Data that several checks need is read once."""

    def __init__(
        self, db: Any, queries: Queries, settings: Settings, lacks: Sequence[Lack] = ()
    ) -> None:
        self.db, self.queries, self.settings, self.lacks = db, queries, settings, lacks
        self.dialect = dialect_for(db, SYSTEM, settings)

    @property
    def kind(self) -> str:
        """The database: "sqlite", "postgres", "mysql", or another name."""
        return self.dialect.name

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return list(self.db.executesql(sql) or ())

    @cached_property
    def workers(self) -> list[WorkerView]:
        return self.queries.workers()

    @cached_property
    def notices(self) -> list[Notice]:
        """The warnings of the overview."""
        return self.queries.overview().warnings

    def told(self, *codes: str) -> Iterator[Finding]:
        return (of_notice(one) for one in self.notices if one.code in codes)

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        """Limit the duration of statements, and leave no transaction open."""
        try:
            self._limit()
            yield
        finally:
            self.db.rollback()

    def _limit(self) -> None:
        if self.kind == "postgres":
            self.ask(f"SET LOCAL statement_timeout = '{PATIENCE}s'")
        elif self.kind == "mysql":
            [[version]] = self.ask("SELECT VERSION()")
            is_maria = "MariaDB" in version
            limit = f"max_statement_time = {PATIENCE}" if is_maria else "max_execution_time = 5000"
            self.ask(f"SET SESSION {limit}")
