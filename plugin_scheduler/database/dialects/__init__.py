"""How does this database say it? One dialect a database, and the little that all of them share.

I own what is not portable: begin, lock, now, indexes, which errors pass, and pydal's internals.
I call pydal. I never know what a task is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects.base import Dialect, hang_up, open_connection
from plugin_scheduler.database.dialects.mysql import MySQL
from plugin_scheduler.database.dialects.postgres import Postgres
from plugin_scheduler.database.dialects.sqlite import FileRemoved, SQLite
from plugin_scheduler.system.clock import Clock

_DIALECTS: dict[str, type[Dialect]] = {"sqlite": SQLite, "postgres": Postgres, "mysql": MySQL}


def dialect_for(db: Any, clock: Clock, settings: Settings) -> Dialect:
    """The dialect of an open database; the plain one for those that have none of their own."""
    return _kind_of(db)(db, clock, settings)


def driver_args(uri: str, given: Mapping[str, Any] | None, settings: Settings) -> dict[str, Any]:
    """The driver's options for the engine's own connection: the app's, but for how long it waits.

    pydal writes its own defaults into the app's options, and an app may be patient for its tasks'
    sake: a worker must not be, or it would not hear its runners meanwhile.
    """
    scheme = uri.partition("://")[0].partition(":")[0].rstrip("0123456789")
    options = _DIALECTS.get(scheme, Dialect).connection_options(settings)
    theirs = dict(given or {})
    if "client_flag" in options:  # a set of flags: ours are needed, the app's are wanted
        options["client_flag"] |= int(theirs.get("client_flag") or 0)
    return {**theirs, **options}


def require_file(uri: str, folder: str | None) -> None:
    """FileRemoved where a SQLite database has no file: pydal would make an empty one."""
    scheme, _, path = uri.partition("://")
    if scheme == SQLite.name:
        path = os.path.abspath(os.path.join(folder or "", path))
        if not os.path.exists(path):
            raise FileRemoved(path)


def kind_of_adapter(adapter: Any) -> type[Dialect]:
    """The dialect of what a pydal adapter is connected to."""
    return _DIALECTS.get(adapter.dbengine, Dialect)


def _kind_of(db: Any) -> type[Dialect]:
    return kind_of_adapter(db._adapter)


#: What drivers say of a database that is away, starting, full or locked; in small letters. Where a
#: connection fails there is no dialect to ask yet, and pydal passes on nothing but the text.
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
    """True where a database could not be used now, and may be later: not for a wrong password."""
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
    """Close this thread's connection for real, and those that wait in the pool.

    A forked process must not find a connection that its parent opened: libpq and SQLite both
    break when two processes speak through one handle.
    """
    hang_up(db._adapter)


def is_on_a_server(db: Any) -> bool:
    """True where a connection is something that others may be short of."""
    return _kind_of(db).is_remote


def is_idle(db: Any) -> bool:
    """True where it is certain that no transaction is open on this thread's connection."""
    connection = open_connection(db._adapter)
    return connection is None or _kind_of(db).is_idle(connection)
