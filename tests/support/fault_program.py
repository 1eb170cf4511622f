"""The tasks of the mixed-fault test, and the checks of what they left behind.

Each run holds a file lock of its task for as long as it lives, so that two live runs of one task
are seen at the moment in which they happen. Each run writes a row of effect in its own transaction.
A trigger writes down every change of a task's status.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from pydal import Field

from plugin_scheduler.scheduling.state_machine import MOVES
from support.kit import Lab

TASKS = """
import contextlib, fcntl
LIVES = os.environ["LIVES"]
db.define_table("effect", Field("task_id", "integer"), Field("run_id", "integer"))

@contextlib.contextmanager
def the_only_run():
    path = f"{LIVES}/{current_task.id}.lock"
    lock = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with open(f"{LIVES}/violations", "a") as file:
            file.write(f"task {current_task.id} run {current_task.run_id}: another run lives\\n")
        raise
    try:
        yield
        db.effect.insert(task_id=current_task.id, run_id=current_task.run_id)
    finally:
        os.close(lock)

def quick():
    with the_only_run():
        return 1

def slow(seconds):
    with the_only_run():
        print("begins", flush=True)
        progress(1, 2)
        time.sleep(seconds)
        return "slow"

def large(text):
    with the_only_run():
        return text * 2

def flaky():
    with the_only_run():
        first = f"{LIVES}/{current_task.id}.failed"
        if not os.path.exists(first):
            open(first, "w").close()
            raise RuntimeError("fails the first time")
        return "second time"

def overdue():
    with the_only_run():
        time.sleep(60)

def nothing():
    with the_only_run():
        pass

tasks = dict(quick=quick, slow=slow, large=large, flaky=flaky, overdue=overdue, nothing=nothing)

from plugin_scheduler import Scheduler
# So many kills would look like a task that kills its workers.
scheduler = Scheduler(db, tasks, max_losses=100000, application_name="lab", heartbeat=0.5, slots=2,
                      grace=3)
"""

#: Imports the tasks by name, so that the worker loads them in a clean process.
COMMAND = (
    "import logging, sys; logging.basicConfig(level='INFO', "
    "format='%(asctime)s %(process)d %(levelname)s %(message)s'); "
    "sys.path.insert(0, '.'); import tasks; sys.exit(tasks.scheduler.loop())"
)

TRIGGERS = {
    "sqlite": (
        "CREATE TRIGGER note_status AFTER UPDATE ON scheduler_task "
        "WHEN OLD.status IS NOT NEW.status BEGIN "
        "INSERT INTO status_change (task_id, before_it, after_it) "
        "VALUES (NEW.id, OLD.status, NEW.status); END",
    ),
    "postgres": (
        "CREATE FUNCTION note_status() RETURNS trigger AS $$ BEGIN "
        "INSERT INTO status_change (task_id, before_it, after_it) "
        "VALUES (NEW.id, OLD.status, NEW.status); RETURN NULL; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER note_status AFTER UPDATE ON scheduler_task FOR EACH ROW "
        "WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION note_status()",
    ),
    "mysql": (
        "CREATE TRIGGER note_status AFTER UPDATE ON scheduler_task FOR EACH ROW "
        "BEGIN IF NOT (OLD.status <=> NEW.status) THEN "
        "INSERT INTO status_change (task_id, before_it, after_it) "
        "VALUES (NEW.id, OLD.status, NEW.status); END IF; END",
    ),
}

#: Statuses in which a task of each function may come to rest.
RESTS = {"overdue": {"TIMEOUT", "FAILED", "STOPPED"}}
USUAL_REST = {"COMPLETED", "STOPPED"}


class Edit(NamedTuple):
    """A change of a status that a person wrote into the table."""

    task_id: int
    before: str
    after: str


def prepare(lab: Lab) -> Path:
    """Write the tasks and make the tables; the folder of the runs' locks."""
    lives = lab.folder / "lives"
    lives.mkdir()
    lab.env["LIVES"] = str(lives)
    lab.write_tasks(TASKS)
    _ = lab.db
    define_tables(lab)
    lab.db.commit()
    for statement in TRIGGERS["sqlite" if lab.server is None else lab.server.kind]:
        lab.db.executesql(statement)
    lab.db.commit()
    return lives


def define_tables(lab: Lab) -> None:
    """The tables of the tasks and of the trigger, on the lab's present connection."""
    db = lab.db
    if "effect" not in db.tables:
        db.define_table("effect", Field("task_id", "integer"), Field("run_id", "integer"))
        texts = Field("before_it"), Field("after_it")
        db.define_table("status_change", Field("task_id", "integer"), *texts)


def violations(lab: Lab, lives: Path, known: set[int], edits: list[Edit]) -> list[str]:
    """What the history tells against the scheduler; nothing when every promise held."""
    define_tables(lab)
    db = lab.fresh()
    found = _second_lives(lives, edits)
    tasks = {row.id: row for row in db(db.scheduler_task).select()}
    found += [f"task {task_id} is lost" for task_id in known - set(tasks)]
    found += _unrested(tasks)
    found += _without_effect(db, tasks)
    found += _illegal_moves(db, edits)
    open_runs = db(db.scheduler_run.status == "RUNNING").select()
    found += [f"run {run.id} of task {run.task_id} is still RUNNING" for run in open_runs]
    workers = db(db.scheduler_worker).select()
    found += [f"worker {row.worker_name} has left a row" for row in workers]
    db.commit()
    return found


def _second_lives(lives: Path, edits: list[Edit]) -> list[str]:
    """Runs that began while another run of their task was alive. A task that a person wrote back
    from RUNNING to QUEUED is free at once; its run is ended within a second."""
    if not (lives / "violations").exists():
        return []
    by_hand = {f"task {one.task_id} run " for one in edits if one.before == "RUNNING"}
    lines = (lives / "violations").read_text().splitlines()
    return [line for line in lines if not line.startswith(tuple(by_hand))]


def _unrested(tasks: dict[int, Any]) -> list[str]:
    return [
        f"task {row.id} {row.function_name} is {row.status}: {row.reason}"
        for row in tasks.values()
        if row.status not in RESTS.get(row.function_name, USUAL_REST)
    ]


def _without_effect(db: Any, tasks: dict[int, Any]) -> list[str]:
    effects = {(row.task_id, row.run_id) for row in db(db.effect).select()}
    of_tasks = {task_id for task_id, _ in effects}
    runs = db(db.scheduler_run.status == "COMPLETED").select()
    return [
        f"task {row.id} {row.function_name} is COMPLETED without an effect"
        for row in tasks.values()
        if row.status == "COMPLETED" and row.id not in of_tasks
    ] + [
        f"run {run.id} of task {run.task_id} is COMPLETED without its effect"
        for run in runs
        if (run.task_id, run.id) not in effects
    ]


def _illegal_moves(db: Any, edits: list[Edit]) -> list[str]:
    legal = {(source, rule.target) for rule in MOVES.values() for source in rule.sources}
    by_hand, last = Counter(edits), defaultdict[int, str](lambda: "QUEUED")
    found = []
    for row in db(db.status_change).select(orderby=db.status_change.id):
        step = Edit(row.task_id, row.before_it, row.after_it)
        if by_hand[step]:
            by_hand[step] -= 1
        elif (step.before, step.after) not in legal:
            found.append(f"task {step.task_id} moved from {step.before} to {step.after}")
        if step.before != last[step.task_id]:
            found.append(f"task {step.task_id} left {step.before}, but was {last[step.task_id]}")
        last[step.task_id] = step.after
    return found
