"""Notifier of PostgreSQL: a LISTEN connection that is tested periodically.

A connection that only listens cannot distinguish silence from failure: the network may be dead, or
a pooler may have assigned its LISTEN to another client. So the worker periodically sends a
notification through its other connection, on a private channel. If it does not arrive in time, the
LISTEN connection is replaced, and the worker polls twice a second until notifications arrive again.
No call blocks for long: a server may not respond, or a pooler may be busy.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import selectors
from collections.abc import Callable
from typing import Any

from plugin_scheduler.database.notifier import Notifier
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.socket_state import has_hung_up

TEST_EVERY = 4.0  # seconds between two test notifications
HEARD_WITHIN = 2.0  # seconds within which a test notification must arrive
SELDOM = 60.0  # maximum seconds between two attempts to get a working LISTEN connection
POLL = 0.5  # seconds between two polls while notifications do not arrive
DEAF = "notifications do not arrive (network failure?)"


class ListenConnection:
    """A LISTEN connection: an asynchronous connection of psycopg2 (``async_``)."""

    def __init__(self, connection: Any, clock: Clock, patience: float) -> None:
        self._connection, self._clock, self._patience = connection, clock, patience
        self._left = False
        self._wait()

    def ask(self, query: str) -> list[Any]:
        """Run a query and return its rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            self._wait()
            return list(cursor.fetchall()) if cursor.description else []

    def _wait(self) -> None:
        until = self._clock.monotonic() + self._patience
        while events := self._connection.poll():  # 0: done; 1, 2: read, write, as in selectors
            left = until - self._clock.monotonic()
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, events)
                if left <= 0 or not selector.select(left):
                    self.close()
                    raise ConnectionError(f"no answer within {self._patience:g} s")

    @property
    def pid(self) -> int:
        """The backend pid, as reported on connect."""
        return int(self._connection.get_backend_pid())

    def fileno(self) -> int:
        return int(self._connection.fileno())

    def hear(self) -> list[Any]:
        """Return the notifications since the last call, with ``channel`` and sender's ``pid``."""
        self.is_left()  # before poll: a closed connection has no socket to inspect
        self._connection.poll()
        if self._connection.closed:
            raise ConnectionError("closed by the server")
        heard, self._connection.notifies[:] = list(self._connection.notifies), []
        return heard

    def is_left(self) -> bool:
        """Return True if the server has closed the connection, now or before this end did."""
        if not self._left and not self._connection.closed:
            self._left = has_hung_up(self._connection)
        return self._left

    def close(self) -> None:
        """Close without a query: a server that does not respond would block it."""
        with contextlib.suppress(Exception):  # closing a broken connection may fail
            self._connection.close()


class Listener(Notifier):
    """Reports a change when another session has notified workers.

    ``open_listen_connection`` opens a LISTEN connection. ``ring`` notifies a channel and returns a
    message if the triggers of writers are missing. ``own_pid`` returns the pid of this worker's own
    session.
    """

    def __init__(
        self,
        open_listen_connection: Callable[[], ListenConnection],
        ring: Callable[[str], str | None],
        own_pid: Callable[[], int],
        channel: str,
        clock: Clock,
    ) -> None:
        self._open_listen_connection, self._ring, self._own_pid = (
            open_listen_connection,
            ring,
            own_pid,
        )
        self._channel, self._clock = channel, clock
        self._own_channel = f"{channel}_{secrets.token_hex(6)}"
        # A descriptor that stays the same while the connections behind it change.
        self._files = selectors.DefaultSelector()
        self._listen_connection: ListenConnection | None = None
        self._listen_file = -1
        self._hears = False
        self._deaf: str | None = None
        self._mute: str | None = None
        self._rung = False
        self._looked = self._clock.monotonic()
        self._asked_at: float | None = None
        self._ring_at = 0.0
        self._deaf_ears = 0

    @property
    def next_test(self) -> float:  # type: ignore[override]
        late = math.inf if self._asked_at is None else self._asked_at + HEARD_WITHIN
        return min(self._ring_at, late)

    @property
    def trouble(self) -> str | None:  # type: ignore[override]
        return self._deaf or self._mute

    @property
    def way(self) -> str:  # type: ignore[override]
        return "polling" if self.trouble else "LISTEN"

    @property
    def interval(self) -> float:  # type: ignore[override]
        if self._rung:  # arrived during a test: the descriptor is no longer readable
            return 0.0
        return POLL if self._is_in_doubt() or self.fileno() < 0 else math.inf

    def _is_in_doubt(self) -> bool:
        return bool(not self._hears or self.trouble)

    def fileno(self) -> int:
        return int(self._files.fileno()) if hasattr(self._files, "fileno") else -1

    def heed(self) -> None:
        if self._listen_connection is None:
            return
        try:
            heard = self._listen_connection.hear()
        except Exception as error:  # driver-specific error of a lost connection
            self._lose_listen_connection(str(error))
            return
        for news in heard:
            if news.channel == self._own_channel:
                self._rung |= not self._hears  # earlier changes were missed
                self._hears, self._deaf = True, None
                self._asked_at, self._deaf_ears = None, 0
            elif news.pid != self._own_pid():
                self._rung = True

    def rung(self) -> bool:
        self.heed()
        now = self._clock.monotonic()
        rung = self._rung or (self._is_in_doubt() and now >= self._looked + POLL)
        if rung:
            self._rung, self._looked = False, now
        return rung

    def test(self) -> None:
        """Send a test notification when due; replace a connection that missed the last one."""
        self.heed()
        now = self._clock.monotonic()
        if self._asked_at is not None and now >= self._asked_at + HEARD_WITHIN:
            self._lose_listen_connection(DEAF)
        if now < self._ring_at:
            return
        # Behind a pooler no connection ever works, so the interval grows.
        self._ring_at = now + min(TEST_EVERY * 2 ** max(0, self._deaf_ears - 1), SELDOM)
        if self._listen_connection is None:
            self._get_listen_connection()
        if self._asked_at is None:
            was_mute, self._mute = self._mute, self._ring(self._own_channel)
            self._rung |= was_mute is not None
            if self._listen_connection is not None:
                self._asked_at = self._clock.monotonic()

    def close(self) -> None:
        self._drop_listen_connection()
        self._files.close()

    def _get_listen_connection(self) -> None:
        try:
            self._listen_connection = self._open_listen_connection()
            for channel in (self._channel, self._own_channel):
                self._listen_connection.ask(f'LISTEN "{channel}"')
            self._listen_file = self._listen_connection.fileno()
            self._files.register(self._listen_file, selectors.EVENT_READ)
        except Exception as error:  # driver-specific
            self._lose_listen_connection(str(error))

    def _lose_listen_connection(self, why: str) -> None:
        """Drop the connection and report a change, since notifications may have been missed.

        The first lost connection is replaced at once.
        """
        self._deaf = next(iter(why.strip().splitlines()), DEAF)
        if self._deaf_ears == 0:
            self._ring_at = 0.0
        self._deaf_ears += 1
        self._asked_at, self._hears, self._rung = None, False, True
        self._drop_listen_connection()

    def _drop_listen_connection(self) -> None:
        listening, self._listen_connection = self._listen_connection, None
        if listening is not None:
            # By the stored number: a lost connection has no descriptor any more.
            with contextlib.suppress(KeyError, ValueError):
                self._files.unregister(self._listen_file)
            listening.close()
