"""A worker hears of work at once, notices when it has gone deaf, and then looks by itself."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
from support.databases import Shared
from support.kit import COMMAND, Lab, Worker, eventually
from support.throwaway import Missing, free_port, new_name, service_user

from plugin_scheduler.database.notifier.postgres import HEARD_WITHIN, TEST_EVERY

SOURCE = """
def stamp(): mark("stamp")
def long(seconds=60): time.sleep(seconds)
"""
SELDOM = ("-b", "30")  # a beat looks for work, too: here only a bell shall be what does it
AT_ONCE = {"postgres": 0.4, "mysql": 0.9}  # seconds; some times what a calm machine needs
POLLED = 1.5  # seconds: half a second, and a busy machine
LOST, BACK = "notifications are delayed", "notifications arrive without delay again"


def started(lab: Lab, *arguments: str) -> Worker:
    """A worker that has run a task, and so has heard of one."""
    lab.write_tasks(SOURCE)
    worker = lab.start_worker(*(arguments or SELDOM))
    latency(lab)
    return worker


def seconds_until(happened: Callable[[], Any], within: float = 10.0) -> float:
    began = time.monotonic()
    eventually(happened, within)
    return time.monotonic() - began


def latency(lab: Lab) -> float:
    """From a commit to the first line of the task."""
    pause = time.monotonic() + random.uniform(0, 0.2)  # between a probe's questions
    eventually(lambda: time.monotonic() > pause)
    before = len(lab.marks("stamp"))
    lab.queue("stamp")
    committed = time.time()
    eventually(lambda: len(lab.marks("stamp")) > before)
    return float(lab.marks("stamp")[-1].at - committed)


def database_of(lab: Lab) -> str:
    return lab.uri.rpartition("/")[2].partition("?")[0]


def by_hand(lab: Lab, statement: str) -> None:
    """What a person types into the database's own client."""
    lab.db.executesql(statement)
    lab.db.commit()


def listeners(lab: Lab) -> list[tuple[int, int]]:
    """Process and port of those who listen."""
    name = database_of(lab)
    query = f"SELECT pid, client_port FROM pg_stat_activity WHERE datname = '{name}'"
    return list(lab.server.execute(f"{query} AND query LIKE 'LISTEN%'"))


# -- all is well -----------------------------------------------------------------------------------


def test_a_committed_task_starts_at_once(server_lab: Lab) -> None:
    lab = server_lab
    started(lab)
    assert statistics.median(latency(lab) for _ in range(20)) < AT_ONCE[lab.server.kind]


def test_what_is_written_by_hand_is_heard_as_well(server_lab: Lab) -> None:
    lab = server_lab
    worker = started(lab)
    [done] = lab.marks()
    by_hand(lab, "UPDATE scheduler_task SET status = 'QUEUED'")
    assert seconds_until(lambda: len(lab.marks()) > 1) < POLLED, done
    task_id = lab.queue("long")
    lab.becomes(task_id, "RUNNING")
    by_hand(lab, f"UPDATE scheduler_run SET stop_requested = 'T' WHERE task_id = {task_id}")
    assert seconds_until(lambda: lab.task(task_id).status == "STOPPED") < POLLED
    by_hand(lab, "UPDATE scheduler_worker SET status = 'DISABLED'")
    assert seconds_until(lambda: "is paused" in worker.log) < POLLED
    by_hand(lab, "UPDATE scheduler_worker SET status = 'TERMINATE'")
    assert seconds_until(lambda: worker.process.poll() is not None) < 3


def test_what_is_rolled_back_never_starts_and_what_is_held_open_starts_with_its_commit(
    server_lab: Lab,
) -> None:
    lab = server_lab
    started(lab)
    lab.fresh()
    lab.scheduler.queue_task("stamp", task_name="undone")
    lab.db.rollback()
    lab.fresh()
    began = time.monotonic()
    held = lab.scheduler.queue_task("stamp").id
    eventually(lambda: time.monotonic() > began + 2)
    # The worker can start before this process is told that its commit went through.
    before_commit = time.time()
    lab.db.commit()
    after_commit = time.time()
    lab.becomes(held, "COMPLETED")
    [_, mark] = lab.marks()
    assert before_commit <= mark.at < after_commit + POLLED


# -- an ear that is lost ---------------------------------------------------------------------------


def said_once(worker: Worker) -> bool:
    return worker.log.count(LOST) == worker.log.count(BACK) == 1


def test_an_ear_that_the_server_ends_is_replaced_and_meanwhile_the_worker_looks(
    postgres_lab: Lab,
) -> None:
    lab = postgres_lab
    worker = started(lab)
    [(pid, _)] = eventually(lambda: listeners(lab))
    lab.server.execute(f"SELECT pg_terminate_backend({pid})")
    assert latency(lab) < POLLED
    assert seconds_until(lambda: said_once(worker)) < 10
    [(other, _)] = listeners(lab)
    assert other != pid
    assert statistics.median(latency(lab) for _ in range(5)) < AT_ONCE["postgres"]
    assert said_once(worker)


class Wires:
    """Between a worker and its server; one of its connections can be made to swallow all."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._plug = socket.create_server(("127.0.0.1", 0))
        self.port = self._plug.getsockname()[1]
        self.swallowing: set[int] = set()
        self._ends: list[socket.socket] = [self._plug]
        threading.Thread(target=self._connect, daemon=True).start()

    def _connect(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                ours, theirs = self._plug.accept()[0], socket.create_connection(self._target)
                self._ends += [ours, theirs]
                port = theirs.getsockname()[1]
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._carry, args=(*pair, port), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if port not in self.swallowing:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_an_ear_that_hears_nothing_though_nobody_hung_up_is_noticed_and_replaced(
    postgres_lab: Lab,
) -> None:
    lab, wires = postgres_lab, Wires(postgres_lab.server.address.port)
    with contextlib.closing(wires):
        direct, lab.uri = (
            lab.uri,
            lab.uri.replace(f":{lab.server.address.port}/", f":{wires.port}/"),
        )
        _ = lab.db
        worker = started(lab)
        lab.uri = direct
        [(_, port)] = eventually(lambda: listeners(lab))
        wires.swallowing.add(port)
        assert latency(lab) < TEST_EVERY + HEARD_WITHIN + 1, "not even before it is noticed"
        assert seconds_until(lambda: LOST in worker.log) < 10
        assert latency(lab) < POLLED
        assert seconds_until(lambda: said_once(worker)) < 10
        assert statistics.median(latency(lab) for _ in range(5)) < AT_ONCE["postgres"]
        assert said_once(worker)
        assert worker.process.poll() is None and "unexpected error" not in worker.log


# -- where nobody can ring -------------------------------------------------------------------------


@contextlib.contextmanager
def pooler(lab: Lab, servers: Shared, mode: str) -> Iterator[str]:
    """PgBouncer before the lab's server; the URI of the lab's database there."""
    program = shutil.which("pgbouncer") or shutil.which(
        "pgbouncer", path="/usr/sbin:/usr/local/sbin"
    )
    if program is None:
        servers.missing["pgbouncer"] = "no PgBouncer found: install pgbouncer"
        raise Missing(servers.missing["pgbouncer"])
    address, port = lab.server.address, free_port()
    folder = Path(tempfile.mkdtemp(prefix="plugin_scheduler_test_pooler_"))
    folder.chmod(0o755)
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={address.host} port={address.port} user={address.user} "
        f"password={address.password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = 4\nunix_socket_dir =\n"
    )
    process = subprocess.Popen(
        [program, "-q", str(folder / "pgbouncer.ini")],
        stderr=subprocess.DEVNULL,
        **service_user("postgres"),
    )
    try:
        uri = lab.uri.replace(f":{address.port}/", f":{port}/")
        eventually(lambda: can_connect(uri))
        yield uri
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def sessions(uri: str, count: int) -> Iterator[Any]:
    """As many transactions at once, each in a session of its own."""
    where = uri.replace("postgres:psycopg2://", "postgres://")
    with contextlib.ExitStack() as closing:
        for _ in range(count):
            line = closing.enter_context(contextlib.closing(psycopg2.connect(where)))
            cursor = line.cursor()
            cursor.execute("SELECT 1")
            yield line, cursor


def test_behind_a_pooler_that_swallows_notifications_a_worker_looks_and_says_so(
    postgres_lab: Lab, servers: Shared
) -> None:
    lab = postgres_lab
    with pooler(lab, servers, "transaction") as lab.uri:
        worker = started(lab, "-b", "2")
        assert statistics.median(latency(lab) for _ in range(5)) < 1
        stats = eventually(
            lambda: (row := lab.worker_row().worker_stats)["wake_up_trouble"] and row, 10
        )
        assert stats["wake_up"] == "polling" and "PgBouncer" in stats["wake_up_trouble"]
        said = status_of(lab)
        assert "starts new tasks up to one second late: a connection pooler" in said
        assert worker.log.count(LOST) == 1 and "unexpected error" not in worker.log
        lab.hang_up()
        for _, cursor in sessions(lab.uri, 4):
            cursor.execute(
                "SELECT array(SELECT pg_listening_channels()), current_setting('lock_timeout')"
            )
            assert cursor.fetchone() == ([], "0")
        worker.kill()


def test_behind_a_pooler_that_lends_whole_sessions_a_worker_hears(
    postgres_lab: Lab, servers: Shared
) -> None:
    lab, direct = postgres_lab, postgres_lab.uri
    with pooler(lab, servers, "session") as uri:
        _ = lab.db
        lab.uri = uri
        worker = started(lab)
        lab.uri = direct
        eventually(lambda: listeners(lab))
        assert statistics.median(latency(lab) for _ in range(9)) < AT_ONCE["postgres"]
        assert LOST not in worker.log
        worker.kill()


def can_connect(uri: str) -> bool:
    with contextlib.suppress(psycopg2.OperationalError):
        return bool(list(sessions(uri, 1)))
    return False


def status_of(lab: Lab) -> str:
    """What a person is shown."""
    where = ["-u", lab.uri, "-f", str(lab.folder)]
    done = subprocess.run([*COMMAND, "status", *where], capture_output=True, text=True, timeout=30)
    assert done.returncode in (0, 1), done.stderr  # 1 where something should be looked at
    return " ".join(done.stdout.split())


@contextlib.contextmanager
def guest(lab: Lab) -> Iterator[str]:
    """The URI of somebody who may read and write the lab's tables, and change none of them."""
    _ = lab.db
    name, one = new_name(), lab.server.address
    lab.server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'guest'")
    rights = f"SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
    for what in (rights, f"USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}"):
        by_hand(lab, f"GRANT {what}")
    try:
        yield lab.uri.replace(f"{one.user}:{one.password}@", f"{name}:guest@")
    finally:
        by_hand(lab, f"DROP OWNED BY {name}")
        lab.server.execute(f"DROP ROLE {name}")


def test_a_role_that_may_change_no_table_works_and_is_told_once_what_it_lacks(
    postgres_lab: Lab,
) -> None:
    lab = postgres_lab
    with guest(lab) as uri:
        owners, lab.uri = lab.uri, uri
        worker = started(lab)
        lab.uri = owners
        assert max(latency(lab) for _ in range(3)) < POLLED
        assert worker.log.count("not created in the database") == 1
        assert worker.log.count(LOST) == 1
        worker.kill()


def test_triggers_that_somebody_drops_are_missed_and_told_of(postgres_lab: Lab) -> None:
    lab = postgres_lab
    worker = started(lab)
    by_hand(lab, "DROP TRIGGER scheduler_task_new ON scheduler_task")
    assert seconds_until(lambda: LOST in worker.log) < 10
    assert latency(lab) < POLLED
    assert "triggers of the scheduler's tables are missing" in worker.log
