"""What database servers have in common: a clock of their own, and rows that can be locked.

I own the reading of the server's clock, the claim's lock, the look at a silent connection, and what
a refusal means. I call pydal, past its select where SKIP LOCKED is asked for: it knows no word for
that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.socket_state import has_hung_up, port_of

CLOCK_GOOD_FOR = 10.0  # seconds after which the server's clock is read again
SLEPT = 1.0  # seconds that this machine's clocks may disagree about the time since then
LONG_TRIP = 1.0  # seconds; an answer that took longer says little about the time


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


class ClockReading(NamedTuple):
    """The server's clock as it was read: one value, since an app's threads share it."""

    ahead: float  #: of this machine's steady clock
    at: float  #: by the steady clock
    wall: float  #: by the other one
    skew: float


class Server(Dialect):
    """A database on a machine that need not be this one."""

    #: Seconds since 1970 by the server's clock.
    clock_query = ""
    asks_at_once = True
    inserts_at_once = True
    locks_rows = True
    #: To hold rows for a look, which others may do at the same time.
    look_words = "FOR SHARE"
    #: To hold rows that are to be changed.
    hold_words = "FOR UPDATE"
    is_remote = True

    def __init__(self, db: Any, clock: Clock, settings: Settings) -> None:
        super().__init__(db, clock, settings)
        self._reading: ClockReading | None = None
        self.is_direct = self._has_hung_up = False

    def epoch(self) -> float:
        """The server's clock, carried on by this machine's steady one: hosts whose clocks differ
        agree on what is due and who is dead, also when somebody sets a clock."""
        reading = self._reading
        if reading is None or self._is_stale(reading):
            reading = self._read()
        return self._clock.monotonic() + reading.ahead

    def _is_stale(self, reading: ClockReading) -> bool:
        """True after a while, or where this machine slept (its steady clock stands still then)."""
        since = self._clock.monotonic() - reading.at
        by_the_wall = self._clock.epoch() - reading.wall
        return since > CLOCK_GOOD_FOR or abs(by_the_wall - since) > SLEPT

    def _read(self) -> ClockReading:
        """Not in a transaction of our own: an app asks for the time in the middle of its own."""
        before = self._clock.monotonic()
        with self.errors():
            answer = float(self.db.executesql(self.clock_query)[0][0])
        now = self._clock.monotonic()
        trip, old = now - before, self._reading
        ahead = answer - (before + now) / 2
        if old is not None and trip > LONG_TRIP and abs(ahead - old.ahead) <= trip / 2:
            ahead = old.ahead  # the old reading was the better one, and nothing speaks against it
        wall = self._clock.epoch()
        self._reading = ClockReading(ahead, now, wall, wall - now - ahead)
        return self._reading

    @property
    def skew(self) -> float:
        return self._reading.skew if self._reading else 0.0

    # -- is it down, or are we kept out? --------------------

    def _be_connected(self) -> None:
        line = self.line_of(self._connection) if self.is_direct else None
        if line is not None:
            self._has_hung_up = has_hung_up(line)
        super()._be_connected()

    @classmethod
    def line_of(cls, connection: Any) -> Any:
        """Where a connection can be looked at; None where its driver hides that, or closed it."""
        return None

    def met(self, port: int | None, same_session: bool) -> None:
        """A new connection was made. The server itself is at its other end, and no pooler or proxy
        that might go away alone, where it sees the port (None: a Unix socket) and the number of the
        session that we see."""
        self._has_hung_up = False
        line = self.line_of(self.db._adapter.connection)
        same_port = line is not None and port_of(line) == (port or 0)
        self.is_direct = same_session and same_port

    def down_for_all(self, error: Exception) -> bool:
        """The server says so; or it refuses us after it had hung up. A refusal alone may be that of
        a firewall or proxy which keeps out only us."""
        if self.says_goodbye(error):
            self._has_hung_up = self.is_direct
        return self.is_said_to_all(error) or (self.is_refusal(error) and self.has_left())

    def has_left(self) -> bool:
        """True where the server itself, and nobody in between, has closed our connection."""
        return self._has_hung_up

    def says_goodbye(self, error: Exception) -> bool:
        """True where the server ended a connection in the middle of a question."""
        return False

    def is_said_to_all(self, error: Exception) -> bool:
        """True where these are the server's own words, and it serves nobody now."""
        return False

    def is_refusal(self, error: Exception) -> bool:
        """True where nobody listens at the server's address."""
        return False

    # -- locks --------------------

    def rows(
        self, query: Any, fields: Sequence[Any], lock: str = "", **options: Any
    ) -> list[tuple[Any, ...]]:
        sql = self.db(query)._select(*fields, **options)
        return list(self.db.executesql(self._locking(sql, lock)))

    def _locking(self, sql: str, lock: str) -> str:
        if not lock:
            return sql
        words = self.look_words if lock == "look" else self.hold_words
        skip = " SKIP LOCKED" if lock != "wait" and self.locks_rows else ""
        return f"{sql.rstrip('; ')} {words}{skip}" if skip or lock == "wait" else sql

    def select(self, query: Any, fields: Sequence[Any], lock: str = "", **options: Any) -> Any:
        if lock == "wait" or (lock and self.locks_rows):
            sql = self._locking(self.db(query)._select(*fields, **options), lock)
            return self.db.executesql(sql, fields=list(fields))
        return super().select(query, fields, **options)

    def _hold(self, table: Any, ids: Sequence[int], fields: Sequence[Any], only: Any) -> list[Any]:
        sql = self._those(table, ids, only)._select(*fields, orderby=table.id)
        sql = self._locking(self.by_key(sql), "wait")
        return list(self.db.executesql(sql, fields=list(fields)))
