"""Metrics: counts of runs in ``scheduler_metric``.

A worker writes only rows with its own name. It writes totals, not differences, so that writing them
twice does no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from plugin_scheduler.database.dialects.base import Dialect, retry_on_conflict
from plugin_scheduler.database.dialects.bulk_insert import batches
from plugin_scheduler.store.metrics_buffer import Amount, MetricKind

KEPT = 8 * 24 * 60  # minutes: the week that is shown, and one more day
AT_ONCE = 100  # rows in one statement
PRUNED = 2000  # rows deleted per round

ANY = "scheduler_metric.id > 0"


class Metrics:
    """Counts of runs by minute, worker, function and group."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect, self._db = dialect, dialect.db
        self._metric = dialect.db.scheduler_metric

    def minute(self) -> int:
        """Return the current minute since 1970, by the database's clock."""
        return int(self._dialect.epoch() // 60)

    def of(self, worker_name: str, kinds: Collection[MetricKind]) -> dict[MetricKind, Amount]:
        """Return the stored amounts of these kinds."""
        with self._dialect.reading():
            rows = self._rows(worker_name, kinds, Amount._fields)
        found: dict[MetricKind, Amount] = {}
        for row in rows:
            kind, amount = _kind(row), Amount(*(row[name] or 0 for name in Amount._fields))
            found[kind] = found.get(kind, Amount()).plus(amount)
        return found

    @retry_on_conflict
    def write(self, worker_name: str, amounts: Mapping[MetricKind, Amount]) -> None:
        """Replace the stored amounts by these."""
        with self._dialect.transaction():
            ids = {_kind(row): row.id for row in self._rows(worker_name, amounts, ())}
            known = [(ids[kind], *amounts[kind]) for kind in amounts if kind in ids]
            for some in batches(sorted(known), AT_ONCE):
                self._dialect.update_many("scheduler_metric", Amount._fields, some, ANY)
            new = [
                {"worker_name": worker_name, **kind._asdict(), **amount._asdict()}
                for kind, amount in amounts.items()
                if kind not in ids
            ]
            if new:
                self._dialect.insert_all(self._metric, new)

    def _rows(
        self, worker_name: str, kinds: Collection[MetricKind], columns: Collection[str]
    ) -> Any:
        metric = self._metric
        mine = metric.epoch_minute.belongs(sorted({kind.epoch_minute for kind in kinds}))
        mine &= metric.worker_name == worker_name
        fields = [metric[name] for name in ("id", *MetricKind._fields, *columns)]
        return self._db(mine).select(*fields, orderby=metric.id)

    @retry_on_conflict
    def prune(self) -> bool:
        """Delete some of the outdated rows; return True if there may be more."""
        metric, oldest = self._metric, self.minute() - KEPT
        with self._dialect.reading():
            old = self._db(metric.epoch_minute < oldest)
            ids = [
                row.id
                for row in old.select(metric.id, orderby=metric.epoch_minute, limitby=(0, PRUNED))
            ]
        if ids:
            with self._dialect.transaction():
                self._dialect.delete_rows("scheduler_metric", ids, ANY)
        return len(ids) == PRUNED


def _kind(row: Any) -> MetricKind:
    return MetricKind(row.epoch_minute, *(row[name] or "" for name in MetricKind._fields[1:]))
