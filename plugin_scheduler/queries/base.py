"""What every reader of ours starts from: an app's tables, its conditions, and the time.

I own which rows are this app's. I call dialects and the store's named conditions. I never write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from pydal.objects import Query

from plugin_scheduler.core import row_values
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.registry import Home
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects import dialect_for
from plugin_scheduler.database.dialects.odd_values import ask, read_raw, read_rows
from plugin_scheduler.database.dialects.sql_template import listed
from plugin_scheduler.queries import views
from plugin_scheduler.queries.views import WorkerView
from plugin_scheduler.store.claim_conditions import ClaimConditions
from plugin_scheduler.store.workers import FOREIGN_LEASE
from plugin_scheduler.system.clock import SYSTEM, Clock

TASK_UNREADABLE = "Task {id} cannot be read: {why}"
MANY_GROUPS = 200  # groups of one status that are told apart


class Source:
    """The tables of one app; of all that share the database where ``application`` is ""."""

    def __init__(
        self,
        db: Any,
        settings: Settings,
        application: str = "",
        known: Collection[str] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        self._db, self._settings = db, settings
        self.application, self._known = application, frozenset(known)
        self._dialect = dialect_for(db, clock, settings)
        self._clock = clock
        self._due = ClaimConditions(self._dialect, settings, application)
        self._conditions = self._due.conditions
        self._task, self._run = db.scheduler_task, db.scheduler_run
        self._deps = db.scheduler_task_deps

    @classmethod
    def of(cls, home: Home) -> Any:
        """The reader of an app's scheduler."""
        return cls(home.db, home.settings, home.application_name, home.catalog.names())

    def now(self) -> Any:
        """The time by which tasks are due."""
        return self._dialect.now()

    def workers(self, lacking: Collection[str] = ()) -> list[WorkerView]:
        """Every registered worker, dead or alive; by name. Tables of older versions may be
        ``lacking`` columns."""
        worker = self._db.scheduler_worker
        there = [column for column in worker if column.name not in lacking]
        rows = self._read_rows(worker.id > 0, *there, orderby=worker.worker_name)
        for row in rows:
            row.update(dict.fromkeys(lacking))
        now, epoch = self.now(), self._dialect.epoch()
        return [views.worker_view(row, now, epoch, FOREIGN_LEASE) for row in rows]

    def groups_with(self, status: str, most: int = MANY_GROUPS) -> list[str]:
        """The groups that tasks of a status have, as far as so many."""
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
        """Rows of a table, without those that somebody edited so that pydal cannot read them (a
        time that is none): one of these must not hide the others."""
        rows = self._read_rows(query, *(fields or [table.ALL]), **options)
        return [row for row in rows if not row.get("odd")]

    def _read_rows(self, query: Any, *fields: Any, **options: Any) -> list[Any]:
        """Rows as pydal's select gives them, also where some were written by hand."""
        return read_rows(self._dialect, query, *fields, **options)

    def _told(self, query: Any, fields: list[Any], **options: Any) -> list[tuple[Any, ...]]:
        """Rows as the driver gives them: thousands of pydal's would take too long."""
        return read_raw(self._dialect, self._set(query), fields, options)

    def _answer(self, sql: str) -> list[tuple[Any, ...]]:
        """What the driver answers; also where a text is in no encoding."""
        return ask(self._dialect, sql)

    def _among(self, column: Any, ids: Iterable[int]) -> Any:
        """As pydal's ``belongs``, which takes ten times as long for many."""
        return Query(self._db, f"({column} IN ({listed(list(ids))}))")


def unreadable(words: str, one: Any, row: Any) -> Sentence:
    """``words``, which have {id} and {why}, for a row that was written by hand."""
    why = "; ".join(f"{name}: {reason}" for name, reason in row.odd.items())
    return Sentence(words, id=one, why=why)
