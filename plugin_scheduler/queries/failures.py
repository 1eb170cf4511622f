"""Failed runs, grouped by the place or the reason of the failure.

Reads only the newest failed runs, within a time limit, and reports how many these were. Does not
write.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from plugin_scheduler.core import row_values
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.reasons import ReasonCode, stored_reason
from plugin_scheduler.core.types import Outcome, RunStatus, TaskStatus, outcome_of
from plugin_scheduler.queries.base import Source
from plugin_scheduler.queries.budgeted_scan import Pace
from plugin_scheduler.queries.traceback_parser import ParsedTraceback, blame

DAYS, NEWEST_RUNS, FIRST = 7, 2000, 200
SECONDS = 0.15
_STATUSES = (RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.STOPPED)


class _RunColumns(NamedTuple):
    """Columns of a run, as the driver returns them."""

    id: int
    task_id: int
    status: str
    outcome: str | None
    start_time: Any
    stop_time: Any
    reason: str | None
    reason_code: str | None


class Failed(NamedTuple):
    """A failed run, with the current state of its task."""

    run_id: int
    task_id: int
    outcome: str
    at: datetime
    reason: str
    reason_code: str | None
    function: str
    can_requeue: bool


@dataclass(frozen=True)
class FailureGroup:
    """Runs of one function that failed in the same place, or for the same reason.

    ``what`` is the kind of exception, or the reason; ``message``, ``code`` and the ids of run and
    task are those of the latest. ``task_ids`` have ended with such a run and may be requeued.
    """

    key: str
    function: str
    what: str
    message: str
    file: str
    line: int
    inside: str
    code: str
    count: int
    first: datetime
    last: datetime
    run_id: int
    task_id: int
    task_ids: tuple[int, ...]

    @property
    def where(self) -> Sentence | None:
        """The place, as ``sales.py, line 31, in report``; None if it is unknown."""
        if not self.file:
            return None
        name = re.split(r"[\\/]", self.file)[-1]
        told = "{file}, line {line}, in {inside}" if self.inside else "{file}, line {line}"
        return Sentence(told, file=name, line=self.line, inside=self.inside)


@dataclass(frozen=True)
class Failures:
    """Groups, the latest failure first, from ``runs`` runs; ``is_all`` if these are all."""

    groups: list[FailureGroup]
    runs: int
    is_all: bool
    days: int

    @property
    def sentence(self) -> Sentence:
        """How many runs were read."""
        told = (
            "All {runs} failed runs of the last {days} days."
            if self.is_all
            else "The newest {runs} failed runs of the last {days} days."
        )
        return Sentence(told, runs=f"{self.runs:,}", days=self.days)


class FailedRuns(Source):
    """Failed runs by place or reason."""

    def failures(
        self, days: int = DAYS, most: int = NEWEST_RUNS, seconds: float = SECONDS
    ) -> Failures:
        """Return the failures of these days: as many of the newest ``most`` runs as time allows."""
        found, is_all = self._newest(days, most)
        members: dict[str, list[Failed]] = {}
        blamed: dict[str, ParsedTraceback] = {}
        seen = 0
        for size in Pace(self._clock, seconds, FIRST).steps():
            if seen >= len(found):
                break
            for run, told in self._tracebacks(found[seen : seen + size]):
                key = _key(run, told)
                members.setdefault(key, []).append(run)
                blamed.setdefault(key, told)
            seen += size
        groups = [_group(key, runs, blamed[key]) for key, runs in members.items()]
        return Failures(groups, min(seen, len(found)), is_all and seen >= len(found), days)

    def failed_like(self, key: str, days: int = DAYS) -> FailureGroup | None:
        """Return the group with that key, as it is now."""
        groups = self.failures(days).groups
        return next((group for group in groups if group.key == key), None)

    def _newest(self, days: int, most: int) -> tuple[list[Failed], bool]:
        """Return the runs, newest first, and whether these are all; each status is read in index
        order."""
        since = self.now() - timedelta(days=days)
        kinds = [self._of_status(one, since, most) for one in _STATUSES]
        runs = [run for kind in kinds for run in kind if _is_failure(run)]
        runs.sort(key=lambda run: (str(run.start_time), run.id), reverse=True)
        is_all = len(runs) <= most and not any(len(kind) > most for kind in kinds)
        return list(self._with_their_tasks(runs[:most])), is_all

    def _of_status(self, status: str, since: datetime, most: int) -> list[_RunColumns]:
        run = self._run
        fields = [run[name] for name in _RunColumns._fields]
        newest = {"orderby": ~run.start_time, "limitby": (0, most + 1)}
        found = self._told((run.status == status) & (run.start_time >= since), fields, **newest)
        return [_readable(_RunColumns(*row)) for row in found]

    def _with_their_tasks(self, runs: Sequence[_RunColumns]) -> Iterator[Failed]:
        tasks = self._their_tasks({row.task_id for row in runs})
        ended = (TaskStatus.FAILED, TaskStatus.TIMEOUT)
        for row in runs:
            if row.task_id in tasks:
                function, task_status, latest = tasks[row.task_id]
                function = row_values.text(function)
                yield Failed(
                    run_id=row.id,
                    task_id=row.task_id,
                    outcome=outcome_of(row.status, row.outcome) or row.status,
                    at=_moment(row.stop_time) or _moment(row.start_time) or self.now(),
                    reason=stored_reason(row.reason, row.reason_code) or "",
                    reason_code=row.reason_code,
                    function=function or "",
                    can_requeue=latest == row.id and task_status in ended,
                )

    def _their_tasks(self, ids: Iterable[int]) -> dict[int, tuple[Any, ...]]:
        task = self._task
        fields = [task.id, task.function_name, task.status, task.run_id]
        mine = self._mine() & self._among(task.id, ids)
        return {row_id: tuple(row) for row_id, *row in self._told(mine, fields)}

    def _tracebacks(self, runs: Sequence[Failed]) -> Iterator[tuple[Failed, ParsedTraceback]]:
        run = self._run
        these = self._among(run.id, [one.run_id for one in runs])
        texts = dict(self._told(these, [run.id, run.traceback]))
        for one in runs:
            yield one, _read(row_values.text(texts.get(one.run_id)) or "")


@lru_cache(maxsize=500)
def _read(text: str) -> ParsedTraceback:
    """Parse a traceback, with a cache: most are alike, and parsing takes longer than reading."""
    return blame(text)


def _is_failure(run: _RunColumns) -> bool:
    return outcome_of(run.status, run.outcome) in Outcome.FAILURES


def _readable(row: _RunColumns) -> _RunColumns:
    """Return the row with valid texts, whatever was written by hand."""
    text = row_values.text
    return row._replace(
        status=text(row.status) or "",
        outcome=text(row.outcome),
        reason=text(row.reason),
        reason_code=text(row.reason_code),
    )


def _moment(value: Any) -> datetime | None:
    return row_values.moment(str(value)[:19])


def _what(run: Failed, told: ParsedTraceback) -> str:
    """Return the error, or the reason if the run was ended from outside."""
    if run.outcome == Outcome.FAILED and told.kind:
        return told.kind
    if run.outcome == Outcome.FAILED and not run.reason:
        return told.message or Sentence("unknown reason")
    if run.reason_code == ReasonCode.WORKER_DIED:  # whichever worker it was
        return Sentence("its worker died")
    return run.reason or run.outcome


def _key(run: Failed, told: ParsedTraceback) -> str:
    place = told.place if run.outcome == Outcome.FAILED else ""
    parts = (run.function, run.outcome, _what(run, told), place, told.function if place else "")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def _group(key: str, runs: list[Failed], told: ParsedTraceback) -> FailureGroup:
    """Make a group of ``runs``, latest first; ``told`` is the traceback of the latest."""
    latest = runs[0]
    return FailureGroup(
        key=key,
        function=latest.function,
        what=_what(latest, told),
        message=told.message if told.kind else "",
        file=told.file,
        line=told.line,
        inside=told.function,
        code=told.code,
        count=len(runs),
        first=min(run.at for run in runs),
        last=max(run.at for run in runs),
        run_id=latest.run_id,
        task_id=latest.task_id,
        task_ids=tuple(sorted({run.task_id for run in runs if run.can_requeue})),
    )
