"""Who is alive, who leads, and what was ordered: the rows of ``scheduler_worker``.

I own registration, heartbeats, the ticker's lease and orders. I call dialects. A worker writes only
its own row, and never its status column but to take back an order it has carried out.
"""

from __future__ import annotations

from typing import Any

from plugin_scheduler.dialects.base import Dialect
from plugin_scheduler.errors import ConfigError
from plugin_scheduler.records import Worker, WorkerStatus
from plugin_scheduler.settings import Settings

#: Not the statistics: somebody may have put there what is no JSON.
COLUMNS = (
    "id",
    "worker_name",
    "application_name",
    "status",
    "is_ticker",
    "group_names",
    "lease_until",
    "last_heartbeat",
)

#: A worker of web2py writes no lease; its last heartbeat must do, in seconds.
FOREIGN_LEASE = 60


class Workers:
    """The registry of workers."""

    def __init__(self, dialect: Dialect, settings: Settings) -> None:
        self._dialect, self._settings = dialect, settings
        self._db = dialect.db
        self._worker = self._db.scheduler_worker

    def register(self, name: str, stats: dict[str, Any]) -> int:
        """Add this worker's row and give its id; ConfigError when a live worker has the name."""
        with self._dialect.transaction():
            old = self._row(name)
            if old and (old.lease_until or 0) > self._dialect.epoch():
                raise ConfigError(
                    f"worker name {name!r} is taken by a worker that is alive; "
                    "choose another with --worker-name"
                )
            if old:
                self._db(self._worker.id == old.id).delete()
            return int(
                self._worker.insert(
                    worker_name=name,
                    application_name=stats.get("application", ""),
                    status=WorkerStatus.ACTIVE,
                    first_heartbeat=self._dialect.now(),
                    group_names=list(self._settings.group_names),
                    is_ticker=False,
                    **self._signs_of_life(stats),
                )
            )

    def lease_of(self, name: str) -> float | None:
        """Until when the worker of that name counts as alive; None when there is none."""
        with self._dialect.reading():
            row = self._row(name)
        return self._lease(row) if row else None

    def _row(self, name: str) -> Any:
        """Never the statistics: somebody may have put there what is no JSON."""
        worker = self._worker
        needed = (worker.id, worker.lease_until, worker.last_heartbeat)
        return self._db(worker.worker_name == name).select(*needed).first()

    def _signs_of_life(self, stats: dict[str, Any]) -> dict[str, Any]:
        return {
            "last_heartbeat": self._dialect.now(),
            "lease_until": self._dialect.epoch() + self._settings.lease,
            "worker_stats": stats,
        }

    def beat(self, worker_id: int, stats: dict[str, Any]) -> float | None:
        """Say that this worker lives; until when that counts, None when its row is gone."""
        signs = self._signs_of_life(stats)
        with self._dialect.transaction():
            mine = self._db(self._worker.id == worker_id)
            return float(signs["lease_until"]) if mine.update(**signs) else None

    def orders(self, worker_id: int) -> tuple[str, tuple[str, ...]] | None:
        """State or order in this worker's row, and its groups; None when the row is gone."""
        worker = self._worker
        with self._dialect.reading():
            row = self._db(worker.id == worker_id).select(worker.status, worker.group_names).first()
        if row is None:
            return None
        return row.status or WorkerStatus.ACTIVE, tuple(row.group_names or ())

    def carried_out(self, worker_id: int, order: str) -> None:
        """Take back a momentary order, unless another one was given meanwhile."""
        with self._dialect.transaction():
            same = (self._worker.id == worker_id) & (self._worker.status == order)
            self._db(same).update(status=WorkerStatus.ACTIVE)

    def leave(self, worker_id: int) -> None:
        """Remove this worker's row."""
        with self._dialect.transaction():
            self._db(self._worker.id == worker_id).delete()

    def lead(self, worker_id: int) -> bool:
        """Take or keep the ticker's lease; True for exactly one live worker."""
        worker = self._worker
        with self._dialect.transaction():
            rows = self._db(worker).select(
                worker.id, worker.is_ticker, worker.lease_until, orderby=worker.id, for_update=False
            )
            now = self._dialect.epoch()
            leading = [row.id for row in rows if row.is_ticker and (row.lease_until or 0) > now]
            if leading:
                return bool(leading[0] == worker_id)
            others = [row.id for row in rows if row.is_ticker and row.id != worker_id]
            if others:
                self._db(worker.id.belongs(others)).update(is_ticker=False)
            return bool(self._db(worker.id == worker_id).update(is_ticker=True))

    def all(self) -> list[Worker]:
        """Every row, dead or alive."""
        with self._dialect.reading():
            rows = self._db(self._worker).select(
                *(self._worker[name] for name in COLUMNS), orderby=self._worker.id
            )
        return [
            Worker(
                id=int(row.id),
                worker_name=row.worker_name,
                application_name=row.application_name or "",
                status=row.status or WorkerStatus.ACTIVE,
                is_ticker=bool(row.is_ticker),
                group_names=tuple(row.group_names or ()),
                lease_until=self._lease(row),
            )
            for row in rows
        ]

    def _lease(self, row: Any) -> float:
        if row.lease_until:
            return float(row.lease_until)
        if row.last_heartbeat is None:
            return 0.0
        silent = (self._dialect.now() - row.last_heartbeat).total_seconds()
        return float(self._dialect.epoch() - silent + FOREIGN_LEASE)
