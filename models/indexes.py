"""The list of indexes, and a query for existing ones.

The database dialects create the indexes.
"""

from __future__ import annotations

from typing import Any

from plugin_scheduler.system.pydal_access import scheme_of

CLAIM_INDEX = "scheduler_task_claim_idx"

#: Table, name and columns of each index, for frequent queries: the claim, the tasks of a worker,
#: the runs of a task, dependencies. A fourth item is the condition of a partial index.
INDEXES = (
    (
        "scheduler_task",
        CLAIM_INDEX,
        ("status", "group_name", "priority", "next_run_time"),
    ),
    ("scheduler_task", "scheduler_task_owner_idx", ("assigned_worker_name", "status")),
    ("scheduler_task", "scheduler_task_end_idx", ("status", "stop_time"), "stop_time IS NOT NULL"),
    ("scheduler_task", "scheduler_task_fan_idx", ("broadcast", "next_run_time"), "broadcast = 'T'"),
    ("scheduler_run", "scheduler_run_task_idx", ("task_id",)),
    ("scheduler_run", "scheduler_run_status_idx", ("status", "start_time")),
    ("scheduler_task_deps", "scheduler_task_deps_parent_idx", ("task_parent", "can_visit")),
    ("scheduler_task_deps", "scheduler_task_deps_child_idx", ("task_child", "can_visit")),
    ("scheduler_task", "scheduler_task_repeat_idx", ("repeats", "id"), "repeats <> 1"),
    ("scheduler_history", "scheduler_history_task_idx", ("task_id",)),
    ("scheduler_history", "scheduler_history_worker_idx", ("worker_name",)),
    ("scheduler_history", "scheduler_history_did_idx", ("did", "noted_at")),
    ("scheduler_metric", "scheduler_metric_minute_idx", ("epoch_minute", "function_name")),
)

_TABLES = ", ".join(f"'{table}'" for table in sorted({index[0] for index in INDEXES}))
_FOUND = {
    "sqlite": "SELECT name, 1 FROM sqlite_master WHERE type = 'index'",
    "postgres": (
        "SELECT c.relname, i.indisvalid FROM pg_index AS i JOIN pg_class AS c "
        "ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid "
        f"WHERE t.relname IN ({_TABLES}) AND t.oid = to_regclass(t.relname)"
    ),
    "mysql": (
        "SELECT DISTINCT index_name, 1 FROM information_schema.statistics "
        f"WHERE table_schema = DATABASE() AND table_name IN ({_TABLES})"
    ),
}


def found_indexes(db: Any) -> dict[str, bool]:
    """Return the existing indexes by name, and whether each is valid."""
    kind = scheme_of(db).rstrip("0123456789")
    return {str(name): bool(valid) for name, valid in db.executesql(_FOUND[kind])}
