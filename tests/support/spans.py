"""Tasks that leave traces of when they ran, and the laws that hold for these, whoever is killed.

A task's own table tells what was committed; but a run that was killed has no end there, and one
that is cut off from the database has not even a beginning. So each run also gives signs of life,
every 50 ms as long as its process lives, in files beside the database. I own these tasks, their
table and their files, and the story of workers that die every second.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Collection
from itertools import pairwise
from typing import Any, NamedTuple

from pydal import Field

from support.kit import Lab, Worker, eventually

#: The beginning is committed by itself where it matters, so that a run that is killed leaves it.
TASKS = """
import contextlib, threading
db.define_table("span", Field("task_id", "integer"), Field("run_id", "integer"),
                Field("began", "double"), Field("ended", "double"))
@contextlib.contextmanager
def signs_of_life():
    words = f"{current_task.id} {current_task.run_id}"
    name, over = f"life-{os.environ.get('HOST', '')}-{os.getpid()}", threading.Event()
    with open(name, "ab", buffering=0) as file:
        def sign(): file.write(f"{words} {time.monotonic():.6f}\\n".encode())
        def keep_signing():
            while not over.wait(0.05): sign()
        sign()
        thread = threading.Thread(target=keep_signing)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            sign()
def append(seconds, cleans_up=0.0):
    with signs_of_life():
        span = db.span.insert(task_id=current_task.id, run_id=current_task.run_id,
                              began=time.time())
        if seconds > 0.1: db.commit()
        try:
            time.sleep(seconds)
        finally:
            time.sleep(cleans_up)
        db(db.span.id == span).update(ended=time.time())
tasks = dict(append=append)
"""


#: The file of tasks is a program, too, that makes a worker of itself.
LOOP = """
from plugin_scheduler import Scheduler
# So many kills would look like a task that kills its workers.
scheduler = Scheduler(db, tasks, max_losses=1000, application_name="lab", {options})
if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    sys.exit(scheduler.loop())
"""
PROGRAM = [sys.executable, "tasks.py"]


class Life(NamedTuple):
    """Of one run: its first and its last sign, by the clock that all processes share."""

    run_id: int
    first: float
    last: float
    host: str


def write_program(lab: Lab, options: str) -> None:
    """Of a worker that knows these tasks, with the options of a scheduler besides."""
    lab.write_tasks(TASKS + LOOP.format(options=options))
    fields = [Field("began", "double"), Field("ended", "double")]
    lab.db.define_table("span", Field("task_id", "integer"), Field("run_id", "integer"), *fields)
    lab.db.commit()


def queue(lab: Lab, count: int, every: int, seconds: float, usual: float = 0.002) -> list[int]:
    """Tasks of which one of ``every`` takes so many seconds, and the others next to nothing."""
    lab.fresh()
    answers = lab.scheduler.queue_tasks(
        {"function": "append", "pargs": [seconds if number % every == 0 else usual]}
        for number in range(count)
    )
    lab.db.commit()
    return [int(answer.id) for answer in answers]


def left(lab: Lab) -> int:
    """How many tasks are not done."""
    task = lab.db.scheduler_task
    count = int(lab.fresh()(task.status != "COMPLETED").count())
    lab.db.commit()
    return count


def lives(lab: Lab) -> dict[int, list[Life]]:
    """The lives of each task, in their order."""
    found: dict[tuple[int, int], Life] = {}
    for path in sorted(lab.folder.glob("life-*")):
        host = path.name.split("-")[1]
        for line in path.read_text().splitlines():
            task_id, run_id, at = (float(word) for word in line.split())
            key = int(task_id), int(run_id)
            known = found.get(key, Life(key[1], at, at, host))
            found[key] = known._replace(first=min(known.first, at), last=max(known.last, at))
    answer: dict[int, list[Life]] = {}
    for (task_id, _), life in sorted(found.items(), key=lambda one: one[1].first):
        answer.setdefault(task_id, []).append(life)
    return answer


def assert_the_laws(lab: Lab, ids: Collection[int]) -> dict[int, list[Life]]:
    """All done, nothing forgotten, and no two lives of a task at once; the lives."""
    db, lived = lab.fresh(), lives(lab)
    statuses = {row.id: row.status for row in db(db.scheduler_task).select()}
    assert statuses == dict.fromkeys(ids, "COMPLETED")
    assert {span.task_id for span in db(db.span.ended != None).select()} == set(ids), "none lost"
    eventually(lambda: lab.fresh()(db.scheduler_run.status == "RUNNING").count() == 0, 10)
    assert set(lived) == set(ids)
    for task_id, its in lived.items():
        for earlier, later in pairwise(its):
            assert earlier.last < later.first, f"two lives of task {task_id}: {earlier} {later}"
    lab.db.commit()
    return lived


def interrupted(lab: Lab) -> list[Any]:
    """What began and did not end."""
    db = lab.fresh()
    return list(db(db.span.ended == None).select())


def start_worker(lab: Lab) -> None:
    lab.workers.append(Worker([], lab.folder, {}, command=PROGRAM))


def living(lab: Lab) -> list[Worker]:
    return [worker for worker in lab.workers if worker.process.poll() is None]


def survive_a_kill_9_every_second(lab: Lab, tasks: int, every: int, most_kills: int) -> None:
    """Four workers do them, and one of them is killed and replaced every second."""
    write_program(lab, "heartbeat=0.5, slots=2")
    ids = queue(lab, tasks, every, 4.0)  # longer than the lease of a worker (3.5 s)
    for _ in range(4):
        start_worker(lab)
    chance, kills = random.Random(7), 0
    while left(lab) and kills < most_kills:
        kill_at = time.monotonic() + 1
        eventually(lambda at=kill_at: time.monotonic() > at)
        chance.choice(living(lab)).kill()
        start_worker(lab)
        kills += 1
    eventually(lambda: not left(lab), 60)
    assert_the_laws(lab, ids)
    assert kills >= 3 and interrupted(lab), kills
