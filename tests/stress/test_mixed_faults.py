"""Every kind of fault at random moments: no task is lost, and no task has two live runs.

The seed is the day's, so that each day tries another schedule; SEED repeats one. SOAK_SECONDS makes
each schedule longer (`make soak`).
"""

from __future__ import annotations

import datetime
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import lab_of
from support import fault_program
from support.databases import SERVERS, Database, Shared
from support.home import lab_on
from support.kit import Lab, eventually
from support.mixed_faults import Schedule

pytestmark = pytest.mark.alone

SECONDS = float(os.environ.get("SOAK_SECONDS") or 45)


def seed_of_the_day() -> int:
    return int(os.environ.get("SEED") or datetime.date.today().toordinal())


@pytest.fixture(params=["sqlite", *SERVERS])
def faulty_lab(request: pytest.FixtureRequest, tmp_path: Path, servers: Shared) -> Iterator[Lab]:
    """A lab on a file, or on a server of its own that may be stopped and killed."""
    if request.param == "sqlite":
        yield from lab_of("sqlite", servers, tmp_path)
        return
    with servers.another(request.param) as server, server.fresh_database() as uri:
        with lab_on(Database(uri, server), tmp_path) as lab:
            yield lab


@pytest.mark.slow
def test_no_mix_of_faults_loses_a_task_or_runs_one_twice_at_once(faulty_lab: Lab) -> None:
    lab, seed = faulty_lab, seed_of_the_day()
    print(f"\nseed {seed}: SEED={seed} repeats this schedule")
    schedule = Schedule(lab, seed)
    schedule.run(SECONDS)
    before, after = schedule.usage_before, schedule.usage()
    left = schedule.end_workers()
    found = fault_program.violations(lab, schedule.lives, schedule.queued, schedule.edits)
    print(f"{len(schedule.queued)} tasks, faults: {dict(sorted(schedule.done.items()))}")
    if left or found:
        print(*left, *found, sep="\n")
        tell_what_happened(lab, found)
    assert Counter(left + found) == Counter(), f"seed {seed}"
    print(f"descriptors and MiB of a worker: {before} at the beginning, {after} at the end")
    assert after.descriptors <= before.descriptors + 6
    assert after.mib < before.mib + 30
    assert sum(schedule.done.values()) > SECONDS / 2, schedule.done
    the_next_start_sweeps_what_killed_workers_left(schedule)


def tell_what_happened(lab: Lab, found: list[str]) -> None:
    """Print what the logs say about each task that is named, then how the last workers ended."""
    for task in sorted(set(re.findall(r"task \d+", "\n".join(found))))[:10]:
        told = re.compile(rf"\b{task}\b")
        for worker in lab.workers:
            print(*filter(told.search, worker.log.splitlines()), sep="\n")
    for worker in lab.workers[-4:]:
        print(worker.log[-1500:])


def the_next_start_sweeps_what_killed_workers_left(schedule: Schedule) -> None:
    worker = schedule.start_worker()
    eventually(lambda: "started" in worker.log, 30)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.log
    assert schedule.left_in_temporary_folder() == []
