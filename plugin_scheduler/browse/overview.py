"""How do things stand? Counts, what runs now, who works, and what somebody should look at.

I own the overview and its warnings. I never write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from plugin_scheduler import sight
from plugin_scheduler.browse.explain import why_unserved
from plugin_scheduler.browse.source import Source
from plugin_scheduler.records import TaskStatus
from plugin_scheduler.sight import GroupCount, RunningNow, WorkerView, quantity, span

MANY = 100  # rows of what runs now


@dataclass(frozen=True)
class Overview:
    """Everything at a glance."""

    at: datetime
    application: str
    counts: list[GroupCount]
    running: list[RunningNow]
    workers: list[WorkerView]
    warnings: list[str]


class Overviews(Source):
    """Everything at a glance."""

    def overview(self) -> Overview:
        """Counts, what runs now, who works, and what somebody should look at."""
        now, workers = self.now(), self.workers()
        due = self._due_at(now)
        late = self._due_at(now - timedelta(seconds=self._settings.lease))
        return Overview(
            at=now,
            application=self.application,
            counts=self._counts(due, late),
            running=self._running(now),
            workers=workers,
            warnings=[
                *_unserved_groups(due, workers),
                *self._silent(workers),
                *self._unknown_functions(),
                *sight.troubles(workers),
                *sight.elsewhere(workers, self._settings.zone, self._dialect.epoch()),
            ],
        )

    def _due_at(self, moment: datetime) -> Counter[tuple[str, str]]:
        """Tasks that could be claimed at that moment, by application and group."""
        task, query = self._task, self._task.id > 0
        for condition in self._conditions(moment).values():
            query &= condition
        return self._tally(query, task.application_name, task.group_name)

    def _counts(self, due: Counter[Any], late: Counter[Any]) -> list[GroupCount]:
        found = self._tally(self._mine(), self._task.group_name, self._task.status)
        groups = sorted({group for group, _ in found})
        return [
            GroupCount(
                group=group,
                by_status={
                    status: found[group, status]
                    for status in TaskStatus.ALL
                    if (group, status) in found
                },
                due=sum(number for (_, one), number in due.items() if one == group),
                late=sum(number for (_, one), number in late.items() if one == group),
            )
            for group in groups
        ]

    def _running(self, now: datetime) -> list[RunningNow]:
        task, run = self._task, self._run
        its_run = run.id == task.run_id
        its_run.ignore_common_filters = True  # a join has its own
        rows = self._set((task.status == TaskStatus.RUNNING) & self._mine()).select(
            task.ALL,
            run.start_time,
            run.progress,
            left=run.on(its_run),
            orderby=task.last_run_time | task.id,
            limitby=(0, MANY),
        )
        found = []
        for row in rows:
            view = sight.task_view(row.scheduler_task)
            since = row.scheduler_run.start_time or view.last_run_time
            seconds = (now - since).total_seconds() if since else 0.0
            found.append(RunningNow(view, since, seconds, row.scheduler_run.progress))
        return found

    def _silent(self, workers: list[WorkerView]) -> Iterator[str]:
        for worker in workers:
            if not worker.alive:
                held = self._task.assigned_worker_name == worker.name
                number = self._set(held & self._task.status.belongs(TaskStatus.HELD)).count()
                holds = f" and holds {quantity(number, 'task')}" if number else ""
                yield f"worker {worker.name} is silent for {span(worker.silent_for)}{holds}"

    def _unknown_functions(self) -> Iterator[str]:
        if not self._known:
            return
        name = self._task.function_name
        unknown = self._task.status.belongs(TaskStatus.WAITING) & ~name.belongs(self._known)
        for (function,), number in sorted(self._tally(unknown & self._mine(), name).items()):
            yield f'no worker knows the function "{function}" of {quantity(number, "waiting task")}'


def _unserved_groups(due: Counter[tuple[str, str]], workers: list[WorkerView]) -> Iterator[str]:
    for (application, group), number in sorted(due.items()):
        for why in why_unserved(workers, application, group):
            wait = "waits" if number == 1 else "wait"
            what, semicolon, remedy = why.partition("; ")
            yield f"{what}; {quantity(number, 'due task')} {wait} there{semicolon}{remedy}"
