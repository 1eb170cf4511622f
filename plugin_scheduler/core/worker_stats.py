"""The column ``worker_stats``: what a worker tells about itself at each heartbeat, with types.

Each part is written by one module. `queries.worker_view` reads the whole, with care: web2py and
older versions write other facts, and people edit rows by hand.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, TypedDict, Union, get_args, get_origin, get_type_hints


class LoopStats(TypedDict):
    """Written by the main loop. The first five facts are web2py's."""

    status: str
    empty_runs: int  #: consecutive heartbeats without work
    queue: int  #: claimed tasks that are not started yet
    distribution: None  #: web2py's; always empty, since no worker distributes tasks
    workers: int  #: workers that were alive when this one last led
    zone_trouble: str | None
    database_errors: int


class ReportStats(TypedDict):
    """Written by the reporter; the first two facts are web2py's."""

    total: int  #: runs
    errors: int  #: runs that failed
    boot_errors: int  #: consecutive runners that could not load the app
    boot_error: str | None


class NotifierStats(TypedDict):
    """Written by the notifier."""

    wake_up: str  #: the way in which the worker hears of new tasks
    wake_up_trouble: str | None


class LastClaimError(TypedDict):
    """A claim that the database refused."""

    error: str | None
    at: str  #: in the zone of the tables, as all times here
    since: str
    in_a_row: int


class ClaimStats(TypedDict):
    """Written by the fetcher: how its claims went."""

    last_claim_error: LastClaimError | None
    last_claim_at: str | None


class FunctionStats(TypedDict):
    """Written by the fetcher: the functions that the app has, and those that tasks name in vain."""

    tasks: list[str]
    tasks_total: int  #: more than ``tasks`` has if the list is cut
    unknown_functions: list[str]


class ConnectionStats(TypedDict):
    """Written by the dialect."""

    clock_skew: float  #: seconds that the machine's clock is ahead of the database's
    direct: bool  #: no pooler lies between worker and database
    time_zone: str | None
    conflicts: int  #: transactions that were repeated after a deadlock


class IdentityStats(TypedDict):
    """Who the worker is; the facts that it has before it knows its database."""

    host: str
    pid: int
    token: str  #: tells processes with the same name apart
    application: str
    version: str


class MeasuredStats(TypedDict, total=False):
    """Left out where the system does not tell."""

    load: float | None  #: of the machine, in the last minute
    cpu: float  #: per cent of one processor, with the runners
    memory: int  #: bytes, with the runners


class ConstantStats(IdentityStats):
    """Constant for the life of the process."""

    python: str
    database: str
    cpus: int
    started_at: str


class ProcessStats(ConstantStats, MeasuredStats):
    """Written by the module that measures the worker; ``sleep`` is web2py's."""

    sleep: float  #: seconds between two heartbeats
    slots: int
    running: list[dict[str, Any]]
    runner_deaths: int


class WorkerStats(
    LoopStats,
    ReportStats,
    NotifierStats,
    ClaimStats,
    FunctionStats,
    ConnectionStats,
    ProcessStats,
):
    """All facts of a worker, as they are stored."""


def _kinds(hint: Any) -> tuple[type, ...]:
    """Return the types of a value that JSON can hold for an annotation, without None."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(kind for part in get_args(hint) for kind in _kinds(part))
    if hint is type(None):
        return ()
    return (int, float) if hint in (int, float) else (get_origin(hint) or hint,)


#: The types of each fact but None, by name.
KINDS: Mapping[str, tuple[type, ...]] = {
    name: _kinds(hint) for name, hint in get_type_hints(WorkerStats).items()
}
