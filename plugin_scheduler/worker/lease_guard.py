"""Lease guard: limits how long runs may go on while the worker cannot renew its lease.

Does not end runs: the time limit is passed to the pool, whose forkserver enforces it even if this
process hangs.
"""

from __future__ import annotations

from collections.abc import Callable

from plugin_scheduler.core.settings import Settings

#: Seconds by which runs end before the lease does: ending many processes takes time, and the lease
#: is written by the database's clock, which is read over a network.
MARGIN = 0.5


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
