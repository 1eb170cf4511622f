"""Which tasks are due? The conditions of the claim, each with a name, and the order they go in.

I own what makes a task claimable, in one place: the claim, whoever explains why a task does not
run, and burst mode ask here. I call dialects. I never write.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from plugin_scheduler.dialects.base import Dialect
from plugin_scheduler.records import Task, TaskStatus
from plugin_scheduler.settings import Settings


class Due:
    """Conditions over ``scheduler_task``, for one application."""

    def __init__(self, dialect: Dialect, settings: Settings, application: str) -> None:
        self._settings, self._application = settings, application
        self._db = dialect.db
        self._task, self._deps = self._db.scheduler_task, self._db.scheduler_task_deps

    def at(self, now: datetime) -> Any:
        """The conditions that make a task due now, each with a name (see `conditions`)."""
        query = None
        for condition in self.conditions(now).values():
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
            "of this app": self.of_this_app(),
            "waits for nothing": ~task.id.belongs(self._waiting()),
        }

    def levels(self, groups: Sequence[str]) -> list[Any]:
        """One query for each group and priority in use: each reads one stretch of the claim index,
        so that a claim never sorts the backlog."""
        task, queries = self._task, []
        for group in dict.fromkeys(groups):
            base = (task.status == TaskStatus.QUEUED) & (task.group_name == group)
            if self._db(base & (task.priority == None)).select(task.id, limitby=(0, 1)):
                queries.append(base & (task.priority == None))
            highest = task.priority.max()
            level = self._db(base).select(highest).first()[highest]
            while level is not None:
                queries.append(base & (task.priority == level))
                level = self._db(base & (task.priority < level)).select(highest).first()[highest]
        return queries

    def of_this_app(self) -> Any:
        """Several apps may share a database; web2py writes ``app/controller``."""
        name = self._task.application_name
        if not self._application:
            return self._task.id > 0
        return (name == self._application) | name.startswith(self._application + "/")

    def _waiting(self) -> Any:
        # A NULL in the list would make "not in" true for nobody.
        pending = (self._deps.can_visit == False) & (self._deps.task_parent != None)
        return self._db(pending)._select(self._deps.task_parent)

    def rank(self, task: Task) -> tuple[datetime, int]:
        """What goes first: the longest waiting, with a head start for priority."""
        assert task.next_run_time is not None  # it is due
        head_start = timedelta(seconds=self._settings.ageing * task.priority)
        return task.next_run_time - head_start, task.id
