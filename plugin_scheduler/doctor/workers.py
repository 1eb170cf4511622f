"""Checks of workers and waiting tasks: tasks without a worker, silent workers, mixed versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from plugin_scheduler.core.version import VERSION
from plugin_scheduler.doctor.findings import Exam, Finding, finding
from plugin_scheduler.queries.views import WorkerView

_OF_WORK = ("group_unserved", "function_unknown", "overdue")
_OF_WORKERS = (
    "no_leader",
    "worker_silent",
    "worker_died",
    "worker_unreadable",
    "runner_not_started",
    "claims_fail",
    "late_news",
    "worker_unknown_functions",
)
_OF_TIME = ("worker_time", "zone_here")


def work(exam: Exam) -> Iterator[Finding]:
    """Find tasks that wait in vain."""
    return exam.told(*_OF_WORK)


def workers(exam: Exam) -> Iterator[Finding]:
    """Return the faults of workers from the overview."""
    if not any(one.alive for one in exam.workers):
        yield finding("no_worker", "no worker is alive")
    yield from exam.told(*_OF_WORKERS)


def clocks_and_zones(exam: Exam) -> Iterator[Finding]:
    """Return the faults of workers' clocks and time zones."""
    return exam.told(*_OF_TIME)


def versions(exam: Exam) -> Iterator[Finding]:
    """Find workers that differ in the version of this package or of Python."""
    alive = [one for one in exam.workers if one.alive]
    kinds: tuple[tuple[str, Callable[[WorkerView], str]], ...] = (
        ("this package", lambda one: one.version),
        ("Python", lambda one: ".".join(one.python.split(".")[:2])),
    )
    for what, version_of in kinds:
        by_version: dict[str, list[str]] = {}
        for one in alive:
            by_version.setdefault(version_of(one) or "unknown", []).append(one.name)
        if len(by_version) > 1:
            told = "; ".join(f"{key}: {', '.join(names[:5])}" for key, names in by_version.items())
            yield finding("versions_mixed", f"workers have different versions of {what}: {told}")
    theirs = {one.version for one in alive if one.version}
    if len(theirs) == 1 and VERSION not in theirs:
        words = (
            f"the workers have version {theirs.pop()} of this package, this program has {VERSION}"
        )
        yield finding("version_here", words)


CHECKS = (work, workers, clocks_and_zones, versions)
