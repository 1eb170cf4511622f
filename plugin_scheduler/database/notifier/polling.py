"""Notifier that polls a cheap query, more often while the database changes.

The dialect provides the query; this module decides the interval.
"""

from __future__ import annotations

from collections.abc import Callable

from plugin_scheduler.database.notifier import Notifier
from plugin_scheduler.system.clock import Clock

BRISK = 0.03  # seconds between two queries after a change
CALM = 1.8  # seconds between two queries without changes: an idle worker must cost little
GROWTH = 1.15  # factor per query: from BRISK to CALM in ten seconds
FULL_LOOK = 0.5  # seconds between forced reports until then: the query does not see every change


class Probe(Notifier):
    """Reports a change when the result of the query differs from the previous one."""

    def __init__(self, ask: Callable[[], object], clock: Clock) -> None:
        self._ask, self._clock = ask, clock
        self._last: object = None
        self._asked_at = 0.0
        self._looked = 0.0
        self.interval = CALM
        self.way = "probing"

    def rung(self) -> bool:
        now = self._clock.monotonic()
        if now < self._asked_at + self.interval:
            return False
        self._asked_at = now
        answer = self._ask()
        news, self._last = answer != self._last, answer
        self.interval = BRISK if news else min(CALM, self.interval * GROWTH)
        rings = news or (self.interval < CALM and now >= self._looked + FULL_LOOK)
        if rings:
            self._looked = now
        return rings
