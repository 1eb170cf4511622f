"""Audit log: actions of people on tasks and workers, and events of workers.

Writes the rows of ``scheduler_history`` for actions of people; workers write theirs in
`store.worker_events`. Does not commit: an action and its entry belong to one transaction of the
caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler.core import json_codec, row_values
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.worker_events import event_sentence
from plugin_scheduler.database.dialects import dialect_for
from plugin_scheduler.database.dialects.bulk_insert import batches
from plugin_scheduler.database.dialects.odd_values import read_rows
from plugin_scheduler.system.clock import SYSTEM

LONGEST = 255  # characters of a name


@dataclass(frozen=True)
class AuditEntry:
    """An action on a task or a worker; ``detail`` has more information in plain values."""

    at: datetime | None
    who: str
    did: str
    detail: dict[str, Any]
    task_id: int | None
    worker_name: str
    id: int = 0

    @property
    def event(self) -> Sentence | None:
        """The description of a worker event; None for the action of a person."""
        return event_sentence(self.who, self.did, self.detail)


class AuditLog:
    """The history of tasks and workers. ``now`` returns the time used for due tasks.

    >>> log = AuditLog(db, scheduler.now)
    >>> log.note("ann", "stop", task_id=17)
    >>> log.of_task(17)
    [AuditEntry(at=..., who='ann', did='stop', detail={}, task_id=17, worker_name='')]
    """

    def __init__(self, db: Any, now: Callable[[], datetime], application: str = "") -> None:
        self._db, self._now, self._application = db, now, application
        self._history = db.scheduler_history

    def note(
        self,
        who: str,
        did: str,
        task_id: int | None = None,
        worker_name: str = "",
        **detail: Any,
    ) -> None:
        """Add an entry for one task or one worker."""
        self._insert([self._row(who, did, detail, task_id, worker_name)])

    def note_many(self, who: str, did: str, task_ids: Iterable[int], **detail: Any) -> None:
        """Add an entry for each of several tasks."""
        one = self._row(who, did, detail, None, "")
        self._insert([{**one, "task_id": int(task_id)} for task_id in task_ids])

    def of_task(self, task_id: int, limit: int = 50) -> list[AuditEntry]:
        """Return the entries of a task, the latest first."""
        return self._read(self._history.task_id == task_id, limit)

    def of_worker(self, name: str, limit: int = 50) -> list[AuditEntry]:
        """Return the entries of a worker, the latest first."""
        return self._read((self._history.worker_name == name) & self._of_app(), limit)

    def latest(
        self, limit: int = 100, before: int | None = None, since: datetime | None = None
    ) -> list[AuditEntry]:
        """Return the entries of this app, the latest first.

        Limited to entries older than the id ``before``, and not older than the time ``since``.
        """
        query = self._of_app()
        if before is not None:
            query &= self._history.id < before
        if since is not None:
            query &= self._history.noted_at >= since
        return self._read(query, limit)

    def _of_app(self) -> Any:
        """Return the condition for this app; it includes workers that serve every app."""
        names = ["", self._application]
        if not self._application:
            return self._history.id > 0
        return self._history.application_name.belongs(names)

    def _row(
        self, who: str, did: str, detail: dict[str, Any], task_id: int | None, worker_name: str
    ) -> dict[str, Any]:
        return {
            "noted_at": self._now(),
            "who": json_codec.clean(who)[:LONGEST],
            "did": json_codec.clean(did)[:LONGEST],
            "task_id": task_id,
            "worker_name": json_codec.clean(worker_name)[:LONGEST],
            "application_name": self._application,
            "detail": _plain(detail),
        }

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        dialect = dialect_for(self._db, SYSTEM, Settings())
        for row in rows:
            for name in ("who", "did", "worker_name"):
                row[name] = dialect.storable(row[name])
        for some in batches(rows):
            dialect.insert_all(self._history, some)

    def _read(self, query: Any, limit: int) -> list[AuditEntry]:
        dialect = dialect_for(self._db, SYSTEM, Settings())
        newest = {"orderby": ~self._history.id, "limitby": (0, limit)}
        return [_note(row) for row in read_rows(dialect, query, self._history.ALL, **newest)]


def _note(row: Any) -> AuditEntry:
    text, detail = row_values.text, row.detail if isinstance(row.detail, dict) else {}
    return AuditEntry(
        at=row_values.moment(row.noted_at),
        who=text(row.who) or "",
        did=text(row.did) or "",
        detail={**detail, **{f"{name} cannot be read": why for name, why in _odd(row).items()}},
        task_id=row_values.whole(row.task_id) or None,
        worker_name=text(row.worker_name) or "",
        id=row.id,
    )


def _odd(row: Any) -> dict[str, str]:
    found: dict[str, str] = dict(row.get("odd") or {})
    if row.detail is not None and not isinstance(row.detail, dict):
        found["detail"] = "no JSON object"
    return found


def _plain(detail: dict[str, Any]) -> Any:
    """Convert details to plain JSON values that every database can store."""
    return _clean(json_codec.document(detail)) if detail else None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return json_codec.clean(value)
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, dict):
        return {json_codec.clean(name): _clean(one) for name, one in value.items()}
    return value
