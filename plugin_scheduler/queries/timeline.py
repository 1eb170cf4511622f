"""The timeline: runs as bars, by worker, and the idle time of workers.

Reads the newest runs through the index on status and start, so that a million stored runs cost
nothing. Does not write.

Runs that began before the window and ended in it are found if they are among the last `LOOK_BACK`
of their status that began before it.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from plugin_scheduler.core import row_values
from plugin_scheduler.core.types import RunStatus, outcome_of
from plugin_scheduler.queries.base import Source
from plugin_scheduler.queries.views import WorkerView

MOST_RUNS = 1000
LOOK_BACK = 1000
SECOND = timedelta(seconds=1)
_COLUMNS = (
    "id",
    "task_id",
    "status",
    "outcome",
    "start_time",
    "stop_time",
    "duration",
    "worker_name",
)


@dataclass(frozen=True)
class Bar:
    """A run. ``stop`` is the present for a run in execution. ``lane`` separates overlapping bars of
    one worker. Fractions of ``start`` are an estimate."""

    run_id: int
    task_id: int
    name: str
    function: str
    status: str
    outcome: str | None
    start: datetime
    stop: datetime
    seconds: float
    lane: int


@dataclass(frozen=True)
class WorkerTimeline:
    """A worker. ``known`` is False if its row is gone. ``busy`` is the used share of its slots
    since its start, and includes runs that were not kept."""

    worker: str
    known: bool
    alive: bool
    slots: int
    lanes: int
    busy: float
    runs: int
    bars: list[Bar]


@dataclass(frozen=True)
class Timeline:
    """Workers and their runs. ``cut``: runs that began before ``shown_since`` are missing."""

    since: datetime
    until: datetime
    rows: list[WorkerTimeline]
    cut: bool
    shown_since: datetime
    unkept: int


class _Worked(NamedTuple):
    """The metrics of a worker."""

    runs: int
    seconds: float


class Timelines(Source):
    """Runs as bars."""

    def timeline(self, seconds: int = 3600, most: int = MOST_RUNS) -> Timeline:
        """Return the runs of each worker in the last seconds.

        >>> [(row.worker, row.busy) for row in queries.timeline(900).rows]
        [('web1', 0.25), ('web2', 0.0)]
        """
        now = self.now()
        since = now - timedelta(seconds=seconds)
        rows = self._at_work_since(since, most + 1)
        cut, rows = len(rows) > most, rows[:most]
        shown_since = max(since, rows[-1].start_time) if cut else since
        bars = self._bars_by_worker(rows, now)
        workers = {one.name: one for one in self.workers() if one.works_for(self.application)}
        worked = self._metrics_by_worker(seconds)
        names = sorted({*workers, *bars})
        found = [
            # The metrics cover the whole time, bars may cover less.
            _row(
                name,
                bars.get(name, []),
                workers.get(name),
                worked.get(name),
                since if name in worked else shown_since,
                now,
            )
            for name in names
        ]
        unkept = sum(max(0, row.runs - len(row.bars)) for row in found)
        return Timeline(since, now, found, cut, shown_since, 0 if cut else unkept)

    # -- reading --------------------

    def _at_work_since(self, since: datetime, limit: int) -> list[Any]:
        """Return the runs that were in execution in the window, the newest start first."""
        run, found = self._run, []
        for status in RunStatus.ALL:
            query = run.status == status
            if status != RunStatus.RUNNING:
                found.append(self._begun_before(query & (run.start_time < since), since))
                query &= run.start_time >= since
            found.append(self._runs_from(query & (run.start_time != None), limit))
        merged = heapq.merge(*found, key=lambda row: row.start_time, reverse=True)
        return list(merged)[:limit]

    def _begun_before(self, query: Any, since: datetime) -> list[Any]:
        return [row for row in self._runs_from(query, LOOK_BACK) if (_stop(row) or since) > since]

    def _runs_from(self, query: Any, limit: int) -> list[Any]:
        fields = [self._run[name] for name in _COLUMNS]
        options = {"orderby": ~self._run.start_time, "limitby": (0, limit), "cacheable": True}
        rows = self._rows(self._run, query, *fields, **options)
        return [row for row in rows if row.start_time]

    def _bars_by_worker(self, rows: list[Any], now: datetime) -> dict[str, list[Bar]]:
        """Return the runs of this app's tasks by worker, each in a lane without overlap."""
        names = self._tasks_of({row.task_id for row in rows})
        found: dict[str, list[Bar]] = defaultdict(list)
        ends: dict[str, list[datetime]] = defaultdict(list)
        for row in sorted(rows, key=lambda one: (one.start_time, one.id)):
            if row.task_id in names:
                worker = row.worker_name or ""
                length = max(timedelta(0), (_stop(row) or now) - row.start_time)
                lane, start = begin_in_lane(ends[worker], row.start_time, length)
                found[worker].append(_bar(row, names[row.task_id], start, length, lane))
        return found

    def _tasks_of(self, ids: Collection[int]) -> dict[int, Any]:
        task, found, mine = self._task, {}, self._mine()
        whole = sorted(one for one in ids if one)
        for first in range(0, len(whole), 500):
            query = task.id.belongs(whole[first : first + 500]) & mine
            rows = self._rows(task, query, task.id, task.task_name, task.function_name)
            found.update({row.id: row for row in rows})
        return found

    def _metrics_by_worker(self, seconds: int) -> dict[str, _Worked]:
        """Return the minute metrics by worker; they include runs that were not kept."""
        metric, minute = self._db.scheduler_metric, int(self._dialect.epoch() // 60)
        query = (metric.epoch_minute > minute - seconds // 60) & (metric.epoch_minute <= minute)
        if self.application:
            query &= metric.application_name == self.application
        sums = [metric.completed.sum(), metric.failed.sum(), metric.run_seconds.sum()]
        rows = self._read_rows(query, metric.worker_name, *sums, groupby=metric.worker_name)
        found = {}
        for row in rows:
            completed, failed, spent = (row_values.number(row[one]) for one in sums)
            name = row_values.text(row.scheduler_metric.worker_name) or ""
            found[name] = _Worked(int(completed + failed), spent)
        return found


def begin_in_lane(ends: list[datetime], start: datetime, length: timedelta) -> tuple[int, datetime]:
    """Return the first free lane, and the start of the run there; ``ends`` holds the end of each
    lane.

    Tables store whole seconds: a run that began at 09:00:00 may have begun up to a second later,
    when a lane had become free. So a hundred runs of less than a second do not need a hundred
    lanes.

    >>> ends = []
    >>> begin_in_lane(ends, nine, hour), begin_in_lane(ends, nine, hour)
    ((0, nine), (1, nine))
    >>> begin_in_lane([nine + half_a_second], nine, half_a_second)
    (0, nine + half_a_second)
    """
    lane = next((number for number, end in enumerate(ends) if end <= start), None)
    if lane is None:
        lane = min(range(len(ends)), key=ends.__getitem__, default=0)
        if not ends or ends[lane] >= start + SECOND:
            lane = len(ends)
        else:
            start = ends[lane]
    ends[lane : lane + 1] = [start + length]
    return lane, start


def _stop(row: Any) -> datetime | None:
    """Return the end; None for a run in execution. The duration is more exact than stop_time, which
    has whole seconds."""
    if row.status == RunStatus.RUNNING:
        return None
    if row.duration is not None:
        with contextlib.suppress(OverflowError):
            length = timedelta(seconds=row_values.number(row.duration))
            row.stop_time = row.start_time + length
    moment: datetime = row.stop_time or row.start_time
    return moment


def _bar(row: Any, task: Any, start: datetime, length: timedelta, lane: int) -> Bar:
    return Bar(
        run_id=row.id,
        task_id=row.task_id,
        name=task.task_name or task.function_name,
        function=task.function_name,
        status=row.status,
        outcome=outcome_of(row.status, row.outcome),
        start=start,
        stop=start + length,
        seconds=length.total_seconds(),
        lane=lane,
    )


def _row(
    name: str,
    bars: list[Bar],
    worker: WorkerView | None,
    worked: _Worked | None,
    since: datetime,
    now: datetime,
) -> WorkerTimeline:
    lanes = 1 + max((one.lane for one in bars), default=0)
    slots = worker.slots if worker else lanes
    ended = Counter(one.status == RunStatus.RUNNING for one in bars)[False]
    runs = max(worked.runs if worked else 0, ended) + len(bars) - ended
    return WorkerTimeline(
        worker=name,
        known=worker is not None,
        alive=bool(worker and worker.alive),
        slots=slots,
        lanes=max(lanes, slots),
        busy=_busy(bars, worker, worked, since, now, slots),
        runs=runs,
        bars=bars,
    )


def _busy(
    bars: list[Bar],
    worker: WorkerView | None,
    worked: _Worked | None,
    since: datetime,
    now: datetime,
    slots: int,
) -> float:
    """Return the used share, from 0 to 1."""
    begun = worker.first_heartbeat if worker and worker.first_heartbeat else since
    there = (now - max(begun, since)).total_seconds()
    if there <= 0:
        return 0.0
    seconds = sum(_within(bars, since, now)) + _unkept_seconds(bars, worked)
    return min(1.0, seconds / (there * slots))


def _within(bars: Iterable[Bar], since: datetime, now: datetime) -> Iterator[float]:
    for one in bars:
        yield max(0.0, (min(one.stop, now) - max(one.start, since)).total_seconds())


def _unkept_seconds(bars: list[Bar], worked: _Worked | None) -> float:
    """Return the seconds of ended runs without a row."""
    if worked is None:
        return 0.0
    kept = sum(one.seconds for one in bars if one.status != RunStatus.RUNNING)
    return max(0.0, worked.seconds - kept)
