"""Registration, heartbeats, leader election and commands: the rows of ``scheduler_worker``.

A worker writes only its own row. It changes its status column only to reset a command that it has
carried out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import ConfigError, NameTaken
from plugin_scheduler.core.row_values import json_object
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Worker, WorkerStatus
from plugin_scheduler.database.dialects.base import Dialect, retry_on_conflict
from plugin_scheduler.database.dialects.odd_values import read_rows
from plugin_scheduler.system.clock import is_zone

#: Columns without the statistics, which may contain invalid JSON after an edit by hand.
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

#: A worker of web2py has no lease; this many seconds after its last heartbeat are used instead.
FOREIGN_LEASE = 60


def read_workers(dialect: Dialect, query: Any) -> list[Any]:
    """Return rows of workers by name, with their statistics as a dict.

    Old tables store statistics as text. Unreadable values are None, unreadable statistics empty.
    """
    worker = dialect.db.scheduler_worker
    found = read_rows(dialect, query, worker.ALL, orderby=worker.worker_name)
    for row in found:
        row.worker_stats = json_object(row.worker_stats)
    return found


def _stats_of(db: Any, worker_id: int) -> dict[str, Any]:
    worker = db.scheduler_worker
    mine = db(worker.id == worker_id, ignore_common_filters=True)
    try:
        row = mine.select(worker.worker_stats).first()
    except (ValueError, RecursionError):
        return {}
    return json_object(row.worker_stats if row else None)


def zone_of_workers(db: Any, now: float) -> str | None:
    """Return the time zone of the oldest live worker, used in the tables; None without one."""
    worker = db.scheduler_worker
    alive = db(worker.lease_until > now, ignore_common_filters=True)
    for row in alive.select(worker.id, orderby=worker.id):
        zone = _stats_of(db, row.id).get("time_zone")
        if isinstance(zone, str) and is_zone(zone):
            return zone
    return None


class Workers:
    """The workers' rows, as one worker reads and writes them."""

    def __init__(self, dialect: Dialect, settings: Settings) -> None:
        self._dialect, self._settings = dialect, settings
        self._db = dialect.db
        self._worker = self._db.scheduler_worker

    def register(self, name: str, stats: Mapping[str, Any]) -> int:
        """Insert this worker's row and return its id.

        Raises `NameTaken` if a live worker has the name, `ConfigError` if the database refuses the
        row.
        """
        try:
            return self._register(name, stats)
        except Exception as error:  # driver-specific
            if not self._dialect.blames_values(error):
                raise
            # Not only the unique name, but also another constraint or a trigger may refuse the row.
            if (self.lease_of(name) or 0.0) > self._dialect.epoch():
                raise NameTaken(name) from error
            why = f"{type(error).__name__}: {first_line(error)}"
            raise ConfigError(f"the database rejected the row of worker {name!r}: {why}") from error

    @retry_on_conflict
    def _register(self, name: str, stats: Mapping[str, Any]) -> int:
        with self._dialect.transaction():
            self._dialect.select(self._worker.worker_name == name, [self._worker.id], lock="wait")
            old = self._row(name)
            if old and (old.lease_until or 0) > self._dialect.epoch():
                token = stats.get("token")
                if token and _stats_of(self._db, old.id).get("token") == token:
                    return int(old.id)  # this process's own row: the response was lost
                raise NameTaken(name)
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

    def zone_in_use(self) -> str | None:
        """Return the time zone of the oldest live worker, used in the tables; None without one."""
        with self._dialect.reading():
            return zone_of_workers(self._db, self._dialect.epoch())

    def unknown_to_all(self, functions: Collection[str], application: str) -> set[str]:
        """Return the functions that no live worker of the app knows, according to the rows."""
        alive = self._worker.lease_until > self._dialect.epoch()
        unknown = set(functions)
        with self._dialect.reading():
            for row in self._db(alive).select(self._worker.id):
                stats = _stats_of(self._db, row.id)
                names, app = stats.get("tasks"), stats.get("application")
                if application and app and app != application:
                    continue
                if not isinstance(names, list) or len(names) < (stats.get("tasks_total") or 0):
                    return set()  # an incomplete list: the worker may know them
                unknown -= set(map(str, names))
        return unknown

    def lease_of(self, name: str) -> float | None:
        """Return the end of the lease of the worker of that name; None if there is none."""
        with self._dialect.reading():
            row = self._row(name)
        return self._lease(row) if row else None

    def _row(self, name: str) -> Any:
        """Return a worker's row without statistics, which may contain invalid JSON."""
        worker = self._worker
        needed = (worker.id, worker.lease_until, worker.last_heartbeat)
        return self._db(worker.worker_name == name).select(*needed).first()

    def _signs_of_life(self, stats: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "last_heartbeat": self._dialect.now(),
            "lease_until": self._dialect.epoch() + self._settings.lease,
            "worker_stats": _finite(stats),
        }

    def beat(self, worker_id: int, stats: Mapping[str, Any]) -> bool:
        """Write a heartbeat and renew the lease; return False if the row is gone.

        Statistics that the database refuses are left out: they must not prevent the renewal.
        """
        try:
            return self._beat(worker_id, stats)
        except Exception as error:  # driver-specific
            if not self._dialect.blames_values(error):
                raise
            return self._beat(worker_id, {"refused": ascii(error)[:200]})

    @retry_on_conflict
    def _beat(self, worker_id: int, stats: Mapping[str, Any]) -> bool:
        with self._dialect.transaction():
            mine = self._db(self._worker.id == worker_id)
            return bool(mine.update(**self._signs_of_life(stats)))

    def orders(self, worker_id: int) -> tuple[str, tuple[str, ...]] | None:
        """Return the status or command in this worker's row, and its groups; None if it is gone."""
        worker = self._worker
        with self._dialect.reading():
            row = self._db(worker.id == worker_id).select(worker.status, worker.group_names).first()
        if row is None:
            return None
        return row.status or WorkerStatus.ACTIVE, tuple(row.group_names or ())

    def host_of(self, worker_id: int) -> str:
        """Return the host in a worker's row."""
        with self._dialect.reading():
            return str(_stats_of(self._db, worker_id).get("host") or "?")

    @retry_on_conflict
    def carried_out(self, worker_id: int, order: str) -> None:
        """Reset a command that was carried out, unless another one was given meanwhile."""
        with self._dialect.transaction():
            same = (self._worker.id == worker_id) & (self._worker.status == order)
            self._db(same).update(status=WorkerStatus.ACTIVE)

    @retry_on_conflict
    def lead(self, worker_id: int) -> bool:
        """Become or stay leader; return True for exactly one live worker."""
        worker = self._worker
        with self._dialect.transaction():
            leads, me = worker.is_ticker == True, worker.id == worker_id
            alive = leads & (worker.lease_until > self._dialect.epoch())
            leading = [row.id for row in self._db(alive).select(worker.id, orderby=worker.id)]
            if not leading:
                before = [row.id for row in self._db(leads & ~me).select(worker.id)]
                free = self._hold_rows(worker_id, before)
                self._dialect.change(worker, free, leads, is_ticker=False)
                return bool(self._db(me).update(is_ticker=True))
            if worker_id in leading[1:]:  # two workers were elected at once: one resigns
                self._db(me).update(is_ticker=False)
            return bool(leading[0] == worker_id)

    def _hold_rows(self, mine: int, others: Collection[int]) -> set[int]:
        """Lock this worker's row and the unlocked rows of the others; return the latter.

        A worker does not wait for a row while it holds another lock (ARCHITECTURE.md, "Locks").
        Without SKIP LOCKED, all rows are locked in the order of their ids.
        """
        first = [mine] if self._dialect.locks_rows else [mine, *others]
        self._dialect.hold(self._worker, first, [self._worker.id])
        return self._dialect.unheld(self._worker, others)

    def held(self, workers: Iterable[Worker]) -> set[str]:
        """Return the names of late workers whose rows are locked: they cannot write heartbeats.

        A worker is late after `silence` seconds, long before its lease ends: a check only at the
        end of the lease might come after the worker was declared dead.
        """
        soon = self._dialect.epoch() + self._settings.lease - self._settings.silence
        late = {worker.id: worker.worker_name for worker in workers if worker.lease_until <= soon}
        if not late or not self._dialect.locks_rows:
            return set()
        with self._dialect.reading():
            theirs = self._worker.id.belongs(list(late))
            # Select a column that is in no index, or MySQL would read and lock only an index.
            columns = [self._worker.id, self._worker.lease_until]
            free = self._dialect.select(theirs, columns, lock="look")
        for row in free:
            del late[row.id]
        return set(late.values())

    def all(self) -> list[Worker]:
        """Return every worker, dead or alive."""
        with self._dialect.reading():
            try:
                rows = self._db(self._worker).select(*(self._worker[name] for name in COLUMNS))
                return [self._as_record(row) for row in rows]
            except Exception as error:  # specific to drivers and parsers
                if self._dialect.is_transient(error):
                    raise
            ids = [row.id for row in self._db(self._worker).select(self._worker.id)]
            records = [self._record(worker_id) for worker_id in ids]
        return [record for record in records if record]

    def _record(self, worker_id: int) -> Worker | None:
        """Return a worker; None if its row is gone.

        An unreadable row, edited by hand, is returned as a dead worker.
        """
        mine = self._db(self._worker.id == worker_id)
        try:
            row = mine.select(*(self._worker[name] for name in COLUMNS)).first()
            return self._as_record(row) if row else None
        except Exception as error:  # specific to drivers and parsers
            if self._dialect.is_transient(error):
                raise
            row = mine.select(self._worker.worker_name).first()
        if row is None:
            return None
        name = str(row.worker_name)
        return Worker(int(worker_id), name, "", WorkerStatus.DISABLED, False, (), 0.0)

    def _as_record(self, row: Any) -> Worker:
        return Worker(
            id=int(row.id),
            worker_name=row.worker_name,
            application_name=row.application_name or "",
            status=row.status or WorkerStatus.ACTIVE,
            is_ticker=bool(row.is_ticker),
            group_names=tuple(row.group_names or ()),
            lease_until=self._lease(row),
        )

    def _lease(self, row: Any) -> float:
        if row.lease_until:
            return float(row.lease_until)
        if row.last_heartbeat is None:
            return 0.0
        silent = (self._dialect.now() - row.last_heartbeat).total_seconds()
        # Whole seconds, or the lease would seem renewed at each reading.
        return float(round(self._dialect.epoch() - silent + FOREIGN_LEASE))


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return value
