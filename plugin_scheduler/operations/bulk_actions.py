"""Actions on many tasks at once: stop, requeue, run now, delete, ...

Defines for each action which tasks it applies to, why other tasks are skipped, and the steps in
which "all matching tasks" are processed. Never commits: a step is one transaction, which the caller
ends.

Only two actions affect a task that a worker holds: a stop, which is a request, and a delete, after
which the worker ends the run. Whether a task is enabled, its priority and its group matter when it
is claimed: a change does not affect the current run, only the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import RunStatus, TaskStatus
from plugin_scheduler.queries import Filter, Queries
from plugin_scheduler.queries.views import TaskView
from plugin_scheduler.store.audit_log import AuditLog

MOST = 500  # tasks in a step


class Skip(Enum):
    """The reason why an action leaves a task unchanged."""

    ENDED = "ended"
    NOT_ENDED = "not_ended"
    TOO_LATE = "too_late"
    TAKEN = "taken"
    DUE = "due"
    DISABLED = "disabled"
    SAME = "same"
    GONE = "gone"
    CHANGED = "changed"

    @property
    def sentence(self) -> Sentence:
        """The reason in words."""
        return SKIPS[self]


SKIPS: Mapping[Skip, Sentence] = {
    Skip.ENDED: Sentence("has ended"),
    Skip.NOT_ENDED: Sentence("has not ended"),
    Skip.TOO_LATE: Sentence("its stop time has passed"),
    Skip.TAKEN: Sentence("already claimed by a worker"),
    Skip.DUE: Sentence("is already due"),
    Skip.DISABLED: Sentence("is disabled"),
    Skip.SAME: Sentence("needs no change"),
    Skip.GONE: Sentence("no longer exists"),
    Skip.CHANGED: Sentence("changed in the meantime"),
}


@dataclass(frozen=True)
class Acted:
    """The number of changed tasks, and of skipped ones by reason."""

    done: int
    skipped: Mapping[Skip, int]

    def plus(self, other: Acted) -> Acted:
        """Return the sum of both."""
        return Acted(self.done + other.done, Counter(self.skipped) + Counter(other.skipped))

    def sentence(self, name: str) -> Sentence:
        """Return the result in words."""
        done = Sentence(ACTS[name].said, number=f"{self.done:,}")
        if not self.skipped:
            return done
        why = [
            Sentence("{why} ({number})", why=why.sentence, number=f"{number:,}")
            for why, number in self.skipped.items()
        ]
        number = f"{sum(self.skipped.values()):,}"
        return Sentence("{done} Skipped: {number}; {why}.", done=done, number=number, why=why)


@dataclass(frozen=True)
class BatchStep:
    """One step through the tasks of a filter; ``at`` is the start of the next one, None after the
    last."""

    acted: Acted
    at: int | None


class Act(NamedTuple):
    """One action. ``skips`` returns why a task is skipped, None if it is not. ``do`` changes many
    tasks, and ``done`` is the condition that changed tasks meet."""

    said: str
    skips: Callable[[TaskView, datetime, Any], Skip | None]
    do: Callable[[Acts, list[int], Any], object]
    done: Callable[[Acts, Any], Any]
    column: str = ""  # the column that it writes a given value to


class Acts:
    """The actions of one person on the tasks of a scheduler.

    >>> acts = Acts(scheduler, Queries.of(scheduler), journal, "ann")
    >>> acts.act("stop", [3, 4, 5]).sentence("stop")
    'Stopped: 2. Skipped: 1; has ended (1).'
    """

    def __init__(self, scheduler: Any, queries: Queries, journal: AuditLog, who: str) -> None:
        self.scheduler, self.task = scheduler, scheduler.db.scheduler_task
        self._queries, self._journal, self._who = queries, journal, who

    def act(self, name: str, ids: Sequence[int], value: Any = None) -> Acted:
        """Apply an action to these tasks, at most `MOST`."""
        act = self._named(name, ids)
        value = self._checked(act, value)
        fit, skipped = self._sorted_out(act, dict.fromkeys(ids), value)
        done = self._do(act, fit, value) if fit else []
        if done:
            detail = {} if value is None else {"value": value}
            self._journal.note_many(self._who, name, done, **detail)
        if len(fit) > len(done):
            skipped[Skip.CHANGED] += len(fit) - len(done)
        return Acted(len(done), dict(skipped))

    def _do(self, act: Act, ids: list[int], value: Any) -> list[int]:
        """Apply the action; return the changed tasks.

        They are read afterwards: each write is guarded, so that tasks that changed since they were
        read stay unchanged.
        """
        act.do(self, ids, value)
        changed = self.task.id.belongs(ids) & act.done(self, value)
        found = {row.id for row in self._set(changed).select(self.task.id)}
        if act.do is Acts.delete:
            return [one for one in ids if one not in found]
        return [one for one in ids if one in found]

    def act_on_matching(
        self, name: str, wanted: Filter, above: int, upto: int, value: Any = None
    ) -> BatchStep:
        """Apply an action to the next matching tasks, from ``above`` up to the id ``upto``.

        Ids only increase, and the last one is set at the start. So no task is processed twice or
        left out, even if the action ends the match, and whatever is queued meanwhile.
        """
        ids, at = self._queries.ids(wanted, above, upto, MOST)
        return BatchStep(self.act(name, ids, value), at)

    def _named(self, name: str, ids: Sequence[int]) -> Act:
        if name not in ACTS:
            raise BadTask(Sentence("Unknown action: {name}", name=name))
        if len(ids) > MOST:
            raise BadTask(Sentence("At most {most} tasks at a time.", most=MOST))
        return ACTS[name]

    def _checked(self, act: Act, value: Any) -> Any:
        """Return the validated value; raise BadTask if its column does not accept it."""
        if not act.column:
            return None
        column = self.task[act.column]
        if act.column == "group_name":  # any name may be the first of its group
            value = json_codec.clean(str(value or "")).strip()
        found, error = column.validate(value)
        if error:
            raise BadTask(f"{act.column}: {error}")
        return found

    def _sorted_out(
        self, act: Act, ids: Mapping[int, None], value: Any
    ) -> tuple[list[int], Counter[Skip]]:
        """Return the tasks that the action applies to, and the number of the others by reason."""
        now, skipped = self.scheduler.now(), Counter[Skip]()
        tasks = self._queries.some(list(ids))
        fit = []
        for task in tasks:
            why = act.skips(task, now, value)
            if why is None:
                fit.append(task.id)
            else:
                skipped[why] += 1
        if len(ids) > len(tasks):
            skipped[Skip.GONE] = len(ids) - len(tasks)
        return fit, skipped

    # -- changes, guarded by the status that was read --------------------

    def write(self, ids: list[int], guard: Any, **columns: Any) -> int:
        dialect = self.scheduler._dialect
        dialect.hold(self.task, ids, [self.task.id])
        return int(dialect.change(self.task, ids, guard, **columns))

    def stop(self, ids: list[int], _: Any) -> int:
        return self.scheduler.stop_task(self.task.id.belongs(ids)) or 0

    def requeue(self, ids: list[int], _: Any) -> int:
        return int(self.scheduler.requeue(self.task.id.belongs(ids)))

    def run_now(self, ids: list[int], _: Any) -> int:
        """Make waiting tasks due, and requeue ended ones."""
        now, queued = self.scheduler.now(), self.task.status == TaskStatus.QUEUED
        done = self.write(ids, queued & (self.task.next_run_time > now), next_run_time=now)
        done += self.write(ids, queued & (self.task.next_run_time == None), next_run_time=now)
        return done + self.requeue(ids, None)

    def enable(self, ids: list[int], _: Any) -> int:
        return self.write(ids, self._not_ended(), enabled=True)

    def disable(self, ids: list[int], _: Any) -> int:
        return self.write(ids, self._not_ended(), enabled=False)

    def delete(self, ids: list[int], _: Any) -> int:
        return int(self._set(self.task.id.belongs(ids)).delete() or 0)

    def set_priority(self, ids: list[int], value: Any) -> int:
        return self.write(ids, self.task.id > 0, priority=value)

    def set_group(self, ids: list[int], value: Any) -> int:
        return self.write(ids, self.task.id > 0, group_name=value)

    # -- conditions of changed tasks --------------------

    def are_stopped(self, _: Any) -> Any:
        """Waiting tasks are stopped, running tasks are requested to stop."""
        run = self.scheduler.db.scheduler_run
        told = self._set((run.stop_requested == True) & (run.status == RunStatus.RUNNING))
        runs = self.task.id.belongs(told._select(run.task_id))
        return (self.task.status == TaskStatus.STOPPED) | runs

    def are_queued(self, _: Any) -> Any:
        return self.task.status == TaskStatus.QUEUED

    def are_due(self, _: Any) -> Any:
        due = self.task.next_run_time <= self.scheduler.now()
        return (self.task.status == TaskStatus.QUEUED) & due

    def are_enabled(self, _: Any) -> Any:
        return self._not_ended() & (self.task.enabled == True)

    def are_disabled(self, _: Any) -> Any:
        return self._not_ended() & (self.task.enabled == False)

    def are_there(self, _: Any) -> Any:
        return self.task.id > 0

    def have_priority(self, value: Any) -> Any:
        return self.task.priority == value

    def have_group(self, value: Any) -> Any:
        return self.task.group_name == value

    def _not_ended(self) -> Any:
        return ~self.task.status.belongs(TaskStatus.ENDED)

    def _set(self, query: Any) -> Any:
        return self.scheduler.db(query, ignore_common_filters=True)


# -- which tasks are skipped ----------------------------------------------------------------------


def _is_over(task: TaskView) -> bool:
    return task.status in TaskStatus.ENDED


def _no_stop(task: TaskView, now: datetime, _: Any) -> Skip | None:
    return Skip.ENDED if _is_over(task) else None


def _no_requeue(task: TaskView, now: datetime, _: Any) -> Skip | None:
    if not _is_over(task):
        return Skip.NOT_ENDED
    return Skip.TOO_LATE if task.stop_time and task.stop_time < now else None


def _no_run_now(task: TaskView, now: datetime, _: Any) -> Skip | None:
    if _is_over(task):
        return _no_requeue(task, now, None)
    return next(_not_now(task, now), None)


def _not_now(task: TaskView, now: datetime) -> Iterator[Skip]:
    if task.status != TaskStatus.QUEUED:
        yield Skip.TAKEN
    if task.stop_time and task.stop_time < now:
        yield Skip.TOO_LATE
    if not task.enabled:
        yield Skip.DISABLED
    if task.next_run_time and task.next_run_time <= now:
        yield Skip.DUE


def _no_enable(task: TaskView, now: datetime, _: Any) -> Skip | None:
    return Skip.ENDED if _is_over(task) else Skip.SAME if task.enabled else None


def _no_disable(task: TaskView, now: datetime, _: Any) -> Skip | None:
    return Skip.ENDED if _is_over(task) else None if task.enabled else Skip.SAME


def _anyway(task: TaskView, now: datetime, _: Any) -> Skip | None:
    return None


def _same_priority(task: TaskView, now: datetime, value: Any) -> Skip | None:
    return Skip.SAME if task.priority == value else None


def _same_group(task: TaskView, now: datetime, value: Any) -> Skip | None:
    return Skip.SAME if task.group == value else None


ACTS: Mapping[str, Act] = {
    "stop": Act("Stopped: {number}.", _no_stop, Acts.stop, Acts.are_stopped),
    "requeue": Act("Requeued: {number}.", _no_requeue, Acts.requeue, Acts.are_queued),
    "run_now": Act("Due now: {number}.", _no_run_now, Acts.run_now, Acts.are_due),
    "enable": Act("Enabled: {number}.", _no_enable, Acts.enable, Acts.are_enabled),
    "disable": Act("Disabled: {number}.", _no_disable, Acts.disable, Acts.are_disabled),
    "delete": Act("Deleted: {number}.", _anyway, Acts.delete, Acts.are_there),
    "set_priority": Act(
        "Priority changed: {number}.",
        _same_priority,
        Acts.set_priority,
        Acts.have_priority,
        "priority",
    ),
    "set_group": Act(
        "Group changed: {number}.", _same_group, Acts.set_group, Acts.have_group, "group_name"
    ),
}
