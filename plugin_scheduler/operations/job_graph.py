"""Jobs: tasks that wait for each other.

I own `JobGraph`. I call graph. I only write dependency rows; the ticker and the workers heed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydal.objects import Row

from plugin_scheduler.core.errors import BadTask, DependencyCycle
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import OnChildFailure
from plugin_scheduler.database.dialects import dialect_for
from plugin_scheduler.database.dialects.odd_values import read_rows
from plugin_scheduler.scheduling import dependency_order
from plugin_scheduler.system.clock import SYSTEM


class JobGraph:
    """Tasks that wait for each other: ``task_parent`` waits for ``task_child`` (web2py's names).

    >>> job = JobGraph(db, "make a book")
    >>> job.add_deps(bind.id, print_pages.id)   # bind waits for print_pages
    >>> job.validate()
    [{1}, {2}]
    """

    def __init__(self, db: Any, job_name: str | None = None) -> None:
        self.db, self.job_name = db, job_name or "job_0"

    def add_deps(self, task_parent: Any, task_child: Any, on_failure: str = "stop") -> int:
        """Have ``task_parent`` wait until ``task_child`` has completed (ids, or rows with one).

        ``on_failure``: what becomes of the parent when the child ends without success: "stop" with
        a reason, "run" all the same, or "wait" until somebody requeues the child.
        """
        if on_failure not in OnChildFailure.ALL:
            raise BadTask(f"on_failure={on_failure!r}: one of {', '.join(OnChildFailure.ALL)}")
        return int(
            self.db.scheduler_task_deps.insert(
                task_parent=_task_id(task_parent),
                task_child=_task_id(task_child),
                job_name=self.job_name,
                on_failure=on_failure,
            )
        )

    def validate(self, job_name: str | None = None) -> list[set[int]]:
        """The order in which the tasks can run, layer by layer; commits, as in web2py.

        Rolls back and raises DependencyCycle, with the ring named, where none can. Looks at all
        jobs of the database unless ``job_name`` is given.
        """
        deps = self.db.scheduler_task_deps
        query = deps.job_name == job_name if job_name else deps.id > 0
        dialect = dialect_for(self.db, SYSTEM, Settings())
        rows = read_rows(dialect, query, deps.task_parent, deps.task_child)
        try:
            layers = dependency_order.order(
                (int(row.task_parent), int(row.task_child))
                for row in rows
                if row.task_parent and row.task_child
            )
        except DependencyCycle:
            self.db.rollback()
            raise
        self.db.commit()
        return layers


def _task_id(ref: Any) -> int:
    """The id of a task, or of what `queue_task` answered."""
    task_id = ref["id"] if isinstance(ref, (Row, Mapping)) else ref
    if task_id is None:
        raise BadTask("that task was not queued; look at the errors of queue_task's answer")
    return int(task_id)
