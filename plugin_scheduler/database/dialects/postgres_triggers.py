"""PostgreSQL's triggers: who writes a row, by whatever program, rings the bell when he commits.

I own their text. Only what a worker must hear of rings: work that may be claimed, orders, requests
to stop or to see what is printed, and ends that others wait for. A worker's own way through the
tables (claimed, started, completed) does not, since each ring wakes every worker up.
"""

from __future__ import annotations

from plugin_scheduler.core.types import TaskStatus

CHANNEL = "plugin_scheduler"
_RING = "plugin_scheduler_ring"

FUNCTION = f"""
CREATE OR REPLACE FUNCTION {_RING}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{CHANNEL}', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
    RETURN NULL;
END $$
"""


def _trigger(name: str, table: str, event: str, condition: str) -> tuple[str, str]:
    """Its statements: there is no OR REPLACE before PostgreSQL 14."""
    return (
        f"DROP TRIGGER IF EXISTS {name} ON {table}",
        f"CREATE TRIGGER {name} AFTER {event} ON {table} "
        f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {_RING}()",
    )


def _changed(*columns: str) -> str:
    return " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in columns)


_QUEUED = f"NEW.status = '{TaskStatus.QUEUED}'"
_NOW = "extract(epoch FROM clock_timestamp())"
_PLAN = ("status", "enabled", "next_run_time", "stop_time", "group_name", "priority")
_BAD = ", ".join(f"'{status}'" for status in TaskStatus.ENDED if status != TaskStatus.COMPLETED)

#: Without it nobody misses anything: watching is noticed a moment later.
DISPENSABLE = "scheduler_run_watch"

#: Name to statements.
TRIGGERS = {
    name: _trigger(name, *parts)
    for name, *parts in (
        ("scheduler_task_new", "scheduler_task", "INSERT", _QUEUED),
        ("scheduler_task_due", "scheduler_task", "UPDATE", f"{_QUEUED} AND ({_changed(*_PLAN)})"),
        (
            "scheduler_task_bad_end",
            "scheduler_task",
            "UPDATE",
            f"NEW.status IN ({_BAD}) AND {_changed('status')}",
        ),
        (
            "scheduler_run_stop",
            "scheduler_run",
            "UPDATE",
            f"NEW.stop_requested = 'T' AND {_changed('stop_requested')}",
        ),
        # Who begins to watch, not who goes on; the column is empty where a worker made the row.
        (
            DISPENSABLE,
            "scheduler_run",
            "UPDATE",
            f"NEW.watched_until > {_NOW} AND coalesce(OLD.watched_until, 0) < {_NOW}",
        ),
        (
            "scheduler_worker_order",
            "scheduler_worker",
            "UPDATE",
            _changed("status", "group_names"),
        ),
        (
            "scheduler_task_deps_free",
            "scheduler_task_deps",
            "UPDATE",
            f"NEW.can_visit = 'T' AND {_changed('can_visit')}",
        ),
    )
}

#: Without these a worker would not hear of its work.
NEEDED = tuple(name for name in TRIGGERS if name != DISPENSABLE)
