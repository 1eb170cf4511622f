"""A random schedule of every kind of fault, while tasks are queued and run.

The schedule follows from its seed. What a fault changes for a while (a lock, a limit, a stopped
process) is undone after a time that the schedule chose, and at the end at the latest.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil

from plugin_scheduler import JobGraph
from support import fault_program
from support.fault_program import Edit
from support.kit import Lab, Worker, eventually

WORKERS = 4
LEASE = 3.5  # seconds, with a heartbeat of half a second
PAUSE = (0.1, 0.6)  # seconds between two faults
LARGE = 700_000  # characters: larger than a pipe and than a packet to a runner
COMMAND = [sys.executable, "-c", fault_program.COMMAND]

Undo = Callable[[], None]


class Usage(NamedTuple):
    """Of one process."""

    descriptors: int
    mib: float


class Schedule:
    """Faults and tasks on one lab, from a seed."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab, self.chance = lab, random.Random(seed)
        self.lives = fault_program.prepare(lab)
        self.temporary = lab.folder / "temporary"
        self.temporary.mkdir()
        lab.env["TMPDIR"] = str(self.temporary)
        self.queued: set[int] = set()
        self.edits: list[Edit] = []
        self.done = Counter[str]()
        self._numbers = itertools.count()
        self._undo: list[tuple[float, int, Undo]] = []
        self._frozen: set[int] = set()
        self._calm = self.start_worker()  # no fault is aimed at it alone: what it uses stays flat

    # -- the story -----------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Queue tasks and inject faults for so long; then wait until every task is at rest."""
        faults = self._faults()
        eventually(lambda: "started" in self._calm.log, 60)
        self.usage_before = self.usage()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._keep_workers()
            self._attempt(self._queue_some)
            fault = self.chance.choice(faults)
            self.done[fault.__name__.strip("_")] += 1
            self._attempt(fault)
            next_at = time.monotonic() + self.chance.uniform(*PAUSE)
            eventually(lambda at=next_at: self._undo_due() and time.monotonic() >= at, 30)
        self._undo_due(everything=True)
        self._settle()

    def _settle(self) -> None:
        self._keep_workers()
        left: list[Any] = []

        def at_rest() -> bool:
            self._keep_workers()
            left[:] = self._attempt(self._unrested) or [("?", "the database does not answer")]
            return left == [None]

        try:
            eventually(at_rest, 180)
        except AssertionError:
            logs = "\n".join(worker.log[-3000:] for worker in self.living())
            raise AssertionError(f"not at rest: {left}\n{logs}") from None

    def _unrested(self) -> list[Any]:
        db = self.lab.fresh()
        waiting = db.scheduler_task.status.belongs(("QUEUED", "ASSIGNED", "RUNNING"))
        rows = db(waiting).select()
        db.commit()
        return [(row.id, row.function_name, row.status, row.reason) for row in rows] or [None]

    def end_workers(self) -> list[str]:
        """End each worker as a service manager does; what stays behind of their processes."""
        families = [(worker, worker.family()) for worker in self.living()]
        for worker, _ in families:
            worker.send(signal.SIGTERM)
        left = []
        for worker, family in families:
            code = worker.wait(30)
            if code:
                left.append(f"a worker left with exit code {code}:\n{worker.log[-4000:]}")
            _, alive = psutil.wait_procs(family, timeout=5)
            left += [f"process {process} outlived its worker" for process in alive]
        return left

    def left_in_temporary_folder(self) -> list[str]:
        """Files below the temporary folder; a killed worker's are swept by a later start."""
        return [str(path) for path in self.temporary.rglob("*")]

    # -- workers and tasks ---------------------------------------------------------------------

    def living(self) -> list[Worker]:
        return [worker for worker in self.lab.workers if worker.process.poll() is None]

    def start_worker(self) -> Worker:
        worker = Worker([], self.lab.folder, self.lab.env, command=COMMAND)
        self.lab.workers.append(worker)
        return worker

    def _keep_workers(self) -> None:
        for _ in range(WORKERS - len(self.living())):
            self.start_worker()

    def usage(self) -> Usage:
        """What the process of the worker uses at which no fault is aimed."""
        process = psutil.Process(self._calm.pid)
        return Usage(process.num_fds(), process.memory_info().rss / (1 << 20))

    def _attempt(self, action: Callable[[], Any]) -> Any:
        """Do something that needs the database, which may be away: then nothing was done."""
        try:
            wait_briefly(self.lab.db)
            answer = action()
            self.lab.db.commit()
            return answer
        except Exception:  # each driver raises its own kind
            self.lab.hang_up()
            return None

    def _queue_some(self) -> None:
        db, chance, scheduler = self.lab.fresh(), self.chance, self.lab.scheduler
        for_ever = {"retry_failed": -1, "period": 1}
        plans: list[tuple[str, list[Any], dict[str, Any]]] = [("quick", [], for_ever)] * 12
        plans += [("nothing", [], for_ever)] * 4
        plans += [("slow", [chance.choice((0.1, 0.5, 2.0, 4.0))], for_ever)]
        if chance.random() < 0.2:
            plans += [("large", ["x" * LARGE], for_ever)]
        if chance.random() < 0.3:
            plans += [("flaky", [], for_ever), ("overdue", [], {"timeout": 1, "period": 1})]
        if chance.random() < 0.3:
            plans += [("quick", [], {**for_ever, "repeats": 3})]
        answers = [scheduler.queue_task(name, args, **rest) for name, args, rest in plans]
        first, second = (answer.id for answer in answers[:2])
        JobGraph(db, "chain").add_deps(second, first, on_failure="run")
        db.commit()
        self.queued |= {int(answer.id) for answer in answers}

    # -- faults --------------------------------------------------------------------------------

    def _faults(self) -> list[Callable[[], Any]]:
        faults: list[Callable[[], Any]] = [
            self._kill_worker,
            self._kill_forkserver,
            self._kill_runner,
            self._stop_worker,
            self._stop_runner,
            self._storm_of_sigterm,
            self._lock,
            self._delete_worker_rows,
            self._stop_task,
            self._disable_for_a_while,
            self._give_back_by_hand,
            self._take_by_hand,
            self._delete_run_rows,
            self._spoil_statistics,
            self._limit_files,
            self._limit_file_size,
            self._limit_memory,
        ]
        if self.lab.server is not None:
            faults += [self._end_sessions, self._restart_server, self._kill_server]
        return faults

    def _later(self, seconds: float, undo: Undo) -> None:
        heapq.heappush(self._undo, (time.monotonic() + seconds, next(self._numbers), undo))

    def _undo_due(self, everything: bool = False) -> bool:
        while self._undo and (everything or self._undo[0][0] <= time.monotonic()):
            _, _, undo = heapq.heappop(self._undo)
            undo()
        return True

    def _a_worker(self) -> Worker | None:
        free = [one for one in self.living() if one.pid not in self._frozen and one != self._calm]
        return self.chance.choice(free) if free else None

    def _below(self, worker: Worker | None, runners: bool) -> list[psutil.Process]:
        """The worker's process that loads the app, or the runners below it."""
        if worker is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(worker.pid).children()
            return [one for parent in first for one in parent.children()] if runners else first
        return []

    def _kill_worker(self) -> None:
        if (worker := self._a_worker()) is not None:
            worker.kill()

    def _kill_forkserver(self) -> None:
        for process in self._below(self._a_worker(), runners=False)[:1]:
            self._signal(process.pid, signal.SIGKILL)

    def _kill_runner(self) -> None:
        for process in self._below(self._a_worker(), runners=True)[:1]:
            self._signal(process.pid, signal.SIGKILL)

    def _stop_worker(self) -> None:
        """Stop its process for longer than its lease; others take its tasks."""
        if (worker := self._a_worker()) is not None:
            self._frozen.add(worker.pid)
            self._signal(worker.pid, signal.SIGSTOP)
            self._later(LEASE + 2, lambda: self._resume(worker.pid))

    def _stop_runner(self) -> None:
        runners = self._below(self._a_worker(), runners=True)
        if runners:
            pid = runners[0].pid
            self._signal(pid, signal.SIGSTOP)
            self._later(LEASE + 2, lambda: self._resume(pid))

    def _resume(self, pid: int) -> None:
        self._frozen.discard(pid)
        self._signal(pid, signal.SIGCONT)

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def _storm_of_sigterm(self) -> None:
        if (worker := self._a_worker()) is not None:
            for _ in range(self.chance.randrange(1, 4)):
                worker.send(signal.SIGTERM)

    def _lock(self) -> None:
        """Somebody holds the file, or all tasks or workers, for up to ten seconds."""
        seconds = self.chance.choice((1.0, 3.0, 10.0))
        holder = self._holder()
        self._later(seconds, holder)

    def _holder(self) -> Undo:
        from pydal import DAL

        lab = self.lab
        db = DAL(lab.uri, folder=str(lab.folder), attempts=1, migrate_enabled=False)
        table = self.chance.choice(("scheduler_task", "scheduler_worker"))
        wait_briefly(db)
        if lab.server is None:
            db.executesql("BEGIN IMMEDIATE TRANSACTION")
        else:
            db.executesql(f"SELECT id FROM {table} FOR UPDATE")

        def let_go() -> None:
            with contextlib.suppress(Exception):  # the server may have ended the session
                db.rollback()
            with contextlib.suppress(Exception):
                db.close()

        return let_go

    def _delete_worker_rows(self) -> None:
        db = self.lab.fresh()
        db(db.scheduler_worker).delete()

    # -- what a person does --------------------------------------------------------------------

    def _a_task(self, *statuses: str) -> Any:
        db = self.lab.fresh()
        rows = db(db.scheduler_task.status.belongs(statuses)).select(limitby=(0, 40))
        return self.chance.choice(list(rows)) if rows else None

    def _stop_task(self) -> None:
        if (row := self._a_task("QUEUED", "RUNNING")) is not None:
            self.lab.scheduler.stop_task(row.id)

    def _disable_for_a_while(self) -> None:
        """Legal edits in a database admin."""
        if (row := self._a_task("QUEUED")) is not None:
            self._later(2.0, lambda: self._enable(row.id))  # first: a lost answer is no lost edit
            self._edit(row.id, enabled=False, priority=5)

    def _enable(self, task_id: int) -> None:
        """Tried until the database has it: a task that stays disabled never comes to rest."""
        if not self._attempt(lambda: self._edit(task_id, enabled=True)):
            self._later(0.5, lambda: self._enable(task_id))

    def _edit(self, task_id: int, **columns: Any) -> bool:
        db = self.lab.fresh()
        db(db.scheduler_task.id == task_id).update(**columns)
        db.commit()
        return True

    def _give_back_by_hand(self) -> None:
        self._write_status("RUNNING", "QUEUED")

    def _take_by_hand(self) -> None:
        """Nonsense: a task that runs on no worker."""
        self._write_status("QUEUED", "RUNNING")

    def _write_status(self, before: str, after: str) -> None:
        if (row := self._a_task(before)) is None:
            return
        task = self.lab.db.scheduler_task
        same = (task.id == row.id) & (task.status == before)
        # Noted first: where the answer to the commit is lost, the edit may stand all the same.
        self.edits.append(Edit(row.id, before, after))
        if not self.lab.db(same).update(status=after):
            self.edits.pop()

    def _delete_run_rows(self) -> None:
        db = self.lab.fresh()
        rows = db(db.scheduler_run.status == "RUNNING").select(db.scheduler_run.id, limitby=(0, 1))
        for row in rows:
            db(db.scheduler_run.id == row.id).delete()

    def _spoil_statistics(self) -> None:
        self.lab.db.executesql("UPDATE scheduler_worker SET worker_stats = '\"none\"'")

    # -- what a machine lacks ------------------------------------------------------------------

    def _limit_files(self) -> None:
        """EMFILE: no file can be opened."""
        self._limit(resource.RLIMIT_NOFILE, lambda process: process.num_fds())

    def _limit_file_size(self) -> None:
        """EFBIG: no file can grow beyond a page."""
        self._limit(resource.RLIMIT_FSIZE, lambda process: 4096)

    def _limit_memory(self) -> None:
        """ENOMEM: nothing more than what there is."""
        self._limit(resource.RLIMIT_AS, lambda process: process.memory_info().vms + (1 << 18))

    def _limit(self, kind: int, least: Callable[[psutil.Process], int]) -> None:
        worker = self._a_worker()
        if worker is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process = self.chance.choice(
                [
                    psutil.Process(worker.pid),
                    *self._below(worker, runners=False)[:1],
                    *self._below(worker, runners=True)[:1],
                ]
            )
            usual = process.rlimit(kind)
            process.rlimit(kind, (least(process), usual[1]))
            self._later(1.5, lambda: self._unlimit(process, kind, usual))

    @staticmethod
    def _unlimit(process: psutil.Process, kind: int, usual: tuple[int, int]) -> None:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.rlimit(kind, usual)

    # -- what a server does --------------------------------------------------------------------

    def _end_sessions(self) -> None:
        """The server ends every session of this database but the one that asks."""
        server, name = self.lab.server, self.lab.uri.rpartition("/")[2].partition("?")[0]
        if server.kind == "postgres":
            who = f"pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
            server.execute(f"SELECT pg_terminate_backend(pid) FROM {who}")
            return
        who = f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"
        for (number,) in server.execute(who):
            with contextlib.suppress(Exception):  # the session has ended by itself
                server.execute(f"KILL {number}")

    def _restart_server(self) -> None:
        self.lab.hang_up()
        self.lab.server.stop()
        self.lab.server.start()

    def _kill_server(self) -> None:
        self.lab.hang_up()
        self.lab.server.kill()
        self.lab.server.start()


def wait_briefly(db: Any) -> None:
    """Have a session give up a lock soon: this program may itself be who holds the lock."""
    if db._dbname.startswith("postgres"):
        db.executesql("SET lock_timeout = '1s'")
    elif db._dbname.startswith("mysql"):
        db.executesql("SET innodb_lock_wait_timeout = 1, lock_wait_timeout = 1")
