"""What does a task wait for, and what waits for it? Its neighbours, with their states.

I own the direct ones; `graphs` follows them further. I never write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plugin_scheduler.core.types import OnChildFailure
from plugin_scheduler.queries.base import Source

MANY = 50


@dataclass(frozen=True)
class Link:
    """A task on the other side. ``fulfilled`` when nothing waits there any more; ``id`` is None
    for one that was deleted; ``on_failure`` is what becomes of who waits."""

    id: int | None
    name: str
    status: str
    job: str
    fulfilled: bool
    on_failure: str


class Links(Source):
    """The tasks around one task."""

    def waits_for(self, task_id: int) -> list[Link]:
        """What it waits for, or waited for; at most 50 of them.

        >>> [(link.name, link.status) for link in browser.waits_for(7)]
        [('print pages', 'RUNNING')]
        """
        deps = self._deps
        return self._links(deps.task_parent == task_id, deps.task_child)

    def waited_by(self, task_id: int) -> list[Link]:
        """What waits for it, or has waited."""
        deps = self._deps
        return self._links(deps.task_child == task_id, deps.task_parent)

    def _links(self, query: Any, other: Any) -> list[Link]:
        task, deps = self._task, self._deps
        theirs = task.id == other
        theirs.ignore_common_filters = True  # a join has its own
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
