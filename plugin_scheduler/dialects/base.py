"""What the engine asks of a database, said in the words that every database understands.

I own the contract, and an answer for databases without a dialect of their own: compare-and-set
makes a claim safe everywhere, row locks only make it faster. I call pydal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from plugin_scheduler.clock import Clock
from plugin_scheduler.doorbell import Doorbell, Silent
from plugin_scheduler.errors import StoreUnavailable


class Dialect:
    """One open connection to one database, for the engine's own use."""

    name = "any"

    def __init__(self, db: Any, clock: Clock, utc: bool) -> None:
        self.db, self._clock, self._utc = db, clock, utc

    def prepare(self, settings: Any) -> None:
        """Make a new connection fit for the engine's work."""

    def now(self) -> datetime:
        """The time by which tasks are due."""
        return self._clock.now(self._utc)

    def epoch(self) -> float:
        """The time by which workers live and die."""
        return self._clock.epoch()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; StoreUnavailable where the same may work later."""
        with self.errors():
            try:
                self.begin()
                yield
                self.db.commit()
            except BaseException:
                self._roll_back()
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read, and leave no transaction open behind it."""
        with self.errors():
            try:
                yield
            finally:
                self._roll_back()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Tell passing troubles from mistakes."""
        try:
            yield
        except Exception as error:
            if self.passes(error):
                hint = self.hint(error)
                raise StoreUnavailable(f"{type(error).__name__}: {error}{hint}") from error
            raise

    def begin(self) -> None:
        """Start a transaction that will write."""

    def passes(self, error: Exception) -> bool:
        """True for an error that says: not now."""
        driver = self.db._adapter.driver
        kinds = tuple(
            kind
            for name in ("OperationalError", "InterfaceError", "InternalError")
            if isinstance(kind := getattr(driver, name, None), type)
        )
        return bool(kinds) and isinstance(error, kinds)

    def hint(self, error: Exception) -> str:
        """What a person could look at, as the end of the sentence."""
        return ""

    def doorbell(self) -> Doorbell:
        """What tells that somebody wrote something."""
        return Silent()

    def create_indexes(self, indexes: Any) -> None:
        """Make those indexes that are not there yet."""
        for table, name, columns, *_ in indexes:
            with contextlib.suppress(Exception):  # "exists already" differs from driver to driver
                self.db[table].create_index(name, *(self.db[table][column] for column in columns))
                self.db.commit()
                continue
            self._roll_back()

    def _roll_back(self) -> None:
        try:
            self.db.rollback()
        except Exception:  # the connection is gone: the next query opens a new one
            with contextlib.suppress(Exception):  # a broken connection cannot even be closed
                self.db._adapter.close(None, really=True)
