"""Track the database connections of a run, and clean them up after it.

A runner installs hooks in pydal once. From then on, every connection that pydal opens in a thread
has a `Session`, whichever code created the DAL. A session records statements with effects beyond
their transaction (SET, PRAGMA, temporary tables). It also records transactions that the database
has rolled back by itself: a later COMMIT, which would lose some or all changes, is refused.

Only statements that go through pydal are tracked, not those of a bare driver connection.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from typing import Any

from pydal import DAL

from plugin_scheduler.core.errors import CommitFailed, StoreUnavailable
from plugin_scheduler.database.dialects import close_connection, kind_of_adapter
from plugin_scheduler.database.dialects.base import is_half_closed
from plugin_scheduler.system.pydal_access import (
    ConnectionPool,
    SQLAdapter,
    adapter_of,
    dals_of_thread,
    number_of_dals,
)

#: First six characters of statements on rows, most of which do not change the session.
_ABOUT_ROWS = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE"))
#: Functions in such statements that do change the session.
_CALLS = ("set_config(", "pg_advisory_lock", "pg_try_advisory_lock", "get_lock(", "GET_LOCK(")
_TOUCHES = re.compile(
    r"(?:^|;)\s*(?:PRAGMA|ATTACH|DETACH|LISTEN|PREPARE|DECLARE|LOAD|USE|RESET|DISCARD|HANDLER"
    r"|LOCK\s+TABLES?|FLUSH|CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL)\s+)?TEMP(?:ORARY)?"
    r"|SET(?!\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)))\b",
    re.IGNORECASE,
)
_ENDS = re.compile(r"\s*(ROLLBACK|ABORT)(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)\b", re.IGNORECASE)
REASON_LIMIT = 300  # characters


class Session:
    """An open connection of a DAL, in the thread that opened it."""

    __slots__ = (
        "adapter",
        "connection",
        "error",
        "failed_commit",
        "gone",
        "kind",
        "lost",
        "place",
        "reads_only",
        "touched",
    )

    def __init__(self, adapter: Any, connection: Any) -> None:
        self.adapter, self.connection = adapter, connection
        self.kind = kind_of_adapter(adapter)
        self.place = self.kind.place_of(adapter)
        self.gone: StoreUnavailable | None = None
        self.touched = self.reads_only = False
        self.error: str | None = None
        self.lost: str | None = None
        self.failed_commit: str | None = None

    def failed(self, error: Exception, was_open: bool) -> None:
        """Record a failed statement; ``was_open`` is True inside a transaction."""
        self.error = self.error or _line_of(error)
        self.reads_only = self.reads_only or self.kind.is_read_only(error)
        if was_open and self.kind.has_lost(self.connection, error):
            self.lost = self.lost or _line_of(error)

    def notice(self, statement: str) -> None:
        """Record a successful statement that may change the session."""
        if _ENDS.match(statement):
            self.begin_anew()
        elif _TOUCHES.search(statement) or _calls_something(statement):
            self.touched = True

    def begin_anew(self) -> None:
        """Reset the state: a new transaction begins."""
        self.error = self.lost = self.failed_commit = None

    def check(self) -> None:
        """Raise `CommitFailed` if a commit would lose changes."""
        if self.lost:
            raise CommitFailed(
                f"the database rolled back the transaction after an error that the task caught: "
                f"{self.lost}"
            )
        if self.kind.is_aborted(self.connection):
            why = self.error or "a statement failed"
            raise CommitFailed(
                f"the transaction was aborted by an error that the task caught: {why}"
            )

    def commit(self) -> None:
        """Commit. A lost connection without an open transaction is not an error.

        A task that did not use its database must not fail because the database was restarted.
        """
        idle = self.kind.is_idle(self.connection)
        if idle and self.kind.is_remote:
            return
        try:
            self.adapter.db.commit()
        except Exception:  # driver-specific
            if not idle:
                raise
            self.close()

    def rollback(self) -> None:
        """Roll back; close the connection if that fails."""
        try:
            self.adapter.db.rollback()
        except Exception:  # driver-specific; the next run opens a new connection
            self.close()

    def renew_if_broken(self) -> None:
        """Close an unusable connection, so that the next query opens a new one.

        The server may have closed the connection or made it read-only, or its file was replaced.
        """
        try:
            self.gone = None
            moved = self.kind.has_moved(self.place)
        except StoreUnavailable as error:
            self.gone = error  # raised on use; a new connection would create an empty file
            return
        unusable = is_half_closed(self.adapter) or self.kind.is_broken(self.connection)
        if moved or self.reads_only or unusable:
            self.close()

    def close(self) -> None:
        close_connection(self.adapter.db)


class _Here(threading.local):
    """The sessions of each thread; they end with their thread."""

    def __init__(self) -> None:
        self.open: dict[int, Session] = {}
        self.uncommitted: list[str] = []
        #: DAL of the app to the tables that runs have defined; True for tables of earlier runs.
        self.tables: dict[int, dict[str, bool]] = {}


HERE = _Here()


class Sessions:
    """The sessions of the runs in this thread."""

    def __init__(self) -> None:
        """Take every DAL that is open now as the app's; DALs opened later belong to a run."""
        self._known = [adapter_of(db) for db in dals_of_thread()]
        self._known_ids = {id(adapter) for adapter in self._known}
        self._count = number_of_dals()
        HERE.tables = {id(adapter.db): {} for adapter in self._known}

    def refresh(self) -> None:
        """Renew broken connections before a run."""
        for session in list(HERE.open.values()):
            session.renew_if_broken()

    def commit(self) -> None:
        """Commit in every database; in none if one commit is known to fail."""
        if HERE.uncommitted:
            raise CommitFailed(HERE.uncommitted[0])
        for session in HERE.open.values():
            session.check()
        for session in list(HERE.open.values()):
            session.commit()

    def rollback(self) -> None:
        """Roll back in every database."""
        for session in list(HERE.open.values()):
            session.rollback()

    def tidy(self) -> None:
        """Clean up after the transactions have ended.

        Closes connections whose session the run has changed, and the DALs that the run created.
        """
        if HERE.uncommitted:
            HERE.uncommitted = []
        for session in list(HERE.open.values()):
            if session.touched or id(session.adapter) not in self._known_ids:
                session.close()
            else:
                session.begin_anew()
        if number_of_dals() != self._count:
            for db in dals_of_thread():
                if id(adapter_of(db)) not in self._known_ids:
                    _forget(db)
            self._count = number_of_dals()
        for tables in HERE.tables.values():
            if tables:
                tables.update(dict.fromkeys(tables, True))

    def close_idle_connections(self) -> None:
        """Close connections to servers; the next query opens them again."""
        for session in list(HERE.open.values()):
            if session.kind.is_remote:
                session.close()


def disconnect_all() -> None:
    """Close every connection of this thread, so that a forked process inherits none.

    Includes connections opened before the hooks were installed.
    """
    for session in list(HERE.open.values()):
        session.close()
    for db in dals_of_thread():
        close_connection(db)


def _forget(db: Any) -> None:
    """Close a DAL like its own `close`, but without the commit."""
    close_connection(db)
    with contextlib.suppress(Exception):  # the DAL may be unusable
        db.close()


def _line_of(error: BaseException) -> str:
    with contextlib.suppress(Exception):  # the error may come from a driver or from user code
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0] if lines else ''}"[:REASON_LIMIT]
    return type(error).__name__


# -- hooks --------------------


def install() -> None:
    """Install the hooks in pydal, once per process."""
    if not hasattr(ConnectionPool, "_plugin_scheduler_hooks"):
        ConnectionPool._plugin_scheduler_hooks = True
        ConnectionPool.set_connection = _set_connection(ConnectionPool.set_connection)
        ConnectionPool.close = _close(ConnectionPool.close)
        SQLAdapter.execute = _execute(SQLAdapter.execute)
        SQLAdapter.commit = _commit(SQLAdapter.commit)
        SQLAdapter.rollback = _rollback(SQLAdapter.rollback)
        DAL.define_table = _define_table(DAL.define_table)


def _set_connection(plain: Callable[..., Any]) -> Callable[..., Any]:
    def set_connection(self: Any, connection: Any, run_hooks: bool = False) -> None:
        HERE.open.pop(id(self), None)  # statements of the app's own connection hooks do not count
        try:
            plain(self, connection, run_hooks)
        except BaseException:  # pydal would keep a connection that may lack its cursor
            plain(self, None)
            with contextlib.suppress(Exception):  # the driver may have closed it
                connection.close()
            raise
        if connection:
            HERE.open[id(self)] = Session(self, connection)

    return set_connection


def _close(plain: Callable[..., Any]) -> Callable[..., Any]:
    def close(self: Any, action: Any = "commit", really: bool = True) -> None:
        session = HERE.open.get(id(self))
        plain(self, action, really)
        if session is not None and session.failed_commit:  # pydal hides the error
            HERE.uncommitted.append(session.failed_commit)

    return close


def _execute(plain: Callable[..., Any]) -> Callable[..., Any]:
    def execute(self: Any, *args: Any, **options: Any) -> Any:
        session = HERE.open.get(id(self))
        was_open = (
            session is not None
            and session.kind.may_lose
            and not session.kind.is_idle(session.connection)
        )
        if session is not None and session.gone is not None:
            raise session.gone
        try:
            answer = plain(self, *args, **options)
        except Exception as error:
            session = session or HERE.open.get(id(self))
            if session is not None:
                session.failed(error, was_open)
            raise
        statement = args[0]
        if isinstance(statement, str) and _may_touch(statement):
            session = session or HERE.open.get(id(self))
            if session is not None:
                session.notice(statement)
        return answer

    return execute


def _may_touch(statement: str) -> bool:
    if statement[:6] not in _ABOUT_ROWS or statement.find(";", 0, -1) >= 0:
        return True
    return _calls_something(statement)


def _calls_something(statement: str) -> bool:
    return any(call in statement for call in _CALLS)


def _commit(plain: Callable[..., Any]) -> Callable[..., Any]:
    def commit(self: Any) -> Any:
        session = HERE.open.get(id(self))
        if session is None:
            return plain(self)
        try:
            session.check()
            answer = plain(self)
        except Exception as error:
            session.failed_commit = str(error)
            raise
        session.begin_anew()
        return answer

    return commit


def _rollback(plain: Callable[..., Any]) -> Callable[..., Any]:
    def rollback(self: Any) -> Any:
        session = HERE.open.get(id(self))
        answer = plain(self)
        if session is not None:
            session.begin_anew()
        return answer

    return rollback


def _define_table(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Let a run define a table that an earlier run has defined, as in a new process."""

    def define_table(self: Any, tablename: str, *fields: Any, **options: Any) -> Any:
        tables = HERE.tables.get(id(self))
        if tables is not None and tables.get(tablename) and tablename in self.tables:
            _drop_references(self, tablename)
            options["redefine"] = True
        table = plain(self, tablename, *fields, **options)
        if tables is not None:
            tables[tablename] = False
        return table

    return define_table


def _drop_references(db: Any, tablename: str) -> None:
    """Remove the back references to a table that is about to be redefined."""
    for table in db:
        for name in ("_referenced_by", "_referenced_by_list"):
            fields = getattr(table, name, [])
            fields[:] = [field for field in fields if field.tablename != tablename]
