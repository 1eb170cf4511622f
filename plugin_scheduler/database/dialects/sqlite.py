"""Dialect of SQLite: pragmas, write lock, and detection of replaced files.

SQLite has one writer at a time: a transaction takes the write lock first, with a short timeout.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydal.objects import Expression

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.bulk_insert import (
    Literals,
    batches,
    fits,
    ids_of,
    ids_where,
    insert_into,
)
from plugin_scheduler.database.dialects.bulk_sql import POINT
from plugin_scheduler.database.notifier import Notifier
from plugin_scheduler.database.notifier.sqlite import DataVersion
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.file_locks import holders_of
from plugin_scheduler.system.pydal_access import adapter_of, open_connection, sql_name

LOGS = ("-wal", "-shm")
BUSY_MS = 500  # the main loop must continue: output, deadlines and signals do not wait


Identity = tuple[int, int] | None


class DatabaseFile(NamedTuple):
    """A path, and the identity of the file there."""

    path: str
    identity: Identity


class FileRemoved(StoreUnavailable):
    """Raised when the database file does not exist, so that no client can write to it."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the database file was removed: {path}", for_all=True)


class SQLite(Dialect):
    """A SQLite database file."""

    name = "sqlite"
    title, version_query = "SQLite", "SELECT sqlite_version()"
    asks_at_once = True
    inserts_at_once = True
    part = "SELECT * FROM ({})"
    holds_all = True

    def __init__(self, db: Any, clock: Clock, settings: Settings) -> None:
        super().__init__(db, clock, settings)
        self._place: DatabaseFile | None = self.place_of(adapter_of(db))
        self._logs: dict[str, Identity] = {}
        self._logs_moved = False

    def prepare_connection(self) -> None:
        self.db.executesql(f"PRAGMA busy_timeout={BUSY_MS}")
        if self._settings.sqlite_wal:
            # In WAL mode, readers and the writer do not block each other. The mode is stored in the
            # file, so it is queried first: switching fails while another connection is open.
            if self.db.executesql("PRAGMA journal_mode")[0][0] != "wal":
                with contextlib.suppress(sqlite3.OperationalError):
                    self.db.executesql("PRAGMA journal_mode=WAL")
            # In WAL mode, NORMAL loses nothing when a process dies (see docs on durability).
            if self.db.executesql("PRAGMA journal_mode")[0][0] == "wal":
                self.db.executesql("PRAGMA synchronous=NORMAL")
        self._note_logs()

    def begin(self) -> None:
        self.db.executesql("BEGIN IMMEDIATE TRANSACTION")

    def _hold(self, table: Any, ids: Sequence[int], fields: Sequence[Any], only: Any) -> list[Any]:
        # One lock covers all rows, and the first write takes it; this write changes no row.
        self.db.executesql(f"UPDATE {sql_name(table)} SET id = id WHERE 0")
        rows = self._those(table, ids, only).select(*fields, orderby=table.id, cacheable=True)
        return list(rows)

    def execute(self, sql: str, values: Sequence[Any]) -> None:
        super().execute(sql, [_stored(value) for value in values])

    def update_many(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], only: str
    ) -> None:
        changes = ", ".join(f"{column} = ?" for column in columns)
        adapter_of(self.db).cursor.executemany(
            f"UPDATE {table} SET {changes} WHERE id = ? AND {only}",
            [(*map(_stored, values), row_id) for row_id, *values in rows],
        )

    def insert_many(self, table: Any, rows: Sequence[dict[str, Any]], key: str) -> list[int]:
        try:
            bound = self._literals.rows(table, rows) if fits(table, rows) else []
        except ValueError:  # an SQL expression, which needs pydal's insert
            bound = []
        if not bound:
            return super().insert_many(table, rows, key)
        # The SQL does not depend on the values, so that the driver can cache the statement.
        sql = f"{insert_into(table, rows)}VALUES ({', '.join('?' * len(bound[0]))})"
        if len(rows) == 1:
            self.db.executesql(sql, placeholders=bound[0])
            return [int(adapter_of(self.db).lastrowid(table))]
        with contextlib.closing(adapter_of(self.db).connection.cursor()) as cursor:
            cursor.executemany(sql, bound)
        place, pairs = list(rows[0]).index(key), []
        for some in batches([row[place] for row in bound]):
            sql = f"{ids_where(table, key)} IN ({', '.join('?' * len(some))})"
            pairs += self.db.executesql(sql, placeholders=some)
        return ids_of(pairs, rows, key)

    def _begins_point(self) -> bool:
        connection = adapter_of(self.db).connection
        # Python begins a transaction only before a write. A savepoint outside a transaction would
        # start its own transaction, which ends with the savepoint.
        if connection.isolation_level is not None and not connection.in_transaction:
            self.db.executesql("BEGIN")
        self.db.executesql(f"SAVEPOINT {POINT}")
        return True

    @functools.cached_property
    def _literals(self) -> Literals:
        return Literals(adapter_of(self.db), _meant)

    def as_stored(self, field: Any) -> Any:
        return Expression(self.db, f"+{field}", None, None, "string")

    @contextlib.contextmanager
    def any_text(self) -> Iterator[None]:
        connection = adapter_of(self.db).connection
        before = connection.text_factory
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        try:
            yield
        finally:
            connection.text_factory = before

    def by_id(self, field: Any) -> Any:
        return Expression(self.db, f"+{field}", None, None, field.type)

    # -- the file --------------------

    @classmethod
    def place_of(cls, adapter: Any) -> Any:
        if adapter.driver_args.get("uri"):  # in memory
            return None
        path = os.path.abspath(adapter.dbpath)
        return DatabaseFile(path, identity_of(path))

    @classmethod
    def has_moved(cls, place: Any) -> bool:
        if place is None:
            return False
        here = identity_of(place.path)
        if here is None:
            raise FileRemoved(place.path)
        return bool(here != place.identity)

    def _be_connected(self) -> None:
        # pydal would create a missing file.
        if self.has_moved(self._place) or self._logs_moved:
            self.hang_up()
            self._place = self.place_of(adapter_of(self.db))
        super()._be_connected()

    def _note_logs(self) -> None:
        """Record the log files of the database.

        If they are replaced or removed, new connections share nothing with this one.
        """
        self._logs_moved = False
        paths = [f"{self._place.path}{end}" for end in LOGS] if self._place else []
        found = {path: identity_of(path) for path in paths}
        self._logs = {path: identity for path, identity in found.items() if identity}

    def rollback(self) -> None:
        if open_connection(adapter_of(self.db)) is not None:
            super().rollback()

    def _is_news(self) -> bool:
        """Return True if the file was replaced or removed, for the notifier."""
        logs = self._logs.items()
        self._logs_moved |= any(identity_of(path) != identity for path, identity in logs)
        try:
            return self._logs_moved or self.has_moved(self._place)
        except FileRemoved:
            return True

    @classmethod
    def is_read_only(cls, error: Exception) -> bool:
        return isinstance(error, sqlite3.OperationalError) and "readonly database" in str(error)

    def is_transient(self, error: Exception) -> bool:
        unreadable = "Could not decode" in str(error)  # a text in a row is not UTF-8
        return isinstance(error, sqlite3.OperationalError) and not unreadable

    def down_for_all(self, error: Exception) -> bool:
        return True  # the holder of the lock blocks all writers

    def hint(self, error: Exception) -> str:
        if "locked" not in str(error):
            return ""
        return (
            " (another process holds the write lock: possibly an action without @action.uses(db), "
            "or a script or shell that has not committed)"
        )

    def lock_holders(self) -> set[int] | None:
        if self._place is None:
            return None
        path = self._place.path  # a query for the path would open a connection
        return holders_of([path, f"{path}-shm", f"{path}-wal"])

    def notifier(self) -> Notifier:
        adapter = adapter_of(self.db)
        return DataVersion(lambda: open_connection(adapter), self._path(), self._is_news)

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

    may_lose = True

    @classmethod
    def has_lost(cls, connection: Any, error: Exception) -> bool:
        # A full disk, a disk error, or a constraint with ON CONFLICT ROLLBACK.
        return not connection.in_transaction


def identity_of(path: str) -> Identity:
    """Return the identity of the file at a path; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stored(value: Any) -> Any:
    """Convert times to text, as pydal does."""
    return str(value)[:19] if isinstance(value, datetime) else value


def _meant(literal: str) -> Any:
    """Return the value of a literal; raises ``ValueError`` for an expression.

    >>> [_meant(literal) for literal in ("NULL", "7", "'it''s'")]
    [None, 7, "it's"]
    """
    if literal == "NULL":
        return None
    if literal[:1] == literal[-1:] == "'":
        return literal[1:-1].replace("''", "'")
    return float(literal) if "." in literal else int(literal)
