"""The direct dependencies of a task, in both directions, with their status.

`graphs` follows dependencies further. Does not write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plugin_scheduler.core.types import OnChildFailure
from plugin_scheduler.queries.base import Source

MANY = 50


@dataclass(frozen=True)
class Link:
    """A task at the other end of a dependency. ``fulfilled``: nothing waits for it any more. ``id``
    is None for a deleted task. ``on_failure``: what happens to the waiting task."""

    id: int | None
    name: str
    status: str
    job: str
    fulfilled: bool
    on_failure: str


class Links(Source):
    """The dependencies of one task."""

    def waits_for(self, task_id: int) -> list[Link]:
        """Return the tasks that this one waits or waited for, at most 50.

        >>> [(link.name, link.status) for link in queries.waits_for(7)]
        [('print pages', 'RUNNING')]
        """
        deps = self._deps
        return self._links(deps.task_parent == task_id, deps.task_child)

    def waited_by(self, task_id: int) -> list[Link]:
        """Return the tasks that wait or waited for this one."""
        deps = self._deps
        return self._links(deps.task_child == task_id, deps.task_parent)

    def _links(self, query: Any, other: Any) -> list[Link]:
        task, deps = self._task, self._deps
        theirs = task.id == other
        theirs.ignore_common_filters = True  # a join has its own filter
        rows = self._read_rows(
            query,
            deps.ALL,
            task.id,
            task.task_name,
            task.function_name,
            task.status,
            left=task.on(theirs),
            orderby=deps.id,
            limitby=(0, MANY),
        )
        return [_link(row.scheduler_task, row.scheduler_task_deps) for row in rows]


def _link(task: Any, dep: Any) -> Link:
    return Link(
        id=task.id,
        name=task.task_name or task.function_name or "",
        status=task.status or "",
        job=dep.job_name or "",
        fulfilled=bool(dep.can_visit),
        on_failure=dep.on_failure or OnChildFailure.STOP,
    )
