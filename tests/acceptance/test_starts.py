"""Workers and sub-commands that start while their database cannot be used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydal import DAL
from support.kit import COMMAND, Lab, Worker, eventually

SAID = "this worker could not start: the database did not answer {}"
TASKS = """
def hello():
    return "done"
"""
LOOP = """
import sys
from pydal import DAL
from plugin_scheduler import Scheduler
def hello(): return "done"
if __name__ == "__main__":
    db = DAL({uri!r}, folder=".", migrate=False)
    scheduler = Scheduler(db, migrate=False, db_outage_limit=0.5)
    db.close()
    print("code", scheduler.loop())
"""
LOCKS = {
    "sqlite": "BEGIN EXCLUSIVE",
    "postgres": "LOCK TABLE scheduler_worker IN ACCESS EXCLUSIVE MODE",
    "mysql": "LOCK TABLES scheduler_worker WRITE, scheduler_task WRITE, scheduler_run WRITE",
}


@contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """Keep all others from the table of workers."""
    holder = DAL(lab.uri, folder=str(lab.folder), migrate=False)
    holder.executesql(LOCKS[holder._adapter.dbengine])
    try:
        yield
    finally:
        holder.rollback()
        if holder._adapter.dbengine == "mysql":
            holder.executesql("UNLOCK TABLES")
        holder.close()


def sub_command(lab: Lab, *words: str) -> tuple[int, str]:
    command = [*COMMAND, *words, "-u", lab.uri, "-f", str(lab.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def test_a_worker_that_starts_while_its_tables_are_locked_waits_and_says_so_once(
    each_lab: Lab,
) -> None:
    lab = each_lab
    lab.write_tasks(TASKS)
    task_id = lab.queue("hello")
    lab.hang_up()
    base = ["-u", lab.uri, "-f", str(lab.folder), "-t", str(lab.folder / "tasks.py")]
    with locked(lab):
        options = (["-b", "1"], ["--db-outage-limit", "0.5"])
        waits, gives_up = (Worker([*base, *one], lab.folder, lab.env) for one in options)
        lab.workers += [waits, gives_up]
        # On a server it waits for the lock, as any client does.
        code, said = (75, "") if lab.server else sub_command(lab, "tasks")
        assert gives_up.wait(90) == 75
        assert gives_up.log.count(SAID.format("within 0.5 s")) == 1
        eventually(lambda: "retrying for up to 60 s" in waits.log, 90)
    assert lab.becomes(task_id, "COMPLETED", within=90)
    assert waits.log.count("retrying for up to") == waits.log.count("database answers again") == 1
    assert "Traceback" not in waits.log + gives_up.log + said
    assert code == 75 and (lab.server or said.startswith("Error: ")), said


def test_a_server_that_is_down_at_the_start_is_waited_for_also_by_a_program(
    own_lab: Lab,
) -> None:
    lab = own_lab
    lab.write_tasks(TASKS)
    task_id = lab.queue("hello")
    lab.hang_up()
    lab.server.stop()
    base = ["-u", lab.uri, "-f", str(lab.folder), "-t", str(lab.folder / "tasks.py")]
    worker = Worker([*base, "-b", "1"], lab.folder, lab.env)
    lab.workers.append(worker)
    eventually(lambda: "retrying for up to 60 s" in worker.log, 90)
    code, said = sub_command(lab, "tasks")
    assert (code, said.count("\n")) == (75, 1) and said.startswith("Error: "), said
    lab.server.start()
    assert lab.becomes(task_id, "COMPLETED", within=90)
    assert "Traceback" not in worker.log


def test_a_program_whose_database_goes_before_its_loop_is_given_an_exit_code(lab: Lab) -> None:
    assert lab.db
    lab.hang_up()
    (lab.folder / "program.py").write_text(LOOP.format(uri=lab.uri))
    with locked(lab):
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=lab.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert (done.stdout, "Traceback" in done.stderr) == ("code 75\n", False), done.stderr
    assert SAID.format("within") in done.stderr
