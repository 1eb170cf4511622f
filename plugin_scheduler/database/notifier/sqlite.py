"""SQLite's doorbell: ``PRAGMA data_version`` changes with each commit of another connection.

It costs a few microseconds, works in every journal mode, and hears a row edited by hand too. But
to wake up and ask, many times a second, costs an idle machine more than the asking: so the kernel
is asked to tell when the database's files are written, where it can (Linux), and the question is
then asked at once. I call sqlite3, past pydal.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from typing import Any

from plugin_scheduler.database.notifier import Notifier

POLL = 0.04  # seconds between two looks where the kernel tells nothing
SAFETY = 0.25  # seconds between two looks where it does; network file systems tell nothing
ALERT = (*(0.0,) * 2, *(0.0002,) * 10, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)  # in turn


class DataVersion(Notifier):
    """Rings for every commit that this connection did not make."""

    def __init__(
        self,
        connection: Callable[[], sqlite3.Connection | None],
        path: str,
        is_moved: Callable[[], bool],
    ) -> None:
        """``is_moved`` tells whether another file, or none, is at that path by now."""
        self._connection, self._is_moved = connection, is_moved
        self._seen = self._version()
        self._name = os.path.basename(path)
        self._watch = _watch(os.path.dirname(path) or ".")
        self.way = "inotify" if self._watch else "data_version"
        self._usual = SAFETY if self._watch else POLL
        self._pauses: list[float] = []

    @property
    def interval(self) -> float:  # type: ignore[override]
        return self._pauses[0] if self._pauses else self._usual

    def fileno(self) -> int:
        return int(self._watch.fileno()) if self._watch else -1

    def heed(self) -> None:
        """A file was written. The commit becomes visible a moment after that, when its pages are
        safe on the disk, so look again and again for a tenth of a second."""
        written = {event.name for event in self._watch.read(timeout=0)}
        if any(name.startswith(self._name) for name in written):  # the file, its journal or log
            self._pauses = list(ALERT)

    def rung(self) -> bool:
        if self._pauses:
            self._pauses.pop(0)
        try:
            if self._is_moved():
                return True
            version = self._version()
        except sqlite3.Error:
            return True  # let the query that follows find out what is the matter
        rung, self._seen = version != self._seen, version
        return rung

    def close(self) -> None:
        if self._watch:
            self._watch.close()

    def _version(self) -> int:
        connection = self._connection()
        if connection is None:
            return -1  # it is opened anew by the query that follows
        return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _watch(folder: str) -> Any:
    """The kernel's news of files written in a folder; None where there are none to be had."""
    if not sys.platform.startswith("linux"):
        return None
    from inotify_simple import INotify, flags

    try:
        watch = INotify(nonblocking=True)
        watch.add_watch(folder, flags.MODIFY)
    except OSError:  # no more watches allowed, or a file system without any
        return None
    return watch
