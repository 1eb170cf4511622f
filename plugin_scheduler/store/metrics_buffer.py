"""Metrics buffer: runs of one worker, counted by minute, function and group, not yet stored.

Does not access a database or a clock: the minute is an argument. Every end of a run is counted
here, which takes about a microsecond.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from plugin_scheduler.core.application_name import app_of
from plugin_scheduler.core.types import Order, Outcome

KINDS = 100  # per minute; all further kinds of an app are counted together, without names
KEPT = 5000  # maximum number of counts waiting for the database; the oldest are dropped
_COMPLETED = Outcome.COMPLETED


class MetricKind(NamedTuple):
    """The key of a count."""

    epoch_minute: int
    function_name: str
    group_name: str
    application_name: str


class Amount(NamedTuple):
    """A count: numbers of runs, and run time and queue time in seconds, total and longest."""

    completed: int = 0
    failed: int = 0
    run_seconds: float = 0.0
    run_longest: float = 0.0
    wait_seconds: float = 0.0
    wait_longest: float = 0.0

    def plus(self, other: Amount) -> Amount:
        """Return the sum of both.

        >>> tuple(Amount(1, 0, 2.0, 2.0).plus(Amount(2, 1, 9.0, 5.0)))
        (3, 1, 11.0, 5.0, 0.0, 0.0)
        """
        return Amount(
            self.completed + other.completed,
            self.failed + other.failed,
            self.run_seconds + other.run_seconds,
            max(self.run_longest, other.run_longest),
            self.wait_seconds + other.wait_seconds,
            max(self.wait_longest, other.wait_longest),
        )


class KindTotals:
    """The totals of one kind: all that this worker has counted, not only what is new.

    So writing twice does no harm if the result of the first write is unknown.
    """

    __slots__ = ("before", "completed", "failed", "is_new", "longest", "run", "wait", "waited")

    def __init__(self) -> None:
        self.completed = self.failed = 0
        self.run = self.longest = self.wait = self.waited = 0.0
        self.is_new = True
        #: The amount stored earlier, for example by a previous worker with the same name.
        self.before: Amount | None = None

    def total(self) -> Amount:
        """Return the total, including the amount stored earlier."""
        mine = (self.completed, self.failed, self.run, self.longest, self.wait, self.waited)
        return Amount(*mine).plus(self.before or Amount())


class MetricsBuffer:
    """Counts runs, and returns what has to be stored."""

    def __init__(self) -> None:
        self._minute = 0
        self._current: dict[tuple[str | None, ...], KindTotals] = {}
        self._counts: dict[MetricKind, KindTotals] = {}

    def add(self, minute: int, order: Order, outcome: Outcome, seconds: float) -> None:
        """Count a run that ended in ``minute``, unless it was interrupted: it runs again."""
        task = order.task
        if minute != self._minute:
            self._minute, self._current = minute, {}
        key = (task.function_name, task.group_name, task.application_name)
        if outcome == _COMPLETED:
            count = self._current.get(key) or self._begin(key)
            count.completed += 1
        elif outcome == Outcome.INTERRUPTED:
            return
        else:
            count = self._current.get(key) or self._begin(key)
            count.failed += 1
        count.is_new = True
        count.run += seconds
        if seconds > count.longest:
            count.longest = seconds
        due, started = task.next_run_time, order.started
        if due is not None and started > due:
            waited = (started - due).total_seconds()
            count.wait += waited
            if waited > count.waited:
                count.waited = waited

    def _begin(self, key: tuple[str | None, ...]) -> KindTotals:
        function, group, application = (part or "" for part in key)
        kind = MetricKind(self._minute, function, group, app_of(application))
        has_room = len(self._current) < KINDS
        if not has_room:
            kind = kind._replace(function_name="", group_name="")
        count = self._counts.setdefault(kind, KindTotals())
        if has_room:
            self._current[key] = count
        while len(self._counts) > KEPT:
            del self._counts[next(iter(self._counts))]
        return count

    def unasked(self) -> list[MetricKind]:
        """Return the kinds whose earlier amounts are not yet read from the database."""
        return [kind for kind, count in self._counts.items() if count.before is None]

    def told(self, before: Mapping[MetricKind, Amount]) -> None:
        """Record the earlier amounts of all kinds from `unasked`."""
        for kind in self.unasked():
            self._counts[kind].before = before.get(kind, Amount())

    def news(self) -> dict[MetricKind, Amount]:
        """Return the totals that have to be stored."""
        return {kind: count.total() for kind, count in self._counts.items() if count.is_new}

    def stored(self, kinds: Collection[MetricKind]) -> None:
        """Record that these kinds are stored; drop those of past minutes."""
        for kind in kinds:
            self._counts[kind].is_new = False
            if kind.epoch_minute != self._minute:
                del self._counts[kind]
