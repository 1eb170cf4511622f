"""Somebody holds rows, or writes them in another order: the others' work goes on, and his waits."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pymysql
from support.kit import Lab, Worker, eventually

SOURCE = """
def stamp(name="stamp"): mark(name)
def until(name):
    while not os.path.exists(name): time.sleep(0.01)
    return name
def nap():
    time.sleep(0.1)
    return "slept"
"""
GOES_ON = 6.0  # seconds in which other tasks are done
SAID = ("does not answer", "unexpected error")
DRIVERS = (psycopg2.Error, pymysql.err.Error)


def database_of(lab: Lab) -> str:
    return lab.uri.rpartition("/")[2].partition("?")[0]


@contextlib.contextmanager
def person(lab: Lab) -> Iterator[Callable[[str], Any]]:
    """Somebody at the server's own client, in a transaction."""
    name = database_of(lab)
    line = lab.server.connect(name) if lab.server.kind == "postgres" else lab.server.connect()
    with contextlib.closing(line), line.cursor() as cursor:
        if lab.server.kind == "mysql":
            line.select_db(name)
        cursor.execute("BEGIN")
        yield cursor.execute


def started(lab: Lab, *arguments: str) -> Worker:
    lab.write_tasks(SOURCE)
    worker = lab.start_worker(*(arguments or ("-n", "2")))
    lab.becomes(lab.queue("stamp"), "COMPLETED")
    return worker


def work_goes_on(lab: Lab, seconds: float = 2.5) -> None:
    """Tasks are done one after the other, each in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        lab.becomes(lab.queue("stamp"), "COMPLETED", within=GOES_ON)


def is_quiet(*workers: Worker) -> None:
    for worker in workers:
        assert not [word for word in SAID if word in worker.log], worker.log[-2000:]


def test_tasks_whose_rows_somebody_holds_wait_and_all_others_go_on(server_lab: Lab) -> None:
    lab = server_lab
    worker = started(lab, "-n", "6")
    running = [lab.queue("until", "enough") for _ in range(5)]
    for task_id in running:
        lab.becomes(task_id, "RUNNING")
    waiting = lab.queue("stamp", "held", enabled=False)
    rows = (
        ("scheduler_task", waiting),
        ("scheduler_task", running[0]),
        ("scheduler_run", lab.task(running[1]).run_id),
    )
    with person(lab) as does:
        does(f"UPDATE scheduler_task SET enabled = 'T' WHERE id = {waiting}")
        for table, row_id in rows:
            does(f"SELECT id FROM {table} WHERE id = {row_id} FOR UPDATE")
        (lab.folder / "enough").touch()  # they end together
        for task_id in running[2:]:
            lab.becomes(task_id, "COMPLETED", within=GOES_ON)
        work_goes_on(lab)
        assert {lab.task(task_id).status for task_id in running[:2]} == {"RUNNING"}
        does("COMMIT")
    for task_id in (waiting, *running):
        lab.becomes(task_id, "COMPLETED", within=GOES_ON)
    assert [run.run_result for run in lab.runs() if run.run_result] == ['"enough"'] * 5
    is_quiet(worker)


def test_a_worker_whose_own_row_somebody_holds_works_on(server_lab: Lab) -> None:
    lab = server_lab
    worker = started(lab)
    with person(lab) as does:
        does("SELECT id FROM scheduler_worker FOR UPDATE")
        work_goes_on(lab)
        does("COMMIT")
    work_goes_on(lab, 1)
    is_quiet(worker)


def cross(lab: Lab, over: threading.Event) -> None:
    """Write tasks, then runs, and the other way round; workers have an order of their own."""
    with person(lab) as does:
        if lab.server.kind == "postgres":
            does("SET deadlock_timeout = '3s'")  # who looks first for a deadlock gives way in it
        tables = ["scheduler_task", "scheduler_run"]
        while not over.is_set():
            with contextlib.suppress(*DRIVERS):
                does("BEGIN")
                for table in tables:
                    does(f"UPDATE {table} SET reason = 'x' WHERE status = 'RUNNING'")
                    over.wait(0.03)
            does("COMMIT")
            tables.reverse()


def test_deadlocks_are_nobodys_failure(server_lab: Lab) -> None:
    lab = server_lab
    _ = lab.db
    if lab.server.kind == "postgres":
        lab.server.execute(f"ALTER DATABASE {database_of(lab)} SET deadlock_timeout = '200ms'")
    workers = [started(lab, "-b", "1", "-n", "2") for _ in range(2)]
    over = threading.Event()
    somebody = threading.Thread(target=cross, args=(lab, over))
    somebody.start()
    try:
        ids = [lab.queue("nap") for _ in range(60)]
        for task_id in ids:
            lab.becomes(task_id, "COMPLETED", within=30)
    finally:
        over.set()
        somebody.join()
    assert sorted(run.task_id for run in lab.runs() if run.run_result) == ids
    assert not [run for run in lab.runs() if run.status == "FAILED"]
    eventually(lambda: sum(lab.worker_row(one).worker_stats["conflicts"] for one in workers) > 0)
    is_quiet(*workers)


def test_a_transaction_that_stays_open_for_long_is_in_nobodys_way(postgres_lab: Lab) -> None:
    lab = postgres_lab
    worker = started(lab)
    with person(lab) as does:
        does("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for table in ("task", "run", "worker", "task_deps"):
            does(f"SELECT count(*) FROM scheduler_{table}")
        lab.start_worker()
        work_goes_on(lab, 1)
    is_quiet(worker)
