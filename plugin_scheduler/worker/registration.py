"""Registration of a worker: its name, what it serves, and its row.

Ensures that the name is unique. Does not run tasks.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from plugin_scheduler.core.errors import NameTaken
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.version import VERSION
from plugin_scheduler.core.worker_stats import IdentityStats
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM

Pause = Callable[[float], None]


class Registered(NamedTuple):
    """A worker's row. ``given_back`` counts the tasks of a dead worker of the same name; None if
    there was none."""

    worker_id: int
    given_back: int | None


@dataclass(frozen=True)
class Registration:
    """The data by which other workers identify a worker."""

    name: str
    application: str
    tasks: tuple[str, ...]
    where: Mapping[str, Any]
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def register(
        self, store: Store, settings: Settings, stats: Mapping[str, Any], pause: Pause
    ) -> Registered:
        """Add a row. A dead worker of the same name is replaced, a live one is not.

        ``pause`` waits the given seconds, and raises an exception if there is no reason to wait.
        """
        given_back = self._wait_for_the_dead(store, settings.silence, pause)
        return Registered(store.workers.register(self.name, stats), given_back)

    def _wait_for_the_dead(self, store: Store, silence: float, pause: Pause) -> int | None:
        """Wait until an earlier worker of this name is certainly dead; return how many of its tasks
        were given back.

        A name given by hand may belong to a worker that died a moment ago: its lease must expire,
        and its tasks are given back, before the name is used again. The worker of an expired lease
        may be alive if it could not reach the database, as this one could not, or if a transaction
        holds its row: so its heartbeat is awaited.
        """
        first = store.workers.lease_of(self.name)
        if first is None:
            return None
        heard_enough = SYSTEM.monotonic() + silence
        while (lease := store.workers.lease_of(self.name)) is not None:
            if self._is_held(store):
                heard_enough = SYSTEM.monotonic() + silence
            elif lease <= store.dialect.epoch() and SYSTEM.monotonic() >= heard_enough:
                break
            if lease > first + 0.5:
                raise NameTaken(self.name)
            pause(0.2)
        return len(store.maintenance.requeue_lost(self.name))

    def _is_held(self, store: Store) -> bool:
        same = [worker for worker in store.workers.all() if worker.worker_name == self.name]
        return bool(store.workers.held(same))


def identify(name: str | None, description: Mapping[str, Any]) -> Registration:
    """Return the identity of a starting worker: host, process and a random part, since containers
    share host names and process numbers."""
    unique = f"{socket.gethostname()}#{os.getpid()}#{secrets.token_hex(3)}"
    return Registration(
        name=name or unique,
        application=description["application_name"],
        tasks=tuple(description["tasks"]),
        where=description["db"],
    )


def describe_me(me: Registration) -> IdentityStats:
    """Return the values for the worker's row that describe its process."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "token": me.token,
        "application": me.application,
        "version": VERSION,
    }
