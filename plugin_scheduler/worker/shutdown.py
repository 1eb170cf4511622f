"""Stay or go? What a worker makes of signals, orders and idleness, until it leaves.

I own the worker's mode, its grace and its exit code. I call the words and log. I end runs only by
asking the pool.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence

from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Outcome, TaskStatus, WorkerStatus
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.signals import name_of

MOST_NAMED = 5
LAST_WORDS = 10.0  # seconds for the reports of killed runs to be stored

EXIT_SUPERSEDED = 2
EXIT_NO_DATABASE = 75  # the usual code for: try again later
EXIT_SIGTERM = 128 + signal.SIGTERM


class Shutdown:
    """A worker only moves forward: from working to draining to gone; disabled is a rest."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._disabled = self._draining = self._killed = self._warned = False
        self._grace_until: float | None = None
        self._graced: int = signal.SIGTERM
        self._over_at: float | None = None
        self._refused_since: float | None = None
        self.exit_code = 0
        self.why = "it ended"
        self.empty_beats = 0

    @property
    def takes_work(self) -> bool:
        return not (self._disabled or self._draining)

    @property
    def deadline(self) -> float | None:
        """When there is something to decide."""
        if self._over_at is not None:
            return self._over_at
        if self._refused_since is None:
            return self._grace_until
        left_at = self._refused_since + self._settings.grace + LAST_WORDS
        return left_at if self._grace_until is None else min(self._grace_until, left_at)

    def is_over(self, busy: bool) -> bool:
        """True when the worker may leave."""
        if self._over_at is not None and self._clock.monotonic() >= self._over_at:
            self.exit_code = self.exit_code or 1
            return True
        return self._draining and not busy

    def words(self, running: bool) -> str:
        """The mode as web2py's statistics call it."""
        if self._killed:
            return WorkerStatus.KILL
        if self._draining:
            return WorkerStatus.TERMINATE
        if self._disabled:
            return WorkerStatus.DISABLED
        return TaskStatus.RUNNING if running else WorkerStatus.ACTIVE

    def heed(self, signals: Iterable[int], pool: Pool, worker: str) -> None:
        """SIGTERM or SIGHUP: finish what runs, within the grace. SIGINT or SIGQUIT, or SIGTERM
        again: now."""
        for number in signals:
            if number in (signal.SIGINT, signal.SIGQUIT):
                self._kill(pool, name_of(number), 128 + number)
            elif number == signal.SIGHUP:  # a shell that ends sends it a second time
                if self._grace_until is None and not self._killed:
                    self._drain_within_grace(number, worker)
            elif self._warned or self._killed:
                self._kill(pool, "a second SIGTERM", EXIT_SIGTERM)
            else:  # the first one, also of a worker that was draining already
                self._warned = True
                self._drain_within_grace(number, worker)

    def _drain_within_grace(self, number: int, worker: str) -> None:
        self._drain(name_of(number), worker)
        self._graced = number
        self._grace_until = self._clock.monotonic() + self._settings.grace

    def follow(self, status: str, pool: Pool, worker: str) -> None:
        """Be what the worker's row says."""
        if status == WorkerStatus.KILL and not self._killed:
            self._kill(pool, "order KILL", 0)
        elif status == WorkerStatus.TERMINATE and not self._draining:
            self._drain("order TERMINATE", worker)
        elif status == WorkerStatus.DISABLED and not self._disabled:
            self._disabled = True
            log_event("worker_disabled", worker=worker)
        elif status == WorkerStatus.ACTIVE and self._disabled:
            self._disabled = False
            log_event("worker_resumed", worker=worker)

    def give_way(self, why: str, pool: Pool) -> None:
        """Another worker has taken this one's name: end, and leave the tables alone."""
        self._kill(pool, why, EXIT_SUPERSEDED)

    def give_up(self, seconds: float, pool: Pool) -> None:
        """The database is away for too long: leave, and let a service manager decide. There is
        nobody to tell, so nothing is waited for."""
        why = f"its database was away for {seconds:.0f} s, longer than db_outage_limit allows"
        self._kill(pool, why, EXIT_NO_DATABASE)
        self._over_at = self._clock.monotonic()

    def count_beat(self, pending: bool, worker: str) -> None:
        """Leave after so many beats without anything to do, for anybody."""
        self.empty_beats = 0 if pending else self.empty_beats + 1
        if self.empty_beats >= self._settings.max_empty_runs and not self._draining:
            self._drain(f"{self.empty_beats} beats without due work", worker)

    def enforce(self, pool: Pool) -> None:
        """The grace is over: end what still runs."""
        if self._grace_until is None or self._clock.monotonic() < self._grace_until:
            return
        self._grace_until = None
        if pool.live_runs():
            number = self._graced
            self._kill(pool, f"{name_of(number)}, and the grace was over", 128 + number)
        else:  # what keeps it is a report, and a database that is away must not keep it for ever
            self._over_at = self._clock.monotonic() + LAST_WORDS

    @property
    def leaves(self) -> bool:
        """True for a worker that was told to leave."""
        return self._draining

    def mind_refused(self, runs: Sequence[str]) -> None:
        """A worker that was told to leave is kept by nothing but these runs, which the database
        does not take. It tries for as long as SIGTERM allows, and then leaves without them."""
        if not (runs and self._draining):
            self._refused_since = None
            return
        now = self._clock.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        seconds = now - self._refused_since
        if self._over_at is None and seconds >= self._settings.grace + LAST_WORDS:
            which = ", ".join(runs[:MOST_NAMED]) + (", ..." if len(runs) > MOST_NAMED else "")
            self.why += f"; the database has not taken {which} for {seconds:.0f} s"
            self._over_at = now

    def _drain(self, why: str, worker: str) -> None:
        self._draining, self.why = True, why
        log_event("worker_draining", worker=worker, why=why)

    def _kill(self, pool: Pool, why: str, exit_code: int) -> None:
        self._draining = self._killed = True
        self.why, self.exit_code = why, exit_code
        self._over_at = self._clock.monotonic() + LAST_WORDS
        pool.kill_all_runs(Outcome.INTERRUPTED, Reason(ReasonCode.SHUTDOWN, why=why))
