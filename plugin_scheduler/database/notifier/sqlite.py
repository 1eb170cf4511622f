"""Notifier of SQLite: ``PRAGMA data_version`` changes with each commit of another connection.

The query takes a few microseconds, works in every journal mode, and detects edits by hand. But
waking up many times a second costs an idle machine more than the query. So on Linux, inotify tells
when the files of the database are written, and the query runs at once. Uses sqlite3 directly, not
pydal.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from typing import Any

from plugin_scheduler.database.notifier import Notifier

POLL = 0.04  # seconds between two polls without inotify
SAFETY = 0.25  # seconds between two polls with inotify, which misses network file systems
MOVED_EVERY = 1.0  # seconds between two checks for a replaced file: they cost more than a poll
ALERT = (*(0.0,) * 2, *(0.0002,) * 10, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)  # pauses


class DataVersion(Notifier):
    """Reports a change for every commit of another connection."""

    def __init__(
        self,
        connection: Callable[[], sqlite3.Connection | None],
        path: str,
        is_moved: Callable[[], bool],
    ) -> None:
        """``is_moved`` returns True if the file at the path was replaced or removed."""
        self._connection, self._is_moved = connection, is_moved
        self._seen = self._version()
        self._name = os.path.basename(path)
        self._watch = _watch(os.path.dirname(path) or ".")
        self.way = "inotify" if self._watch else "data_version"
        self._usual = SAFETY if self._watch else POLL
        self._pauses: list[float] = []
        self._unchecked = 0.0  # seconds since the last check for a replaced file

    @property
    def interval(self) -> float:  # type: ignore[override]
        return self._pauses[0] if self._pauses else self._usual

    def fileno(self) -> int:
        return int(self._watch.fileno()) if self._watch else -1

    def heed(self) -> None:
        """Poll repeatedly for a tenth of a second after a file was written.

        The commit becomes visible a moment later, when its pages are on disk.
        """
        written = {event.name for event in self._watch.read(timeout=0)}
        if any(name.startswith(self._name) for name in written):  # the file, its journal or log
            self._pauses = list(ALERT)

    def rung(self) -> bool:
        self._unchecked += self._pauses.pop(0) if self._pauses else self._usual
        try:
            if self._unchecked >= MOVED_EVERY:
                self._unchecked = 0.0
                if self._is_moved():
                    return True
            version = self._version()
        except sqlite3.Error:
            return True  # the next query will raise the error
        rung, self._seen = version != self._seen, version
        return rung

    def close(self) -> None:
        if self._watch:
            self._watch.close()

    def _version(self) -> int:
        connection = self._connection()
        if connection is None:
            return -1  # the next query opens a new connection
        return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _watch(folder: str) -> Any:
    """Return an inotify watch for writes in a folder; None if not available."""
    if not sys.platform.startswith("linux"):
        return None
    from inotify_simple import INotify, flags

    try:
        watch = INotify(nonblocking=True)
        watch.add_watch(folder, flags.MODIFY)
    except OSError:  # the limit of watches is reached, or the file system has none
        return None
    return watch
