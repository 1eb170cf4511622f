"""The database does not answer: when to try again, when to say so, and how long may runs go on?

I own the pauses and the two lines of an outage, one at each end, and the permission of this
worker's runs to go on. I call log and clock. I end nothing: the permission is told to the pool,
whose nursery keeps it even where this process hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.system.clock import Clock

SHORT = 2.0  # seconds; a shorter one (a locked SQLite file) is nobody's business
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # seconds
PATIENT = 3  # tries that pass over a row that is held; later ones wait for it
AT_START = 60.0  # seconds that a worker which starts waits where db_outage_limit is 0
OFTEN = 0.5  # seconds; a pause as long as this is never too long
#: Seconds by which runs end before the lease does: to end many processes takes a moment, and the
#: lease is written by the database's clock, which is read over a network.
MARGIN = 0.5


class Outage:
    """Knows since when, how long to wait now, and what that means for the runs."""

    def __init__(self, settings: Settings, clock: Clock, allow: Callable[[float], None]) -> None:
        self._clock = clock
        self._permission = LeaseGuard(settings, clock.monotonic(), allow)
        # When the database is back, a beat of ours must come before others act on our silence.
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
        """For how long it has lasted."""
        return 0.0 if self._since is None else self._clock.monotonic() - self._since

    def may_try(self) -> bool:
        """Not while the pause lasts."""
        return self._since is None or self._clock.monotonic() >= self.retry_at

    def beaten(self, sent: float) -> None:
        """A beat went through that was begun at that (monotonic) time."""
        self._permission.renewed(sent)

    def held_up(self) -> None:
        """Somebody holds this worker's row, so that it cannot beat. Nobody can take over now, and
        who listens begins anew when the row is free."""
        self._permission.failed(self._clock.monotonic(), for_all=True)

    def noticed(self, error: StoreUnavailable) -> None:
        """A call failed."""
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
        """A turn went through. The seconds of an outage that was told and ends with it."""
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
    """Runs whose rows, or whose task's, another transaction holds: when to try each again. Most
    are free in a moment."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[int, tuple[float, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def __contains__(self, run_id: int) -> bool:
        return run_id in self._until

    def note(self, run_ids: Iterable[int]) -> None:
        """They were held just now."""
        for run_id in run_ids:
            tries = self._until[run_id][1] + 1 if run_id in self._until else 0
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            self._until[run_id] = self._clock.monotonic() + pause, tries

    def put_off(self, run_id: int, seconds: float) -> None:
        """Try it again after a pause of that length."""
        self._until[run_id] = self._clock.monotonic() + seconds, 0

    def longest_held(self, run_ids: Iterable[int]) -> int | None:
        """One of these that was held again and again. It is to be tried alone, and to wait for its
        row: where transactions follow each other closely, only who waits gets it."""
        often = [run_id for run_id in run_ids if self._until.get(run_id, (0.0, 0))[1] >= PATIENT]
        return min(often, key=self.until, default=None)

    def until(self, run_id: int) -> float:
        """The monotonic time at which to try again."""
        return self._until[run_id][0] if run_id in self._until else 0.0

    def is_held(self, run_id: int) -> bool:
        return self.until(run_id) > self._clock.monotonic()

    def forget_but(self, run_ids: Collection[int]) -> None:
        """All others are stored, or given back."""
        self._until = {one: until for one, until in self._until.items() if one in run_ids}


class StartPatience:
    """How long a worker that starts waits for its database; it says so once."""

    def __init__(self, limit: float, clock: Clock, pause: Callable[[float], None]) -> None:
        """``pause`` waits for so many seconds, and raises where there is no reason to wait."""
        self._limit, self._clock, self._pause = limit or AT_START, clock, pause
        self._since: float | None = None
        self._tries, self._told = 0, False

    def limit_to(self, limit: float) -> None:
        """The app's own limit, once it is known."""
        self._limit = limit or AT_START

    def wait(self, error: StoreUnavailable) -> None:
        """Wait until the next try; StoreUnavailable when the time is over."""
        now = self._clock.monotonic()
        since = self._since = now if self._since is None else self._since
        if now - since >= self._limit:
            raise StoreUnavailable(
                f"no database within {self._limit:g} s: {error}", error.for_all
            ) from error
        if not self._told:
            self._told = True
            log_event("database_awaited", seconds=self._limit, error=error)
        pause = PAUSES[min(self._tries + 2, len(PAUSES) - 1)]
        self._tries += 1
        self._pause(min(pause, since + self._limit - now))

    def over(self) -> None:
        """The worker has started."""
        if self._told and self._since is not None:
            log_event("database_back", seconds=self._clock.monotonic() - self._since)


class LeaseGuard:
    """Until when this worker's runs may go on, whatever becomes of its supervisor.

    A beat allows it for as long as the lease. An outage that only we have adds nothing: past the
    lease, others take our tasks. While nobody can reach the database, nobody takes anything, with
    or without a lease. And when it is back, with our lease lapsed by the tables, nothing is taken
    at once either: others must first listen, with beats of their own, to a heartbeat and two
    seconds of our silence, and our own beat comes within a pause. That is how long each call
    allows it that fails for all; less, where others may have listened to more than a step of our
    silence before, which is what they hear between any two beats. (Both lengths are those of
    `listening`; workers of one database are expected to have about the same heartbeat.)
    """

    def __init__(self, settings: Settings, now: float, allow: Callable[[float], None]) -> None:
        self._lease, self._allow = settings.lease, allow
        self._patience, self._step = settings.silence, 1.5 * settings.heartbeat + 0.5
        self._until = 0.0
        self._last, self._heard, self._away = now, 0.0, False

    def renewed(self, sent: float) -> None:
        """A beat went through. Its lease counts from later, and others saw no later silence."""
        self._last, self._heard, self._away = sent, 0.0, False
        self._put_off(sent + self._lease - MARGIN)

    def failed(self, now: float, for_all: bool) -> None:
        """A call failed, at this time; for all who would call, or for us."""
        if not (self._away and for_all):  # between two failures for all, nobody listened
            self._heard += now - self._last
        self._last, self._away = now, for_all
        if for_all:
            heard_before = max(0.0, self._heard - self._step)
            self._put_off(now + self._patience - heard_before - MARGIN)

    def answered(self) -> None:
        """The database is back; whether our beat is due, or not."""
        self._away = False

    def _put_off(self, until: float) -> None:
        if until > self._until:
            self._until = until
            self._allow(until)
