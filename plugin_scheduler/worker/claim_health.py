"""Track the failures of a worker's claims, and decide when to retry.

A claim that keeps failing (the ids of a table are used up, a right is missing) must not end the
worker: reports are stored and runs are watched meanwhile. The failure is logged once, shown in the
worker's row, and recorded as an event of the history.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.worker_events import WorkerEvent
from plugin_scheduler.core.worker_stats import ClaimStats, LastClaimError
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.worker.event_queue import EventQueue

PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds
PASSING = 30.0  # seconds; a lock or an outage that lasts longer is reported like any other failure
LONGEST = 300  # characters of an error


class ClaimHealth:
    """Counts consecutive failures of claims."""

    def __init__(self, clock: Clock, events: EventQueue | None = None) -> None:
        self._clock, self._events = clock, events
        self._error, self._in_a_row, self._told = "", 0, ""
        self._since = self._last = 0.0
        self._succeeded: float | None = None
        self.retry_at = 0.0

    def may_try(self) -> bool:
        """Return False during the pause after a failure."""
        return not self._in_a_row or self._clock.monotonic() >= self.retry_at

    def succeeded(self) -> None:
        """Record a successful claim, even if it found no tasks."""
        self._succeeded = self._clock.monotonic()
        if not self._in_a_row:
            return
        if self._told:
            seconds = round(self._succeeded - self._since, 1)
            log_event("claim_works", seconds=seconds)
            self._note(WorkerEvent.CLAIM_WORKS, seconds=seconds)
        self._error, self._in_a_row, self._told = "", 0, ""

    def failed(self, error: Exception, passing: bool = False) -> None:
        """Record a failed claim. With ``passing``, the failure is temporary and causes no pause."""
        self._last = self._clock.monotonic()
        if not self._in_a_row:
            self._since = self._last
        self._error = _one_line(error)
        if not passing:
            self.retry_at = self._last + PAUSES[min(self._in_a_row, len(PAUSES) - 1)]
        self._in_a_row += 1
        if self._told != self._error and not (passing and self._last < self._since + PASSING):
            if not self._told:
                self._note(WorkerEvent.CLAIM_FAILING, error=self._error)
            self._told = self._error
            log_event("claim_failing", error=self._error)

    def about(self, now: datetime) -> ClaimStats:
        """Return the values for the worker's row; ``now`` is the current time in the tables'
        zone."""
        failing: LastClaimError | None = None
        if self._in_a_row:
            failing = {
                "error": self._error,
                "at": self._told_as(self._last, now),
                "since": self._told_as(self._since, now),
                "in_a_row": self._in_a_row,
            }
        last = self._succeeded
        return {
            "last_claim_error": failing,
            "last_claim_at": None if last is None else self._told_as(last, now),
        }

    def _told_as(self, moment: float, now: datetime) -> str:
        past = now - timedelta(seconds=self._clock.monotonic() - moment)
        return past.isoformat(" ", "seconds")

    def _note(self, event: WorkerEvent, **detail: Any) -> None:
        if self._events is not None:
            self._events.note(event, **detail)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return json_codec.clean(f"{type(error).__name__}: {text}")[:LONGEST]
