"""The database goes away and comes back: workers go on by themselves, and nothing is done twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.databases import Database
from support.home import lab_on
from support.kit import Lab, Worker, eventually
from support.throwaway import Server

SOURCE = """
def note(name, seconds=0.1):
    "Leaves its name in a file, and never asks the database."
    time.sleep(seconds)
    with open("notes", "a") as file: file.write(f"{name}\\n")
    return name
def stamp(name="stamp"): mark(name)
"""
BACK_WITHIN = 5.0  # seconds
AWAY, AGAIN = "database does not answer", "database answers again"


def pass_by(seconds: float) -> None:
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > until, seconds + 5)


def database_of(lab: Lab) -> str:
    return lab.uri.rpartition("/")[2].partition("?")[0]


def notes(lab: Lab) -> list[str]:
    path = lab.folder / "notes"
    return path.read_text().split() if path.exists() else []


class Work:
    """Two workers, each with a group of its own besides, and many small tasks."""

    def __init__(self, lab: Lab, *arguments: str) -> None:
        self.lab = lab
        lab.write_tasks(SOURCE)
        self.workers = {
            group: lab.start_worker("-b", "1", "-g", f"main,{group}", *arguments)
            for group in ("one", "two")
        }
        self.tasks: dict[str, int] = {}

    def queue(self, count: int, seconds: float = 0.1) -> None:
        first = len(self.tasks)
        for number in range(first, first + count):
            name = f"n{number}"
            self.tasks[name] = self.lab.queue("note", name, seconds)

    def is_at_work(self) -> None:
        before = len(notes(self.lab))
        eventually(lambda: len(notes(self.lab)) > before + 3)

    def is_resumed_by_all(self) -> None:
        """By each worker, and in time; not even the work that waits is in the way."""
        began, lab = time.monotonic(), self.lab
        lab.hang_up()
        groups = {group: {"group_name": group, "priority": 100} for group in self.workers}
        stamps = [lab.queue("stamp", group, **columns) for group, columns in groups.items()]
        for task_id in stamps:
            task = lab.becomes(task_id, "COMPLETED", "FAILED")
            assert task.status == "COMPLETED", task.reason
        assert time.monotonic() - began < BACK_WITHIN

    def is_done_once(self) -> None:
        """Nothing is lost, done twice, stored twice or said to have failed."""
        lab = self.lab
        for task_id in self.tasks.values():
            task = lab.becomes(task_id, "COMPLETED", "FAILED", within=30)
            assert (task.status, task.times_run, task.times_lost) == ("COMPLETED", 1, 0)
        assert sorted(notes(lab)) == sorted(self.tasks)
        whole = [run.task_id for run in lab.runs() if run.run_result]
        assert sorted(whole) == sorted(self.tasks.values())
        for worker in self.workers.values():
            assert "unexpected error" not in worker.log

    def has_said(self, outages: int) -> None:
        """What each worker logs of them: one line at each end; and an event in the history."""
        for worker in self.workers.values():
            said = worker.log.count(AWAY), worker.log.count(AGAIN)
            assert said == (outages, outages), worker.log
            name = self.lab.worker_row(worker).worker_name
            eventually(partial(self._has_noted, name, outages))

    def _has_noted(self, worker: str, outages: int) -> bool:
        history = self.lab.fresh().scheduler_history
        mine = (history.worker_name == worker) & (history.did == "database_back")
        return int(history._db(mine).count()) == outages


def away(lab: Lab, end: Callable[[], None], seconds: float) -> None:
    """The server is gone for a while; nobody told anybody."""
    lab.hang_up()
    end()
    pass_by(seconds)
    lab.server.start()


# -- the server is away ----------------------------------------------------------------------------


def test_workers_go_on_after_their_server_was_stopped_twice_and_killed_once(own_lab: Lab) -> None:
    work, server = Work(own_lab), own_lab.server
    away(own_lab, server.stop, 3.5)
    work.is_resumed_by_all()
    for end in (server.stop, server.kill):
        work.queue(30)
        work.is_at_work()
        away(own_lab, end, 3.5)
        work.is_resumed_by_all()
    work.is_done_once()
    work.has_said(3)


@pytest.fixture
def own_postgres_lab(own_postgres: Server, tmp_path: Path) -> Iterator[Lab]:
    with own_postgres.fresh_database() as uri:
        with lab_on(Database(uri, own_postgres), tmp_path) as lab:
            yield lab


@pytest.mark.slow
def test_a_minute_without_a_server_costs_nothing_but_the_minute(own_postgres_lab: Lab) -> None:
    lab = own_postgres_lab
    work = Work(lab)
    work.queue(2, seconds=10)
    for task_id in work.tasks.values():
        lab.becomes(task_id, "RUNNING")
    away(lab, lab.server.stop, 60)
    work.is_resumed_by_all()
    work.is_done_once()
    work.has_said(1)


def test_a_worker_with_a_limit_leaves_when_its_database_was_away_for_longer(own_lab: Lab) -> None:
    lab = own_lab
    lab.write_tasks(SOURCE)
    patient = lab.start_worker("-b", "1")
    # One that has nothing to ask the database for, and is to notice all the same.
    limited = lab.start_worker("-b", "20", "-g", "slow", "--db-outage-limit", "2")
    lab.becomes(lab.queue("note", "known to be long", 1, group_name="slow"), "COMPLETED")
    lab.becomes(lab.queue("note", "slow", 60, group_name="slow"), "RUNNING")
    lab.hang_up()
    lab.server.stop()
    began = time.monotonic()
    assert limited.wait(15) == 75 and time.monotonic() - began > 2
    assert "longer than db_outage_limit" in limited.log.splitlines()[-1]
    assert "Traceback" not in limited.log
    assert not limited.family() and patient.process.poll() is None
    lab.server.start()
    lab.becomes(lab.queue("stamp"), "COMPLETED", within=BACK_WITHIN)


# -- connections are cut ---------------------------------------------------------------------------


def connections(lab: Lab) -> list[int]:
    """The server's numbers of all connections to the lab's database."""
    name = database_of(lab)
    query = {
        "postgres": f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}'",
        "mysql": f"SELECT id FROM information_schema.processlist WHERE db = '{name}'",
    }[lab.server.kind]
    return [number for (number,) in lab.server.execute(query)]


def cut_all(lab: Lab) -> None:
    lab.hang_up()
    word = {"postgres": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}[lab.server.kind]
    for number in connections(lab):
        with contextlib.suppress(*lab.server.away):  # it left by itself
            lab.server.execute(word.format(number))


def test_connections_that_are_cut_again_and_again_cost_nothing(server_lab: Lab) -> None:
    work = Work(server_lab)
    work.is_resumed_by_all()
    for _ in range(3):
        work.queue(15)
        work.is_at_work()
        for _ in range(3):
            cut_all(server_lab)
            pass_by(0.1)
        work.is_resumed_by_all()
    work.is_done_once()
    assert not [row for row in server_lab.runs() if row.status == "FAILED"]


def test_a_table_that_is_away_for_a_moment_is_waited_for(server_lab: Lab) -> None:
    lab = server_lab
    work = Work(lab)
    work.queue(20)
    work.is_at_work()
    for one, other in (("scheduler_task", "elsewhere"), ("elsewhere", "scheduler_task")):
        lab.db.executesql(f"ALTER TABLE {one} RENAME TO {other}")
        lab.db.commit()
        pass_by(2 if other == "elsewhere" else 0)
    work.is_resumed_by_all()
    work.is_done_once()


# -- a wrong address -------------------------------------------------------------------------------


def wrong_uris(lab: Lab) -> dict[str, str]:
    one = lab.server.address
    return {
        "refused": lab.uri.replace(f":{one.port}/", ":1/"),
        one.user: lab.uri.replace(one.password, "wrong"),
        "nowhere": lab.uri.rpartition("/")[0] + "/nowhere",
    }


def test_a_database_that_cannot_be_reached_at_start_is_one_line_and_an_exit_code(
    server_lab: Lab,
) -> None:
    lab = server_lab
    lab.write_tasks("def stamp(): pass")
    source = (lab.folder / "tasks.py").read_text()
    (lab.folder / "tasks.py").write_text(source[source.index("def stamp") :])
    started: dict[str, Worker] = {}
    _ = lab.db
    right = lab.uri
    for word, wrong in wrong_uris(lab).items():
        lab.uri = wrong
        started[word] = lab.start_worker("--db-outage-limit", "0.1", ready=False)
    lab.uri = right
    for word, worker in started.items():
        passes = word == "refused"  # a server that is down may come back; a password does not
        assert worker.wait() == (75 if passes else 2), worker.log
        [*warning, line] = worker.log.splitlines()
        assert len(warning) == (1 if passes else 0)
        assert ("Error: " in line or " ERROR " in line) and "database " in line and word in line
        assert lab.server.address.password not in line and "wrong" not in line


# -- the server only reads, the file is another ----------------------------------------------------


def test_a_worker_goes_on_when_a_database_that_could_only_be_read_is_writable_again(
    postgres_lab: Lab,
) -> None:
    lab = postgres_lab
    lab.write_tasks(SOURCE)
    name = database_of(lab)
    worker = lab.start_worker("-b", "1")
    ours = "application_name = 'plugin_scheduler'"
    ends = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    _ = lab.fresh()  # a session from before, as others have
    lab.server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    refused = lab.becomes(lab.queue("stamp"), "FAILED")
    assert "read-only transaction" in refused.reason, "the runner's session is a new one"
    lab.server.execute(f"{ends} AND {ours}")
    waiting = lab.queue("stamp", "later")
    eventually(lambda: "the session is read-only" in worker.log, 15)
    lab.server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    lab.becomes(waiting, "COMPLETED", within=BACK_WITHIN * 2)
    assert [mark.name for mark in lab.marks()] == ["later"]
    assert "unexpected error" not in worker.log


def files_of(lab: Lab) -> list[Path]:
    return [lab.folder / f"storage.sqlite{end}" for end in ("", "-wal", "-shm")]


def test_a_worker_notices_that_its_file_was_replaced_or_removed(lab: Lab) -> None:
    lab.write_tasks(
        SOURCE + "def until(name):\n    while not os.path.exists(name): time.sleep(0.01)"
    )
    worker = lab.start_worker("-b", "1", "-n", "2")
    lab.becomes(lab.queue("stamp", "old"), "COMPLETED")
    copy = lab.folder / "copy.sqlite"
    lab.db.executesql(f"VACUUM INTO '{copy}'")  # a backup is taken, and put in its place
    lab.hang_up()
    for path in files_of(lab)[1:]:
        path.unlink(missing_ok=True)
    copy.rename(files_of(lab)[0])
    lab.becomes(lab.queue("stamp", "new"), "COMPLETED", within=BACK_WITHIN)
    assert [mark.name for mark in lab.marks()] == ["old", "new"], "the runner's, too"

    running = lab.queue("until", "enough")
    lab.becomes(running, "RUNNING")
    lab.hang_up()
    away = lab.folder / "away"
    away.mkdir()
    moved = [path for path in files_of(lab) if path.exists()]
    for path in moved:
        path.rename(away / path.name)
    eventually(lambda: "the database file was removed" in worker.log, 10)
    (lab.folder / "enough").touch()
    pass_by(1)
    assert not files_of(lab)[0].exists(), "no empty one was made"
    for path in moved:
        (away / path.name).rename(path)
    lab.becomes(running, "COMPLETED", within=BACK_WITHIN)
    lab.becomes(lab.queue("stamp", "after"), "COMPLETED", within=BACK_WITHIN)
    assert worker.log.count(AWAY) == worker.log.count(AGAIN) == 1, worker.log
