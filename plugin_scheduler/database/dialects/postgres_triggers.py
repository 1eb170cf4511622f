"""Triggers of PostgreSQL that notify workers when any program commits a relevant change.

Relevant changes are: tasks that may be claimed, worker commands, requests to stop a run or to watch
its output, and final states that other tasks wait for. A worker's routine changes (claimed,
started, completed) do not notify, because each notification wakes every worker.
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
    """Return the statements of a trigger; CREATE OR REPLACE needs PostgreSQL 14."""
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

#: Optional: without this trigger, watching starts a moment later.
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
        # Only when watching starts, not when it is extended; the column is NULL in new rows.
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

#: Triggers without which a worker is not notified of its work.
NEEDED = tuple(name for name in TRIGGERS if name != DISPENSABLE)
