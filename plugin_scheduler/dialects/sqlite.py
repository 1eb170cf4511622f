"""SQLite: one writer at a time, so take the write lock first and never wait for it long.

I own its pragmas and its doorbell. I call pydal and sqlite3.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

from plugin_scheduler.dialects.base import Dialect
from plugin_scheduler.doorbell import Doorbell
from plugin_scheduler.doorbell.sqlite import DataVersion

BUSY_MS = 500  # the worker's loop must go on: output, deadlines and signals do not wait


class SQLite(Dialect):
    """The file beside the app."""

    name = "sqlite"

    def prepare_connection(self) -> None:
        self.db.executesql(f"PRAGMA busy_timeout={BUSY_MS}")
        if self._settings.sqlite_wal:
            # Readers and the writer stop blocking each other. The mode stays with the file, so it
            # is asked first: switching needs a moment without any other connection.
            if self.db.executesql("PRAGMA journal_mode")[0][0] != "wal":
                with contextlib.suppress(sqlite3.OperationalError):
                    self.db.executesql("PRAGMA journal_mode=WAL")
            # In this mode NORMAL loses nothing when a process dies (see docs on durability).
            if self.db.executesql("PRAGMA journal_mode")[0][0] == "wal":
                self.db.executesql("PRAGMA synchronous=NORMAL")

    def begin(self) -> None:
        self.db.executesql("BEGIN IMMEDIATE TRANSACTION")

    def passes(self, error: Exception) -> bool:
        unreadable = "Could not decode" in str(error)  # a text in a row that is no UTF-8
        return isinstance(error, sqlite3.OperationalError) and not unreadable

    def down_for_all(self, error: Exception) -> bool:
        return True  # who holds the lock keeps everybody out

    def hint(self, error: Exception) -> str:
        if "locked" not in str(error):
            return ""
        return (
            " (somebody holds it for writing: an action without @action.uses(db), "
            "or a script or shell that has not committed?)"
        )

    def doorbell(self) -> Doorbell:
        return DataVersion(lambda: self.db._adapter.connection, self._path())

    def _path(self) -> str:
        return str(self.db.executesql("PRAGMA database_list")[0][2])

    def prepare_tables(self, indexes: Any) -> list[str]:
        for table, name, columns, *condition in indexes:
            fields = ", ".join(f'"{column}"' for column in columns)
            where = f" WHERE {condition[0]}" if condition else ""
            self.db.executesql(
                f'CREATE INDEX IF NOT EXISTS "{name}" ON "{table}" ({fields}){where}'
            )
        self.db.commit()
        return []

    @classmethod
    def is_idle(cls, connection: Any) -> bool:
        return not connection.in_transaction
