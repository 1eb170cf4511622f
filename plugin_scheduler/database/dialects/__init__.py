"""Database dialects, and functions that choose one.

A dialect contains what is not portable: beginning a transaction, row locks, the database's clock,
indexes, classification of errors, and access to pydal's internals. A dialect does not decide
anything about tasks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects.base import Dialect, hang_up
from plugin_scheduler.database.dialects.mysql import MySQL
from plugin_scheduler.database.dialects.postgres import Postgres
from plugin_scheduler.database.dialects.sqlite import FileRemoved, SQLite
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.pydal_access import adapter_of, open_connection

_DIALECTS: dict[str, type[Dialect]] = {"sqlite": SQLite, "postgres": Postgres, "mysql": MySQL}


def dialect_for(db: Any, clock: Clock, settings: Settings) -> Dialect:
    """Return the dialect of an open database; the base dialect for other databases."""
    return _kind_of(db)(db, clock, settings)


def driver_args(uri: str, given: Mapping[str, Any] | None, settings: Settings) -> dict[str, Any]:
    """Return the driver options of the engine's own connection: the app's, with short timeouts.

    pydal writes its defaults into the app's options, and an app may use long timeouts for its
    tasks. A worker must not: it would not read messages of its runners meanwhile.
    """
    scheme = uri.partition("://")[0].partition(":")[0].rstrip("0123456789")
    options = _DIALECTS.get(scheme, Dialect).connection_options(settings)
    theirs = dict(given or {})
    if "client_flag" in options:  # a bit set: combine the engine's flags with the app's
        options["client_flag"] |= int(theirs.get("client_flag") or 0)
    return {**theirs, **options}


def require_file(uri: str, folder: str | None) -> None:
    """Raise `FileRemoved` if a SQLite database has no file: pydal would create an empty one."""
    scheme, _, path = uri.partition("://")
    if scheme == SQLite.name:
        path = os.path.abspath(os.path.join(folder or "", path))
        if not os.path.exists(path):
            raise FileRemoved(path)


def kind_of_adapter(adapter: Any) -> type[Dialect]:
    """Return the dialect class of a pydal adapter."""
    return _DIALECTS.get(adapter.dbengine, Dialect)


def _kind_of(db: Any) -> type[Dialect]:
    return kind_of_adapter(adapter_of(db))


#: Driver messages, in lower case, for a database that is down, starting, full or locked. When a
#: connection fails there is no dialect yet, and pydal passes on only the text.
_NOT_NOW = (
    "is locked",
    "connection refused",
    "could not connect",
    "can't connect",
    "starting up",
    "shutting down",
    "not yet accepting connections",
    "in recovery",
    "too many clients",
    "too many connections",
    "connection slots",
    "timeout expired",
    "timed out",
    "closed the connection",
    "terminating connection",
    "lost connection",
    "gone away",
    "connection reset",
    "name resolution",
    "no route to host",
    "unreachable",
    "lock timeout",
    "lock wait timeout",
    "statement timeout",
    "no such file or directory",
    "deadlock",
)
_OF_DRIVERS = {"OperationalError", "InterfaceError", "InternalError", "DatabaseError"}


def is_passing(error: BaseException) -> bool:
    """Return True for a transient failure of a database; a wrong password is not transient."""
    while True:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        words = str(error).lower()
        if kinds & _OF_DRIVERS or words.startswith("failure to connect"):
            reason = words.strip().rpartition("\n")[2] if "\n" in words else words
            return any(one in words for one in _NOT_NOW) and "authentication" not in reason
        following = error.__cause__ or error.__context__
        if following is None:
            return False
        error = following


def close_connection(db: Any) -> None:
    """Close this thread's connection and the connections in the pool.

    A forked process must not inherit an open connection: libpq and SQLite both break when two
    processes use one handle.
    """
    hang_up(adapter_of(db))


def is_on_a_server(db: Any) -> bool:
    """Return True for a database server, whose number of connections is limited."""
    return _kind_of(db).is_remote


def is_idle(db: Any) -> bool:
    """Return True if certainly no transaction is open on this thread's connection."""
    connection = open_connection(adapter_of(db))
    return connection is None or _kind_of(db).is_idle(connection)
