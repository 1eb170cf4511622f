"""A stop, a timeout or a KILL hits exactly what is meant, also where thousands of tasks flow by.

Each run writes down that it began, and that it ended. The tables say what became of its task. Both
must tell the same story.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from support.kit import Lab, eventually
from support.makers import an_order
from support.pools import Runners

from plugin_scheduler.core.types import Order
from plugin_scheduler.system.clock import SYSTEM

pytestmark = pytest.mark.alone

FUNCTIONS, EACH, STRAYS = 10, 150, 80
HEEDED = 2.0  # seconds after a request to stop in which a run may still begin, on a busy machine
SOURCE = """
written = open(f"runs-{os.getpid()}", "ab", buffering=0)
def lasting(seconds):
    written.write(f"{current_task.id} began {time.time()}\\n".encode())
    if seconds: time.sleep(seconds)
    written.write(f"{current_task.id} ended {time.time()}\\n".encode())
""" + "".join(f"def work_{n}(seconds=0.0): lasting(seconds)\n" for n in range(FUNCTIONS))


class Story(NamedTuple):
    """What was queued, and which were stopped when."""

    seed: int
    stopped_long: set[int]
    overdue: set[int]
    quick: set[int]
    stopped: dict[int, float]


def queue_all(lab: Lab, seed: int, chance: random.Random) -> Story:
    """Of each function many that are quick, and one that is not: it is stopped, or its time is up.
    Of several functions, so that the worker goes on taking most of them for quick ones."""
    what = [(f"work_{n}", 0.0) for n in range(FUNCTIONS)] * EACH
    chance.shuffle(what)
    for number in range(FUNCTIONS):
        what.insert(chance.randrange(len(what)), (f"work_{number}", 30.0))
    rows = [
        {"function": name, "pargs": [seconds], "timeout": 1 if seconds and at % 2 else 60}
        for at, (name, seconds) in enumerate(what)
    ]
    lab.fresh()
    ids = [int(answer.id) for answer in lab.scheduler.queue_tasks(rows)]
    lab.db.commit()
    of = list(zip(ids, rows, strict=True))
    overdue = {task_id for task_id, row in of if row["timeout"] == 1}
    long = {task_id for task_id, row in of if row["pargs"] != [0.0]}
    return Story(seed, long - overdue, overdue, set(ids) - long, {})


def stop(lab: Lab, story: Story, task_id: int) -> None:
    lab.fresh()
    told = lab.scheduler.stop_task(task_id)
    lab.db.commit()
    if told:
        story.stopped.setdefault(task_id, time.time())


def stop_some(lab: Lab, story: Story, chance: random.Random) -> None:
    """Long ones at any time after they were given to a runner, and strays: half of them wait in the
    database, half in the hands of the worker."""
    task = lab.db.scheduler_task
    at_work = [row.id for row in lab.fresh()(task.status == "RUNNING").select(task.id)]
    waiting = [row.id for row in lab.db(task.status == "QUEUED").select(task.id)]
    lab.db.commit()
    chosen = {task_id for task_id in story.stopped_long & {*at_work} if chance.random() < 0.3}
    for some in (at_work, waiting):
        quick = sorted(story.quick & {*some})
        if len(story.stopped) < STRAYS + len(story.stopped_long) and quick:
            chosen.update(chance.sample(quick, min(2, len(quick))))
    for task_id in chosen:
        stop(lab, story, task_id)


def written(lab: Lab) -> Iterator[tuple[int, str, float]]:
    for path in lab.folder.glob("runs-*"):
        for line in path.read_text().splitlines():
            task_id, what, at = line.split()
            yield int(task_id), what, float(at)


def statuses(lab: Lab) -> dict[int, str]:
    task = lab.db.scheduler_task
    found = {row.id: row.status for row in lab.fresh()(task).select(task.id, task.status)}
    lab.db.commit()
    return found


def assert_exact(lab: Lab, story: Story) -> None:
    """Those that were meant were hit, and nobody else."""
    now, seed = statuses(lab), f"seed {story.seed}"
    lines = list(written(lab))
    began = Counter(task_id for task_id, what, _ in lines if what == "began")
    ended = Counter(task_id for task_id, what, _ in lines if what == "ended")
    others = {*now} - {*story.stopped} - story.stopped_long - story.overdue
    hit = {task_id: now[task_id] for task_id in others if now[task_id] != "COMPLETED"}
    assert not hit, f"{seed}: nobody meant {hit}"
    assert {now[task_id] for task_id in story.overdue - {*story.stopped}} <= {"TIMEOUT"}, seed
    assert {now[task_id] for task_id in story.stopped_long} == {"STOPPED"}, seed
    twice = {task_id for task_id, times in began.items() if times > 1}
    assert not twice, f"{seed}: {twice} ran twice"
    completed = {task_id for task_id, status in now.items() if status == "COMPLETED"}
    assert completed == {*ended}, f"{seed}: what completed has ended, and nothing else"
    late = {
        task_id: round(at - story.stopped[task_id], 2)
        for task_id, what, at in lines
        if what == "began" and at > story.stopped.get(task_id, at) + HEEDED
    }
    assert not late, f"{seed}: began so long after they had been stopped: {late}"
    assert {now[task_id] for task_id in story.stopped} <= {"STOPPED", "COMPLETED"}, seed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lab", "postgres_lab"])
def test_a_stop_hits_the_task_that_is_meant_and_no_other(
    kind: str, request: pytest.FixtureRequest
) -> None:
    lab: Lab = request.getfixturevalue(kind)
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    lab.write_tasks(SOURCE)
    story = queue_all(lab, seed, chance)
    lab.start_worker("-n", "2", "-L", "WARNING")

    def over() -> bool:
        stop_some(lab, story, chance)
        return {*statuses(lab).values()} <= {"COMPLETED", "STOPPED", "TIMEOUT", "FAILED"}

    eventually(over, 60, f"all over, seed {seed}")
    assert_exact(lab, story)


@pytest.mark.slow
def test_a_kill_interrupts_what_is_at_work_and_fails_nothing(lab: Lab) -> None:
    """Again and again in the middle of thousands; each run that it ended is given back."""
    seed = random.randrange(1_000_000)
    chance, kills = random.Random(seed), 3
    lab.write_tasks(SOURCE)
    lab.fresh()
    rows = [{"function": "work_0", "pargs": [0.0005]} for _ in range(4_000)]
    ids = {int(answer.id) for answer in lab.scheduler.queue_tasks(rows)}
    lab.db.commit()
    for _ in range(kills):
        worker, seen = lab.start_worker("-n", "2", "-L", "WARNING"), len(list(written(lab)))
        at = seen + chance.randrange(200, 1_000)
        eventually(lambda at=at: len(list(written(lab))) > at, 20)
        lab.db(lab.db.scheduler_worker).update(status="KILL")
        lab.db.commit()
        assert worker.wait() == 0
    assert {*statuses(lab).values()} <= {"QUEUED", "COMPLETED"}, f"seed {seed}"
    lab.start_worker("-n", "2", "-L", "WARNING")
    eventually(lambda: {*statuses(lab).values()} == {"COMPLETED"}, 30, f"seed {seed}")
    began = Counter(task_id for task_id, what, _ in written(lab) if what == "began")
    assert {*began} == ids and began.total() <= len(ids) + 2 * kills, f"seed {seed}"


# --- the pool alone -------------------------------------------------------------------------------


@pytest.fixture
def runners(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runners]:
    monkeypatch.chdir(lab.folder)
    one = Runners(lab, SOURCE)
    yield one
    one.close()


def order(number: int, seconds: float, timeout: float = 60) -> Order:
    columns: dict[str, Any] = {"id": number, "timeout": timeout, "args": f"[{seconds}]"}
    return Order(an_order(function_name="work_0", **columns).task, number, SYSTEM.now())


def hand_out(runners: Runners, first: int, *seconds: float, timeout: float = 60) -> list[Order]:
    """To the only runner, as soon as it is idle; the first one may run for so long."""
    runners.until(lambda: runners.pool.idle() == 1)
    orders = []
    for number, some in enumerate(seconds, first):
        orders.append(order(number, some, 60 if orders else timeout))
        assert runners.pool.hand_out(orders[-1])
    return orders


def later(seconds: float) -> None:
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > until)


class Ends:
    """What a pool tells, until it has told of all orders."""

    def __init__(self, runners: Runners) -> None:
        self._runners = runners
        self.outcomes: dict[int, str] = {}
        self.unbegun: list[Order] = []

    def of(self, orders: list[Order]) -> dict[int, str]:
        def told() -> bool:
            news = self._runners.pool.news()
            self.outcomes |= {one.order.run_id: one.outcome for one in news.results}
            self.unbegun += news.unbegun
            return len(self.outcomes) + len(self.unbegun) >= len(orders)

        self._runners.until(told)
        return self.outcomes


@pytest.mark.parametrize("how", ["stop", "timeout"])
def test_what_stands_behind_a_run_that_is_ended_goes_back_untouched(
    runners: Runners, how: str
) -> None:
    """Its runner is ended with it, and must not have begun the next one by then."""
    pool = runners.pool
    orders = hand_out(runners, 1, 30.0, 0.5, 0.5, timeout=60 if how == "stop" else 0)
    eventually(pool.live_runs)  # nobody has seen yet that it is long
    if how == "stop":
        pool.stop_run(1, "STOPPED", "stopped on request")
    else:
        pool.enforce()
    later(0.1)  # the loop may be kept from hearing at once that it has ended
    ends = Ends(runners)
    assert ends.of(orders) == {1: "STOPPED" if how == "stop" else "TIMEOUT"}
    assert ends.unbegun == orders[1:]


def test_what_is_handed_out_while_a_run_is_being_ended_is_not_ended_with_it(
    runners: Runners,
) -> None:
    pool = runners.pool
    orders = hand_out(runners, 1, 30.0)
    eventually(pool.live_runs)
    pool.stop_run(1, "STOPPED", "stopped on request")
    assert not pool.hand_out(order(2, 0.5))
    assert Ends(runners).of(orders) == {1: "STOPPED"}


def test_all_runs_that_a_worker_ends_are_interrupted(runners: Runners) -> None:
    """Also the one that began just when its runner was killed."""
    pool, chance = runners.pool, random.Random(4)
    for turn in range(12):
        orders = hand_out(runners, 1_000 * turn + 1, *[0.0] * 200)
        later(chance.uniform(0.0, 0.01))
        pool.kill_all_runs("INTERRUPTED", "the worker was told to leave")
        assert {*Ends(runners).of(orders).values()} <= {"COMPLETED", "INTERRUPTED"}
