"""The conditions under which a task may be claimed, each with a name, and the claim order.

This is the only definition of these conditions: used by the claim, by burst mode, and by the
explanation of why a task does not run. Does not write to the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydal.objects import Expression, Query

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Task, TaskStatus
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.store.priority_scan import (
    BOTTOM,
    GAP,
    LEVEL,
    MOMENT,
    NONE,
    PLACE,
    SINCE,
    TOP,
    WORDS,
    Levels,
    Stretch,
    Texts,
)

OF_THIS_APP, NO_BROADCAST, FOR_THIS_WORKER = "of this app", "no broadcast", "for this worker"
ERA = datetime(2000, 1, 1)


class FirstRow(NamedTuple):
    """A query on the first task of each level, optionally the first that meets a condition."""

    name: str
    answer: Any
    condition: Any


class ClaimConditions:
    """Conditions over ``scheduler_task``, for one application."""

    def __init__(self, dialect: Dialect, settings: Settings, application: str) -> None:
        self._settings, self._application = settings, application
        self._db = dialect.db
        self._task, self._deps = self._db.scheduler_task, self._db.scheduler_task_deps
        self._dialect, self._levels = dialect, Levels(dialect)
        self.texts = Texts()
        #: Placeholder for the current time in a cached statement.
        self.moment = self._expression(MOMENT, "datetime")
        #: Placeholder for the earliest due time of a limited claim.
        self.since = self._expression(SINCE, "datetime")
        when = self._task.next_run_time
        #: The order of the index within a level.
        priority = self._task.priority
        self.order = when if dialect.nulls_are_alike else priority | when
        self._orders = {NONE: self.order, LEVEL: self.order, BOTTOM: priority}
        self._orders |= dict.fromkeys((TOP, GAP), ~priority)
        self._is_later = FirstRow("is it later?", (when > self.moment).case(1, 0), None)
        later = (when > self.moment) & (self._task.enabled == True)
        self._soonest = FirstRow("when?", when, later)

    def at(self, now: Any, any_app: bool = False) -> Any:
        """Combine all conditions; ``any_app`` omits the one on the app, for the leader."""
        query = None
        for name, condition in self.conditions(now).items():
            if any_app and name == OF_THIS_APP:
                continue
            query = condition if query is None else query & condition
        return query

    def conditions(self, now: Any) -> dict[str, Any]:
        """Return the conditions of the claim as queries, by name; all must hold."""
        task = self._task
        return {
            "queued": task.status == TaskStatus.QUEUED,
            "its time has come": task.next_run_time <= now,
            "enabled": task.enabled == True,
            "before its stop_time": (task.stop_time == None) | (task.stop_time > now),
            OF_THIS_APP: self.of_this_app(),
            "waits for nothing": ~task.id.belongs(self._waiting()),
        }

    def conditions_of(self, worker_name: str) -> dict[str, Any]:
        """Return the additional conditions for one worker to claim a task, by name."""
        task = self._task
        meant = (task.only_worker == None) | (task.only_worker.belongs(("", worker_name)))
        return {
            NO_BROADCAST: (task.broadcast == None) | (task.broadcast == False),
            FOR_THIS_WORKER: meant,
        }

    # -- scan of the index --------------------

    def levels(self, groups: Sequence[str], now: datetime) -> list[Stretch]:
        """Return each group and priority in use that may have due tasks.

        A claim reads one range of its index for each, and never sorts the backlog.
        """
        return [level for level, is_later in self._first_ones(groups, now) if not is_later]

    def all_levels(self, groups: Sequence[str], now: datetime) -> list[Stretch]:
        """Return each group and priority in use."""
        return [level for level, _ in self._first_ones(groups, now)]

    def _first_ones(self, groups: Sequence[str], now: datetime) -> list[tuple[Stretch, Any]]:
        """Return the levels, and whether the first task of each is due later.

        The database compares the times, because a time may be unreadable. A task without a time may
        hide others behind it.
        """
        found = list(self._ask(self._is_later, groups, now))
        self._levels.forget_but([level for level, _ in found])
        return found

    def soonest(self, groups: Sequence[str], now: datetime) -> list[Any]:
        """Return the time of the first task of each level that is not due yet, as driver value."""
        return [answer for _, answer in self._ask(self._soonest, groups, now)]

    def _ask(
        self, question: FirstRow, groups: Sequence[str], now: datetime
    ) -> Iterator[tuple[Stretch, Any]]:
        moment = self._dialect.literal(now, "datetime")

        def text(kind: str, group: str) -> str:
            made = self.texts.get(
                (question.name, kind, group), lambda: self._first_row(question, kind, group)
            )
            return made.replace(MOMENT, moment)

        return self._levels.ask(groups, text)

    def _first_row(self, question: FirstRow, kind: str, group: str) -> str:
        how: dict[str, Any] = {"orderby": self._orders[kind], "limitby": (0, 1)}
        query = self.within(group, WORDS[kind])
        if kind == GAP and not self._dialect.steps_down:
            # Any row will do; with two statuses, MySQL reads only that range.
            query = self.within(group, WORDS[kind], (TaskStatus.QUEUED, ""))
            how.update(orderby=None, orderby_on_limitby=False)
        elif kind in (NONE, LEVEL) and question.condition is not None:
            query &= question.condition
        fields = (self._expression(PLACE), self._task.priority, question.answer)
        return str(self._db(query)._select(*fields, **how))

    def within(
        self, group: str, words: str, statuses: tuple[str, ...] = (TaskStatus.QUEUED,)
    ) -> Any:
        """Return the condition for queued tasks in a range of the claim index."""
        one, status = len(statuses) == 1, self._task.status
        base = status == statuses[0] if one else status.belongs(statuses)
        return base & (self._task.group_name == group) & Query(self._db, f"({words})")

    def _expression(self, text: str, kind: str = "integer") -> Any:
        return Expression(self._db, text, None, None, kind)

    # -- app and order --------------------

    def of_this_app(self) -> Any:
        """Return the condition for tasks of this app: several apps may share a database.

        The same rule as `belongs_to` in ``core.application_name``.
        """
        name = self._task.application_name
        if not self._application:
            return self._task.id > 0
        return (name == self._application) | name.startswith(self._application + "/")

    def _waiting(self) -> Any:
        # Evaluated per candidate from an index: the list of all waiting tasks may be very long.
        pending = (self._deps.can_visit == False) & (self._deps.task_parent == self._task.id)
        return self._db(pending).nested_select(self._deps.task_parent, correlated=True)

    def rank(self, task: Task) -> tuple[float, int]:
        """Return the sort key of a claim: the due time, minus a bonus for the priority."""
        due = ((task.next_run_time or ERA) - ERA).total_seconds()
        return due - self._settings.ageing * task.priority, task.id
