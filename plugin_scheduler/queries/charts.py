"""Numbers for charts of the last hour, day or week, and the usual duration of functions.

Reads the metrics that workers counted, because most runs leave no row. Does not write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plugin_scheduler.core import row_values
from plugin_scheduler.queries.base import Source

#: Number and length (in minutes) of the intervals.
SPANS = {"hour": (60, 1), "day": (96, 15), "week": (84, 120)}
WEEK = 7 * 24 * 60  # minutes


@dataclass(frozen=True)
class Bucket:
    """One interval. ``at`` is its beginning in seconds since 1970. The other times are in seconds,
    and None if nothing ran."""

    at: int
    completed: int
    failed: int
    run_mean: float | None
    run_longest: float | None
    wait_mean: float | None
    wait_longest: float | None


@dataclass(frozen=True)
class Charts:
    """Intervals of ``seconds`` each, oldest first; the last one is not complete."""

    span: str
    seconds: int
    buckets: list[Bucket]
    completed: int
    failed: int


@dataclass(frozen=True)
class Usual:
    """The duration of a function's runs in the last week."""

    mean: float
    longest: float
    runs: int


class Counts(Source):
    """Aggregated metrics."""

    def charts(
        self,
        span: str = "hour",
        function: str | None = None,
        group: str | None = None,
        worker: str | None = None,
    ) -> Charts:
        """Return the metrics of the last "hour" by minutes, "day" by quarters of an hour, or "week"
        by two hours; of all runs, or of one function, group or worker. Raise KeyError for another
        span.

        >>> [bucket.failed for bucket in queries.charts("hour", function="send_mail").buckets]
        [0, 0, 3, ...]
        """
        number, width = SPANS[span]
        minute = int(self._dialect.epoch() // 60)
        last = minute - minute % width
        starts = range(last - (number - 1) * width, last + 1, width)
        query = self._counted(starts[0], function, group, worker)
        found = {int(row[0]): row for row in self._sums(query, width)}
        buckets = [_bucket(start, found.get(start)) for start in starts]
        return Charts(
            span=span,
            seconds=60 * width,
            buckets=buckets,
            completed=sum(one.completed for one in buckets),
            failed=sum(one.failed for one in buckets),
        )

    def usual(self, function: str) -> Usual | None:
        """Return the duration of a function's runs in the last week; None if there were none.

        >>> queries.usual("send_mail")
        Usual(mean=2.1, longest=8.4, runs=1204)
        """
        since = int(self._dialect.epoch() // 60) - WEEK
        metric = self._db.scheduler_metric
        runs, seconds = metric.completed.sum() + metric.failed.sum(), metric.run_seconds.sum()
        columns = (runs, seconds, metric.run_longest.max())
        [row] = self._read_rows(self._counted(since, function), *columns)
        runs_ended, total, longest = (row_values.number(row[column]) for column in columns)
        if runs_ended < 1:
            return None
        return Usual(total / runs_ended, longest, int(runs_ended))

    def _counted(
        self,
        since: int,
        function: str | None = None,
        group: str | None = None,
        worker: str | None = None,
    ) -> Any:
        metric = self._db.scheduler_metric
        query = metric.epoch_minute >= since
        if self.application:
            query &= metric.application_name == self.application
        wanted = {"function_name": function, "group_name": group, "worker_name": worker}
        for name, value in wanted.items():
            if value is not None:
                query &= metric[name] == value
        return query

    def _sums(self, query: Any, width: int) -> list[tuple[Any, ...]]:
        metric = self._db.scheduler_metric
        start = metric.epoch_minute - metric.epoch_minute % width
        columns = (
            start,
            metric.completed.sum(),
            metric.failed.sum(),
            metric.run_seconds.sum(),
            metric.run_longest.max(),
            metric.wait_seconds.sum(),
            metric.wait_longest.max(),
        )
        rows = self._read_rows(query, *columns, groupby=start)
        return [tuple(row_values.number(row[column]) for column in columns) for row in rows]


def _bucket(start: int, sums: tuple[Any, ...] | None) -> Bucket:
    _, completed, failed, run, longest, wait, waited = sums or (start, 0, 0, 0, 0, 0, 0)
    runs = int(completed) + int(failed)
    times = [run / runs, longest, wait / runs, waited] if runs > 0 else [None] * 4
    rounded = (None if one is None else round(float(one), 6) for one in times)
    return Bucket(60 * start, int(completed), int(failed), *rounded)
