"""What a statement does to its session, and what a commit may still promise."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydal import DAL

from plugin_scheduler.core.errors import CommitFailed
from plugin_scheduler.database.bare_connections import BareConnections
from plugin_scheduler.database.sessions import Session, _may_touch
from plugin_scheduler.system.file_locks import holders_of

TOUCHES = """
SET search_path TO x
set session transaction read only
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
SELECT 1; SET x = 1
SELECT set_config('search_path', 'x', false)
SELECT pg_advisory_lock(1)
SELECT GET_LOCK('x', 1)
CREATE TEMP TABLE x (id int)
CREATE TEMPORARY TABLE x (id int)
create global temporary table x (id int)
PRAGMA query_only=1
LISTEN x
ATTACH DATABASE 'x' AS y
LOCK TABLES x WRITE
USE other
"""
LEAVES_NOTHING = """
SELECT * FROM t WHERE setting = 1
UPDATE t SET a = 1
INSERT INTO t (note) VALUES ('please; do it');
SET LOCAL lock_timeout = 1
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
SET CONSTRAINTS ALL DEFERRED
CREATE TABLE t (id int)
BEGIN
COMMIT
ROLLBACK TO SAVEPOINT x
WITH t AS (SELECT 1) SELECT * FROM t
"""


@pytest.fixture(scope="module")
def db() -> Iterator[DAL]:
    with contextlib.closing(DAL("sqlite:memory")) as memory:
        yield memory


def a_session(db: DAL) -> Session:
    return Session(db._adapter, db._adapter.connection)


def is_touched(db: DAL, statement: str) -> bool:
    session = a_session(db)
    if _may_touch(statement):
        session.notice(statement)
    return session.touched


@pytest.mark.parametrize("statement", TOUCHES.strip().splitlines())
def test_a_statement_that_outlives_its_transaction_is_noticed(db: DAL, statement: str) -> None:
    assert is_touched(db, statement)


@pytest.mark.parametrize("statement", LEAVES_NOTHING.strip().splitlines())
def test_a_statement_that_does_not_costs_no_connection(db: DAL, statement: str) -> None:
    assert not is_touched(db, statement)


def test_what_the_database_rolled_back_cannot_be_committed_until_the_task_has_noticed(
    db: DAL,
) -> None:
    connection = db._adapter.connection
    connection.execute("CREATE TABLE t (n INTEGER UNIQUE ON CONFLICT ROLLBACK)")
    connection.execute("INSERT INTO t VALUES (1)")
    session = a_session(db)
    assert connection.in_transaction
    with pytest.raises(sqlite3.IntegrityError) as caught:
        connection.execute("INSERT INTO t VALUES (1)")
    session.failed(caught.value, was_open=True)
    with pytest.raises(CommitFailed, match="UNIQUE"):
        session.check()
    session.notice("ROLLBACK TO x")
    with pytest.raises(CommitFailed):
        session.check()
    session.notice("ROLLBACK")
    session.check()


def test_a_bare_connection_is_rolled_back_and_no_longer_kept_than_by_its_owner(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bare = BareConnections()
    mine = sqlite3.connect(tmp_path / "x.sqlite")
    mine.execute("CREATE TABLE t (n)")
    mine.execute("INSERT INTO t VALUES (1)")
    assert bare.end_transactions() == []
    assert not mine.in_transaction
    assert "rolled back" in capsys.readouterr().err
    mine.execute("INSERT INTO t VALUES (1)")
    assert bare.end_transactions() == [] and not mine.in_transaction
    mine.close()
    del mine
    bare.end_transactions()
    assert bare.end_transactions() == []


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="this system does not tell of locks")
def test_who_locks_a_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert holders_of([str(path), str(tmp_path / "missing")]) == set()
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 120)
        assert holders_of([str(path)]) == {os.getpid()}
