"""What the engine asks of every database: one clock for all, short waits, and truthful errors."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pymysql
import pytest
from pydal import DAL
from pydal._globals import THREAD_LOCAL
from support.databases import SERVERS, Database
from support.home import Connect, engine_on, scheduler_on
from support.kit import eventually

from plugin_scheduler.core.errors import Conflict, Locked, StoreUnavailable
from plugin_scheduler.database import dialects, sessions
from plugin_scheduler.database.dialects.base import retry_on_conflict
from plugin_scheduler.database.dialects.mysql import MySQL, skips_locked_rows
from plugin_scheduler.database.sessions import Session
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.system.socket_state import has_news

WAIT = 1.9  # seconds: a worker's loop must never be kept for longer, it has signals to heed
EXCLUSIVE = {
    "postgres": "LOCK TABLE scheduler_worker IN ACCESS EXCLUSIVE MODE",
    "mysql": "LOCK TABLES scheduler_worker WRITE",
}
WAITING = {
    "postgres": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "mysql": "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'",
}
on_servers = pytest.mark.parametrize("database", SERVERS, indirect=True)
on_postgres = pytest.mark.parametrize("database", ["postgres"], indirect=True)


def add_task(store: Store, due_in: float = -1) -> int:
    when = SYSTEM.at(SYSTEM.epoch() + due_in, "UTC")
    task = store.db.scheduler_task
    task_id = task.insert(function_name="add", application_name="lab", next_run_time=when)
    store.db.commit()
    return int(task_id)


def claimed(store: Store) -> list[int]:
    claim = store.claims.take("me", ["main"], 10, store.dialect.now())
    return [order.task.id for order in claim.orders]


@contextmanager
def person(database: Database) -> Iterator[Callable[[str], Any]]:
    """Somebody at the server's own client, in a transaction."""
    server, name = database.server, database.uri.rpartition("/")[2].partition("?")[0]
    assert server is not None
    line = server.connect(name) if server.kind == "postgres" else server.connect()
    with closing(line), line.cursor() as cursor:
        if server.kind == "mysql":
            line.select_db(name)
        cursor.execute("BEGIN")
        yield cursor.execute


def number_of(db: Any) -> int:
    """The server's for this connection."""
    word = {"postgres": "pg_backend_pid", "mysql": "connection_id"}[db._adapter.dbengine]
    [[number]] = db.executesql(f"SELECT {word}()")
    db.commit()
    return int(number)


def cut(database: Database, db: Any, number: int | None = None) -> None:
    """The server ends a connection."""
    assert database.server is not None
    end = {"postgres": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}[database.server.kind]
    database.server.execute(end.format(number or number_of(db)))
    connection = db._adapter.connection
    eventually(lambda: has_news(getattr(connection, "_sock", connection)))  # its goodbye


# -- the engine's own connection -------------------------------------------------------------------


def test_a_beat_that_changes_nothing_has_found_its_row(connect: Connect) -> None:
    with engine_on(connect) as store:
        worker_id = store.workers.register("me", {})
        assert all(store.workers.beat(worker_id, {}) for _ in range(3))
        assert not store.workers.beat(worker_id + 1, {})


@on_servers
def test_a_worker_starts_though_somebody_has_written_and_not_committed(
    connect: Connect, database: Database
) -> None:
    with engine_on(connect) as first:
        assert first.lacks == []
        task_id = add_task(first)
    with person(database) as does:
        does(f"UPDATE scheduler_task SET task_name = 'slow' WHERE id = {task_id}")
        began = time.monotonic()
        with engine_on(connect) as store:
            assert store.lacks == [] and store.workers.register("me", {})
        assert time.monotonic() - began < WAIT


@on_servers
def test_a_connection_that_was_cut_is_replaced_at_the_next_try(
    connect: Connect, database: Database
) -> None:
    with engine_on(connect) as store:
        worker_id = store.workers.register("me", {})
        cut(database, store.db)
        with pytest.raises(StoreUnavailable) as caught:
            store.workers.beat(worker_id, {})
        assert not isinstance(caught.value, Conflict)
        assert store.workers.beat(worker_id, {})


@contextmanager
def without_memory(db: Any, *methods: str) -> Iterator[None]:
    """pydal's own methods find no memory, as below a limit."""

    def lacks(*_: Any, **__: Any) -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        for method in methods:
            patch.setattr(db._adapter, method, lacks)
        yield


def test_a_connection_that_was_closed_by_half_for_want_of_memory_is_replaced(
    connect: Connect,
) -> None:
    with engine_on(connect) as store:
        worker_id = store.workers.register("me", {})
        with without_memory(store.db, "close_connection", "set_connection"):
            store.dialect.hang_up()
        assert store.workers.beat(worker_id, {})


def test_a_connection_that_was_opened_by_half_for_want_of_memory_is_replaced(
    connect: Connect,
) -> None:
    with engine_on(connect) as store:
        worker_id = store.workers.register("me", {})
        store.dialect.hang_up()
        with without_memory(store.db, "after_connection_hook"), pytest.raises(MemoryError):
            store.workers.beat(worker_id, {})
        store.db._adapter.cursor.close()
        setattr(THREAD_LOCAL, store.db._adapter._cursors_uname_, None)
        assert store.workers.beat(worker_id, {})


def test_a_run_gets_a_new_connection_for_one_that_was_closed_or_opened_by_half(
    connect: Connect,
) -> None:
    db = connect()
    sessions.install()
    db.executesql("SELECT 1")
    of_runs = sessions.Sessions()
    with without_memory(db, "close_connection", "set_connection"):
        sessions.close_connection(db)
    of_runs.refresh()
    assert db.executesql("SELECT 1")
    sessions.close_connection(db)
    with without_memory(db, "after_connection_hook"), pytest.raises(MemoryError):
        db.executesql("SELECT 1")
    of_runs.refresh()
    assert db.executesql("SELECT 1")


@on_servers
def test_the_clock_of_a_database_that_is_away_is_told_as_every_other_error(
    connect: Connect, database: Database
) -> None:
    with engine_on(connect) as store:
        cut(database, store.db)
        with pytest.raises(StoreUnavailable):
            store.dialect._read()
        assert store.dialect._read(), "it replaces a connection that is closed"
        cut(database, store.db)
        with pytest.raises(StoreUnavailable), store.dialect.reading():
            store.dialect._read()
        with store.dialect.reading():
            store.dialect._read()


READS_ONLY = {
    "sqlite": "PRAGMA query_only = 1",
    "postgres": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}


@pytest.mark.parametrize("database", list(READS_ONLY), indirect=True)
def test_a_session_that_may_only_read_is_replaced_at_the_next_try(connect: Connect) -> None:
    with engine_on(connect) as store:
        worker_id = store.workers.register("me", {})
        store.db.executesql(READS_ONLY[store.dialect.name])
        with pytest.raises(StoreUnavailable) as caught:
            store.workers.beat(worker_id, {})
        assert not caught.value.for_all, "others may reach the server that has taken over"
        assert store.workers.beat(worker_id, {})


@pytest.mark.parametrize(
    ("number", "words", "reads_only"),
    [
        (1290, "The server is running with the --read-only option so it cannot execute", True),
        (1290, "The server is running with the --secure-file-priv option so it cannot", False),
        (1836, "Running in read-only mode", True),
        (1205, "Lock wait timeout exceeded", False),
    ],
)
def test_what_mysql_says_where_it_only_reads(number: int, words: str, reads_only: bool) -> None:
    assert MySQL.is_read_only(pymysql.err.OperationalError(number, words)) == reads_only


# -- locks -----------------------------------------------------------------------------------------


@on_servers
def test_rows_that_somebody_holds_are_passed_over_by_a_claim(
    connect: Connect, database: Database
) -> None:
    with engine_on(connect) as store, person(database) as does:
        held, free = add_task(store), add_task(store)
        does(f"UPDATE scheduler_task SET priority = 3 WHERE id = {held}")
        began = time.monotonic()
        claim = store.claims.take("me", ["main"], 10, store.dialect.now())
        assert [order.task.id for order in claim.orders] == [free]
        assert store.claims.is_left("me", ["main"], store.dialect.now())
        assert time.monotonic() - began < WAIT
        does("COMMIT")
        assert claimed(store) == [held]


@on_servers
def test_who_waits_for_a_row_gives_up_soon_and_may_try_again(
    connect: Connect, database: Database
) -> None:
    with engine_on(connect) as store, person(database) as does:
        worker_id = store.workers.register("me", {})
        does("UPDATE scheduler_worker SET status = 'DISABLED'")
        began = time.monotonic()
        with pytest.raises(Locked) as caught:
            store.workers.beat(worker_id, {})
        assert time.monotonic() - began < WAIT and not caught.value.for_all
        does("ROLLBACK")
        assert store.workers.beat(worker_id, {})


@on_servers
def test_who_reads_a_table_that_is_being_changed_gives_up_soon(
    connect: Connect, database: Database
) -> None:
    with engine_on(connect) as store, person(database) as does:
        worker_id = store.workers.register("me", {})
        does(EXCLUSIVE[database.server.kind])
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.workers.orders(worker_id)
        assert time.monotonic() - began < WAIT


@on_servers
def test_a_table_that_is_away_for_a_moment_is_no_mistake_of_ours(
    connect: Connect, database: Database
) -> None:
    with engine_on(connect) as store, person(database) as does:
        add_task(store)
        does("ALTER TABLE scheduler_task RENAME TO elsewhere")
        does("COMMIT")
        with pytest.raises(StoreUnavailable):
            claimed(store)
        does("ALTER TABLE elsewhere RENAME TO scheduler_task")
        does("COMMIT")
        assert claimed(store)


class Writer:
    """Writes two tasks' rows, one after the other, as stores of the engine do."""

    def __init__(self, store: Store, between: Callable[[], object]) -> None:
        self._dialect, self._task, self._between = store.dialect, store.db.scheduler_task, between

    @retry_on_conflict
    def write(self, first: int, second: int) -> None:
        with self._dialect.transaction():
            self._task(first).update_record(task_name="mine")
            self._between()
            self._task(second).update_record(task_name="mine")


@on_servers
def test_the_victim_of_a_deadlock_does_it_again(connect: Connect, database: Database) -> None:
    assert database.server is not None
    waits = WAITING[database.server.kind]
    with engine_on(connect) as store, person(database) as does:
        one, two, *more = (add_task(store) for _ in range(20))
        if database.server.kind == "postgres":  # it looks for deadlocks after that time only
            store.db.executesql("SET deadlock_timeout = '10ms'")
            store.db.commit()
        # Who has written less is the one to give way, on MySQL.
        does(f"UPDATE scheduler_task SET task_name = 'theirs' WHERE id >= {two}")
        theirs = threading.Thread(
            target=lambda: (
                does(f"UPDATE scheduler_task SET task_name = 'theirs' WHERE id = {one}"),
                does("COMMIT"),
            )
        )

        def cross() -> None:
            if not theirs.ident:
                theirs.start()
                eventually(lambda: int(database.server.execute(waits)[0][-1]))

        Writer(store, cross).write(one, two)
        theirs.join()
        assert store.dialect.conflicts == 1
        names = {row.id: row.task_name for row in store.db(store.db.scheduler_task).select()}
        assert (names[one], names[two], names[more[-1]]) == ("mine", "mine", "theirs")


# -- the app's own connection ----------------------------------------------------------------------


def session_of(db: DAL) -> Session:
    return Session(db._adapter, db._adapter.connection)


@on_servers
@pytest.mark.parametrize("pool_size", [0, 5])
def test_a_connection_that_was_cut_is_renewed_before_it_is_used(
    connect: Connect, database: Database, pool_size: int
) -> None:
    db = connect(pool_size=pool_size)
    cut(database, db)
    session_of(db).renew_if_broken()
    assert db.executesql("SELECT 1")[0][0] == 1
    whole = db._adapter.connection
    session_of(db).renew_if_broken()
    assert db._adapter.connection is whole
    dialects.close_connection(db)  # pydal would keep it in its pool
    db._adapter.pool_size = 0


@on_servers
def test_a_commit_over_a_lost_connection_fails_only_where_there_was_something_to_lose(
    connect: Connect, database: Database
) -> None:
    db = connect()
    scheduler = scheduler_on(db)
    cut(database, db)
    session_of(db).commit()
    session_of(db).renew_if_broken()
    number = number_of(db)
    scheduler.queue_task("add")
    cut(database, db, number)
    with pytest.raises(db._adapter.driver.Error):
        session_of(db).commit()
    dialects.close_connection(db)
    assert db(db.scheduler_task).isempty()


@on_postgres
def test_news_for_the_app_do_not_make_its_connection_a_broken_one(connect: Connect) -> None:
    db, other = connect(), connect()
    db.executesql("LISTEN something")
    db.commit()
    other.executesql("NOTIFY something")
    other.commit()
    connection = db._adapter.connection
    eventually(lambda: select.select([connection], [], [], 0)[0])
    assert not dialects._kind_of(db).is_broken(connection) and len(connection.notifies) == 1


@pytest.mark.parametrize(
    ("version", "skips"),
    [
        ("10.11.6-MariaDB-0+deb12u1", True),
        ("5.5.5-10.5.4-MariaDB", False),
        ("5.5.5-10.6.4-MariaDB", True),
        ("11.4.2-MariaDB-log", True),
        ("5.7.44-log", False),
        ("8.0.36-0ubuntu0.22.04.1", True),
        ("9.1.0", True),
        ("what?", False),
    ],
)
def test_a_servers_version_tells_whether_it_can_skip_locked_rows(version: str, skips: bool) -> None:
    assert skips_locked_rows(version) == skips
