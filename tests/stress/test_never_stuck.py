"""A task never waits behind a long one while a runner is idle, here or at another worker.

Each run writes down when it began and ended. From that is computed when a runner was idle, and no
task that was waiting at such a time may have gone on waiting for long.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from support.kit import Lab, Worker, eventually
from support.makers import an_order
from support.pools import Runners

from plugin_scheduler.core.types import Order
from plugin_scheduler.system.clock import SYSTEM

pytestmark = pytest.mark.alone

UNKNOWN = 8  # functions that are new to the worker
BOUND = 1.0  # seconds; generous for a machine that has other work, too
SOURCE = """
written = open(f"runs-{os.getpid()}", "ab", buffering=0)
def lasting(seconds):
    task, began = current_task.id, time.time()
    written.write(f"{task} {began} 0\\n".encode())
    if seconds: time.sleep(seconds)
    written.write(f"{task} {began} {time.time()}\\n".encode())
def quick(seconds=0.0): lasting(seconds)
def other(seconds=0.0): lasting(seconds)
def tenth(seconds=0.1): lasting(seconds)
""" + "".join(f"def unknown_{n}(seconds=0.0): lasting(seconds)\n" for n in range(UNKNOWN))

CAREFUL = """
from plugin_scheduler import Scheduler
scheduler = Scheduler(db, dict(quick=quick), heartbeat=0.2, slots=2, application_name="lab",
                      group_names=[os.environ["GROUP"]],
                      max_losses=int(os.environ["LOSSES"]))
if __name__ == "__main__":
    sys.exit(scheduler.loop())
"""


class Span(NamedTuple):
    """One run: when it began, and when it ended; 0.0 where it was killed."""

    task_id: int
    began: float
    ended: float


Wave = tuple[float, list[int]]  # when it was queued, and what


# --- what was written down ------------------------------------------------------------------------


def spans(lab: Lab) -> list[Span]:
    """All runs so far, as they began."""
    found: dict[tuple[int, float], Span] = {}
    for path in lab.folder.glob("runs-*"):
        for line in path.read_text().splitlines():
            task_id, began, ended = line.split()
            found[int(task_id), float(began)] = Span(int(task_id), float(began), float(ended))
    return sorted(found.values(), key=lambda span: span.began)


def idle_times(lived: list[Span], slots: int) -> Iterator[tuple[float, float]]:
    """When fewer runs were at work than there are runners, from the first run to the last."""
    steps = sorted([(one.began, 1) for one in lived] + [(one.ended, -1) for one in lived])
    at_work, idle_since = 0, steps[0][0]
    for at, step in steps:
        if at_work < slots <= at_work + step:
            yield idle_since, at
        elif at_work + step < slots <= at_work:
            idle_since = at
        at_work += step
    yield idle_since, steps[-1][0]


def assert_nothing_was_stuck(lab: Lab, waves: list[Wave], slots: int) -> None:
    """No task of these waited through a longer time in which a runner was idle."""
    lived = spans(lab)
    began = {span.task_id: span.began for span in reversed(lived)}
    gaps = [gap for gap in idle_times(lived, slots) if gap[1] - gap[0] > BOUND]
    stuck = [
        (task_id, round(min(end, began[task_id]) - max(start, queued), 2))
        for queued, ids in waves
        for task_id in ids
        for start, end in gaps
        if min(end, began[task_id]) - max(start, queued) > BOUND
    ]
    assert not stuck, f"{len(stuck)} waited while a runner was idle: {stuck[:5]}"


# --- what is queued -------------------------------------------------------------------------------


def queue(lab: Lab, *what: tuple[str, float]) -> Wave:
    """In one transaction, in this order."""
    lab.fresh()
    answers = lab.scheduler.queue_tasks(
        {"function": name, "pargs": [seconds]} for name, seconds in what
    )
    lab.db.commit()
    return time.time(), [int(answer.id) for answer in answers]


def left(lab: Lab, ids: list[int]) -> int:
    task = lab.db.scheduler_task
    these = (task.id >= min(ids)) & (task.id <= max(ids))
    count = lab.fresh()(these & (task.status != "COMPLETED")).count()
    lab.db.commit()
    return int(count)


def all_done(lab: Lab, *waves: Wave, within: float = 30) -> None:
    ids = [task_id for _, some in waves for task_id in some]
    eventually(lambda: not left(lab, ids), within, "all COMPLETED")


def warmed_up(lab: Lab, workers: int, slots: int) -> None:
    """Every worker knows by now how quick what is."""
    lab.write_tasks(SOURCE)
    for _ in range(workers):
        lab.start_worker("-n", str(slots), "-L", "WARNING")
    eventually(lambda: learn(lab) >= workers, 20, "each worker has run something")


def learn(lab: Lab) -> int:
    """How many processes have run tasks by now."""
    all_done(lab, queue(lab, *[("quick", 0.0), ("other", 0.0)] * 50, *[("tenth", 0.1)] * 4))
    return len(list(lab.folder.glob("runs-*")))


def a_mixture(lab: Lab) -> list[Wave]:
    """One that was always quick takes 2 s; among others are unknown ones, and some of 100 ms."""
    mixed = [("quick", 0.0), ("other", 0.0)] * 20
    new = [(f"unknown_{number}", 0.0) for number in range(UNKNOWN)]
    waves = [queue(lab, *mixed, ("quick", 2.0), *mixed * 5, *new, *[("tenth", 0.1)] * 5)]
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        waves.append(queue(lab, ("quick", 0.0), ("tenth", 0.1), ("other", 0.0)))
        soon = time.monotonic() + 0.2
        eventually(lambda at=soon: time.monotonic() > at)
    return waves


# --- the stories ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "workers", "slots"),
    [("lab", 1, 2), ("lab", 2, 1), ("postgres_lab", 2, 1)],
)
def test_no_task_waits_behind_a_long_one_while_a_runner_is_idle(
    kind: str, workers: int, slots: int, request: pytest.FixtureRequest
) -> None:
    lab: Lab = request.getfixturevalue(kind)
    warmed_up(lab, workers, slots)
    waves = a_mixture(lab)
    all_done(lab, *waves)
    assert_nothing_was_stuck(lab, waves, slots * workers)


@pytest.mark.slow
def test_what_stands_behind_a_run_that_turns_out_long_goes_on_at_once(lab: Lab) -> None:
    """The other runner has nothing to do, and nothing else happens that would wake the worker."""
    warmed_up(lab, 1, 2)
    waits = []
    for _ in range(5):
        all_done(lab, queue(lab, *[("quick", 0.0)] * 60))
        queued, ids = wave = queue(lab, ("quick", 0.8), *[("quick", 0.0)] * 4)
        all_done(lab, wave)
        waits.append(max(one.began for one in spans(lab) if one.task_id in ids) - queued)
    assert statistics.median(waits) < 0.4, waits


@pytest.mark.slow
def test_what_is_nearly_long_is_shared_with_an_idle_worker(lab: Lab) -> None:
    """What a runner of one worker would do in seconds is not kept from that of another."""
    warmed_up(lab, 2, 1)
    all_done(lab, *[queue(lab, *[("other", 0.015)] * 60)])
    wave = queue(lab, *[("other", 0.015)] * 200)
    all_done(lab, wave)
    assert_nothing_was_stuck(lab, [wave], 2)


@pytest.mark.slow
def test_batches_are_as_large_as_what_is_soon_done(lab: Lab) -> None:
    """100 ms: one for each runner; 15 ms: some for each; no-ops: hundreds."""
    warmed_up(lab, 1, 2)
    most = most_at_once(lab, "tenth", *[("tenth", 0.1), *[("quick", 0.0)] * 20] * 10)
    assert most <= 3, "one for each runner, and one whose end is not stored yet"
    assert most_at_once(lab, "quick", *[("quick", 0.0)] * 3_000) >= 100
    all_done(lab, queue(lab, *[("other", 0.015)] * 60))
    most = most_at_once(lab, "other", *[("other", 0.015)] * 80)
    assert 2 <= most <= 2 * 6, "50 ms of work for each runner, and what it is at"


def most_at_once(lab: Lab, name: str, *what: tuple[str, float]) -> int:
    """How many of that function were RUNNING at once, of all that were queued."""
    task = lab.db.scheduler_task
    wave, seen = queue(lab, *what), [0]

    def look() -> bool:
        at_work = (task.status == "RUNNING") & (task.function_name == name)
        seen.append(lab.fresh()(at_work).count())
        return not left(lab, wave[1])

    eventually(look, 30)
    return max(seen)


@pytest.mark.slow
@pytest.mark.parametrize("losses", [1, 3])
def test_a_worker_that_is_killed_takes_nothing_along_that_had_not_begun(
    lab: Lab, losses: int
) -> None:
    """In the middle of many quick tasks. Where even one loss is too many, what may have begun is
    not done again, and all the rest is. Who finds out serves another group."""
    lab.env["LOSSES"] = str(losses)
    lab.write_tasks(SOURCE + CAREFUL)
    worker = start_careful(lab, "main")
    _, ids = queue(lab, *[("quick", 0.002)] * 400)
    eventually(lambda: len(spans(lab)) > 150, 20)
    worker.kill()
    start_careful(lab, "others")
    task = lab.db.scheduler_task
    eventually(lambda: lab.fresh()(task.status == "RUNNING").isempty(), 15, "found out")
    begun = {span.task_id for span in spans(lab)}
    start_careful(lab, "main")
    unended = task.status.belongs(("QUEUED", "RUNNING"))
    eventually(lambda: lab.fresh()(unended).isempty(), 30, "all done")
    failed = {row.id for row in lab.fresh()(task.status == "FAILED").select(task.id)}
    assert failed <= begun, f"{len(failed - begun)} of {len(failed)} had not begun"
    assert len(failed) <= (2 if losses == 1 else 0)
    done = {span.task_id for span in spans(lab) if span.ended}
    assert done | failed == set(ids)


def start_careful(lab: Lab, group: str) -> Worker:
    """The file of tasks is a program, too."""
    program = [sys.executable, "tasks.py"]
    lab.workers.append(Worker([], lab.folder, {**lab.env, "GROUP": group}, command=program))
    return lab.workers[-1]


# --- the pool alone -------------------------------------------------------------------------------


def test_the_pool_looks_again_as_soon_as_a_run_is_long(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has looked before: what stands behind that run cannot wait for its timeout."""
    monkeypatch.chdir(lab.folder)
    runners = Runners(lab, SOURCE)
    try:
        pool = runners.pool
        runners.until(lambda: pool.idle() == 1)
        for number, seconds in enumerate((5.0, 0.0), 1):
            task = an_order(id=number, function_name="quick", args=f"[{seconds}]").task
            assert pool.hand_out(Order(task, number, SYSTEM.now()))
        eventually(pool.live_runs)
        at = pool.next_deadline()
        assert at is not None and at < time.monotonic() + 1.0
    finally:
        runners.close()
