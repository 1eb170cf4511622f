"""What database servers have in common: a clock of their own, and rows that can be locked.

I own the reading of the server's clock, the claim's lock, and the look at a silent connection. I
call pydal, past its select where
SKIP LOCKED is asked for: it knows no word for that.
"""

from __future__ import annotations

import selectors
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from plugin_scheduler.clock import Clock
from plugin_scheduler.dialects.base import Dialect
from plugin_scheduler.settings import Settings

CLOCK_GOOD_FOR = 60.0  # seconds after which the server's clock is read again
LONG_TRIP = 1.0  # seconds; an answer that took longer says little about the time


def has_news(connection: Any) -> bool:
    """True where the other end has said something, or hung up. (`select.select` does not take the
    many files of a large program.)"""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(0))


def patience(settings: Settings) -> float:
    """Seconds to wait for a silent server: much less than a lease, so that a worker that cannot
    reach its database still hears its runners."""
    return max(1.0, min(3.0, settings.lease / 4))


def lacks(refused: Iterable[tuple[str, str]]) -> list[str]:
    """What could not be made, and why: those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for what, why in refused:
        reasons.setdefault(why, []).append(what)
    return [f"{', '.join(what)} ({why})" for why, what in reasons.items()]


class Reading(NamedTuple):
    """The server's clock as it was read: one value, since an app's threads share it."""

    ahead: float  #: of this machine's steady clock
    at: float  #: by the steady clock
    skew: float


class Server(Dialect):
    """A database on a machine that need not be this one."""

    #: Seconds since 1970 by the server's clock.
    clock_query = ""
    locks_rows = True
    is_remote = True

    def __init__(self, db: Any, clock: Clock, settings: Settings) -> None:
        super().__init__(db, clock, settings)
        self._reading: Reading | None = None

    def epoch(self) -> float:
        """The server's clock, carried on by this machine's steady one: hosts whose clocks differ
        agree on what is due and who is dead, also when somebody sets a clock."""
        reading = self._reading
        if reading is None or self._clock.monotonic() > reading.at + CLOCK_GOOD_FOR:
            reading = self._read()
        return self._clock.monotonic() + reading.ahead

    def read_clock(self) -> None:
        self._read()

    def _read(self) -> Reading:
        """Not in a transaction of our own: an app asks for the time in the middle of its own."""
        before = self._clock.monotonic()
        with self.errors():
            answer = float(self.db.executesql(self.clock_query)[0][0])
        now = self._clock.monotonic()
        trip, old = now - before, self._reading
        ahead = answer - (before + now) / 2
        if old is not None and trip > LONG_TRIP and abs(ahead - old.ahead) <= trip / 2:
            ahead = old.ahead  # the old reading was the better one, and nothing speaks against it
        self._reading = Reading(ahead, now, self._clock.epoch() - now - ahead)
        return self._reading

    @property
    def skew(self) -> float:
        return self._reading.skew if self._reading else 0.0

    def select(self, query: Any, fields: Sequence[Any], lock: str = "", **options: Any) -> Any:
        if lock == "skip" and self.locks_rows:
            sql = self.db(query)._select(*fields, **options).rstrip("; ")
            return self.db.executesql(f"{sql} FOR UPDATE SKIP LOCKED", fields=list(fields))
        if lock == "wait":
            options["for_update"] = True
        return super().select(query, fields, **options)
