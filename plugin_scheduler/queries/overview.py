"""The overview: counts, running tasks, workers and warnings.

Does not write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from plugin_scheduler.core import row_values
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries import views
from plugin_scheduler.queries.capped_counts import Amounts, GroupedCounts
from plugin_scheduler.queries.views import FunctionCount, GroupCount, RunningNow, WorkerView
from plugin_scheduler.queries.warnings import Notice, Warnings

MANY = 100  # running tasks that are listed
DUE, LATE, FAILED = "due", "late", "failed"
A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Totals:
    """The totals of all groups; those that ``capped`` names are lower bounds. ``failed``: runs of
    the last day."""

    waiting: int
    due: int
    late: int
    running: int
    failed: int
    capped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overview:
    """The contents of the overview."""

    at: datetime
    application: str
    totals: Totals
    counts: list[GroupCount]
    functions: list[FunctionCount]
    running: list[RunningNow]
    workers: list[WorkerView]
    warnings: list[Notice]


class Overviews(Warnings):
    """The overview."""

    def overview(self) -> Overview:
        """Return counts, running tasks, workers and warnings.

        Fast with any number of tasks: of each kind at most some thousands are counted.
        """
        now, workers = self.now(), self.workers()
        standing: dict[tuple[str, str], GroupedCounts] = {
            (status, group): self.standing(status, group)
            for status in TaskStatus.ALL
            for group in self.groups_with(status)
        }
        waiting = sorted({group for status, group in standing if status == TaskStatus.QUEUED})
        due = list(self.due(waiting, now, self._settings.lease))
        groups = _of_groups(standing, due)
        failed = self.failed_runs(now - A_DAY)
        functions = _of_functions(standing, failed)
        return Overview(
            at=now,
            application=self.application,
            totals=_totals(groups, failed),
            counts=groups,
            functions=functions,
            running=self._running(now),
            workers=workers,
            warnings=list(self.warnings(workers, _by_app_and_group(due), functions, now)),
        )

    def _running(self, now: datetime) -> list[RunningNow]:
        task, run = self._task, self._run
        its_run = run.id == task.run_id
        its_run.ignore_common_filters = True  # a join has its own filter
        rows = self._read_rows(
            (task.status == TaskStatus.RUNNING) & self._mine(),
            task.ALL,
            run.start_time,
            run.progress,
            left=run.on(its_run),
            orderby=task.last_run_time | task.id,
            limitby=(0, MANY),
        )
        found = []
        for row in rows:
            view = views.task_view(row.scheduler_task)
            since = row.scheduler_run.start_time or view.last_run_time
            seconds = (now - since).total_seconds() if since else 0.0
            progress = row_values.plain(row.scheduler_run.progress)
            found.append(RunningNow(view, since, seconds, progress))
        return found


def _of_groups(
    standing: dict[tuple[str, str], GroupedCounts], due: Iterable[GroupedCounts]
) -> list[GroupCount]:
    found = Amounts()
    for (status, group), tally in standing.items():
        found.add((group, status), tally.total("mine"), tally.capped)
    for tally in due:
        for key, numbers in tally.rows:
            for name in (DUE, LATE):
                found.add((key[1], name), numbers[name], tally.capped)
    return [_group(group, found) for group in sorted({group for group, _ in found.numbers})]


def _group(group: str, found: Amounts) -> GroupCount:
    numbers, names = found.numbers, (*TaskStatus.ALL, DUE, LATE)
    return GroupCount(
        group=group,
        by_status={
            status: numbers[group, status]
            for status in TaskStatus.ALL
            if (group, status) in numbers
        },
        due=numbers[group, DUE],
        late=numbers[group, LATE],
        capped=tuple(name for name in names if (group, name) in found.capped),
    )


def _of_functions(
    standing: dict[tuple[str, str], GroupedCounts], failed: Amounts
) -> list[FunctionCount]:
    found = Amounts()
    for (status, _), tally in standing.items():
        for (function,), number in tally.by_key("mine").items():
            if status in _KINDS:
                found.add((function, _KINDS[status]), number, tally.capped and number > 0)
    for function, number in failed.numbers.items():
        found.add((function, FAILED), number, function in failed.capped)
    return [_function(name, found) for name in sorted({one for one, _ in found.numbers})]


def _function(name: str, found: Amounts) -> FunctionCount:
    numbers = {kind: found.numbers[name, kind] for kind in ("waiting", "running", FAILED)}
    capped = tuple(kind for kind in numbers if (name, kind) in found.capped)
    return FunctionCount(name, capped=capped, **numbers)


def _totals(groups: Iterable[GroupCount], failed: Amounts) -> Totals:
    found = Amounts()
    for group in groups:
        for status, number in group.by_status.items():
            found.add(_KINDS.get(status), number, status in group.capped)
        for name, number in ((DUE, group.due), (LATE, group.late)):
            found.add(name, number, name in group.capped)
    for function, number in failed.numbers.items():
        found.add(FAILED, number, function in failed.capped)
    numbers = {kind: found.numbers[kind] for kind in ("waiting", DUE, LATE, "running", FAILED)}
    return Totals(capped=tuple(kind for kind in numbers if kind in found.capped), **numbers)


_KINDS: dict[str, str] = {
    TaskStatus.RUNNING: "running",
    **dict.fromkeys(TaskStatus.WAITING, "waiting"),
}


def _by_app_and_group(due: Iterable[GroupedCounts]) -> Amounts:
    found = Amounts()
    for tally in due:
        for key, number in tally.by_key(DUE).items():
            found.add(key, number, tally.capped)
    return found
