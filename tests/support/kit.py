"""What the tests share: a laboratory with a database, a file of tasks and real workers.

A `Lab` is a folder of its own. Its tasks are ordinary functions in a file, its workers are started
with the real command, and what came of it is read from the real tables.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
from pydal import DAL

from plugin_scheduler import Scheduler

T = TypeVar("T")
REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(REPOSITORY / "scheduler.py")]


def eventually(condition: Callable[[], T], within: float = 10.0, what: str = "") -> T:
    """The first true answer of ``condition``; fails when there is none in time."""
    until = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"did not happen within {within} s: {what or condition}; {answer}")
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """True for a process that runs; a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


class Worker:
    """A started command, with what it logged."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        env: dict[str, str],
        command: list[str] = COMMAND,
    ) -> None:
        self.log_path = folder / f"worker-{time.monotonic_ns()}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, within: float = 20.0) -> int:
        """Its exit code."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not leave; its log:\n{self.log}") from None

    def family(self) -> list[psutil.Process]:
        """All its processes below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def kill(self) -> None:
        """kill -9, and nothing else."""
        self.process.kill()
        self.process.wait()


class Lab:
    """A database, tasks and workers, in a folder of their own.

    ``server`` is the one that the database lives on; None for a SQLite file.
    """

    def __init__(
        self, folder: Path, uri: str = "sqlite://storage.sqlite", server: Any = None
    ) -> None:
        self.folder, self.uri, self.server = folder, uri, server
        self.workers: list[Worker] = []
        self._db: Any = None
        self.options: dict[str, Any] = {}
        self.env: dict[str, str] = {}  # of its workers

    def write_tasks(self, source: str) -> None:
        """The file of tasks; ``db`` in it is the lab's database with a table ``mark``."""
        head = f"""
            import os, subprocess, sys, time, signal, logging
            from pydal import DAL, Field
            from plugin_scheduler import current_task, progress
            db = DAL({self.uri!r}, folder={str(self.folder)!r}, migrate=False)
            db.define_table("mark", Field("name"), Field("run_id", "integer"),
                            Field("at", "double"))
            def mark(name="x"):
                db.mark.insert(name=name, run_id=current_task.run_id, at=time.time())
        """
        text = textwrap.dedent(head) + "\n" + textwrap.dedent(source)
        (self.folder / "tasks.py").write_text(text)

    @property
    def db(self) -> Any:
        """The lab's own connection; `fresh` ends its view of the past."""
        if self._db is None:
            from pydal import Field

            self._db = DAL(self.uri, folder=str(self.folder))
            self._db.define_table(
                "mark", Field("name"), Field("run_id", "integer"), Field("at", "double")
            )
            self.scheduler = self._make_scheduler()
            self._db.commit()
        return self._db

    def _make_scheduler(self) -> Scheduler:
        """Made in an empty namespace: the helpers of this module are no tasks."""
        namespace = {"Scheduler": Scheduler, "db": self._db, "options": self.options}
        exec("scheduler = Scheduler(db, application_name='lab', **options)", namespace)
        return namespace["scheduler"]

    def fresh(self) -> Any:
        """The database as it is now."""
        self.db.commit()
        return self.db

    def hang_up(self) -> None:
        """Close the lab's connection, be it broken; the next question opens another."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(db._adapter.driver.Error):
                db.close()

    def queue(self, function: str, *pargs: Any, **columns: Any) -> int:
        """Queue and commit; the task's id."""
        self.fresh()
        answer = self.scheduler.queue_task(function, list(pargs), **columns)
        assert not answer.errors, answer.errors
        self.db.commit()
        return int(answer.id)

    def task(self, task_id: int) -> Any:
        row = self.fresh().scheduler_task(task_id)
        self.db.commit()
        return row

    def runs(self, task_id: int | None = None) -> list[Any]:
        run = self.db.scheduler_run
        return self._read(run, run.task_id == task_id if task_id else run)

    def marks(self, name: str | None = None) -> list[Any]:
        mark = self.db.mark
        return self._read(mark, mark.name == name if name else mark)

    def _read(self, table: Any, query: Any) -> list[Any]:
        """What is there now; no transaction stays open, which on MySQL would stop who adds an
        index."""
        rows = list(self.fresh()(query).select(orderby=table.id))
        self.db.commit()
        return rows

    def start_worker(self, *arguments: str, ready: bool = True, **env: str) -> Worker:
        """`scheduler.py -u ... -f ... -t tasks.py` with the given arguments besides."""
        _ = self.db
        known = self.worker_names()
        base = ["-u", self.uri, "-f", str(self.folder), "-t", str(self.folder / "tasks.py")]
        if "-b" not in arguments:
            base += ["-b", "1"]
        worker = Worker([*base, *arguments], self.folder, {**self.env, **env})
        self.workers.append(worker)
        if ready:
            eventually(
                lambda: self.worker_names() - known or worker.process.poll() is not None,
                20,
                "worker in the table",
            )
        return worker

    def worker_names(self) -> set[str]:
        worker = self.db.scheduler_worker
        return {row.worker_name for row in self._read(worker, worker)}

    def worker_row(self, worker: Worker | None = None) -> Any:
        """The row of a worker (of the only one)."""
        table = self.db.scheduler_worker
        rows = self._read(table, table)
        if worker is None:
            return rows[0] if rows else None
        return next((row for row in rows if row.worker_stats["pid"] == worker.pid), None)

    def becomes(self, task_id: int, *statuses: str, within: float = 15.0) -> Any:
        """Wait until a task has one of the statuses; its row."""

        def now_is() -> Any:
            row = self.task(task_id)
            return row if row and row.status in statuses else None

        try:
            return eventually(now_is, within)
        except AssertionError:
            row = self.task(task_id)
            logs = "\n".join(worker.log for worker in self.workers)
            raise AssertionError(f"{row and row.as_dict()} is not {statuses}\n{logs}") from None

    def close(self) -> None:
        """Nothing stays alive."""
        for worker in self.workers:
            family = worker.family()
            if worker.process.poll() is None:
                worker.kill()
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.hang_up()


@contextlib.contextmanager
def lab_in(
    folder: Path, uri: str = "sqlite://storage.sqlite", server: Any = None, **options: Any
) -> Iterator[Lab]:
    """A lab that cleans up behind itself."""
    lab = Lab(folder, uri, server)
    lab.options = options
    try:
        yield lab
    finally:
        lab.close()


TERM, INT, KILL9, STOP, CONT = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCONT,
)
