"""The scheduler of an app: defines `Scheduler`, web2py's API with its names and meaning.

Commits only where web2py's documentation says so. Tasks run in other processes than the caller's.
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
from plugin_scheduler.operations.worker_commands import WorkerCommands, names
from plugin_scheduler.queries.base import TASK_UNREADABLE, unreadable
from plugin_scheduler.store.transitions import move
from plugin_scheduler.store.workers import zone_of_workers
from plugin_scheduler.system import clock
from plugin_scheduler.web import Pages
from plugin_scheduler.worker.startup import run_worker

if TYPE_CHECKING:
    from typing_extensions import Unpack  # a type checker has it; nothing is imported at run time

    from plugin_scheduler.core.task_columns import NewTask, TaskColumns

Function = TypeVar("Function", bound=Callable[..., Any])

ZONE_GOOD_FOR = 60.0  # seconds after which it is asked again in which zone the tables are kept


class Scheduler(Questions, WorkerCommands, Editing, Pages):
    """Queue, find and change the tasks of an app, and send commands to its workers.

    Defines the tables in ``db``. Commits, unless ``migrate`` is False.

    Parameters:
    - ``db``: the app's database, a pydal ``DAL``.
    - ``tasks``: a dict of task name to function. None: the functions decorated with `task`; without
      any, the public functions of the namespace that creates the scheduler, and of the app's
      ``models`` and ``tasks``. An empty dict is for programs that only queue: any name is accepted.
    - ``migrate``: as in pydal: True, False, or a prefix for the names of the ``.table`` files.
    - ``worker_name``, ``group_names``, ``heartbeat`` (seconds), ``max_empty_runs`` (heartbeats),
      ``discard_results``, ``utc_time``, ``use_spawn``: settings that web2py has, too.
    - ``application_name``: default: the py4web app, or ``standalone`` outside an app.
    - ``options``: other settings, such as ``slots``; all are in docs/reference/settings.md.

    Raises: ConfigError for an unknown or wrong setting, for a function that cannot be a task, and,
    if ``migrate`` is False, for missing columns.

    Source: the first ten parameters are web2py's, with their names, order and meaning.

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
        """Return the current time of the scheduler, by which tasks are due.

        Returns: a naive datetime in the scheduler's zone (see `zone`). On a database server it is
        the server's clock, otherwise this machine's.

        >>> scheduler.queue_task("report", start_time=scheduler.now() + timedelta(hours=1))
        """
        if not self.settings.zone and is_on_a_server(self.db):
            self._keep_the_workers_zone()
        return self._dialect.now()

    def _keep_the_workers_zone(self) -> None:
        """Use the workers' zone, so that new tasks are due when the caller means; ask each
        minute."""
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
        """Declare a function as a task: a decorator, with or without arguments.

        Parameters:
        - ``name``: the name of the task; default: the function's name.
        - ``columns``: columns that each task of the function has, unless `queue_task` gives others.

        Returns: the function itself.

        Raises: ConfigError when the module is imported, for a column that does not exist, a value
        that its column does not accept, or a function that cannot be a task.

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
        """Queue a task. Does not commit: workers see the task after the caller's commit.

        Parameters:
        - ``function``: a function, or the name of a task.
        - ``pargs``, ``pvars``: positional and named arguments, values that JSON can store.
        - ``immediate``: let the leader look for work at once.
        - ``columns``: columns of the task (docs/reference/tables.md), except those that only the
          scheduler writes. ``period`` and ``timeout`` are in seconds; times are in the scheduler's
          zone, or aware datetimes.

        Returns: ``id``, ``uuid`` and ``errors``, as attributes and as keys. ``errors`` is a dict of
        column to sentence; if it is not empty, nothing is queued, and id and uuid are None.
        Arguments that the function does not accept are errors of ``args`` or ``vars``.

        Source: web2py's book, "queue_task".

        >>> scheduler.queue_task("report", pvars={"day": 3}, period=3600, repeats=0, timeout=600)
        <Row {'errors': {}, 'id': 1, 'uuid': '...'}>
        """
        draft = self._draft(self._form(), function, pargs, pvars or {}, columns)
        return self._insert([draft], immediate)[0]

    def queue_tasks(self, tasks: Iterable[Mapping[str, Any]], immediate: bool = False) -> list[Row]:
        """Queue many tasks, all or none. Does not commit.

        Parameters:
        - ``tasks``: dicts of the parameters of `queue_task`.
        - ``immediate``: as for `queue_task`.

        Returns: one answer for each task, in order, as `queue_task` returns it. If one task has
        errors, nothing is queued.

        >>> scheduler.queue_tasks({"function": "resize", "pargs": [n]} for n in range(1000))
        """
        given, form = [dict(task) for task in tasks], self._form()
        form.free_uuids = self._free_uuids(given)
        return self._insert([self._draft_of(form, columns) for columns in given], immediate)

    def _insert(self, drafts: list[Draft], immediate: bool) -> list[Row]:
        """Insert all tasks if none has errors; return the answers."""
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
        """Record that another session queued a task with the same uuid meanwhile.

        If neither the database's message nor a query names the uuid, each given uuid has the error.
        """
        mine = {str(draft.columns["uuid"]): draft for draft in drafts if draft.names_itself}
        table, found = self.db.scheduler_task, set()
        for some in batches(list(mine)):
            rows = self.db(table.uuid.belongs(some), ignore_common_filters=True).select(table.uuid)
            found |= {row.uuid for row in rows}
        for uuid in mine.keys() & found or {uuid for uuid in mine if uuid in why} or mine:
            mine[uuid].errors["uuid"] = IS_THERE

    def _free_uuids(self, tasks: list[dict[str, Any]]) -> set[str]:
        """Return given uuids that no row has. A batch with a used uuid is left out as a whole."""
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
        # The setting on_failure is the default; the caller's value takes precedence.
        columns = {"on_failure": self.settings.on_failure, **given}
        flaws = self._letters_beyond({**columns, "function_name": function})
        if not flaws:
            return Draft(form).fill(function, pargs, pvars, columns)
        # Check the other columns without these: a query cannot contain such text, either.
        columns = {name: value for name, value in columns.items() if name not in flaws}
        draft = Draft(form).fill(
            "" if "function_name" in flaws else function, pargs, pvars, columns
        )
        draft.errors.update(flaws)
        return draft

    def _letters_beyond(self, columns: Mapping[str, Any]) -> dict[str, str]:
        """Return the errors of texts that this database or its connection cannot store."""
        return {
            name: f"contains {' '.join(letters[:5])}, which this database cannot store"
            for name, value in columns.items()
            if isinstance(value, str) and (letters := self._dialect.letters_beyond(value))
        }

    def _ring(self) -> None:
        """Let the leader look for work now, as web2py's ``immediate`` does."""
        worker = self.db.scheduler_worker
        leads = (worker.is_ticker == True) & (worker.status == WorkerStatus.ACTIVE)
        ids = [row.id for row in self._set(leads).select(worker.id)]
        self._dialect.change(worker, ids, leads, status=WorkerStatus.PICK)

    # -- stop --------------------

    def stop_task(self, ref: Any) -> int | None:
        """Stop tasks: a waiting task now, a running task within seconds after the commit.

        Does not commit.

        Parameters:
        - ``ref``: id, uuid, Query or Row, as for `task_status`; a Query may match many tasks.

        Returns: the number of tasks that are stopped or asked to stop; None if there are none,
        because no task matches or all have ended.

        Raises: BadTask for a ``ref`` of another type.

        Source: web2py's name; there it ends all runs of the worker, here one run.

        >>> scheduler.stop_task(db.scheduler_task.group_name == "mail")
        3
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
        """Request a stop of the runs of locked tasks; return the number of runs.

        The tasks are locked, so that no run ends meanwhile.
        """
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
        """Run ended tasks again now, and the tasks that were skipped because of them.

        Resets the counters of failures, and keeps the schedule. Does not commit.

        Parameters:
        - ``ref``: as for `stop_task`.
        - ``stop_time``: a new stop_time; required if the task's own has passed.

        Returns: the number of queued tasks.

        Raises: BadTask if the stop_time has passed or is not a time, or if a row cannot be read.

        >>> scheduler.requeue(17)
        1
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
            raise BadTask(f"stop_time {error or 'must not be empty'}")
        if moment <= now:
            raise BadTask(f"stop_time {moment} has passed; give a new stop_time")
        return moment

    def _requeue(self, ids: Collection[int], now: datetime, changes: dict[str, Any]) -> int:
        fresh = {"enabled": True, "next_run_time": now, "reason": None}
        fresh |= {"times_failed": 0, "times_lost": 0, "assigned_worker_name": ""}
        return move(self._dialect, "requeue_ended", ids, **fresh, **changes)

    def _skipped_with(self, ids: Collection[int]) -> set[int]:
        """Return the tasks that were skipped because of these, directly or through others."""
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
        """Run a worker in this program until it is stopped. Commits first.

        Functions that can be imported run in a new process. Others, defined in a script or in an
        exec'd namespace, run in forks of this process.

        Parameters:
        - ``worker_name``: the name of the worker; default: as in the settings.

        Returns: an exit code for ``sys.exit``, as of the command.

        Raises: ConfigError if the worker cannot start.

        >>> sys.exit(scheduler.loop())
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
    """Return an attribute if it is text; partials and callable objects may lack it."""
    value = getattr(function, name, "")
    return value if isinstance(value, str) else ""


def _callers_namespace(scheduler: Scheduler) -> dict[str, Any]:
    """Return the globals of the code that creates the scheduler, which has the tasks."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_locals.get("self") is scheduler:
        frame = frame.f_back
    return frame.f_globals


def _application(namespace: Mapping[str, Any]) -> str:
    """Return ``demo`` for a module of ``apps.demo``, and ``standalone`` outside an app."""
    parts = str(namespace.get("__name__", "")).split(".")
    return parts[1] if parts[0] == "apps" and len(parts) > 1 else "standalone"
