"""The rows around one task: the tasks it waits for, and its run.

Does not write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import OnChildFailure, TaskStatus
from plugin_scheduler.queries import views
from plugin_scheduler.queries.capped_counts import Counting
from plugin_scheduler.queries.views import RunView, TaskView

MOST_NAMED = 5


class Waits(Counting):
    """Rows around one task."""

    def waits_of(self, task: TaskView) -> Iterator[Sentence]:
        """Yield what the task waits for, and what happens if that ended badly."""
        deps, child = self._deps, self._task
        pending = (deps.task_parent == task.id) & (deps.can_visit == False)
        its_child = child.id == deps.task_child
        its_child.ignore_common_filters = True  # a join has its own filter
        rows = self._read_rows(
            pending,
            deps.on_failure,
            *(child[name] for name in ("id", "status", "task_name", "function_name")),
            left=child.on(its_child),
            orderby=deps.id,
            limitby=(0, MOST_NAMED + 1),
        )
        for row in list(rows)[:MOST_NAMED]:
            yield _waits(row.scheduler_task, row.scheduler_task_deps.on_failure)
        if len(rows) > MOST_NAMED:
            number = self._set(pending).count() - MOST_NAMED
            yield Sentence("it waits for {number} more", number=number)

    def run_of(self, task: TaskView) -> RunView | None:
        """Return the run that the task's row names, if it is kept."""
        rows = self._read_rows(self._run.id == task.run_id, self._run.ALL) if task.run_id else []
        return views.run_view(rows[0]) if rows else None

    def held_by_each(self, workers: Sequence[str]) -> dict[str, list[Any]]:
        """Return the tasks that each of these workers holds, up to a limit."""
        task = self._task
        held = task.status.belongs(TaskStatus.HELD) & task.assigned_worker_name.belongs(workers)
        columns = (task.id, task.task_name, task.function_name, task.assigned_worker_name)
        found: dict[str, list[Any]] = {name: [] for name in workers}
        for row in self._read_rows(held, *columns, orderby=task.id, limitby=(0, self.most)):
            found.setdefault(row.assigned_worker_name, []).append(row)
        return found


def _waits(child: Any, on_failure: str | None) -> Sentence:
    if child.id is None:
        what = Sentence("it waits for a task that was deleted")
        return Sentence("{what}: {fate}", what=what, fate=_fate(on_failure))
    facts = {"id": child.id, "name": child.task_name or child.function_name}
    facts["status"] = child.status
    if child.status == TaskStatus.COMPLETED:
        return Sentence(
            "task {id} {name} is {status}: the leading worker lets this one go on in a moment",
            **facts,
        )
    if child.status in TaskStatus.ENDED_BADLY:
        what = Sentence("it waits for task {id} {name}, which is {status}", **facts)
        return Sentence("{what}: {fate}", what=what, fate=_fate(on_failure))
    return Sentence("it waits for task {id} {name} ({status})", **facts)


def _fate(on_failure: str | None) -> Sentence:
    """Return what the leader will do with the task."""
    if on_failure == OnChildFailure.RUN:
        return Sentence('it will run all the same (on_failure="run")')
    if on_failure == OnChildFailure.WAIT:
        return Sentence('it waits until somebody requeues that one (on_failure="wait")')
    return Sentence('it will be stopped, too (on_failure="stop")')
