"""Workers die all the time; the work does not care."""

from __future__ import annotations

import random
import sys
import time
from itertools import pairwise

import pytest
from kit import Lab, Worker, eventually

TASKS = 10_000
WORKERS = 4
LONG, EVERY = 4.0, 200  # some tasks outlast the lease of a worker (3.5 s)


@pytest.mark.slow
def test_ten_thousand_tasks_survive_a_kill_9_every_second(lab: Lab) -> None:
    lab.write_tasks(
        """
        db.define_table("span", Field("task_id", "integer"), Field("run_id", "integer"),
                        Field("began", "double"), Field("ended", "double"))
        def append(seconds):
            # The start is committed by itself, so that a run that is killed leaves its trace.
            span = db.span.insert(task_id=current_task.id, run_id=current_task.run_id,
                                  began=time.time())
            if seconds > 0.1: db.commit()
            time.sleep(seconds)
            db(db.span.id == span).update(ended=time.time())
        from plugin_scheduler import Scheduler
        # So many kills would look like a task that kills its workers.
        scheduler = Scheduler(db, dict(append=append), heartbeat=0.5, slots=2, max_losses=1000,
                              application_name="lab")
        if __name__ == "__main__":
            sys.exit(scheduler.loop())
        """
    )
    make_table(lab)
    answers = lab.scheduler.queue_tasks(
        {"function": "append", "pargs": [LONG if number % EVERY == 0 else 0.002]}
        for number in range(TASKS)
    )
    lab.db.commit()
    chance = random.Random(7)
    for _ in range(WORKERS):
        start_worker(lab)
    kills, last = 0, time.monotonic()
    while left(lab):
        eventually(lambda since=last: time.monotonic() - since > 1, 2)
        last = time.monotonic()
        living = [worker for worker in lab.workers if worker.process.poll() is None]
        chance.choice(living).kill()
        kills += 1
        start_worker(lab)
        assert kills < 400, f"{left(lab)} left"
    assert_the_laws(lab, {int(answer.id) for answer in answers}, kills)


def start_worker(lab: Lab) -> None:
    """The file of tasks is a program, too, that makes a worker of itself."""
    lab.workers.append(Worker(["tasks.py"], lab.folder, {}, command=[sys.executable]))


def make_table(lab: Lab) -> None:
    from pydal import Field

    lab.db.define_table(
        "span", Field("task_id", "integer"), Field("run_id", "integer"),
        Field("began", "double"), Field("ended", "double"),
    )  # fmt: skip
    lab.db.commit()


def left(lab: Lab) -> int:
    db = lab.fresh()
    return int(db(db.scheduler_task.status != "COMPLETED").count())


def assert_the_laws(lab: Lab, ids: set[int], kills: int) -> None:
    db = lab.fresh()
    assert db(db.scheduler_task.status == "COMPLETED").count() == TASKS
    spans = list(db(db.span).select(orderby=db.span.task_id | db.span.began))
    assert {span.task_id for span in spans if span.ended} == ids, "none lost"
    eventually(lambda: lab.fresh()(db.scheduler_run.status == "RUNNING").count() == 0, 10)
    runs = {run.id: run for run in db(db.scheduler_run).select()}
    for earlier, later in pairwise(spans):
        if earlier.task_id == later.task_id:
            # One that was killed has no end of its own: its run was closed before the next began.
            ended = earlier.ended or runs[earlier.run_id].stop_time.timestamp()
            assert later.began >= ended, "no two live runs of one task"
    interrupted = sum(1 for span in spans if not span.ended)
    assert kills >= 3 and interrupted > 0, (kills, interrupted)
