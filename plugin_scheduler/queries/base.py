"""The base of all queries: an app's tables, its conditions, and the time.

Does not write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pydal.objects import Query

from plugin_scheduler.core import row_values
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects import dialect_for
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.odd_values import ask, read_raw, read_rows
from plugin_scheduler.database.dialects.sql_template import listed
from plugin_scheduler.queries import views
from plugin_scheduler.queries.views import WorkerView
from plugin_scheduler.store.claim_conditions import ClaimConditions
from plugin_scheduler.store.workers import FOREIGN_LEASE
from plugin_scheduler.system.clock import Clock

TASK_UNREADABLE = "Task {id} cannot be read: {why}"
MANY_GROUPS = 200  # groups of one status that are listed


@dataclass(frozen=True)
class AppData:
    """What all queries on one app share; on all apps in the database if ``application`` is ""."""

    db: Any
    settings: Settings
    application: str
    known: frozenset[str]
    clock: Clock
    dialect: Dialect
    due: ClaimConditions

    @classmethod
    def of(
        cls, db: Any, settings: Settings, application: str, known: Collection[str], clock: Clock
    ) -> AppData:
        dialect = dialect_for(db, clock, settings)
        due = ClaimConditions(dialect, settings, application)
        return cls(db, settings, application, frozenset(known), clock, dialect, due)


class Source:
    """The tables of one app; of all apps in the database if its name is ""."""

    def __init__(self, app: AppData) -> None:
        self._db, self._settings = app.db, app.settings
        self.application, self._known = app.application, app.known
        self._dialect, self._clock, self._due = app.dialect, app.clock, app.due
        self._conditions = app.due.conditions
        self._task, self._run = app.db.scheduler_task, app.db.scheduler_run
        self._deps = app.db.scheduler_task_deps

    def now(self) -> Any:
        """Return the time by which tasks are due."""
        return self._dialect.now()

    def workers(self, lacking: Collection[str] = ()) -> list[WorkerView]:
        """Return every registered worker, alive or dead, by name. Tables of older versions may be
        ``lacking`` columns."""
        worker = self._db.scheduler_worker
        there = [column for column in worker if column.name not in lacking]
        rows = self._read_rows(worker.id > 0, *there, orderby=worker.worker_name)
        for row in rows:
            row.update(dict.fromkeys(lacking))
        now, epoch = self.now(), self._dialect.epoch()
        return [views.worker_view(row, now, epoch, FOREIGN_LEASE) for row in rows]

    def groups_with(self, status: str, most: int = MANY_GROUPS) -> list[str]:
        """Return the groups of the tasks with a status, at most ``most``."""
        found: list[str] = []
        group = self._group_after(status)
        while group and group not in found and len(found) < most:
            found.append(group)
            group = self._group_after(status, group)
        return found

    def _group_after(self, status: str, group: str | None = None) -> str | None:
        with self._dialect.any_text():
            return row_values.text(self._dialect.group_after(status, group))

    def _mine(self) -> Any:
        return self._conditions(self.now())["of this app"]

    def _set(self, query: Any) -> Any:
        return self._db(query, ignore_common_filters=True)

    def _rows(self, table: Any, query: Any, *fields: Any, **options: Any) -> list[Any]:
        """Return rows of a table, without those that pydal cannot read because a value was edited
        by hand (an invalid time): one of these must not hide the others."""
        rows = self._read_rows(query, *(fields or [table.ALL]), **options)
        return [row for row in rows if not row.get("odd")]

    def _read_rows(self, query: Any, *fields: Any, **options: Any) -> list[Any]:
        """Return rows as pydal's select does, also if some were edited by hand."""
        return read_rows(self._dialect, query, *fields, **options)

    def _told(self, query: Any, fields: list[Any], **options: Any) -> list[tuple[Any, ...]]:
        """Return rows as the driver does: thousands of pydal's rows would take too long."""
        return read_raw(self._dialect, self._set(query), fields, options)

    def _answer(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the driver's answer, also if a text has an invalid encoding."""
        return ask(self._dialect, sql)

    def _among(self, column: Any, ids: Iterable[int]) -> Any:
        """Return a condition like pydal's ``belongs``, which is ten times slower for many ids."""
        return Query(self._db, f"({column} IN ({listed(list(ids))}))")


def unreadable(words: str, one: Any, row: Any) -> Sentence:
    """Return ``words``, which contain {id} and {why}, for a row that was edited by hand."""
    why = "; ".join(f"{name}: {reason}" for name, reason in row.odd.items())
    return Sentence(words, id=one, why=why)
