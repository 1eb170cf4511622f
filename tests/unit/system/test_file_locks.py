"""Who holds a lock on a database's file, as the system tells."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from plugin_scheduler.system.file_locks import LOCKS, holders_of

pytestmark = pytest.mark.skipif(not os.path.exists(LOCKS), reason="the system tells of no locks")


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_who_writes_holds_a_lock_and_who_is_only_connected_holds_none(
    tmp_path: Path, journal: str
) -> None:
    path = str(tmp_path / "some.sqlite")
    paths = [path, f"{path}-shm", f"{path}-wal"]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA journal_mode={journal}")
        db.execute("CREATE TABLE one (id INTEGER)")
        assert db.execute("SELECT count(*) FROM one").fetchone() == (0,)
        assert holders_of(paths) == set()
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO one VALUES (1)")
        assert holders_of(paths) == {os.getpid()}
        db.execute("ROLLBACK")
        assert holders_of(paths) == set()
