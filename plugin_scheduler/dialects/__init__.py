"""How does this database say it? One dialect a database, and the little that all of them share.

I own what is not portable: begin, lock, now, indexes, which errors pass, and pydal's internals.
I call pydal. I never know what a task is.
"""

from __future__ import annotations

import contextlib
from typing import Any

from pydal.connection import ConnectionPool

from plugin_scheduler.clock import Clock
from plugin_scheduler.dialects.base import Dialect
from plugin_scheduler.dialects.sqlite import SQLite

_DIALECTS: dict[str, type[Dialect]] = {"sqlite": SQLite}


def dialect_for(db: Any, clock: Clock, utc: bool) -> Dialect:
    """The dialect of an open database; the plain one for those that have none of their own."""
    return _DIALECTS.get(db._adapter.dbengine, Dialect)(db, clock, utc)


def close_connection(db: Any) -> None:
    """Close this thread's connection for real, and those that wait in the pool.

    A forked process must not find a connection that its parent opened: libpq and SQLite both
    break when two processes speak through one handle.
    """
    adapter = db._adapter
    with contextlib.suppress(Exception):  # a broken connection is closed by being dropped
        adapter.close("rollback", really=True)
    while pooled := ConnectionPool.POOLS.get(adapter.uri):
        with contextlib.suppress(Exception):  # as above
            pooled.pop().close()
