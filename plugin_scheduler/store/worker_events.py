"""Write worker events to ``scheduler_history``, and delete outdated ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from plugin_scheduler.core.worker_events import SCHEDULER, WorkerEvent
from plugin_scheduler.database.dialects.base import Dialect, retry_on_conflict

KEPT = timedelta(days=90)
PRUNED = 2000  # rows of each kind deleted per round
ANY = "scheduler_history.id > 0"


class Happened(NamedTuple):
    """An event of a worker."""

    event: WorkerEvent
    worker_name: str
    noted_at: datetime
    detail: dict[str, Any]


class Events:
    """The history of worker events."""

    def __init__(self, dialect: Dialect, application: str) -> None:
        self._dialect, self._db, self._application = dialect, dialect.db, application
        self._history = dialect.db.scheduler_history

    @retry_on_conflict
    def write(self, events: Sequence[Happened]) -> None:
        """Store these events in one transaction."""
        rows = [
            {
                "noted_at": one.noted_at,
                "who": SCHEDULER,
                "did": one.event.value,
                "task_id": None,
                "worker_name": one.worker_name,
                "application_name": self._application,
                "detail": one.detail,
            }
            for one in events
        ]
        with self._dialect.transaction():
            self._dialect.insert_all(self._history, rows)

    @retry_on_conflict
    def prune(self) -> bool:
        """Delete some outdated events; return True if there may be more.

        Actions of people are kept.
        """
        history, oldest = self._history, self._dialect.now() - KEPT
        ids: list[int] = []
        with self._dialect.reading():
            for event in WorkerEvent:
                old = (history.did == event.value) & (history.noted_at < oldest)
                found = self._db(old & (history.who == SCHEDULER))
                ids += [row.id for row in found.select(history.id, limitby=(0, PRUNED))]
        if ids:
            with self._dialect.transaction():
                self._dialect.delete_rows("scheduler_history", ids, ANY)
        return len(ids) >= PRUNED
