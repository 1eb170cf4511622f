"""Definitions of the tables that the plugin adds to an app's database.

web2py's fields come first, with their names, types, defaults, comments and order; the plugin's own
fields follow. Does not read or write rows, except in one callback on the deletion of tasks, which
keeps the dependencies of waiting tasks.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from plugin_scheduler.models.history_and_metrics import history_fields, metric_fields
from plugin_scheduler.models.indexes import CLAIM_INDEX as CLAIM_INDEX
from plugin_scheduler.models.indexes import INDEXES as INDEXES
from plugin_scheduler.models.migrations import NAMES, Tables, tables_of
from plugin_scheduler.models.validators import (
    IS_GROUP_NAME,
    IS_GROUP_NAMES,
    IS_JSON_OF,
    IS_KNOWN_FUNCTION,
    IS_SECRET,
    IS_STORABLE,
    IS_TEXT,
    IS_THERE,
    IS_TIME,
    IS_WHOLE,
    NAME_LENGTH,
    Stored,
)
from pydal import Field
from pydal.validators import (
    IS_EMPTY_OR,
    IS_IN_DB,
    IS_IN_SET,
    IS_JSON,
    IS_NOT_EMPTY,
    IS_NOT_IN_DB,
)

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.task_columns import TASK_DEFAULTS
from plugin_scheduler.core.types import (
    OnChildFailure,
    OnFailure,
    RunStatus,
    TaskStatus,
    WorkerStatus,
)
from plugin_scheduler.scheduling.cron import IS_CRONLINE
from plugin_scheduler.system.pydal_access import before_delete, scheme_of

TABLES = NAMES
AT_ONCE = 500  # ids in one statement


def define_tables(
    db: Any,
    *,
    now: Callable[[], Any],
    migrate: Any = True,
    application_name: str | None = None,
    worker_name: str | None = None,
    group_names: Iterable[str] = ("main",),
    function_names: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Define the tables on ``db``, unless they are already defined.

    ``migrate`` is True, False, or a prefix for the names of pydal's ``.table`` files, as in web2py.
    With False nothing is added to the database, and `ConfigError` names missing columns.

    Fields and filters that the app adds to all its tables (a signature, record versioning) do not
    apply to these tables: they would hide rows from the workers.
    """
    if "scheduler_worker" in db.tables:
        return
    groups = tuple(group_names)
    with _no_common_fields(db), tables_of(db, migrate) as tables:
        _define_task(tables, now, application_name, groups, function_names)
        _define_run(tables, worker_name)
        _define_worker(tables, groups)
        _define_deps(tables)
        tables.define("scheduler_history", *history_fields())
        tables.define("scheduler_metric", *metric_fields())


def _define_task(
    tables: Tables,
    now: Callable[[], Any],
    application_name: str | None,
    groups: tuple[str, ...],
    function_names: Callable[[], Iterable[str]],
) -> None:
    db = tables.db
    tables.define(
        "scheduler_task",
        Field(
            "application_name",
            requires=[IS_NOT_EMPTY(), IS_STORABLE(NAME_LENGTH)],
            default=application_name,
            writable=False,
        ),
        *_what_fields(db, groups, function_names),
        *_when_fields(now),
        *_progress_fields(db),
        *_our_task_fields(db),
        format="(%(id)s) %(task_name)s",
        on_define=_watch_deletions,
    )


def _what_fields(
    db: Any, groups: tuple[str, ...], function_names: Callable[[], Iterable[str]]
) -> Iterator[Field]:
    """Yield the fields for the function, its arguments and its group."""
    yield _text(db, "scheduler_task", "task_name", default=None)
    yield Field(
        "group_name",
        default=TASK_DEFAULTS["group_name"],
        requires=IS_GROUP_NAME(lambda: _known_groups(db, groups)),
    )
    yield Field(
        "status", requires=_one_of(TaskStatus.ALL), default=TaskStatus.QUEUED.value, writable=False
    )
    yield Field("broadcast", "boolean", default=TASK_DEFAULTS["broadcast"])
    stored = Stored(db, "scheduler_task", "function_name")
    yield Field("function_name", requires=IS_KNOWN_FUNCTION(function_names, stored))
    yield Field(
        "uuid",
        length=255,
        requires=[
            IS_STORABLE(255),
            IS_NOT_IN_DB(db, "scheduler_task.uuid", IS_THERE, ignore_common_filters=True),
        ],
        unique=True,
        default=new_uuid,
    )
    yield _json_text(db, "args", list)
    yield _json_text(db, "vars", dict)
    yield Field("enabled", "boolean", default=TASK_DEFAULTS["enabled"])


def _when_fields(now: Callable[[], Any]) -> Iterator[Field]:
    """Yield the fields for the schedule and the timeout."""
    yield Field("start_time", "datetime", default=now, requires=IS_TIME())
    yield Field("next_run_time", "datetime", default=now, requires=IS_EMPTY_OR(IS_TIME()))
    yield Field("stop_time", "datetime", requires=IS_EMPTY_OR(IS_TIME()))
    yield _integer("repeats", "0=unlimited", 0)
    yield _integer("retry_failed", "-1=unlimited", -1)
    yield _integer("period", "seconds", 0)
    yield Field(
        "prevent_drift",
        "boolean",
        default=TASK_DEFAULTS["prevent_drift"],
        comment="Exact start_times between runs",
    )
    yield Field(
        "cronline",
        default=None,
        comment='Discard "period", use this cron expr instead',
        requires=IS_EMPTY_OR([IS_STORABLE(NAME_LENGTH), IS_CRONLINE()]),
    )
    yield _integer("timeout", "seconds", 1)
    yield _integer("sync_output", "update output every n sec: 0=never", 0)


def _progress_fields(db: Any) -> Iterator[Field]:
    """Yield the fields for the progress of the task."""
    yield Field("times_run", "integer", default=TASK_DEFAULTS["times_run"], writable=False)
    yield Field("times_failed", "integer", default=TASK_DEFAULTS["times_failed"], writable=False)
    yield Field("last_run_time", "datetime", writable=False, readable=False)
    yield _text(db, "scheduler_task", "assigned_worker_name", default="", writable=False)


def _our_task_fields(db: Any) -> Iterator[Field]:
    yield Field(
        "priority",
        "integer",
        default=TASK_DEFAULTS["priority"],
        comment="higher first; queue time counts, too",
        requires=IS_WHOLE(-1000, 1000),
    )
    yield Field(
        "on_failure",
        default=TASK_DEFAULTS["on_failure"],
        length=16,
        comment="after the last retry of a repeating task failed: stop, or continue",
        requires=IS_EMPTY_OR(_one_of(OnFailure.ALL)),
    )
    yield _text(
        db,
        "scheduler_task",
        "only_worker",
        default=None,
        comment="name of the only worker that may run the task",
    )
    yield Field("run_id", "bigint", default=None, writable=False, comment="id of the latest run")
    yield Field(
        "times_lost",
        "integer",
        default=TASK_DEFAULTS["times_lost"],
        writable=False,
        comment="runs during which the worker died",
    )
    yield _text(
        db,
        "scheduler_task",
        "reason",
        default=None,
        writable=False,
        comment="why the task has its status",
    )
    yield Field(
        "secret",
        "text",
        default=None,
        comment='arguments that are never shown, by name or position: ["password", 1]',
        requires=IS_SECRET(),
    )
    yield _reason_code()


def _define_run(tables: Tables, worker_name: str | None) -> None:
    db = tables.db
    tables.define(
        "scheduler_run",
        Field("task_id", "reference scheduler_task"),
        Field("status", requires=_one_of(RunStatus.ALL)),
        Field("start_time", "datetime"),
        Field("stop_time", "datetime"),
        _text(db, "scheduler_run", "run_output", "text"),
        _text(db, "scheduler_run", "run_result", "text"),
        _text(db, "scheduler_run", "traceback", "text"),
        _text(db, "scheduler_run", "worker_name", default=worker_name),
        Field("duration", "double", comment="seconds"),
        _text(db, "scheduler_run", "reason", default=None, comment="why the run ended"),
        Field(
            "progress",
            "json",
            comment='{"at": 3, "of": 10, "text": "..."}',
            requires=IS_EMPTY_OR(IS_JSON()),
        ),
        Field("stop_requested", "boolean", default=False, comment="a stop was requested"),
        Field(
            "watched_until",
            "double",
            default=0.0,
            writable=False,
            comment="its output is viewed until then (seconds since 1970, UTC)",
        ),
        Field(
            "outcome",
            length=16,
            writable=False,
            comment="how the run ended, in more detail; NULL in rows of older versions",
        ),
        _reason_code(),
    )


def _define_worker(tables: Tables, groups: tuple[str, ...]) -> None:
    db = tables.db
    tables.define(
        "scheduler_worker",
        Field("worker_name", length=255, unique=True),
        Field("first_heartbeat", "datetime"),
        Field("last_heartbeat", "datetime"),
        Field("status", requires=_one_of(WorkerStatus.ALL)),
        Field("is_ticker", "boolean", default=False, writable=False),
        Field("group_names", "list:string", default=list(groups), requires=IS_GROUP_NAMES()),
        Field("worker_stats", "json", requires=IS_EMPTY_OR(IS_JSON())),
        Field(
            "lease_until",
            "double",
            default=0.0,
            writable=False,
            comment="end of the lease; then the worker is dead (seconds since 1970, UTC)",
        ),
        _text(
            db,
            "scheduler_worker",
            "application_name",
            default="",
            comment="app that the worker serves",
        ),
    )


def _define_deps(tables: Tables) -> None:
    db = tables.db
    tables.define(
        "scheduler_task_deps",
        Field("job_name", default="job_0"),
        Field(
            "task_parent",
            "integer",
            requires=IS_IN_DB(db, "scheduler_task.id", "%(task_name)s"),
            comment="the task that waits",
        ),
        Field("task_child", "reference scheduler_task", comment="the task that it waits for"),
        Field("can_visit", "boolean", default=False),
        Field(
            "on_failure",
            default=OnChildFailure.STOP.value,
            length=16,
            comment="if task_child ends without success: stop, run, or wait",
            requires=IS_EMPTY_OR(_one_of(OnChildFailure.ALL)),
        ),
    )


def new_uuid() -> str:
    """Return a new uuid for a task."""
    return str(uuid.uuid4())


def _reason_code() -> Field:
    return Field("reason_code", length=40, writable=False, comment="the reason as a code")


def _integer(name: str, comment: str, least: int) -> Field:
    default, requires = TASK_DEFAULTS[name], IS_WHOLE(least)
    return Field(name, "integer", default=default, comment=comment, requires=requires)


def _text(db: Any, table: str, name: str, kind: str = "string", **options: Any) -> Field:
    longest = None if kind == "text" else NAME_LENGTH
    return Field(name, kind, requires=IS_TEXT(Stored(db, table, name), longest), **options)


def _one_of(words: tuple[str, ...]) -> Any:
    return IS_IN_SET(
        words, zero=None, error_message=Sentence("must be one of {choices}", choices=words)
    )


def _json_text(db: Any, name: str, kind: type) -> Field:
    requires = IS_JSON_OF(kind, Stored(db, "scheduler_task", name))
    return Field(name, "text", default=TASK_DEFAULTS[name], requires=requires)


def _known_groups(db: Any, groups: tuple[str, ...]) -> set[str]:
    """Return the groups for a form: those of the app, of workers and of tasks.

    Without the groups of tasks, a form would change the group of a task that no worker serves now.
    """
    task, worker = db.scheduler_task, db.scheduler_worker
    workers = db(worker, ignore_common_filters=True).select(worker.group_names)
    tasks = db(task, ignore_common_filters=True).select(task.group_name, distinct=True)
    served = {name for row in workers for name in row.group_names or ()}
    asked = {row.group_name for row in tasks if row.group_name}
    return {"main", *groups, *served, *asked}


@contextlib.contextmanager
def _no_common_fields(db: Any) -> Iterator[None]:
    kept, db._common_fields = db._common_fields, []
    try:
        yield
    finally:
        db._common_fields = kept


def _watch_deletions(table: Any) -> None:
    """Add a callback before the deletion of tasks, which would delete their dependency rows."""
    before_delete(table).append(_orphan_waiting)


def _orphan_waiting(dbset: Any) -> bool:
    """Keep the dependencies of waiting tasks, without a child; the leader decides about them."""
    db = dbset.db
    deps = db.scheduler_task_deps
    # On servers, rows of tasks are locked before the rows that refer to them, as everywhere.
    locks = scheme_of(db) in ("postgres", "postgres2", "postgres3", "mysql")
    task = db.scheduler_task
    doomed = [row.id for row in dbset.select(task.id, orderby=task.id, for_update=locks)]
    for some in (doomed[at : at + AT_ONCE] for at in range(0, len(doomed), AT_ONCE)):
        waits = deps.task_child.belongs(some) & (deps.can_visit == False)
        db(waits, ignore_common_filters=True).update(task_child=None)
        db(deps.task_parent.belongs(some), ignore_common_filters=True).delete()
    return False
