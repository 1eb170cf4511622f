"""What does a person want to see? A filter goes in, a page comes out.

I own the reading behind the terminal's sub-commands and the web pages: tasks, runs, workers, an
overview, and why a task does not run. I call the models' tables, the store's named conditions and
the words. I never write, never end a transaction, and never decide colours or layout.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from plugin_scheduler import sight
from plugin_scheduler.catalog import Home
from plugin_scheduler.clock import SYSTEM, Clock
from plugin_scheduler.dialects import dialect_for
from plugin_scheduler.models import TABLES
from plugin_scheduler.records import TaskStatus
from plugin_scheduler.settings import Settings
from plugin_scheduler.sight import (
    GroupCount,
    RunningNow,
    RunView,
    TaskView,
    WorkerView,
    quantity,
    span,
)
from plugin_scheduler.store.due import Due
from plugin_scheduler.store.workers import FOREIGN_LEASE, read_workers

MANY = 100  # rows of what runs now, in an overview
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Filter:
    """Which tasks: every part that is given must hold. ``before`` asks for those older than an id.

    >>> Filter(status=("FAILED",), text="invoice", limit=50)
    """

    status: Collection[str] = ()
    group: str | None = None
    function: str | None = None
    text: str | None = None
    before: int | None = None
    limit: int = 20


@dataclass(frozen=True)
class Page:
    """Newest first; ``older`` is the ``before`` of the page that follows, None on the last."""

    items: list[Any]
    older: int | None


@dataclass(frozen=True)
class Overview:
    """Everything at a glance."""

    at: datetime
    application: str
    counts: list[GroupCount]
    running: list[RunningNow]
    workers: list[WorkerView]
    warnings: list[str]


class Browser:
    """The tasks, runs and workers of one app; of all that share the database where it is "".

    >>> browser = Browser.of(scheduler)
    >>> browser.tasks(Filter(status=("FAILED",))).items
    [TaskView(id=7, ...)]
    """

    def __init__(
        self,
        db: Any,
        settings: Settings,
        application: str = "",
        known: Collection[str] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        self._db, self._settings = db, settings
        self.application, self._known = application, frozenset(known)
        self._dialect = dialect_for(db, clock, settings)
        self._conditions = Due(self._dialect, settings, application).conditions
        self._task, self._run = db.scheduler_task, db.scheduler_run
        self._deps = db.scheduler_task_deps

    @classmethod
    def of(cls, home: Home) -> Browser:
        """The browser of an app's scheduler."""
        return cls(home.db, home.settings, home.application_name, home.catalog.names())

    def now(self) -> datetime:
        """The time by which tasks are due."""
        return self._dialect.now()

    # -- tasks and runs -------------------------------------------------------------------------

    def tasks(self, wanted: Filter) -> Page:
        """A page of the tasks that ``wanted`` describes."""
        query = self._matching(wanted)
        if wanted.before is not None:
            query &= self._task.id < wanted.before
        window = (0, wanted.limit + 1)
        rows = list(self._set(query).select(self._task.ALL, orderby=~self._task.id, limitby=window))
        items = [sight.task_view(row) for row in rows[: wanted.limit]]
        return Page(items, items[-1].id if len(rows) > wanted.limit else None)

    def count(self, wanted: Filter) -> int:
        """How many tasks ``wanted`` describes, on whichever page."""
        return int(self._set(self._matching(wanted)).count())

    def task(self, ref: int | str) -> TaskView | None:
        """The task with that id or uuid; None when this app has none."""
        named = self._task.uuid == str(ref)
        if str(ref).isdecimal() and int(ref) <= LARGEST_ID:
            named |= self._task.id == int(ref)
        rows = [sight.task_view(row) for row in self._set(named & self._mine()).select()]
        rows.sort(key=lambda task: task.uuid == str(ref))  # an id goes before a uuid of digits
        return rows[0] if rows else None

    def latest_run(self, task_id: int) -> RunView | None:
        """The newest run of a task whose row is kept."""
        items = self.runs(task_id, limit=1).items
        return items[0] if items else None

    def runs(self, task_id: int, before: int | None = None, limit: int = 20) -> Page:
        """A page of a task's runs."""
        query = self._run.task_id == task_id
        if before is not None:
            query &= self._run.id < before
        rows = list(self._set(query).select(orderby=~self._run.id, limitby=(0, limit + 1)))
        items = [sight.run_view(row) for row in rows[:limit]]
        return Page(items, items[-1].id if len(rows) > limit else None)

    def obstacles(self, task: TaskView) -> list[str]:
        """Why a waiting task does not run yet, each reason in words; empty when nothing hinders it.

        >>> browser.obstacles(task)
        ['it is disabled', 'no live worker serves group "gpu"']
        """
        if task.status != TaskStatus.QUEUED:
            return []
        this = self._task.id == task.id
        unmet = [
            self._sentence(name, task)
            for name, condition in self._conditions(self.now()).items()
            if not self._set(this & condition).count()
        ]
        if task.function not in (self._known or (task.function,)):
            unmet.append(f'there is no task named "{task.function}" in this app')
        return unmet + self._unserved(task)

    def _sentence(self, condition: str, task: TaskView) -> str:
        if condition == "its time has come" and task.next_run_time:
            away = (task.next_run_time - self.now()).total_seconds()
            return f"its time comes in {span(away)}"
        if condition == "waits for nothing":
            return f"it waits for {', '.join(self._waited_for(task)) or 'a task that was deleted'}"
        sentences = {
            "its time has come": "it has no next_run_time",
            "enabled": "it is disabled",
            "before its stop_time": "its stop_time has passed",
            "of this app": f"it belongs to app {task.application}",
        }
        return sentences.get(condition, f"not {condition}")

    def _waited_for(self, task: TaskView) -> list[str]:
        pending = (self._deps.task_parent == task.id) & (self._deps.can_visit == False)
        rows = self._set(pending & (self._task.id == self._deps.task_child)).select(
            self._task.ALL, orderby=self._task.id
        )
        return [f"task {row.id} {row.task_name} ({row.status})" for row in rows]

    def _unserved(self, task: TaskView) -> list[str]:
        workers = self.workers()
        if task.only_worker:
            workers = [one for one in workers if one.name == task.only_worker]
        return _why_unserved(workers, task.application, task.group, task.only_worker)

    def _matching(self, wanted: Filter) -> Any:
        query, task = self._mine(), self._task
        if wanted.status:
            query &= task.status.belongs(list(wanted.status))
        if wanted.group is not None:
            query &= task.group_name == wanted.group
        if wanted.function is not None:
            query &= task.function_name == wanted.function
        return query & self._with_text(wanted.text) if wanted.text else query

    def _with_text(self, text: str) -> Any:
        as_json = json.dumps(text)[1:-1]  # how args and vars have it stored
        query = self._task.args.contains(as_json) | self._task.vars.contains(as_json)
        for name in ("task_name", "function_name", "uuid", "args", "vars"):
            query |= self._task[name].contains(text)
        return query

    # -- workers --------------------------------------------------------------------------------

    def workers(self) -> list[WorkerView]:
        """Every registered worker, dead or alive; by name."""
        rows = read_workers(self._db, self._db.scheduler_worker.id > 0)
        now, epoch = self.now(), self._dialect.epoch()
        return [sight.worker_view(row, now, epoch, FOREIGN_LEASE) for row in rows]

    # -- overview -------------------------------------------------------------------------------

    def overview(self) -> Overview:
        """Counts, what runs now, who works, and what somebody should look at."""
        now, workers = self.now(), self.workers()
        due = self._due_at(now)
        late = self._due_at(now - timedelta(seconds=self._settings.lease))
        return Overview(
            at=now,
            application=self.application,
            counts=self._counts(due, late),
            running=self._running(now),
            workers=workers,
            warnings=[
                *_unserved_groups(due, workers),
                *self._silent(workers),
                *self._unknown_functions(),
                *sight.troubles(workers),
                *sight.elsewhere(workers, self._settings.zone, self._dialect.epoch()),
            ],
        )

    def _due_at(self, moment: datetime) -> Counter[tuple[str, str]]:
        """Tasks that could be claimed at that moment, by application and group."""
        task, query = self._task, self._task.id > 0
        for condition in self._conditions(moment).values():
            query &= condition
        return self._tally(query, task.application_name, task.group_name)

    def _counts(self, due: Counter[Any], late: Counter[Any]) -> list[GroupCount]:
        found = self._tally(self._mine(), self._task.group_name, self._task.status)
        groups = sorted({group for group, _ in found})
        return [
            GroupCount(
                group=group,
                by_status={
                    status: found[group, status]
                    for status in TaskStatus.ALL
                    if (group, status) in found
                },
                due=sum(number for (_, one), number in due.items() if one == group),
                late=sum(number for (_, one), number in late.items() if one == group),
            )
            for group in groups
        ]

    def _tally(self, query: Any, *columns: Any) -> Counter[Any]:
        number = self._task.id.count()
        rows = self._set(query).select(*columns, number, groupby=list(columns))
        return Counter(
            {
                tuple(row.scheduler_task[one.name] or "" for one in columns): row[number]
                for row in rows
            }
        )

    def _running(self, now: datetime) -> list[RunningNow]:
        task, run = self._task, self._run
        its_run = run.id == task.run_id
        its_run.ignore_common_filters = True  # a join has its own
        rows = self._set((task.status == TaskStatus.RUNNING) & self._mine()).select(
            task.ALL,
            run.start_time,
            run.progress,
            left=run.on(its_run),
            orderby=task.last_run_time | task.id,
            limitby=(0, MANY),
        )
        found = []
        for row in rows:
            view = sight.task_view(row.scheduler_task)
            since = row.scheduler_run.start_time or view.last_run_time
            seconds = (now - since).total_seconds() if since else 0.0
            found.append(RunningNow(view, since, seconds, row.scheduler_run.progress))
        return found

    def _silent(self, workers: list[WorkerView]) -> Iterator[str]:
        for worker in workers:
            if not worker.alive:
                held = self._task.assigned_worker_name == worker.name
                number = self._set(held & self._task.status.belongs(TaskStatus.HELD)).count()
                holds = f" and holds {quantity(number, 'task')}" if number else ""
                yield f"worker {worker.name} is silent for {span(worker.silent_for)}{holds}"

    def _unknown_functions(self) -> Iterator[str]:
        if not self._known:
            return
        name = self._task.function_name
        unknown = self._task.status.belongs(TaskStatus.WAITING) & ~name.belongs(self._known)
        for (function,), number in sorted(self._tally(unknown & self._mine(), name).items()):
            yield f'no worker knows the function "{function}" of {quantity(number, "waiting task")}'

    def _mine(self) -> Any:
        return self._conditions(self.now())["of this app"]

    def _set(self, query: Any) -> Any:
        return self._db(query, ignore_common_filters=True)


def _unserved_groups(due: Counter[tuple[str, str]], workers: list[WorkerView]) -> Iterator[str]:
    for (application, group), number in sorted(due.items()):
        for why in _why_unserved(workers, application, group):
            wait = "waits" if number == 1 else "wait"
            what, semicolon, remedy = why.partition("; ")
            yield f"{what}; {quantity(number, 'due task')} {wait} there{semicolon}{remedy}"


def _why_unserved(
    workers: list[WorkerView], application: str, group: str, only: str | None = None
) -> list[str]:
    serving = [one for one in workers if one.alive and one.serves(application, group)]
    if any(one.takes_work for one in serving):
        return []
    who = f"worker {only}" if only else f'group "{group}"'
    if serving:
        return [f"{who} takes nothing new" if only else f"no worker of {who} takes anything new"]
    if only:
        return [f"{who} is not alive"]
    others = any(one.alive and group in one.groups for one in workers)
    of_app = f" of app {application}" if others else ""
    return [f"no live worker serves {who}{of_app}; start one: {sight.command(application, group)}"]


def touch(db: Any) -> None:
    """Read a row of each table; the driver's error where one is not there, or lacks a column."""
    for name in TABLES:
        db(db[name], ignore_common_filters=True).select(limitby=(0, 1))
