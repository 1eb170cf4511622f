"""What may an app ask? web2py's API, with its names and meaning.

I own `Scheduler`. I call queueing, questions, orders, store's `move` and boot. I never commit but
where web2py's documentation says so, and never run a task in the caller's process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pydal.objects import Row

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask, ConfigError
from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.registry import Catalog, check_callable, described
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import RunStatus, TaskStatus, WorkerStatus
from plugin_scheduler.database.dialects import dialect_for, is_idle, is_on_a_server
from plugin_scheduler.database.dialects.bulk_insert import batches
from plugin_scheduler.database.dialects.bulk_sql import Taken, among
from plugin_scheduler.database.dialects.odd_values import hold_rows
from plugin_scheduler.loaders import LoadedApp
from plugin_scheduler.models import define_tables
from plugin_scheduler.models.validators import IS_THERE
from plugin_scheduler.operations.edit_task import Editing
from plugin_scheduler.operations.enqueue import Draft, Form
from plugin_scheduler.operations.find_task import Questions
from plugin_scheduler.operations.validation_cache import Checks
from plugin_scheduler.operations.worker_commands import Orders, names
from plugin_scheduler.queries.base import TASK_UNREADABLE, unreadable
from plugin_scheduler.store.transitions import move
from plugin_scheduler.store.workers import zone_of_workers
from plugin_scheduler.system import clock
from plugin_scheduler.web import Pages
from plugin_scheduler.worker.startup import run_worker

if TYPE_CHECKING:
    from typing_extensions import Unpack  # a type checker has it; nothing is imported at run time

    from plugin_scheduler.core.column_types import NewTask, TaskColumns

Function = TypeVar("Function", bound=Callable[..., Any])

ZONE_GOOD_FOR = 60.0  # seconds after which it is asked again in which zone the tables are kept


class Scheduler(Questions, Orders, Editing, Pages):
    """The scheduler of an app: queue tasks, ask for them, and order workers about.

    Signature and meaning of the first ten are web2py's; options of `Settings` follow by keyword
    (``slots``, ``keep_empty_runs``, ``on_failure``, ``ageing``, ...).

    ``tasks`` is a dict of name to function; with None the public functions of the namespace that
    makes the scheduler (and of the app's models) are the tasks. A program that only queues passes
    an empty dict: then any name can be queued.

    >>> scheduler = Scheduler(db)
    >>> scheduler.queue_task("task_add", [3, 4]).id
    1
    """

    def __init__(
        self,
        db: Any,
        tasks: Mapping[str, Callable[..., Any]] | None = None,
        migrate: Any = True,
        worker_name: str | None = None,
        group_names: str | Sequence[str] | None = None,
        heartbeat: float = 3,
        max_empty_runs: int = 0,
        discard_results: bool = False,
        utc_time: bool = False,
        use_spawn: bool = False,
        *,
        application_name: str | None = None,
        **options: Any,
    ) -> None:
        self._namespace = _callers_namespace(self)
        self.db, self.tasks = db, tasks
        self.settings = Settings(
            group_names=tuple(names(group_names)) or ("main",),
            heartbeat=heartbeat,
            max_empty_runs=max_empty_runs,
            discard_results=discard_results,
            utc_time=utc_time,
            use_spawn=use_spawn,
            worker_name=worker_name,
        ).replace(**options)
        self._dialect, self._zone_until = dialect_for(db, clock.SYSTEM, self.settings), 0.0
        self.catalog = Catalog(tasks, self._namespace)
        self._checks: Checks | None = None
        self.application_name = application_name or _application(self._namespace)
        self._define_tables(migrate)

    def _define_tables(self, migrate: Any) -> None:
        was_idle = is_idle(self.db)
        define_tables(
            self.db,
            now=self.now,
            migrate=migrate,
            application_name=self.application_name,
            worker_name=self.settings.worker_name,
            group_names=self.settings.group_names,
            function_names=self.catalog.names,
        )
        if migrate is not False:
            self.db.commit()
        elif was_idle:
            self.db.rollback()  # the tables were looked at: leave no transaction open behind that

    # web2py's attributes
    group_names = property(lambda self: list(self.settings.group_names))
    heartbeat = property(lambda self: self.settings.heartbeat)
    worker_name = property(lambda self: self.settings.worker_name)
    max_empty_runs = property(lambda self: self.settings.max_empty_runs)
    discard_results = property(lambda self: self.settings.discard_results)
    utc_time = property(lambda self: self.settings.utc_time)

    def now(self) -> datetime:
        """The scheduler's time, naive: this machine's zone, ``time_zone``, or UTC; on a database
        server by the server's clock, and in the zone that its workers keep."""
        if not self.settings.zone and is_on_a_server(self.db):
            self._keep_the_workers_zone()
        return self._dialect.now()

    def _keep_the_workers_zone(self) -> None:
        """What is queued here must be due at the time that is meant; asked once a minute."""
        if clock.SYSTEM.monotonic() >= self._zone_until:
            self._zone_until = clock.SYSTEM.monotonic() + ZONE_GOOD_FOR
            self._dialect.zone = zone_of_workers(self.db, self._dialect.epoch())

    @overload
    def task(
        self, function: Function, /, *, name: str | None = ..., **columns: Unpack[TaskColumns]
    ) -> Function: ...

    @overload
    def task(
        self, *, name: str | None = ..., **columns: Unpack[TaskColumns]
    ) -> Callable[[Function], Function]: ...

    def task(self, function: Any = None, **columns: Any) -> Any:
        """Decorate a function as a task; keywords are the columns it is queued with by default,
        and ``name`` is the task's where that is not the function's.

        Raises ConfigError, when the module is imported, for what no task can have: a column that
        does not exist, a value that it cannot take, a function that cannot be a task.

        >>> @scheduler.task(timeout=30, retry_failed=2)
        ... def send_mail(to): ...
        """

        name = columns.pop("name", None)

        def register(one: Any) -> Any:
            check_callable(one)
            self._declare(name or getattr(one, "__name__", ""), one, columns)
            return one

        return register if function is None else register(function)

    def _declare(self, name: Any, function: Any, columns: Mapping[str, Any]) -> None:
        form = Form(self._checks_now(), self.catalog, clock.SYSTEM.now, self.settings.zone, False)
        errors = Draft(form).declare(str(name), function, columns)
        if errors:
            wrong = "; ".join(f"{column} {sentence}" for column, sentence in errors.items())
            raise ConfigError(f"@scheduler.task of {described(function)}: {wrong}")
        self.catalog.add(name, function, columns)

    # -- queue --------------------

    def queue_task(
        self,
        function: Callable[..., Any] | str | None = None,
        pargs: Sequence[Any] = (),
        pvars: Mapping[str, Any] | None = None,
        immediate: bool = False,
        **columns: Unpack[NewTask],
    ) -> Row:
        """Queue a task: ``function`` (or its name), its arguments, and any column of the table.

        Never commits: the task exists when the caller's transaction does. Answers with ``id``,
        ``uuid`` and ``errors``, as attributes and as keys; where there are errors (a dict, field to
        sentence) nothing is queued, and id and uuid are None. Any column can be given but those
        that the scheduler writes (``times_run``, ``run_id``, ...). Arguments that the function
        cannot take are errors of ``args`` or ``vars``. web2py's book, "queue_task".

        >>> scheduler.queue_task("report", pvars={"day": 3}, period=3600, repeats=0, timeout=600)
        <Row {'errors': {}, 'id': 1, 'uuid': '...'}>
        """
        draft = self._draft(self._form(), function, pargs, pvars or {}, columns)
        return self._insert([draft], immediate)[0]

    def queue_tasks(self, tasks: Iterable[Mapping[str, Any]], immediate: bool = False) -> list[Row]:
        """Queue many tasks, all or none: each a dict of `queue_task`'s arguments.

        Where one of them has errors nothing is queued, and the answers show which.

        >>> scheduler.queue_tasks({"function": "resize", "pargs": [n]} for n in range(1000))
        """
        given, form = [dict(task) for task in tasks], self._form()
        form.free_uuids = self._free_uuids(given)
        return self._insert([self._draft_of(form, columns) for columns in given], immediate)

    def _insert(self, drafts: list[Draft], immediate: bool) -> list[Row]:
        """All of them, where none has errors; the answers."""
        if any(draft.errors for draft in drafts):
            return [Row(id=None, uuid=None, errors=draft.errors) for draft in drafts]
        rows = [draft.columns for draft in drafts]
        table, insert = self.db.scheduler_task, self._dialect.insert_many
        if any(draft.names_itself for draft in drafts):
            insert = self._dialect.insert_new
        try:
            ids = insert(table, rows, key="uuid") if rows else []
        except Taken as error:
            self._note_taken(drafts, str(error))
            return [Row(id=None, uuid=None, errors=draft.errors) for draft in drafts]
        if immediate:
            self._ring()
        return [
            Row(id=task_id, uuid=row["uuid"], errors={})
            for task_id, row in zip(ids, rows, strict=True)
        ]

    def _note_taken(self, drafts: list[Draft], why: str) -> None:
        """Another session queued a task of the same uuid meanwhile; errors of that, or of all that
        it may be: not every database names it, or lets this transaction see it already."""
        mine = {str(draft.columns["uuid"]): draft for draft in drafts if draft.names_itself}
        table, found = self.db.scheduler_task, set()
        for some in batches(list(mine)):
            rows = self.db(table.uuid.belongs(some), ignore_common_filters=True).select(table.uuid)
            found |= {row.uuid for row in rows}
        for uuid in mine.keys() & found or {uuid for uuid in mine if uuid in why} or mine:
            mine[uuid].errors["uuid"] = IS_THERE

    def _free_uuids(self, tasks: list[dict[str, Any]]) -> set[str]:
        """Those of the uuids given that no row has, as far as that can be told for many at once."""
        table = self.db.scheduler_task
        texts = [task["uuid"] for task in tasks if isinstance(task.get("uuid"), str)]
        given = [text for text in texts if text.strip() and json_codec.flaw_of(text) is None]
        free: set[str] = set()
        for some in batches(given):
            if self.db(table.uuid.belongs(some), ignore_common_filters=True).isempty():
                free.update(some)
        return free

    def _draft_of(self, form: Form, columns: dict[str, Any]) -> Draft:
        function, pargs = columns.pop("function", None), columns.pop("pargs", ())
        return self._draft(form, function, pargs, columns.pop("pvars", None) or {}, columns)

    def _form(self) -> Form:
        return Form(self._checks_now(), self.catalog, self.now, self.settings.zone)

    def _checks_now(self) -> Checks:
        table = self.db.scheduler_task
        if self._checks is None or self._checks.table is not table:
            self._checks = Checks(table)
        return self._checks

    def _draft(
        self, form: Form, function: Any, pargs: Sequence[Any], pvars: Mapping[str, Any], given: Any
    ) -> Draft:
        # A new task's stop after its last failure is the scheduler's to choose, a row's own wins.
        columns = {"on_failure": self.settings.on_failure, **given}
        flaws = self._letters_beyond({**columns, "function_name": function})
        if not flaws:
            return Draft(form).fill(function, pargs, pvars, columns)
        # The others are checked without these: the database cannot be asked for them, either.
        columns = {name: value for name, value in columns.items() if name not in flaws}
        draft = Draft(form).fill(
            "" if "function_name" in flaws else function, pargs, pvars, columns
        )
        draft.errors.update(flaws)
        return draft

    def _letters_beyond(self, columns: Mapping[str, Any]) -> dict[str, str]:
        """Texts that this database, or the connection to it, cannot hold as they are."""
        return {
            name: f"has {' '.join(letters[:5])}, which this database cannot hold"
            for name, value in columns.items()
            if isinstance(value, str) and (letters := self._dialect.letters_beyond(value))
        }

    def _ring(self) -> None:
        """web2py's ``immediate``: have the ticker look for work now."""
        worker = self.db.scheduler_worker
        leads = (worker.is_ticker == True) & (worker.status == WorkerStatus.ACTIVE)
        ids = [row.id for row in self._set(leads).select(worker.id)]
        self._dialect.change(worker, ids, leads, status=WorkerStatus.PICK)

    # -- stop --------------------

    def stop_task(self, ref: Any) -> int | None:
        """Say no: a waiting task is STOPPED at once, a running one is ended within seconds.

        ``ref`` as for `task_status`; a Query may mean many. How many were stopped or told to, None
        where none could be: there is none, or it has ended. Like all of the API it does not commit.
        """
        task, ids = self.db.scheduler_task, self._ids(ref)
        # Tasks before runs, as everywhere (ARCHITECTURE.md, "Locks"); read as they are now: the
        # caller's transaction may see the tables as they were some time ago.
        held = hold_rows(self._dialect, task, ids, task.id, task.status, task.run_id)
        waiting = [row.id for row in held if row.status in TaskStatus.WAITING]
        why = Reason(ReasonCode.STOP_REQUESTED)
        stopped = move(self._dialect, "stop", waiting, enabled=False, reason=why)
        at_work = [row for row in held if row.status == TaskStatus.RUNNING]
        return stopped + self._tell_runs(at_work) or None

    def _tell_runs(self, tasks: Sequence[Any]) -> int:
        """Ask for an end of the runs of tasks whose rows are held, so that no run ends meanwhile;
        how many were told."""
        run = self.db.scheduler_run
        at_work = run.status == RunStatus.RUNNING
        ids = {row.run_id for row in tasks if row.run_id is not None}
        for some in batches([row.id for row in tasks if row.run_id is None]):  # web2py's rows
            theirs = self._set(among(run.task_id, some) & at_work)
            ids |= {row.id for row in theirs.select(run.id)}
        told = [row.id for row in self._dialect.hold(run, ids, [run.id], at_work)]
        self._dialect.change(run, told, stop_requested=True)
        return len(told)

    def requeue(self, ref: Any, stop_time: datetime | None = None) -> int:
        """Run ended tasks again now, and those that were skipped because of them; how many.

        Counters of failures start anew, the schedule stays. A ``stop_time`` that has passed must be
        replaced by a new one, BadTask says so, as it does where the new one is no such time.
        """
        task, now = self.db.scheduler_task, self.now()
        if stop_time is not None:
            stop_time = self._checked_stop(stop_time, now)
        ids = set(self._ids(ref))
        skipped = self._skipped_with(ids) - ids
        changes: dict[str, Any] = {"stop_time": stop_time} if stop_time else {}
        fields = [task.id, task.status, *([] if stop_time else [task.stop_time])]
        held = hold_rows(self._dialect, task, ids | skipped, *fields)
        for row in held if not stop_time else ():
            if row.id in ids and row.get("odd"):
                raise BadTask(unreadable(TASK_UNREADABLE, row.id, row))
            is_late = row.stop_time is not None and row.stop_time < now
            if row.id in ids and row.status in TaskStatus.ENDED and is_late:
                raise BadTask(f"task {row.id}: its stop_time has passed; give a new stop_time")
        return self._requeue(ids, now, changes) + self._requeue(skipped, now, {})

    def _checked_stop(self, given: Any, now: datetime) -> Any:
        moment, error = self._form().time("stop_time", given)
        if error or moment is None:
            raise BadTask(f"stop_time {error or 'is empty'}")
        if moment <= now:
            raise BadTask(f"stop_time {moment} has passed; give a new stop_time")
        return moment

    def _requeue(self, ids: Collection[int], now: datetime, changes: dict[str, Any]) -> int:
        fresh = {"enabled": True, "next_run_time": now, "reason": None}
        fresh |= {"times_failed": 0, "times_lost": 0, "assigned_worker_name": ""}
        return move(self._dialect, "requeue_ended", ids, **fresh, **changes)

    def _skipped_with(self, ids: Collection[int]) -> set[int]:
        """What was skipped because one of these ended badly, and what followed from that."""
        task, deps = self.db.scheduler_task, self.db.scheduler_task_deps
        waits = (deps.can_visit == False) & (task.id == deps.task_parent)
        skipped = waits & (task.reason_code == ReasonCode.SKIPPED)
        found: set[int] = set()
        news = set(ids)
        while news:
            followers = {
                row.id
                for some in batches(sorted(news))
                for row in self._set(among(deps.task_child, some) & skipped).select(task.id)
            }
            news = followers - found
            found |= news
        return found

    # -- work --------------------

    def loop(self, worker_name: str | None = None) -> int:
        """Make a worker of this program, until it is told to leave; the exit code.

        Functions that can be imported run in a clean process; others (defined in a script, or in a
        namespace that was exec'd) in forks of this one. What the program queued is committed first.
        """
        self.db.commit()
        overrides = {"worker_name": worker_name} if worker_name else {}
        if self._is_importable():
            own = (name for name, value in self._namespace.items() if value is self)
            spec = {"kind": "module", "module": self.catalog.module, "path": sys.path}
            spec["scheduler"] = next(own)
            return run_worker(spec, overrides)
        return run_worker({"kind": "forked"}, overrides, LoadedApp(self, [self._namespace]))

    def _is_importable(self) -> bool:
        module = sys.modules.get(str(self._namespace.get("__name__")))
        if module is None or module.__name__ == "__main__" or vars(module) is not self._namespace:
            return False
        if not any(value is self for value in self._namespace.values()):
            return False
        return all(
            getattr(
                sys.modules.get(_text_of(one, "__module__")), _text_of(one, "__qualname__"), None
            )
            is one
            for one in self.catalog.functions().values()
        )


def _text_of(function: Any, name: str) -> str:
    """An attribute that a partial or an object that can be called may lack, or give as anything."""
    value = getattr(function, name, "")
    return value if isinstance(value, str) else ""


def _callers_namespace(scheduler: Scheduler) -> dict[str, Any]:
    """The globals of whoever makes the scheduler: there its tasks are looked for, as in web2py."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_locals.get("self") is scheduler:
        frame = frame.f_back
    return frame.f_globals


def _application(namespace: Mapping[str, Any]) -> str:
    """``demo`` for a module of ``apps.demo``; a program of its own has no app."""
    parts = str(namespace.get("__name__", "")).split(".")
    return parts[1] if parts[0] == "apps" and len(parts) > 1 else "standalone"
