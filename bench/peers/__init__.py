"""Peers: this scheduler and similar products, one module each.

This module contains what all peers share: their names, their worker processes, and waiting until
the database or the broker shows the end of the last task. It does not measure.

A peer runs as its manual recommends, with as many slots as this scheduler: two by default. Where
the defaults of a product are slow and its manual says how to improve them, the improvement is used.
The docstring of a module describes the settings, the data that is stored, and what is lost in a
crash.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil

from bench.places import Place, Places, Unavailable

ROOT = Path(__file__).resolve().parent.parent.parent
#: name on the command line -> module of this package, and class
KNOWN = {
    "ours": ("ours", "OnSQLite"),
    "ours-postgres": ("ours", "OnPostgreSQL"),
    "ours-mysql": ("ours", "OnMySQL"),
    "huey": ("huey", "Huey"),
    "huey-nosync": ("huey", "HueyWithoutSync"),
    "rq": ("rq", "RQ"),
    "celery": ("celery", "Celery"),
    "dramatiq": ("dramatiq", "Dramatiq"),
    "procrastinate": ("procrastinate", "Procrastinate"),
    "pgqueuer-10": ("pgqueuer", "BatchesOf10"),
    "pgqueuer-100": ("pgqueuer", "BatchesOf100"),
    "pydal": ("pydal", "OnSQLite"),
    "pydal-postgres": ("pydal", "OnPostgreSQL"),
}


class Stalled(Exception):
    """The tasks did not end in time."""


class Peer:
    """One product at one place, from an empty database to the end of the last task."""

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    needs: ClassVar[str] = "sqlite"
    packages: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[str] = ""
    has_bulk: ClassVar[bool] = True
    others: ClassVar[tuple[str, ...]] = ()  # kinds of rows that `add_others` can add
    pilot: ClassVar[int] = 100  # tasks of the trial run, from which the number of tasks is computed

    def __init__(self, place: Place, keep: bool = True) -> None:
        self.place, self.keep = place, keep
        self.url = place.uri if place.kind == "redis" else place.dsn
        self.stamps = Path(place.folder, "stamps")
        self.more_environment: dict[str, str] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    # -- implemented by each peer ------------------------------------------------------------------

    def prepare(self) -> None:
        """Create the tables in the empty database."""

    def connect(self) -> None:
        """Open the connections for `enqueue` and `left`."""

    def enqueue(self, count: int, work: str) -> None:
        """Queue many tasks in the fastest way that the manual offers; they are durable on
        return."""
        for _ in range(count):
            self.enqueue_one(work)

    def enqueue_one(self, work: str) -> None:
        """Queue one task, as an app does in one request; it is durable on return."""
        raise NotImplementedError

    def add_others(self, sort: str, count: int) -> None:
        """Add other rows: "tomorrow", "finished" or "elsewhere" (another group)."""
        raise NotImplementedError

    def command(self, slots: int) -> list[str]:
        """Return the command that starts the workers."""
        raise NotImplementedError

    def left(self) -> int:
        """Return how many tasks of the latest `enqueue` have not ended, as far as the database
        or the broker shows."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Close the connections of `connect`."""

    # -- its workers -------------------------------------------------------------------------------

    def start(self, slots: int = 2) -> None:
        log = open(Path(self.place.folder, "worker.log"), "ab")
        with log:
            self._processes.append(
                subprocess.Popen(
                    self.command(slots),
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    cwd=ROOT,
                    env={**os.environ, **self.environment()},
                    start_new_session=True,
                )
            )

    def environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "BENCH_URL": self.url,
            "BENCH_URI": self.place.uri,
            "BENCH_FOLDER": self.place.folder,
            "BENCH_KEEP": "1" if self.keep else "",
            "BENCH_STAMPS": str(self.stamps),
            **self.more_environment,
        }

    def stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            end(process)
        self._processes.clear()

    def family(self) -> list[psutil.Process]:
        """Return all processes of its workers."""
        found = []
        for process in self._processes:
            head = psutil.Process(process.pid)
            found += [head, *head.children(recursive=True)]
        return found

    def wait_until_done(self, limit: float = 120.0) -> None:
        """Wait until the database or the broker shows the end of the last task."""
        self.wait(lambda: not self.left(), limit)

    def wait(self, seen: Any, limit: float = 120.0, pause: float = 0.02) -> None:
        until = time.monotonic() + limit
        while not seen():
            if time.monotonic() > until:
                raise Stalled(f"not done within {limit:.0f} s; its log ends: {self.log()}")
            if any(process.poll() is not None for process in self._processes):
                raise Stalled(f"its worker ended by itself: {self.log()}")
            time.sleep(pause)

    def log(self) -> str:
        path = Path(self.place.folder, "worker.log")
        return " | ".join(path.read_text(errors="replace")[-600:].splitlines()[-4:])


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was asked to exit, then kill it and its group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(4)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)


def program(name: str) -> str:
    """Return the path of a command that is installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def find(name: str) -> type[Peer]:
    """Return the class of that name; raise Unavailable if its packages are not installed."""
    module, attribute = KNOWN[name]
    try:
        found: type[Peer] = getattr(importlib.import_module(f"bench.peers.{module}"), attribute)
    except ImportError as error:
        raise Unavailable(f"not installed: {error}") from None
    return found


def versions(found: type[Peer]) -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in found.packages)


@contextlib.contextmanager
def a_peer(found: type[Peer], places: Places, keep: bool = True) -> Iterator[Peer]:
    """Provide a peer with an empty database."""
    with places.fresh(found.needs) as place:
        peer = found(place, keep)
        peer.prepare()
        peer.connect()
        try:
            yield peer
        finally:
            peer.stop()
            peer.disconnect()
