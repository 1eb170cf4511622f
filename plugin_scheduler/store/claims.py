"""Claim due tasks for a worker.

Also answers when the next task is due and whether work is left. Does not access processes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.types import Order, Task, TaskStatus
from plugin_scheduler.database.dialects.base import Dialect, retry_on_conflict
from plugin_scheduler.store.claim_conditions import NO_BROADCAST, ClaimConditions
from plugin_scheduler.store.priority_scan import MOMENT, SINCE, WORDS, Stretch, questions
from plugin_scheduler.store.task_reports import TaskReports

RETRY_HORIZON = timedelta(minutes=10)
MOST = 500  # tasks of unknown functions that FAIL in one transaction


Choose = Callable[[Sequence[Task]], list[Task]]


class Claim(NamedTuple):
    """The result of a claim.

    ``orders`` are for runs that are stored. ``found`` is the number of due tasks, up to the limit.
    ``contended`` is True if other workers claimed the same tasks: more may be due. ``first`` is the
    earliest due time among the tasks of a limited claim.
    """

    orders: list[Order]
    found: int
    contended: bool
    first: datetime | None = None


class Only(NamedTuple):
    """The limits of a claim: tasks of these functions, due at or after a time.

    Without functions the claim is not limited; without a time it begins with the first task.
    """

    functions: tuple[str, ...] = ()
    since: datetime | None = None


ANY = Only()


class Claims:
    """Claims tasks for one worker."""

    def __init__(self, dialect: Dialect, due: ClaimConditions, tasks: TaskReports) -> None:
        self._dialect, self._due, self._tasks, self._rows = dialect, due, tasks, tasks.rows
        self._db, self._task = dialect.db, dialect.db.scheduler_task

    @retry_on_conflict
    def take(
        self,
        worker_name: str,
        groups: Sequence[str],
        limit: int,
        now: datetime,
        choose: Choose = list,
        only: Only = ANY,
    ) -> Claim:
        """Claim up to ``limit`` tasks due at ``now``, in the order of waiting time and priority.

        ``choose`` selects those for which there is room; ``only`` limits the tasks that are read.

        With row locks, tasks that another worker is claiming are skipped. Without them, candidates
        are read without a lock, and compare-and-set detects conflicts.
        """
        if not self._dialect.locks_rows:
            return self._take_unlocked(worker_name, groups, limit, now, choose, only)
        with self._dialect.transaction():
            candidates = self._candidates(worker_name, groups, limit, now, only, lock="skip")
            chosen = choose(candidates[:limit])
            orders = self._tasks.batches.start(chosen, worker_name, now) if chosen else []
        return Claim(orders, len(candidates[:limit]), False, _first(candidates, only))

    def _take_unlocked(
        self,
        worker_name: str,
        groups: Sequence[str],
        limit: int,
        now: datetime,
        choose: Choose,
        only: Only,
    ) -> Claim:
        with self._dialect.reading():
            candidates = self._candidates(worker_name, groups, limit, now, only)
        found, first = candidates[:limit], _first(candidates, only)
        chosen = choose(found)
        if not chosen:
            return Claim([], len(found), False, first)
        with self._dialect.transaction():
            if self._dialect.holds_all:
                orders = self._tasks.batches.start(chosen, worker_name, now)
            else:
                orders = self._tasks.start(chosen, worker_name, now)
        return Claim(orders, len(found), len(orders) < len(chosen), first)

    def is_left(
        self, worker_name: str, groups: Sequence[str], now: datetime, only: Only = ANY
    ) -> bool:
        """Return True if a due task is locked by another transaction."""
        if not self._dialect.locks_rows:
            return False
        with self._dialect.reading():
            return bool(self._candidates(worker_name, groups, 1, now, only))

    def _candidates(
        self,
        worker_name: str,
        groups: Sequence[str],
        limit: int,
        now: datetime,
        only: Only,
        lock: str = "",
    ) -> list[Task]:
        """Return the first tasks in claim order, up to ``limit`` for each level."""
        levels = self._due.levels(groups, now)
        moment = self._dialect.literal(now, "datetime")
        since = self._dialect.literal(only.since or now, "datetime")
        placeholders = only._replace(since=only.since and self._due.since)

        def text(kind: str, group: str) -> str:
            key = (worker_name, kind, group, limit, only.functions, only.since is not None)
            made = self._due.texts.get(
                key, lambda: self._text(worker_name, kind, group, limit, placeholders)
            )
            return made.replace(MOMENT, moment).replace(SINCE, since)

        found = self._rows.read_all(questions(levels, text), lock)
        if found is None:  # an unreadable row: find it by reading the levels one by one
            due = self._for(worker_name, now, only)
            found = [
                task
                for level in levels
                for task in self._read(level, due, lock, limitby=(0, limit))
            ]
        each = {task.id: task for task in found}  # a database may treat two group names as equal
        return sorted(each.values(), key=self._due.rank)

    def _text(self, worker_name: str, kind: str, group: str, limit: int, only: Only) -> str:
        """Return the query for candidates in a range of the claim index."""
        due = self._for(worker_name, self._due.moment, only)
        query = self._due.within(group, WORDS[kind]) & due
        fields = [self._task[name] for name in Task._fields]
        return str(self._db(query)._select(*fields, orderby=self._due.order, limitby=(0, limit)))

    def _for(self, worker_name: str, now: Any, only: Only) -> Any:
        """Return the condition for due tasks that this worker may claim."""
        query = self._due.at(now)
        if only.functions:
            query &= self._task.function_name.belongs(only.functions)
        if only.since is not None:
            query &= self._task.next_run_time >= only.since
        for condition in self._due.conditions_of(worker_name).values():
            query &= condition
        return query

    def _read(self, level: Stretch, query: Any, lock: str = "", **select: Any) -> list[Task]:
        within = self._due.within(level.group, level.words)
        return self._rows.read(within & query, lock, orderby=self._due.order, **select)

    def has_due_work(self, groups: Sequence[str], horizon: float, only: Sequence[str] = ()) -> bool:
        """Return True if any worker has work within the next ``horizon`` seconds.

        A worker in burst mode uses this to decide whether to exit; a pending retry keeps it
        running.
        """
        task = self._task
        with self._dialect.reading():
            now = self._dialect.now()
            mine = task.group_name.belongs(groups)
            if only:
                mine &= task.function_name.belongs(only)
            retries = (task.times_failed > 0) & self._due.at(now + RETRY_HORIZON)
            queries = (
                self._due.at(now + timedelta(seconds=horizon)),
                retries,
                task.status.belongs(TaskStatus.HELD) & self._due.of_this_app(),
            )
            return any(
                self._db(mine & query).select(task.id, limitby=(0, 1), orderby_on_limitby=False)
                for query in queries
            )

    @retry_on_conflict
    def give_up(self, functions: Collection[str], groups: Sequence[str], waited: float) -> int:
        """Fail tasks of unknown functions, due for ``waited`` seconds; return their number."""
        task = self._task
        with self._dialect.transaction():
            since = self._dialect.now() - timedelta(seconds=waited)
            theirs = task.group_name.belongs(groups) & task.function_name.belongs(functions)
            late = theirs & self._due.at(since) & self._due.conditions_of("")[NO_BROADCAST]
            rows = self._dialect.select(late, [task.id, task.function_name], limitby=(0, MOST))
            free = self._tasks.unheld(task, [row.id for row in rows])
            count = 0
            # A database may ignore case when it compares names.
            for name in {row.function_name for row in rows} & set(functions):
                same = [row.id for row in rows if row.function_name == name and row.id in free]
                why = Reason(ReasonCode.UNKNOWN_FUNCTION, function=name)
                count += self._tasks.move("give_up", same, reason=why)
        return count

    def next_due(self, groups: Sequence[str], now: datetime) -> datetime | None:
        """Return the due time of the next task that is not due at ``now``."""
        with self._dialect.reading():
            try:
                soonest = [_as_time(when) for when in self._due.soonest(groups, now)]
            except Exception as error:  # specific to drivers and parsers
                if self._dialect.is_transient(error):
                    raise
                soonest = self._soonest_readable(groups, now)
        return min(soonest, default=None)

    def _soonest_readable(self, groups: Sequence[str], now: datetime) -> list[datetime]:
        """Read level by level, and record unreadable rows."""
        later = (self._task.next_run_time > now) & (self._task.enabled == True)
        return [
            task.next_run_time
            for level in self._due.all_levels(groups, now)
            for task in self._read(level, later, limitby=(0, 1))
            if task.next_run_time
        ]


def _first(found: Sequence[Task], only: Only) -> datetime | None:
    if not only.functions:
        return None
    return min((task.next_run_time for task in found if task.next_run_time), default=None)


def _as_time(value: Any) -> datetime:
    """Convert a driver value; raise ``ValueError`` or ``TypeError`` for an invalid time."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
