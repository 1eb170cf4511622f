"""Base dialect of database servers: the server's clock, row locks, and detection of outages.

Bypasses pydal's select for SKIP LOCKED, which pydal does not support.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.pydal_access import adapter_of
from plugin_scheduler.system.socket_state import has_hung_up, port_of

CLOCK_GOOD_FOR = 10.0  # seconds after which the server's clock is read again
SLEPT = 1.0  # seconds by which wall and monotonic time may differ since the last reading
LONG_TRIP = 1.0  # seconds; a slower response is an inaccurate reading


def patience(settings: Settings) -> float:
    """Return the seconds to wait for a server that does not respond.

    Much less than a lease, so that a worker without a database still reads its runners' messages.
    """
    return max(1.0, min(3.0, settings.lease / 4))


def lacks(refused: Iterable[tuple[str, str]]) -> list[str]:
    """Describe the objects that could not be created, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for what, why in refused:
        reasons.setdefault(why, []).append(what)
    return [f"{', '.join(what)} ({why})" for why, what in reasons.items()]


class ClockReading(NamedTuple):
    """A reading of the server's clock: one immutable value, since an app's threads share it."""

    ahead: float  #: server time minus monotonic time
    at: float  #: monotonic time of the reading
    wall: float  #: wall time of the reading
    skew: float


class Server(Dialect):
    """A database server, on this machine or another one."""

    #: Query for the server's time in seconds since 1970.
    clock_query = ""
    asks_at_once = True
    inserts_at_once = True
    locks_rows = True
    #: Shared row lock, for reading.
    look_words = "FOR SHARE"
    #: Exclusive row lock, for rows that will be changed.
    hold_words = "FOR UPDATE"
    is_remote = True

    def __init__(self, db: Any, clock: Clock, settings: Settings) -> None:
        super().__init__(db, clock, settings)
        self._reading: ClockReading | None = None
        self.is_direct = self._has_hung_up = False

    def epoch(self) -> float:
        """Return the server's time, extrapolated with the monotonic clock.

        Hosts with different clocks then agree on due tasks and lapsed leases, also when a system
        clock is changed.
        """
        reading = self._reading
        if reading is None or self._is_stale(reading):
            reading = self._read()
        return self._clock.monotonic() + reading.ahead

    def _is_stale(self, reading: ClockReading) -> bool:
        """Return True for an old reading, or after a suspend (the monotonic clock then stops)."""
        since = self._clock.monotonic() - reading.at
        by_the_wall = self._clock.epoch() - reading.wall
        return since > CLOCK_GOOD_FOR or abs(by_the_wall - since) > SLEPT

    def _read(self) -> ClockReading:
        """Read the server's clock, without a transaction: an app may be inside its own."""
        before = self._clock.monotonic()
        with self.errors():
            answer = float(self.db.executesql(self.clock_query)[0][0])
        now = self._clock.monotonic()
        trip, old = now - before, self._reading
        ahead = answer - (before + now) / 2
        if old is not None and trip > LONG_TRIP and abs(ahead - old.ahead) <= trip / 2:
            ahead = old.ahead  # the old reading is more accurate and still consistent
        wall = self._clock.epoch()
        self._reading = ClockReading(ahead, now, wall, wall - now - ahead)
        return self._reading

    @property
    def skew(self) -> float:
        return self._reading.skew if self._reading else 0.0

    # -- distinguish a server outage from a blocked connection --------------------

    def _be_connected(self) -> None:
        line = self.line_of(self._connection) if self.is_direct else None
        if line is not None:
            self._has_hung_up = has_hung_up(line)
        super()._be_connected()

    @classmethod
    def line_of(cls, connection: Any) -> Any:
        """Return the socket of a connection; None if the driver hides or has closed it."""
        return None

    def met(self, port: int | None, same_session: bool) -> None:
        """Record a new connection.

        It leads to the server itself, and not to a pooler or proxy, if server and client see the
        same port (None for a Unix socket) and the same session number.
        """
        self._has_hung_up = False
        line = self.line_of(adapter_of(self.db).connection)
        same_port = line is not None and port_of(line) == (port or 0)
        self.is_direct = same_session and same_port

    def down_for_all(self, error: Exception) -> bool:
        """Return True if the server reports a shutdown, or refuses a connection after closing one.

        A refusal alone may come from a firewall or proxy that blocks only this client.
        """
        if self.says_goodbye(error):
            self._has_hung_up = self.is_direct
        return self.is_said_to_all(error) or (self.is_refusal(error) and self.has_left())

    def has_left(self) -> bool:
        """Return True if the server itself, not a pooler or proxy, has closed our connection."""
        return self._has_hung_up

    def says_goodbye(self, error: Exception) -> bool:
        """Return True if the server closed the connection during a query."""
        return False

    def is_said_to_all(self, error: Exception) -> bool:
        """Return True for an error by which the server reports that it serves no client."""
        return False

    def is_refusal(self, error: Exception) -> bool:
        """Return True if no process listens at the server's address."""
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
