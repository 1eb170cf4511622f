"""The view of a worker for display.

Includes whether the worker is alive and accepts tasks. Does not access the database or the clock:
the caller passes the row and the time. Tolerates rows that were edited by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler.core.application_name import belongs_to
from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.row_values import items, json_object, moment, number, text, whole
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import WorkerStatus
from plugin_scheduler.core.worker_stats import KINDS

MOST_SLOTS = 10_000
LONGEST = 60  # characters of a value that cannot be read


@dataclass(frozen=True)
class WorkerView:
    """A worker for display.

    ``silent_for`` counts from the last heartbeat. ``load`` is the machine's; ``cpu`` (per cent of
    one processor) and ``memory`` (bytes) are those of the worker with its runners.
    """

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
    odd: str = ""  # the unreadable parts of its row

    def may_know(self, function: str) -> bool:
        """Return False if the worker's row says that it does not know the function."""
        is_listed = function in self.tasks
        return is_listed or not self.tasks or len(self.tasks) < self.tasks_total

    @property
    def takes_work(self) -> bool:
        """True if the worker is alive, and not disabled or told to leave."""
        resting = (WorkerStatus.DISABLED, *WorkerStatus.LEAVING)
        return self.alive and self.status not in resting

    def works_for(self, application: str) -> bool:
        """Return True if the worker serves that app, perhaps among others; for "", always."""
        return not application or self.application in ("", application)

    def serves(self, application: str, group: str) -> bool:
        """Return True if tasks of that app and group are meant for this worker, among others."""
        return group in self.groups and belongs_to(application, self.application)


def worker_view(row: Any, now: datetime, epoch: float, foreign_lease: float) -> WorkerView:
    """Make a view of a row of ``scheduler_worker``. Rows of web2py have no lease: their last
    heartbeat decides."""
    stats, beat = json_object(row.worker_stats), moment(row.last_heartbeat)
    beaten = (now - beat).total_seconds() if beat else 0.0
    lease, lease_until = _lease(stats.get("sleep")), number(row.lease_until)
    if lease_until:
        # By the lease, which is the same instant in every time zone.
        alive, silent = lease_until > epoch, epoch - (lease_until - lease)
    else:
        alive, silent = beat is not None and beaten < foreign_lease, beaten
    return WorkerView(
        name=text(row.worker_name) or "",
        status=text(row.status) or "",
        is_ticker=bool(row.is_ticker),
        alive=alive,
        groups=[text(name) or "" for name in items(row.group_names)],
        first_heartbeat=moment(row.first_heartbeat),
        last_heartbeat=beat,
        silent_for=max(0.0, round(silent, 1)),
        odd=_odd(row.get("odd") or {}, stats),
        **_facts(stats),
    )


#: Facts of a worker by type; a fact of another type counts as missing.
_TEXTS = ("host", "boot_error", "time_zone", "zone_trouble", "wake_up_trouble")
_WORDS = ("application", "version", "python", "database")
_COUNTS = ("total", "errors", "queue", "cpus", "memory", "runner_deaths", "database_errors")
_NUMBERS = ("cpu", "clock_skew")
_LISTS = ("tasks", "unknown_functions", "running")
_OTHERS = ("tasks_total", "slots", "load", "pid", "started_at")
_SHOWN = frozenset((*_TEXTS, *_WORDS, *_COUNTS, *_NUMBERS, *_LISTS, *_OTHERS))


def _facts(stats: dict[str, Any]) -> dict[str, Any]:
    lists = {name: items(stats.get(name)) for name in _LISTS}
    running = [one for one in lists.pop("running") if isinstance(one, dict)]
    pid = whole(stats.get("pid"))
    return {
        **{name: text(stats[name]) if stats.get(name) else None for name in _TEXTS},
        **{name: text(stats.get(name) or "") for name in _WORDS},
        **{name: whole(stats.get(name)) for name in (*_COUNTS, "tasks_total")},
        **{name: number(stats.get(name)) for name in _NUMBERS},
        **{name: [str(text(one)) for one in some] for name, some in lists.items()},
        "slots": max(1, min(whole(stats.get("slots"), 1), MOST_SLOTS)),
        "pid": pid or None,
        "load": number(stats["load"]) if stats.get("load") is not None else None,
        "started_at": moment(stats.get("started_at")),
        "running": running,
        **_claims(stats),
    }


def _claims(stats: dict[str, Any]) -> dict[str, Any]:
    """Return the result of the worker's last claim."""
    failing = stats.get("last_claim_error")
    failing = failing if isinstance(failing, dict) else {}
    return {
        "claim_error": text(failing["error"]) if failing.get("error") else None,
        "claim_failures": whole(failing.get("in_a_row")),
        "claim_failing_since": moment(failing.get("since")),
        "last_claim_at": moment(stats.get("last_claim_at")),
    }


def _odd(columns: Mapping[str, str], stats: dict[str, Any]) -> str:
    """Return the unreadable columns and facts, each with the reason; "" for a valid row."""
    found = [f"{name}: {why}" for name, why in columns.items()]
    told = {name: value for name, value in stats.items() if name in _SHOWN and value is not None}
    for name, value in told.items():
        is_of_kind, is_number = isinstance(value, KINDS[name]), int in KINDS[name]
        if not is_of_kind or (is_number and number(value, math.nan) != value):
            found.append(f"{name}: {repr(value)[:LONGEST]}")
    return "; ".join(found)


def _lease(heartbeat: Any) -> float:
    try:
        return Settings().replace(heartbeat=number(heartbeat, math.nan)).lease
    except ConfigError:
        return Settings().lease
