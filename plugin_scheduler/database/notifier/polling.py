"""A doorbell for databases that tell nothing: one cheap question, asked often while things happen.

I own the pauses between two questions. The dialect hands me the question.
"""

from __future__ import annotations

from collections.abc import Callable

from plugin_scheduler.database.notifier import Notifier
from plugin_scheduler.system.clock import Clock

BRISK = 0.03  # seconds between two questions after news
CALM = 1.8  # seconds between two questions when nothing happens: an idle worker is to cost little
GROWTH = 1.15  # from brisk to calm in ten seconds
FULL_LOOK = 0.5  # seconds at most between two rings until then: not all news change the answer


class Probe(Notifier):
    """Rings when the answer is another one than the last time."""

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
