"""Which worker is there, and how is it? A worker's row as a person looks at it.

I own the view of a worker, and whether it is alive and takes work. I call the words. I never ask a
database or a clock: a row and the time are handed to me. What somebody has put into the row by hand
is no error of mine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler.errors import ConfigError
from plugin_scheduler.records import WorkerStatus
from plugin_scheduler.settings import Settings


@dataclass(frozen=True)
class WorkerView:
    """A worker; ``silent_for`` counts from its last heartbeat. ``load`` is the machine's; ``cpu``
    (per cent of one processor) and ``memory`` (bytes) are those of the worker with its runners."""

    name: str
    status: str
    is_ticker: bool
    alive: bool
    groups: list[str]
    application: str
    slots: int
    running: list[dict[str, Any]]
    first_heartbeat: datetime | None
    last_heartbeat: datetime | None
    silent_for: float
    host: str | None
    pid: int | None
    total: int
    errors: int
    boot_error: str | None
    clock_skew: float
    time_zone: str | None
    zone_trouble: str | None
    wake_up_trouble: str | None
    claim_error: str | None
    claim_failures: int
    claim_failing_since: datetime | None
    last_claim_at: datetime | None
    queue: int
    load: float | None
    cpus: int
    cpu: float
    memory: int
    version: str
    python: str
    database: str
    started_at: datetime | None
    runner_deaths: int
    database_errors: int
    tasks: list[str]
    tasks_total: int
    unknown_functions: list[str]

    def may_know(self, function: str) -> bool:
        """False where its row says that it does not know the function."""
        is_listed = function in self.tasks
        return is_listed or not self.tasks or len(self.tasks) < self.tasks_total

    @property
    def takes_work(self) -> bool:
        """True for one that is alive and was not told to rest or to leave."""
        resting = (WorkerStatus.DISABLED, *WorkerStatus.LEAVING)
        return self.alive and self.status not in resting

    def works_for(self, application: str) -> bool:
        """True when it serves that app, perhaps among others; for "", of any worker."""
        return not application or self.application in ("", application)

    def serves(self, application: str, group: str) -> bool:
        """True when tasks of that app and group are meant for it (among others)."""
        mine = application == self.application or application.startswith(self.application + "/")
        return group in self.groups and (mine or not self.application)


def worker_view(row: Any, now: datetime, epoch: float, foreign_lease: float) -> WorkerView:
    """A row of ``scheduler_worker``; web2py's have no lease and are judged by their last beat."""
    stats = row.worker_stats if isinstance(row.worker_stats, dict) else {}
    beaten = (now - row.last_heartbeat).total_seconds() if row.last_heartbeat else 0.0
    lease = _lease(stats.get("sleep"))
    if row.lease_until:
        # By the lease, for it is the same instant in every time zone.
        alive, silent = row.lease_until > epoch, epoch - (row.lease_until - lease)
    else:
        alive, silent = bool(row.last_heartbeat) and beaten < foreign_lease, beaten
    return WorkerView(
        name=row.worker_name,
        status=row.status,
        is_ticker=bool(row.is_ticker),
        alive=alive,
        groups=list(row.group_names or ()),
        application=stats.get("application") or "",
        slots=stats.get("slots") or 1,
        running=stats.get("running") or [],
        first_heartbeat=row.first_heartbeat,
        last_heartbeat=row.last_heartbeat,
        silent_for=max(0.0, round(silent, 1)),
        host=stats.get("host"),
        pid=stats.get("pid"),
        total=stats.get("total") or 0,
        errors=stats.get("errors") or 0,
        boot_error=stats.get("boot_error"),
        clock_skew=_number(stats.get("clock_skew")),
        time_zone=stats.get("time_zone"),
        zone_trouble=stats.get("zone_trouble"),
        wake_up_trouble=stats.get("wake_up_trouble"),
        **_body(stats),
    )


def _body(stats: dict[str, Any]) -> dict[str, Any]:
    """Of its processes and its machine."""
    names = ("queue", "cpus", "memory", "runner_deaths", "database_errors", "tasks_total")
    words = ("version", "python", "database")
    return {
        **{name: int(_number(stats.get(name))) for name in names},
        **{name: str(stats.get(name) or "") for name in words},
        "cpu": _number(stats.get("cpu")),
        "load": _number(stats["load"]) if stats.get("load") is not None else None,
        "started_at": _time(stats.get("started_at")),
        **_claims(stats),
        "tasks": [str(name) for name in _list(stats.get("tasks"))],
        "unknown_functions": [str(name) for name in _list(stats.get("unknown_functions"))],
    }


def _claims(stats: dict[str, Any]) -> dict[str, Any]:
    """What its last claim met."""
    failing = stats.get("last_claim_error")
    failing = failing if isinstance(failing, dict) else {}
    return {
        "claim_error": str(failing["error"]) if failing.get("error") else None,
        "claim_failures": int(_number(failing.get("in_a_row"))),
        "claim_failing_since": _time(failing.get("since")),
        "last_claim_at": _time(stats.get("last_claim_at")),
    }


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _lease(heartbeat: Any) -> float:
    try:
        return Settings().but(heartbeat=heartbeat).lease
    except ConfigError:
        return Settings().lease


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
