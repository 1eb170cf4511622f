"""Decide when the worker stops, and its exit code: signals, commands, idle time.

Ends runs only through the pool.
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
LAST_WORDS = 10.0  # seconds to store the reports of killed runs

EXIT_SUPERSEDED = 2
EXIT_NO_DATABASE = 75  # EX_TEMPFAIL: try again later
EXIT_SIGTERM = 128 + signal.SIGTERM


class Shutdown:
    """The state of a worker: working, then draining, then stopped. Disabled can be undone."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._disabled = self._draining = self._killed = self._warned = False
        self._grace_until: float | None = None
        self._graced: int = signal.SIGTERM
        self._over_at: float | None = None
        self._refused_since: float | None = None
        self.exit_code = 0
        self.why = "no reason recorded"
        self.empty_beats = 0

    @property
    def takes_work(self) -> bool:
        return not (self._disabled or self._draining)

    @property
    def deadline(self) -> float | None:
        """The time of the next decision."""
        if self._over_at is not None:
            return self._over_at
        if self._refused_since is None:
            return self._grace_until
        left_at = self._refused_since + self._settings.grace + LAST_WORDS
        return left_at if self._grace_until is None else min(self._grace_until, left_at)

    def is_over(self, busy: bool) -> bool:
        """Return True if the worker may exit."""
        if self._over_at is not None and self._clock.monotonic() >= self._over_at:
            self.exit_code = self.exit_code or 1
            return True
        return self._draining and not busy

    def words(self, running: bool) -> str:
        """Return the state as web2py's statistics name it."""
        if self._killed:
            return WorkerStatus.KILL
        if self._draining:
            return WorkerStatus.TERMINATE
        if self._disabled:
            return WorkerStatus.DISABLED
        return TaskStatus.RUNNING if running else WorkerStatus.ACTIVE

    def heed(self, signals: Iterable[int], pool: Pool, worker: str) -> None:
        """Handle signals. SIGTERM or SIGHUP: finish running tasks within the grace period. SIGINT
        or SIGQUIT, or a second SIGTERM: stop at once."""
        for number in signals:
            if number in (signal.SIGINT, signal.SIGQUIT):
                self._kill(pool, name_of(number), 128 + number)
            elif number == signal.SIGHUP:  # an exiting shell sends it a second time
                if self._grace_until is None and not self._killed:
                    self._drain_within_grace(number, worker)
            elif self._warned or self._killed:
                self._kill(pool, "second SIGTERM", EXIT_SIGTERM)
            else:  # the first one, also for a worker that is draining already
                self._warned = True
                self._drain_within_grace(number, worker)

    def _drain_within_grace(self, number: int, worker: str) -> None:
        self._drain(name_of(number), worker)
        self._graced = number
        self._grace_until = self._clock.monotonic() + self._settings.grace

    def follow(self, status: str, pool: Pool, worker: str) -> None:
        """Apply the status in the worker's row."""
        if status == WorkerStatus.KILL and not self._killed:
            self._kill(pool, "command KILL", 0)
        elif status == WorkerStatus.TERMINATE and not self._draining:
            self._drain("command TERMINATE", worker)
        elif status == WorkerStatus.DISABLED and not self._disabled:
            self._disabled = True
            log_event("worker_disabled", worker=worker)
        elif status == WorkerStatus.ACTIVE and self._disabled:
            self._disabled = False
            log_event("worker_resumed", worker=worker)

    def give_way(self, why: str, pool: Pool) -> None:
        """Stop because another worker has taken this name; leave the tables alone."""
        self._kill(pool, why, EXIT_SUPERSEDED)

    def give_up(self, seconds: float, pool: Pool) -> None:
        """Stop because the database was away too long; the service manager decides what follows.

        There is no database to report to, so the worker does not wait.
        """
        why = f"the database did not answer for {seconds:.0f} s, longer than db_outage_limit"
        self._kill(pool, why, EXIT_NO_DATABASE)
        self._over_at = self._clock.monotonic()

    def count_beat(self, pending: bool, worker: str) -> None:
        """Stop after this many heartbeats without due work for any worker."""
        self.empty_beats = 0 if pending else self.empty_beats + 1
        if self.empty_beats >= self._settings.max_empty_runs and not self._draining:
            self._drain(f"{self.empty_beats} heartbeats without due tasks", worker)

    def enforce(self, pool: Pool) -> None:
        """Kill running tasks after the grace period."""
        if self._grace_until is None or self._clock.monotonic() < self._grace_until:
            return
        self._grace_until = None
        if pool.live_runs():
            number = self._graced
            self._kill(pool, f"{name_of(number)}, and the grace period has ended", 128 + number)
        else:  # reports keep the worker, and a database that is away must not keep it forever
            self._over_at = self._clock.monotonic() + LAST_WORDS

    @property
    def leaves(self) -> bool:
        """True for a worker that was told to stop."""
        return self._draining

    def mind_refused(self, runs: Sequence[str]) -> None:
        """Give up on runs that the database refuses, when only they keep a worker that was told to
        stop. The worker tries for as long as SIGTERM allows, and then exits without them."""
        if not (runs and self._draining):
            self._refused_since = None
            return
        now = self._clock.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        seconds = now - self._refused_since
        if self._over_at is None and seconds >= self._settings.grace + LAST_WORDS:
            which = ", ".join(runs[:MOST_NAMED]) + (", ..." if len(runs) > MOST_NAMED else "")
            self.why += f"; the database has rejected {which} for {seconds:.0f} s"
            self._over_at = now

    def _drain(self, why: str, worker: str) -> None:
        self._draining, self.why = True, why
        log_event("worker_draining", worker=worker, why=why)

    def _kill(self, pool: Pool, why: str, exit_code: int) -> None:
        self._draining = self._killed = True
        self.why, self.exit_code = why, exit_code
        self._over_at = self._clock.monotonic() + LAST_WORDS
        pool.kill_all_runs(Outcome.INTERRUPTED, Reason(ReasonCode.SHUTDOWN, why=why))
