"""The database does not answer: when to try again, and when to say so.

I own the pauses and the two lines of an outage, one at each end. I call log and clock.
"""

from __future__ import annotations

from plugin_scheduler.clock import Clock
from plugin_scheduler.log import tell

SHORT = 2.0  # seconds; a shorter one (a locked SQLite file) is nobody's business
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # seconds


class Outage:
    """Knows since when, and how long to wait now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self._told = False
        self._tries = 0
        self.retry_at = 0.0

    @property
    def is_on(self) -> bool:
        return self._since is not None

    def may_try(self) -> bool:
        """Not while the pause lasts."""
        return self._since is None or self._clock.monotonic() >= self.retry_at

    def noticed(self, error: Exception) -> None:
        """A call failed."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since, self._told, self._tries = now, False, 0
        self.retry_at = now + PAUSES[min(self._tries, len(PAUSES) - 1)]
        self._tries += 1
        if not self._told and now - self._since >= SHORT:
            self._told = True
            tell("database_away", error=error)

    def over(self) -> None:
        """A turn went through."""
        if self._since is None:
            return
        if self._told:
            tell("database_back", seconds=self._clock.monotonic() - self._since)
        self._since = None
