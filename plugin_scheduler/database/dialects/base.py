"""What the engine asks of a database, said in the words that every database understands.

I own the contract, and an answer for databases without a dialect of their own: compare-and-set
makes a claim safe everywhere, row locks only make it faster. I call pydal.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydal._globals import THREAD_LOCAL
from pydal.connection import ConnectionPool

from plugin_scheduler.core.errors import Conflict, StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects.bulk_sql import Sayings
from plugin_scheduler.database.dialects.encodings import escaped, letters_beyond
from plugin_scheduler.database.notifier import Notifier, Silent
from plugin_scheduler.system.clock import Clock

Method = TypeVar("Method", bound=Callable[..., Any])

READS_ONLY = " (this session may only read, as at a replica; a new one is opened)"
_TEXTS = ("string", "text")
CONFLICT_TRIES = 5  # a deadlock has one victim each time, and the others get through
CONFLICT_PAUSE = 0.01  # seconds, more with each try


class Dialect(Sayings):
    """One open connection to one database."""

    name = "any"
    #: As people call it, and how to ask for its version.
    title = version_query = ""
    #: Can rows be locked, and locked ones be skipped? Then a claim takes what nobody else takes.
    locks_rows = False
    #: Does a transaction that was begun for writing keep all others from it?
    holds_all = False
    #: Does a connection lead to a server, that can have only so many?
    is_remote = False
    #: Is the database itself at the other end of a connection, as far as is known, and nothing that
    #: may go away alone?
    is_direct = True

    #: Does it read but one entry of an index where the highest below something is asked for?
    steps_down = True
    #: Does it know that rows WHERE x IS NULL need not be sorted by x, whatever else they are by?
    nulls_are_alike = True

    def __init__(self, db: Any, clock: Clock, settings: Settings) -> None:
        self.db, self._clock, self._settings = db, clock, settings
        self.zone = settings.zone
        self.conflicts = 0
        self._connection: Any = None
        self._narrow: tuple[str, ...] | None = None
        self._statements = {}

    @classmethod
    def connection_options(cls, settings: Settings) -> dict[str, Any]:
        """What the driver is told for the engine's own connection, whatever the app tells it."""
        return {}

    # -- time --------------------

    def now(self) -> datetime:
        """The time by which tasks are due: naive, in the zone of the tables."""
        return self._clock.at(self.epoch(), self.zone)

    def epoch(self) -> float:
        """The time by which workers live and die: seconds since 1970."""
        return self._clock.epoch()

    @property
    def skew(self) -> float:
        """Seconds by which this machine's clock is ahead of the database's."""
        return 0.0

    # -- transactions --------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; StoreUnavailable where the same may work later."""
        with self.errors():
            try:
                self._be_connected()
                self.begin()
                yield
                self.commit()
            except BaseException:
                self._roll_back()
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read, and leave no transaction open behind it."""
        with self.errors():
            try:
                self._be_connected()
                self.begin_reading()
                yield
            finally:
                self._roll_back()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Tell passing troubles from mistakes."""
        try:
            yield
        except Exception as error:
            reads_only = self.is_read_only(error)
            passes = self.is_transient(error) and not self.blames_values(error)
            if not (reads_only or passes):
                raise
            words = f"{type(error).__name__}: {str(error).strip()}{self.hint(error)}"
            if reads_only:  # others may reach the server that has taken over
                self.hang_up()
                raise StoreUnavailable(words + READS_ONLY) from error
            raise self.kind_of(error)(words, for_all=self.down_for_all(error)) from error

    def begin(self) -> None:
        """Start a transaction that will write."""

    def commit(self) -> None:
        """End it, and keep what it wrote."""
        self.db.commit()

    def begin_reading(self) -> None:
        """Start one that will only read: it must not wait for long, either."""

    def select(self, query: Any, fields: Sequence[Any], lock: str = "", **options: Any) -> Any:
        """Rows; ``lock`` asks to "wait" for rows that others write, to "skip" those, or to "look"
        for the others, keeping nobody from the same. Where rows cannot be locked, compare-and-set
        finds out later."""
        return self.db(query).select(*fields, cacheable=True, **options)

    def rows(
        self, query: Any, fields: Sequence[Any], lock: str = "", **options: Any
    ) -> list[tuple[Any, ...]]:
        """As `select`, but as the driver gives them."""
        return list(self.db.executesql(self.db(query)._select(*fields, **options)))

    def parsed(self, field: Any, value: Any) -> Any:
        """A single value, as a select gives it."""
        return self.db._adapter.parse_value(value, field._itype, field.type)

    def as_stored(self, field: Any) -> Any:
        """A column that the driver makes nothing else of."""
        return field

    def any_text(self) -> contextlib.AbstractContextManager[None]:
        """Inside, text that is in no encoding can be read, too."""
        return contextlib.nullcontext()

    def characters(self, field: Any) -> Any:
        """The length of a text as an expression: in characters, as parts of it are counted."""
        return field.len()

    def by_id(self, field: Any) -> Any:
        """A column in a condition on rows that are to be found by their ids, not by an index on
        it. Most databases know by themselves which is shorter."""
        return field

    def about(self) -> dict[str, Any]:
        """What a worker says of its connection in its row."""
        return {
            "clock_skew": round(self.skew, 1),
            "direct": self.is_direct,
            "time_zone": self.zone,
            "conflicts": self.conflicts,
        }

    def version(self) -> str:
        """The database by name and version, as far as it tells."""
        if not self.version_query:
            return str(self.db._adapter.dbengine)
        told = str(self.db.executesql(self.version_query)[0][0])
        title = "MariaDB" if "MariaDB" in told else self.title
        return f"{title} {re.split('[ -]', told)[0]}"

    def pause(self, seconds: float) -> None:
        """Let others through."""
        self._clock.sleep(seconds)

    # -- connection --------------------

    def _be_connected(self) -> None:
        """pydal opens a connection when it needs one: each new one is made fit first."""
        connection = self.db._adapter.connection
        if connection is not self._connection:
            self.prepare_connection()
            self._connection = connection

    def prepare_connection(self) -> None:
        """Make a new connection fit for the engine's work."""

    def rollback(self) -> None:
        """End whatever transaction is open."""
        self.db.rollback()

    def hang_up(self) -> None:
        """Close the connection and those in the pool; the next query opens another."""
        self._connection = None
        hang_up(self.db._adapter)

    def _roll_back(self) -> None:
        try:
            self.rollback()
        except Exception:  # the connection is gone: the next query opens a new one
            self._drop_connection()

    def _drop_connection(self) -> None:
        self._connection = None
        let_go(self.db._adapter, None)

    # -- errors --------------------

    def is_transient(self, error: Exception) -> bool:
        """True for an error that says: not now."""
        driver = self.db._adapter.driver
        kinds = tuple(
            kind
            for name in ("OperationalError", "InterfaceError", "InternalError")
            if isinstance(kind := getattr(driver, name, None), type)
        )
        return bool(kinds) and isinstance(error, kinds)

    def blames_values(self, error: Exception) -> bool:
        """True for an error that belongs to the values of a row, not to the connection: the same
        statement with other values would work. It must end with that row."""
        driver = self.db._adapter.driver
        kinds = (getattr(driver, name, None) for name in ("DataError", "IntegrityError"))
        of_driver = tuple(kind for kind in kinds if isinstance(kind, type))
        return isinstance(error, (ValueError, OverflowError, *of_driver))

    @classmethod
    def is_read_only(cls, error: Exception) -> bool:
        """True where the session may only read. It stays so for as long as it is open, also where
        the database can be written again at the same address, as after a failover."""
        return False

    def kind_of(self, error: Exception) -> type[StoreUnavailable]:
        """Conflict where the database chose this transaction as the victim, Locked where somebody
        holds a row for too long."""
        return StoreUnavailable

    def down_for_all(self, error: Exception) -> bool:
        """True where nobody can write to the database now, so that nobody takes our tasks."""
        return False

    def hint(self, error: Exception) -> str:
        """What a person could look at, as the end of the sentence."""
        return ""

    def lock_holders(self) -> set[int] | None:
        """The processes of this machine that keep everybody else from writing; None where the
        system does not tell."""
        return set()

    # -- news, indexes, limits --------------------

    def doorbell(self) -> Notifier:
        """What tells that somebody wrote something."""
        return Silent()

    def prepare_tables(self, indexes: Any) -> list[str]:
        """Make the indexes (and what else helps) that are not there yet; what could not be made."""
        for table, name, columns, *_ in indexes:
            with contextlib.suppress(Exception):  # "exists already" differs from driver to driver
                self.db[table].create_index(name, *(self.db[table][column] for column in columns))
                self.db.commit()
                continue
            self._roll_back()
        return []

    # -- letters --------------------

    @property
    def narrow(self) -> tuple[str, ...]:
        """Codecs of what is narrower than Unicode in this database, or on the way there.
        Asked once; for most databases there is none."""
        if self._narrow is None:
            self._narrow = self._ask_encoding()
        return self._narrow

    def _ask_encoding(self) -> tuple[str, ...]:
        return ()

    def letters_beyond(self, text: str) -> list[str]:
        """Letters of a text that this database cannot hold."""
        if text.isascii() or not letters_beyond(text, self.narrow):
            return []
        self._narrow = None  # a worker widens small tables, so it may be another one by now
        return letters_beyond(text, self.narrow)

    def storable(self, text: str) -> str:
        """A text with escapes in the place of letters that this database cannot hold."""
        return text if text.isascii() else escaped(text, self.narrow)

    def escape_letters(self, tables: Iterable[str]) -> None:
        """From now on, write what these tables cannot hold as escapes."""
        self._narrow = None
        if not self.narrow:
            return
        texts = (field for name in tables for field in self.db[name] if field.type in _TEXTS)
        for field in texts:
            field.filter_in = self._storable

    def _storable(self, value: Any) -> Any:
        return escaped(value, self.narrow) if isinstance(value, str) else value

    def check_size(self, text: str | None) -> None:
        """ValueError for a text that the database cannot take."""

    # -- the app's own connection --------------------

    @classmethod
    def place_of(cls, adapter: Any) -> Any:
        """What a connection that is opened now leads to, where that may change beneath it."""
        return None

    @classmethod
    def has_moved(cls, place: Any) -> bool:
        """True where a new connection would lead to another place; StoreUnavailable where there is
        none."""
        return False

    @classmethod
    def is_broken(cls, connection: Any) -> bool:
        """True for a connection that the server has closed, as far as this end knows."""
        return False

    @classmethod
    def is_idle(cls, connection: Any) -> bool:
        """True where it is certain that no transaction is open on a connection."""
        return False

    #: True where an error may end a transaction without a word.
    may_lose = False

    @classmethod
    def is_aborted(cls, connection: Any) -> bool:
        """True where COMMIT would roll back, because a statement failed."""
        return False

    @classmethod
    def has_lost(cls, connection: Any, error: Exception) -> bool:
        """True where this error of a statement has ended the transaction that it was part of."""
        return False


def let_go(adapter: Any, action: str | None) -> None:
    """Close this thread's connection for real after a last action; the next query opens another."""
    with contextlib.suppress(Exception):  # a broken connection cannot even be closed
        adapter.close(action, really=True)
    with contextlib.suppress(Exception):  # where that failed half-way, pydal would keep it
        adapter.set_connection(None)


def hang_up(adapter: Any) -> None:
    """Close this thread's connection for real, and those that wait in the pool."""
    let_go(adapter, "rollback")
    while pooled := ConnectionPool.POOLS.get(adapter.uri):
        with contextlib.suppress(Exception):  # a broken one is closed by being dropped
            pooled.pop().close()


def open_connection(adapter: Any) -> Any:
    """This thread's connection, where there is one: pydal's property would open it."""
    return getattr(THREAD_LOCAL, adapter._connection_uname_, None)


def retry_on_conflict(method: Method) -> Method:
    """Do a transaction again that the database ended for another's sake (a deadlock): the method
    of somebody with a ``_dialect``, which can be called twice with the same arguments."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        for attempt in range(1, CONFLICT_TRIES + 1):
            try:
                return method(self, *args, **options)
            except Conflict:
                self._dialect.conflicts += 1
                if attempt == CONFLICT_TRIES:
                    raise
                self._dialect.pause(attempt * CONFLICT_PAUSE)
        raise AssertionError("unreachable")

    return call  # type: ignore[return-value]
