"""Fields of the history table and the metrics table, which only the pages need.

No worker depends on a row of these tables, and no other table refers to them: the history of a
deleted task is kept, with the deletion.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydal import Field


def history_fields() -> Iterator[Field]:
    """Yield the fields of the history: actions on tasks and workers, and worker events."""
    yield Field("noted_at", "datetime", writable=False)
    yield Field("who", writable=False, comment="name of the user, or scheduler")
    yield Field("did", writable=False, comment="action or event: stop, requeue, worker_died, ...")
    yield Field("task_id", "bigint", writable=False)
    yield Field("worker_name", length=255, default="", writable=False)
    yield Field("application_name", default="", writable=False)
    yield Field("detail", "json", default=None, writable=False)


def metric_fields() -> Iterator[Field]:
    """Yield the fields of the metrics: runs per minute, worker, function and group."""
    yield Field("epoch_minute", "integer", comment="minutes since 1970, UTC", writable=False)
    yield Field("worker_name", length=255, writable=False)
    yield Field("function_name", writable=False)
    yield Field("group_name", writable=False)
    yield Field("application_name", default="", writable=False)
    yield Field("completed", "integer", default=0, writable=False)
    yield Field("failed", "integer", default=0, writable=False, comment="all other ends")
    yield Field(
        "run_seconds", "double", default=0.0, writable=False, comment="sum of the run times"
    )
    yield Field("run_longest", "double", default=0.0, writable=False)
    yield Field(
        "wait_seconds", "double", default=0.0, writable=False, comment="sum of the queue times"
    )
    yield Field("wait_longest", "double", default=0.0, writable=False)
