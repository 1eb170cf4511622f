"""Kill workers all the time, also of many on one server: no task is lost or doubled."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from support import spans
from support.kit import Lab, eventually

pytestmark = pytest.mark.alone

WORKERS, TASKS = 20, 600
PAIRS, EVERY = 3, 3.0  # so many times two of them are killed, after so many seconds


@pytest.mark.slow
def test_two_thousand_tasks_survive_a_kill_9_every_second(lab: Lab) -> None:
    """On servers the mixed faults kill as often, and more than workers."""
    spans.survive_a_kill_9_every_second(lab, 2_000, every=200, most_kills=80)


@pytest.mark.slow
def test_twenty_workers_on_a_server_get_along_with_each_other_while_some_are_killed(
    server_lab: Lab,
) -> None:
    lab = server_lab
    spans.write_program(lab, "heartbeat=1, slots=1")
    for _ in range(WORKERS):
        spans.start_worker(lab)
    eventually(lambda: len(lab.worker_names()) == WORKERS, 60)
    ids = spans.queue(lab, TASKS, every=100, seconds=1.0)
    chance, conflicts = random.Random(7), Counter[str]()
    for _ in range(PAIRS):
        kill_at = time.monotonic() + EVERY
        eventually(lambda at=kill_at: time.monotonic() > at)
        for worker in chance.sample(spans.living(lab), 2):
            worker.kill()
            spans.start_worker(lab)
        count_conflicts(lab, conflicts)
    eventually(lambda: not spans.left(lab), 120)
    count_conflicts(lab, conflicts)
    spans.assert_the_laws(lab, ids)
    logs = "".join(worker.log for worker in lab.workers)
    for trouble in ("unexpected", "does not answer", "FAILED"):
        assert trouble not in logs, f"after {conflicts.total()} conflicts"


def count_conflicts(lab: Lab, conflicts: Counter[str]) -> None:
    """So many transactions of each worker were ended by the server for another's sake."""
    for row in lab.fresh()(lab.db.scheduler_worker).select():
        conflicts[row.worker_name] = row.worker_stats["conflicts"]
    lab.db.commit()
