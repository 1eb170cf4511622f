"""The base dialect: the interface to a database, with portable default implementations.

The defaults work with databases without a dialect of their own: compare-and-set makes a claim safe
everywhere, row locks only make it faster.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from plugin_scheduler.core.errors import Conflict, StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.worker_stats import ConnectionStats
from plugin_scheduler.database.dialects.bulk_sql import BulkStatements
from plugin_scheduler.database.dialects.encodings import escaped, letters_beyond
from plugin_scheduler.database.notifier import Notifier, Silent
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.pydal_access import ConnectionPool, adapter_of, open_connection, parsed

Method = TypeVar("Method", bound=Callable[..., Any])

READS_ONLY = " (the session is read-only, as on a replica; a new one is opened)"
_TEXTS = ("string", "text")
CONFLICT_TRIES = 5  # each deadlock has one victim, and the other transactions succeed
CONFLICT_PAUSE = 0.01  # seconds, multiplied by the number of the attempt


class Dialect(BulkStatements):
    """An open connection to a database."""

    name = "any"
    #: The display name of the database, and the query for its version.
    title = version_query = ""
    #: True if SKIP LOCKED works: concurrent claims then take different tasks.
    locks_rows = False
    #: True if a write transaction locks the whole database against other writers.
    holds_all = False
    #: True for a database server, whose number of connections is limited.
    is_remote = False
    #: True if the connection leads to the database itself, and not to a pooler or proxy, as far as
    #: is known.
    is_direct = True

    #: True if a query for the highest value below a limit reads only one index entry.
    steps_down = True
    #: True if the planner knows that rows WHERE x IS NULL need not be sorted by x.
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
        """Return driver options of the engine's own connection, which override the app's."""
        return {}

    # -- time --------------------

    def now(self) -> datetime:
        """Return the time for due tasks: naive, in the zone of the tables."""
        return self._clock.at(self.epoch(), self.zone)

    def epoch(self) -> float:
        """Return the time for heartbeats and leases: seconds since 1970."""
        return self._clock.epoch()

    @property
    def skew(self) -> float:
        """Seconds by which this machine's clock is ahead of the database's clock."""
        return 0.0

    # -- transactions --------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a write transaction; raise `StoreUnavailable` for a transient failure."""
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
        """Run a read-only transaction, and roll it back."""
        with self.errors():
            try:
                self._be_connected()
                self.begin_reading()
                yield
            finally:
                self._roll_back()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Convert transient driver errors to `StoreUnavailable`; pass on all others."""
        try:
            yield
        except Exception as error:
            reads_only = self.is_read_only(error)
            passes = self.is_transient(error) and not self.blames_values(error)
            if not (reads_only or passes):
                raise
            self._drop_if_closed()
            words = f"{type(error).__name__}: {str(error).strip()}{self.hint(error)}"
            if reads_only:  # a new connection may reach the server that has taken over
                self.hang_up()
                raise StoreUnavailable(words + READS_ONLY) from error
            raise self.kind_of(error)(words, for_all=self.down_for_all(error)) from error

    def begin(self) -> None:
        """Begin a write transaction."""

    def commit(self) -> None:
        """Commit the transaction."""
        self.db.commit()

    def begin_reading(self) -> None:
        """Begin a read-only transaction; it must not wait long for locks, either."""

    def select(self, query: Any, fields: Sequence[Any], lock: str = "", **options: Any) -> Any:
        """Return rows.

        ``lock`` is "wait" to wait for rows locked by others, "skip" to skip them, or "look" to skip
        them and take only a shared lock. Without row locks, compare-and-set detects conflicts
        later.
        """
        return self.db(query).select(*fields, cacheable=True, **options)

    def rows(
        self, query: Any, fields: Sequence[Any], lock: str = "", **options: Any
    ) -> list[tuple[Any, ...]]:
        """Return rows like `select`, but as the driver returns them."""
        return list(self.db.executesql(self.db(query)._select(*fields, **options)))

    def parsed(self, field: Any, value: Any) -> Any:
        """Convert a single driver value as a select does."""
        return parsed(field, value)

    def as_stored(self, field: Any) -> Any:
        """Return an expression for a column whose values the driver does not convert."""
        return field

    def any_text(self) -> contextlib.AbstractContextManager[None]:
        """Return a context manager in which text with an invalid encoding can be read."""
        return contextlib.nullcontext()

    def characters(self, field: Any) -> Any:
        """Return an expression for the length of a text in characters."""
        return field.len()

    def by_id(self, field: Any) -> Any:
        """Return a column for a condition that must not use the column's index.

        The rows are to be found by their ids. Most databases choose the better index themselves.
        """
        return field

    def about(self) -> ConnectionStats:
        """Return the connection details for the worker's row."""
        return {
            "clock_skew": round(self.skew, 1),
            "direct": self.is_direct,
            "time_zone": self.zone,
            "conflicts": self.conflicts,
        }

    def version(self) -> str:
        """Return the name and version of the database, where available."""
        if not self.version_query:
            return str(adapter_of(self.db).dbengine)
        told = str(self.db.executesql(self.version_query)[0][0])
        title = "MariaDB" if "MariaDB" in told else self.title
        return f"{title} {re.split('[ -]', told)[0]}"

    def pause(self, seconds: float) -> None:
        """Wait, to let other transactions proceed."""
        self._clock.sleep(seconds)

    # -- connection --------------------

    def _be_connected(self) -> None:
        """Prepare the connection if pydal has opened a new one."""
        adapter = adapter_of(self.db)
        if adapter.connection is not self._connection:
            finish_closing(adapter)
            self.prepare_connection()
            self._connection = adapter.connection

    def prepare_connection(self) -> None:
        """Set the session parameters of a new connection."""

    def rollback(self) -> None:
        """Roll back the open transaction, if any."""
        self.db.rollback()

    def hang_up(self) -> None:
        """Close the connection and those in the pool; the next query opens a new one."""
        self._connection = None
        hang_up(adapter_of(self.db))

    def _roll_back(self) -> None:
        try:
            self.rollback()
        except Exception:  # the connection is lost: the next query opens a new one
            self._drop_connection()

    def _drop_if_closed(self) -> None:
        """Replace a connection of this dialect that is lost, also outside a transaction.

        An app's own connection stays: the app must learn that its transaction is lost.
        """
        connection = self._connection
        if connection is not None and self.is_broken(connection):
            self._drop_connection()

    def _drop_connection(self) -> None:
        self._connection = None
        let_go(adapter_of(self.db), None)

    # -- errors --------------------

    def is_transient(self, error: Exception) -> bool:
        """Return True for a transient error."""
        driver = adapter_of(self.db).driver
        kinds = tuple(
            kind
            for name in ("OperationalError", "InterfaceError", "InternalError")
            if isinstance(kind := getattr(driver, name, None), type)
        )
        return bool(kinds) and isinstance(error, kinds)

    def blames_values(self, error: Exception) -> bool:
        """Return True for an error caused by the values of a row, not by the connection.

        The same statement with other values would work: the error must affect that row only.
        """
        driver = adapter_of(self.db).driver
        kinds = (getattr(driver, name, None) for name in ("DataError", "IntegrityError"))
        of_driver = tuple(kind for kind in kinds if isinstance(kind, type))
        return isinstance(error, (ValueError, OverflowError, *of_driver))

    @classmethod
    def is_read_only(cls, error: Exception) -> bool:
        """Return True for an error that says that the session is read-only.

        The session stays read-only while it is open, even if the database at the same address
        accepts writes again, as after a failover.
        """
        return False

    def kind_of(self, error: Exception) -> type[StoreUnavailable]:
        """Return the class for a transient error.

        `Conflict` if the database chose this transaction as a deadlock victim, `Locked` if another
        transaction held a row lock for too long.
        """
        return StoreUnavailable

    def down_for_all(self, error: Exception) -> bool:
        """Return True if no client can write to the database, so that no worker takes our tasks."""
        return False

    def hint(self, error: Exception) -> str:
        """Return a hint for the operator, to append to the error message."""
        return ""

    def lock_holders(self) -> set[int] | None:
        """Return the local processes that block all writers; None where unknown."""
        return set()

    # -- notifier, indexes, limits --------------------

    def notifier(self) -> Notifier:
        """Return the notifier of this database."""
        return Silent()

    def prepare_tables(self, indexes: Any) -> list[str]:
        """Create missing indexes and other optional objects; return what could not be created."""
        for table, name, columns, *_ in indexes:
            with contextlib.suppress(Exception):  # "already exists" is driver-specific
                self.db[table].create_index(name, *(self.db[table][column] for column in columns))
                self.db.commit()
                continue
            self._roll_back()
        return []

    # -- character sets --------------------

    @property
    def narrow(self) -> tuple[str, ...]:
        """Codecs of the columns and connections that cannot hold all of Unicode.

        Queried once; most databases have none.
        """
        if self._narrow is None:
            self._narrow = self._ask_encoding()
        return self._narrow

    def _ask_encoding(self) -> tuple[str, ...]:
        return ()

    def letters_beyond(self, text: str) -> list[str]:
        """Return the characters of a text that this database cannot store."""
        if text.isascii() or not letters_beyond(text, self.narrow):
            return []
        self._narrow = None  # a worker may have converted the tables since
        return letters_beyond(text, self.narrow)

    def storable(self, text: str) -> str:
        """Escape the characters of a text that this database cannot store."""
        return text if text.isascii() else escaped(text, self.narrow)

    def escape_letters(self, tables: Iterable[str]) -> None:
        """Escape unstorable characters in all later writes to these tables."""
        self._narrow = None
        if not self.narrow:
            return
        texts = (field for name in tables for field in self.db[name] if field.type in _TEXTS)
        for field in texts:
            field.filter_in = self._storable

    def _storable(self, value: Any) -> Any:
        return escaped(value, self.narrow) if isinstance(value, str) else value

    def check_size(self, text: str | None) -> None:
        """Raise ``ValueError`` for a text that is too large for the database."""

    # -- the app's own connection --------------------

    @classmethod
    def place_of(cls, adapter: Any) -> Any:
        """Return the identity of the database behind a connection, where it may change."""
        return None

    @classmethod
    def has_moved(cls, place: Any) -> bool:
        """Return True if a new connection would lead to another database.

        Raises `StoreUnavailable` if there is no database any more.
        """
        return False

    @classmethod
    def is_broken(cls, connection: Any) -> bool:
        """Return True if the server has closed the connection, as far as the client knows."""
        return False

    @classmethod
    def is_idle(cls, connection: Any) -> bool:
        """Return True if certainly no transaction is open on a connection."""
        return False

    #: True if an error may silently end a transaction.
    may_lose = False

    @classmethod
    def is_aborted(cls, connection: Any) -> bool:
        """Return True if COMMIT would roll back because a statement failed."""
        return False

    @classmethod
    def has_lost(cls, connection: Any, error: Exception) -> bool:
        """Return True if this error has ended the transaction of the statement."""
        return False


#: Attribute of an adapter: True while `let_go` runs, and afterwards if it failed.
_CLOSING = "_plugin_scheduler_closing"


def let_go(adapter: Any, action: str | None) -> None:
    """Close this thread's connection after a last action; the next query opens a new one."""
    setattr(adapter, _CLOSING, True)
    with contextlib.suppress(Exception):  # closing a broken connection may fail
        adapter.close(action, really=True)
    with contextlib.suppress(Exception):  # if closing failed, pydal would keep the connection
        adapter.set_connection(None)
    with contextlib.suppress(Exception):  # out of memory: the mark stays
        setattr(adapter, _CLOSING, open_connection(adapter) is not None)


def finish_closing(adapter: Any) -> None:
    """Close a connection that pydal closed or opened only half, as when memory ran out.

    Its cursor is closed or missing, so every statement would fail, but a rollback succeeds.
    """
    if is_half_closed(adapter) or adapter.cursor is None:
        connection = open_connection(adapter)
        let_go(adapter, None)
        with contextlib.suppress(Exception):  # pydal closes no connection that lacks its cursor
            connection.close()


def is_half_closed(adapter: Any) -> bool:
    """Return True if `let_go` could not close the connection."""
    return getattr(adapter, _CLOSING, False)


def hang_up(adapter: Any) -> None:
    """Close this thread's connection and the connections in the pool."""
    let_go(adapter, "rollback")
    while pooled := ConnectionPool.POOLS.get(adapter.uri):
        with contextlib.suppress(Exception):  # a broken connection is closed when it is dropped
            pooled.pop().close()


def retry_on_conflict(method: Method) -> Method:
    """Retry a method when the database chose its transaction as a deadlock victim.

    The object must have a ``_dialect``, and the method must allow a second call with the same
    arguments.
    """

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
