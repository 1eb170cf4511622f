"""Database outages: when to retry, when to log, and when a starting worker gives up.

Logs two lines per outage, one at each end. Does not end runs: `lease_guard` does.
"""

from __future__ import annotations

from collections.abc import Callable

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.worker.lease_guard import LeaseGuard

SHORT = 2.0  # seconds; a shorter outage (a locked SQLite file) is not logged
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # seconds
AT_START = 60.0  # seconds that a starting worker waits if db_outage_limit is 0
OFTEN = 0.5  # seconds; a pause of this length is always acceptable


class Outage:
    """The state of an outage: its start, the current pause, and the effect on the runs."""

    def __init__(self, settings: Settings, clock: Clock, allow: Callable[[float], None]) -> None:
        self._clock = clock
        self._permission = LeaseGuard(settings, clock.monotonic(), allow)
        # When the database is back, this worker's heartbeat must come before other workers react to
        # its silence.
        self._longest = max(OFTEN, settings.heartbeat * 2 / 3)
        self._since: float | None = None
        self._told = False
        self._tries = 0
        self.retry_at = 0.0
        self.error = ""

    @property
    def is_on(self) -> bool:
        return self._since is not None

    @property
    def seconds(self) -> float:
        """Duration of the outage so far."""
        return 0.0 if self._since is None else self._clock.monotonic() - self._since

    def may_try(self) -> bool:
        """Return False during the pause."""
        return self._since is None or self._clock.monotonic() >= self.retry_at

    def beaten(self, sent: float) -> None:
        """Record a successful heartbeat that was begun at that (monotonic) time."""
        self._permission.renewed(sent)

    def held_up(self) -> None:
        """Record that a transaction holds this worker's row, which prevents its heartbeat.

        No worker can take over now, and the failure detectors start again when the row is free.
        """
        self._permission.failed(self._clock.monotonic(), for_all=True)

    def noticed(self, error: StoreUnavailable) -> None:
        """Record a failed call."""
        now, self.error = self._clock.monotonic(), str(error)
        self._permission.failed(now, error.for_all)
        if self._since is None:
            self._since, self._told, self._tries = now, False, 0
        pause = PAUSES[min(self._tries, len(PAUSES) - 1)]
        self.retry_at = now + min(pause, self._longest)
        self._tries += 1
        if not self._told and now - self._since >= SHORT:
            self._told = True
            log_event("database_away", error=error)

    def over(self) -> float | None:
        """Record a successful turn; return the seconds of an outage that was logged and is over."""
        if self._since is None:
            return None
        self._permission.answered()
        seconds = self._clock.monotonic() - self._since
        self._since = None
        if not self._told:
            return None
        log_event("database_back", seconds=seconds)
        return seconds


class StartPatience:
    """Limits how long a starting worker waits for its database; logs the wait once."""

    def __init__(self, limit: float, clock: Clock, pause: Callable[[float], None]) -> None:
        """``pause`` waits the given seconds, and raises an exception if there is no reason to
        wait."""
        self._limit, self._clock, self._pause = limit or AT_START, clock, pause
        self._since: float | None = None
        self._tries, self._told = 0, False

    def limit_to(self, limit: float) -> None:
        """Apply the app's own limit, once it is known."""
        self._limit = limit or AT_START

    def wait(self, error: StoreUnavailable) -> None:
        """Wait until the next try; raise StoreUnavailable after the limit."""
        now = self._clock.monotonic()
        since = self._since = now if self._since is None else self._since
        if now - since >= self._limit:
            raise StoreUnavailable(
                f"the database did not answer within {self._limit:g} s: {error}", error.for_all
            ) from error
        if not self._told:
            self._told = True
            log_event("database_awaited", seconds=self._limit, error=error)
        pause = PAUSES[min(self._tries + 2, len(PAUSES) - 1)]
        self._tries += 1
        self._pause(min(pause, since + self._limit - now))

    def over(self) -> None:
        """Record that the worker has started."""
        if self._told and self._since is not None:
            log_event("database_back", seconds=self._clock.monotonic() - self._since)
