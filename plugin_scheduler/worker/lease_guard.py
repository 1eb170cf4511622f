"""Database outages: when to retry, when to log, and how long runs may go on.

Logs two lines per outage, one at each end. Does not end runs: the time limit is passed to the pool,
whose forkserver enforces it even if this process hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.system.clock import Clock

SHORT = 2.0  # seconds; a shorter outage (a locked SQLite file) is not logged
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # seconds
PATIENT = 3  # tries that skip a held row; later ones wait for it
AT_START = 60.0  # seconds that a starting worker waits if db_outage_limit is 0
OFTEN = 0.5  # seconds; a pause of this length is always acceptable
#: Seconds by which runs end before the lease does: ending many processes takes time, and the lease
#: is written by the database's clock, which is read over a network.
MARGIN = 0.5


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


class HeldRows:
    """Runs whose rows, or whose task's rows, another transaction holds, and when to retry each.
    Most rows are free after a moment."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[int, tuple[float, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def __contains__(self, run_id: int) -> bool:
        return run_id in self._until

    def note(self, run_ids: Iterable[int]) -> None:
        """Record that these runs are held now."""
        for run_id in run_ids:
            tries = self._until[run_id][1] + 1 if run_id in self._until else 0
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            self._until[run_id] = self._clock.monotonic() + pause, tries

    def put_off(self, run_id: int, seconds: float) -> None:
        """Retry a run after a pause of that length."""
        self._until[run_id] = self._clock.monotonic() + seconds, 0

    def longest_held(self, run_ids: Iterable[int]) -> int | None:
        """Return a run that was held repeatedly, if any.

        It must be tried alone, and wait for its row: where transactions follow each other closely,
        only a waiting transaction gets the row.
        """
        often = [run_id for run_id in run_ids if self._until.get(run_id, (0.0, 0))[1] >= PATIENT]
        return min(often, key=self.until, default=None)

    def until(self, run_id: int) -> float:
        """Return the monotonic time of the next try."""
        return self._until[run_id][0] if run_id in self._until else 0.0

    def is_held(self, run_id: int) -> bool:
        return self.until(run_id) > self._clock.monotonic()

    def forget_but(self, run_ids: Collection[int]) -> None:
        """Forget all other runs: they are stored or given back."""
        self._until = {one: until for one, until in self._until.items() if one in run_ids}


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


class LeaseGuard:
    """The time until which this worker's runs may go on, whatever happens to the worker.

    A heartbeat extends it by the lease. An outage of this worker alone extends nothing: after the
    lease, others claim its tasks. While no worker can reach the database, no worker claims a task,
    with or without a lease. When the database is back, and this worker's lease has expired in the
    tables, others still do not claim at once: with heartbeats of their own they must first observe
    a heartbeat interval and two seconds of silence, and this worker's heartbeat comes within a
    pause. So each call that fails for all workers extends the time by that length. It is less if
    others may have observed more silence before than one step, which they observe between any two
    heartbeats. (Both lengths are those of `failure_detector`; workers of one database should have
    about the same heartbeat.)
    """

    def __init__(self, settings: Settings, now: float, allow: Callable[[float], None]) -> None:
        self._lease, self._allow = settings.lease, allow
        self._patience, self._step = settings.silence, 1.5 * settings.heartbeat + 0.5
        self._until = 0.0
        self._last, self._heard, self._away = now, 0.0, False

    def renewed(self, sent: float) -> None:
        """Record a successful heartbeat. Its lease starts later, and others observed no later
        silence."""
        self._last, self._heard, self._away = sent, 0.0, False
        self._put_off(sent + self._lease - MARGIN)

    def failed(self, now: float, for_all: bool) -> None:
        """Record a failed call at this time: for all workers, or for this worker only."""
        if not (self._away and for_all):  # between two failures for all, no worker observed others
            self._heard += now - self._last
        self._last, self._away = now, for_all
        if for_all:
            heard_before = max(0.0, self._heard - self._step)
            self._put_off(now + self._patience - heard_before - MARGIN)

    def answered(self) -> None:
        """Record that the database answers, whether or not a heartbeat is due."""
        self._away = False

    def _put_off(self, until: float) -> None:
        if until > self._until:
            self._until = until
            self._allow(until)
