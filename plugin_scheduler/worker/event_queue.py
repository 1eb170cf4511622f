"""Events of this worker that wait to be written to the history.

An event is recorded with the time at which it happened, and written at the next heartbeat. While
the history cannot be written (the database is away, the table is locked) the newest `MOST` events
are kept here. Nothing else waits for them.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import Any, NamedTuple

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.worker_events import WorkerEvent
from plugin_scheduler.store import Store
from plugin_scheduler.store.worker_events import Happened
from plugin_scheduler.system.clock import Clock

MOST = 100  # events kept
LONGEST = 300  # characters of a value


class _Waiting(NamedTuple):
    event: WorkerEvent
    worker_name: str
    at: float
    detail: dict[str, Any]


class EventQueue:
    """The events of one worker, and of other workers that it found dead."""

    def __init__(self, store: Store, clock: Clock, worker_name: str) -> None:
        self._store, self._clock, self._name = store, clock, worker_name
        self._waiting: deque[_Waiting] = deque(maxlen=MOST)
        self._trouble = ""

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, event: WorkerEvent, worker_name: str = "", **detail: Any) -> None:
        """Record an event of this worker, or of the worker named."""
        plain = {name: _plain(value) for name, value in detail.items()}
        name = worker_name or self._name
        self._waiting.append(_Waiting(event, name, self._clock.monotonic(), plain))

    def write(self) -> None:
        """Write the waiting events; keep them if that fails."""
        if not self._waiting:
            return
        waiting = list(self._waiting)
        try:
            now, monotonic = self._store.dialect.now(), self._clock.monotonic()
            self._store.events.write(
                [
                    Happened(
                        one.event,
                        one.worker_name,
                        now - timedelta(seconds=monotonic - one.at),
                        one.detail,
                    )
                    for one in waiting
                ]
            )
        except StoreUnavailable:
            return
        except Exception as error:  # a history that cannot be written must not end a worker
            trouble = first_line(error)
            if trouble != self._trouble:
                log_event("events_refused", error=trouble)
            self._trouble = trouble
            return
        self._trouble = ""
        self._waiting.clear()


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float)) else json_codec.clean(str(value))[:LONGEST]
