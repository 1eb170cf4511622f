"""Find driver connections that do not belong to a DAL, and roll back their open transactions.

A task or a library may use a driver directly. Its connections are left open, but a transaction that
is open when the run ends holds locks. It is rolled back, as at the end of a process.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from plugin_scheduler.database.dialects.mysql import IN_TRANSACTION
from plugin_scheduler.database.sessions import HERE

#: Module and class of a connection to a function that returns True for an open transaction, as far
#: as the client knows.
_KINDS: dict[tuple[str, str], Callable[[Any], bool]] = {
    ("sqlite3", "Connection"): lambda connection: connection.in_transaction,
    ("psycopg2.extensions", "connection"): lambda connection: (
        connection.info.transaction_status in (1, 2, 3)
    ),
    ("psycopg", "Connection"): lambda connection: connection.info.transaction_status in (1, 2, 3),
    ("pymysql.connections", "Connection"): lambda connection: bool(
        connection.open and connection.server_status & IN_TRANSACTION
    ),
}


class BareConnections:
    """The bare connections of this process."""

    def __init__(self, inherited: Sequence[Any] = ()) -> None:
        """``inherited`` are the connections found before this process was forked."""
        self._inherited = list(inherited)
        self._found: list[Any] = []
        self._next_file = -2  # so that the first run searches, also in a spawned process

    def end_transactions(self) -> list[str]:
        """Roll back open transactions; return the errors, after which the process must end."""
        file = _next_file()
        if file != self._next_file:  # a file was left open: there may be new connections
            self._next_file = file
            self._found = find()
        if not self._found and not self._inherited:
            return []
        found = self._found  # drop connections without another reference
        self._found = [found[at] for at in range(len(found)) if sys.getrefcount(found[at]) > _ALONE]
        del found
        ended = [_end(connection) for connection in (*self._inherited, *self._found)]
        return [reason for reason in ended if reason is not None]


def find() -> list[Any]:
    """Return the driver connections of this process that no DAL has opened in this thread."""
    known = {id(session.connection) for session in HERE.open.values()}
    tests: dict[type, Any] = {}
    found = []
    for thing in gc.get_objects():
        kind = type(thing)
        if kind not in tests:
            tests[kind] = _test_of(kind)
        if tests[kind] is not None and id(thing) not in known:
            found.append(thing)
    return found


def _test_of(kind: type) -> Any:
    """Return the test for connections of this class, from the class or one of its bases."""
    for base in kind.__mro__:
        if (base.__module__, base.__name__) in _KINDS:
            return _KINDS[base.__module__, base.__name__]
    return None


def _end(connection: Any) -> str | None:
    is_open = _test_of(type(connection))
    name = f"a connection of {type(connection).__module__}"
    try:
        if not is_open(connection):
            return None
    except Exception:  # driver-specific error: the connection is closed
        return None
    try:
        connection.rollback()
    except Exception as error:  # wrong thread, or a broken connection
        return f"{name} was left in a transaction that cannot be rolled back: {error}"
    sys.stderr.write(f"{name} was left in a transaction: rolled back\n")
    return None


def _next_file() -> int:
    """Return the next free file descriptor: it changes when a file is left open."""
    try:
        file = os.dup(0)
    except OSError:
        return -1
    os.close(file)
    return file


def _alone() -> int:
    found = [object()]
    return sys.getrefcount(found[0])


_ALONE = _alone()
