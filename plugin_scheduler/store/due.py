"""Which tasks are due? The conditions of the claim, each with a name, and the order they go in.

I own what makes a task claimable, in one place: the claim, whoever explains why a task does not
run, and burst mode ask here. I call dialects. I never write.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from plugin_scheduler.dialects.base import Dialect
from plugin_scheduler.records import Task, TaskStatus
from plugin_scheduler.settings import Settings

OF_THIS_APP = "of this app"
ERA = datetime(2000, 1, 1)
HIGHEST = 2**31  # a priority that is text, put there by hand, is above every number in SQLite


class Due:
    """Conditions over ``scheduler_task``, for one application."""

    def __init__(self, dialect: Dialect, settings: Settings, application: str) -> None:
        self._settings, self._application = settings, application
        self._db = dialect.db
        self._task, self._deps = self._db.scheduler_task, self._db.scheduler_task_deps

    def at(self, now: datetime, any_app: bool = False) -> Any:
        """All conditions at once; of every application's tasks where the ticker asks."""
        query = None
        for name, condition in self.conditions(now).items():
            if any_app and name == OF_THIS_APP:
                continue
            query = condition if query is None else query & condition
        return query

    def conditions(self, now: datetime) -> dict[str, Any]:
        """Each condition of the claim as a query, by name; all of them must hold."""
        task = self._task
        return {
            "queued": task.status == TaskStatus.QUEUED,
            "its time has come": task.next_run_time <= now,
            "enabled": task.enabled == True,
            "before its stop_time": (task.stop_time == None) | (task.stop_time > now),
            OF_THIS_APP: self.of_this_app(),
            "waits for nothing": ~task.id.belongs(self._waiting()),
        }

    def levels(self, groups: Sequence[str]) -> list[Any]:
        """One query for each group and priority in use: each reads one stretch of the claim index,
        so that a claim never sorts the backlog."""
        task, queries = self._task, []
        for group in dict.fromkeys(groups):
            base = (task.status == TaskStatus.QUEUED) & (task.group_name == group)
            without = base & (task.priority == None)
            if self._db(without).select(task.id, orderby=task.next_run_time, limitby=(0, 1)):
                queries.append(without)
            level = self._highest(base, HIGHEST)
            while level is not None:
                queries.append(base & (task.priority == level))
                lower = self._highest(base, level)
                # SQLite keeps -0.5 that somebody wrote by hand, and it is read as 0 again
                level = lower if lower is None or lower < level else level - 1
        return queries

    def _highest(self, base: Any, below: int) -> int | None:
        """One step in the claim's index; MAX() would read all of a level on some databases."""
        priority = self._task.priority
        rows = self._db(base & (priority < below)).select(
            priority, orderby=~priority, limitby=(0, 1), cacheable=True
        )
        return rows[0].priority if rows else None

    def of_this_app(self) -> Any:
        """Several apps may share a database; web2py writes ``app/controller``."""
        name = self._task.application_name
        if not self._application:
            return self._task.id > 0
        return (name == self._application) | name.startswith(self._application + "/")

    def _waiting(self) -> Any:
        # Asked for each candidate, from an index: the list of all that wait may be very long.
        pending = (self._deps.can_visit == False) & (self._deps.task_parent == self._task.id)
        return self._db(pending).nested_select(self._deps.task_parent, correlated=True)

    def rank(self, task: Task) -> tuple[float, int]:
        """What goes first: the longest waiting, with a head start for priority."""
        due = ((task.next_run_time or ERA) - ERA).total_seconds()
        return due - self._settings.ageing * task.priority, task.id
