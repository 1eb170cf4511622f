"""PostgreSQL's doorbell: a connection that listens, and notices when it has gone deaf.

A connection that only listens cannot tell silence from death: the network may have swallowed it,
or a pooler may have given its LISTEN to somebody else. So the worker rings its own bell now and
then, through its other connection, on a channel that nobody else hears. When that is not heard in
time the ear is replaced, and until it hears again the worker looks twice a second. I own both ends
of that. I call psycopg2, and never wait for long: a server may be silent, or a pooler busy.
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

TEST_EVERY = 4.0  # seconds between two rings of one's own
HEARD_WITHIN = 2.0  # seconds until one's own ring must have been heard
SELDOM = 60.0  # seconds at most between two tries to get an ear that hears
POLL = 0.5  # seconds between two looks while it is not
DEAF = "notifications do not arrive (a dead network?)"


class ListenConnection:
    """A connection that hears; one of psycopg2's that does not wait (``async_``)."""

    def __init__(self, connection: Any, clock: Clock, patience: float) -> None:
        self._connection, self._clock, self._patience = connection, clock, patience
        self._left = False
        self._wait()

    def ask(self, query: str) -> list[Any]:
        """One query; the rows it answers."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            self._wait()
            return list(cursor.fetchall()) if cursor.description else []

    def _wait(self) -> None:
        until = self._clock.monotonic() + self._patience
        while events := self._connection.poll():  # 0 is done, 1 and 2 are read and write, as below
            left = until - self._clock.monotonic()
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, events)
                if left <= 0 or not selector.select(left):
                    self.close()
                    raise ConnectionError(f"no answer within {self._patience:g} s")

    @property
    def pid(self) -> int:
        """Who answers, as was said when it connected."""
        return int(self._connection.get_backend_pid())

    def fileno(self) -> int:
        return int(self._connection.fileno())

    def hear(self) -> list[Any]:
        """What came since the last call, with ``channel`` and ``pid`` of who rang."""
        self.is_left()  # afterwards nothing can be seen any more
        self._connection.poll()
        if self._connection.closed:
            raise ConnectionError("closed by the server")
        heard, self._connection.notifies[:] = list(self._connection.notifies), []
        return heard

    def is_left(self) -> bool:
        """True where the server has hung up, now or before this end was closed."""
        if not self._left and not self._connection.closed:
            self._left = has_hung_up(self._connection)
        return self._left

    def close(self) -> None:
        """Without another word to the server: where it is silent, an answer may never come."""
        with contextlib.suppress(Exception):  # a broken connection cannot even be closed
            self._connection.close()


class Listener(Notifier):
    """Rings when somebody else's transaction wrote what a worker must hear of.

    ``open_ear`` connects, ``ring`` rings on a channel and tells why writers would not ring,
    ``own_pid`` is who writes for this worker.
    """

    def __init__(
        self,
        open_ear: Callable[[], ListenConnection],
        ring: Callable[[str], str | None],
        own_pid: Callable[[], int],
        channel: str,
        clock: Clock,
    ) -> None:
        self._open_ear, self._ring, self._own_pid = open_ear, ring, own_pid
        self._channel, self._clock = channel, clock
        self._own_channel = f"{channel}_{secrets.token_hex(6)}"
        # A file of its own that stays the same while the connections behind it come and go.
        self._files = selectors.DefaultSelector()
        self._ear: ListenConnection | None = None
        self._ear_file = -1
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
        if self._rung:  # heard beside a test: the file does not tell of it again
            return 0.0
        return POLL if self._is_in_doubt() or self.fileno() < 0 else math.inf

    def _is_in_doubt(self) -> bool:
        return bool(not self._hears or self.trouble)

    def fileno(self) -> int:
        return int(self._files.fileno()) if hasattr(self._files, "fileno") else -1

    def heed(self) -> None:
        if self._ear is None:
            return
        try:
            heard = self._ear.hear()
        except Exception as error:  # whatever the driver raises for a connection that is gone
            self._lose_ear(str(error))
            return
        for news in heard:
            if news.channel == self._own_channel:
                self._rung |= not self._hears  # what was written before this ear was not heard
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
        """Ring, if it is time; and replace an ear that did not hear the last ring."""
        self.heed()
        now = self._clock.monotonic()
        if self._asked_at is not None and now >= self._asked_at + HEARD_WITHIN:
            self._lose_ear(DEAF)
        if now < self._ring_at:
            return
        # Behind a pooler no ear will ever do, so try less and less often.
        self._ring_at = now + min(TEST_EVERY * 2 ** max(0, self._deaf_ears - 1), SELDOM)
        if self._ear is None:
            self._get_ear()
        if self._asked_at is None:
            was_mute, self._mute = self._mute, self._ring(self._own_channel)
            self._rung |= was_mute is not None
            if self._ear is not None:
                self._asked_at = self._clock.monotonic()

    def close(self) -> None:
        self._drop_ear()
        self._files.close()

    def _get_ear(self) -> None:
        try:
            self._ear = self._open_ear()
            for channel in (self._channel, self._own_channel):
                self._ear.ask(f'LISTEN "{channel}"')
            self._ear_file = self._ear.fileno()
            self._files.register(self._ear_file, selectors.EVENT_READ)
        except Exception as error:  # as above
            self._lose_ear(str(error))

    def _lose_ear(self, why: str) -> None:
        """Something may have been missed, so look at once. The first loss is made good at once."""
        self._deaf = next(iter(why.strip().splitlines()), DEAF)
        if self._deaf_ears == 0:
            self._ring_at = 0.0
        self._deaf_ears += 1
        self._asked_at, self._hears, self._rung = None, False, True
        self._drop_ear()

    def _drop_ear(self) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            # By its number: a connection that is lost has none any more.
            with contextlib.suppress(KeyError, ValueError):
                self._files.unregister(self._ear_file)
            ear.close()
