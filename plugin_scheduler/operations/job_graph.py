"""Dependencies between tasks: defines web2py's `JobGraph`.

Writes only rows of ``scheduler_task_deps``. The leader and the workers apply them.
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
    """Define which tasks wait for others: ``task_parent`` waits for ``task_child``.

    Parameters:
    - ``db``: the database of the scheduler.
    - ``job_name``: a name for these dependencies; default ``job_0``.

    Source: web2py's book, "JobGraph"; the names are web2py's.

    >>> job = JobGraph(db, "make a book")
    >>> job.add_deps(bind.id, print_pages.id)   # bind waits for print_pages
    >>> job.validate()
    [{1}, {2}]
    """

    def __init__(self, db: Any, job_name: str | None = None) -> None:
        self.db, self.job_name = db, job_name or "job_0"

    def add_deps(self, task_parent: Any, task_child: Any, on_failure: str = "stop") -> int:
        """Let ``task_parent`` wait until ``task_child`` has completed. Does not commit.

        Parameters:
        - ``task_parent``, ``task_child``: ids of tasks, or what `queue_task` returned.
        - ``on_failure``: what happens to the parent if the child ends without success: ``"stop"``
          stops it with a reason, ``"run"`` runs it, ``"wait"`` waits until the child is requeued.

        Returns: the id of the new row of ``scheduler_task_deps``.

        Raises: BadTask for another ``on_failure``, or for a task that was not queued.

        >>> job.add_deps(bind.id, print_pages.id, on_failure="run")
        1
        """
        if on_failure not in OnChildFailure.ALL:
            words = ", ".join(OnChildFailure.ALL)
            raise BadTask(f"on_failure={on_failure!r}: must be one of {words}")
        return int(
            self.db.scheduler_task_deps.insert(
                task_parent=_task_id(task_parent),
                task_child=_task_id(task_child),
                job_name=self.job_name,
                on_failure=on_failure,
            )
        )

    def validate(self, job_name: str | None = None) -> list[set[int]]:
        """Check the dependencies and commit; roll back if tasks wait for each other in a cycle.

        Parameters:
        - ``job_name``: check this job only; default: all jobs of the database.

        Returns: the ids in the order in which the tasks can run, as sets. The tasks of a set can
        run at the same time.

        Raises: DependencyCycle, which lists the tasks of the cycle.

        Source: web2py's book, "JobGraph". web2py returns None for a cycle.

        >>> job.validate("make a book")
        [{1}, {2}]
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
    """Return the id of a task, or of the row that `queue_task` returned."""
    task_id = ref["id"] if isinstance(ref, (Row, Mapping)) else ref
    if task_id is None:
        raise BadTask("a task of the dependency was not queued: see the errors of queue_task")
    return int(task_id)
