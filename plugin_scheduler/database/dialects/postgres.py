"""Dialect of PostgreSQL: session settings, triggers, error codes and LISTEN/NOTIFY.

Uses SKIP LOCKED. Triggers notify workers in the transaction of the writer.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from pydal.objects import Expression

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import Conflict, Locked, StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects.bulk_insert import fits, ids_of, insert_into, values
from plugin_scheduler.database.dialects.bulk_sql import POINT, Ask, Changes
from plugin_scheduler.database.dialects.encodings import ASCII
from plugin_scheduler.database.dialects.postgres_triggers import CHANNEL, FUNCTION, NEEDED, TRIGGERS
from plugin_scheduler.database.dialects.server import Server, lacks, patience
from plugin_scheduler.database.dialects.sql_template import listed
from plugin_scheduler.database.notifier import Notifier
from plugin_scheduler.database.notifier.postgres import ListenConnection, Listener
from plugin_scheduler.models import TABLES
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.pydal_access import adapter_of, id_field, sql_name
from plugin_scheduler.system.socket_state import has_news

LOCK_MS = 500  # the main loop must continue: output, deadlines and signals do not wait
DDL_LOCK_MS = 10_000  # DDL runs at startup, where waiting is acceptable
KNOWS_USER_TIMEOUT = 120_000  # libpq 12
ONE_AT_A_TIME = 7_307_202_611  # an arbitrary key for pg_advisory_xact_lock

#: Four updates per run bloat the table unless it is vacuumed often.
AUTOVACUUM_OPTIONS = {
    "scheduler_task": "autovacuum_vacuum_scale_factor=0.02, autovacuum_analyze_scale_factor=0.05",
    "scheduler_run": "autovacuum_vacuum_scale_factor=0.05, autovacuum_analyze_scale_factor=0.05",
    "scheduler_worker": "autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=500",
}

SHARED = (
    "a connection pooler in transaction mode (such as PgBouncer) does not forward notifications; "
    "connect workers directly to the server"
)
MUTE = (
    "triggers of the scheduler's tables are missing or disabled (is this role allowed to create "
    "triggers?)"
)
#: Above this level, the loser of a race gets an error instead of the current row.
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
MEETINGS = 5  # a busy pooler may keep two connections apart for a while

_OURS = "({})".format(", ".join(f"to_regclass('{table}')" for table in TABLES))

FULL_ROWS = 100  # in one statement
#: Casts of pydal's types in a VALUES list.
_TOLD = {
    "string": "",
    "text": "",
    "integer": "",
    "bigint": "",
    "double": "",
    "datetime": "::timestamp",
}

#: Serialization failure, deadlock, lock not available.
_KINDS: dict[str, type[StoreUnavailable]] = {"40001": Conflict, "40P01": Conflict, "55P03": Locked}
_READ_ONLY = "25006"
_UNICODE, _NO_ENCODING = "UTF8", "SQL_ASCII"
_TABLE_AWAY = ("42P01", "42703")  # undefined table or column: a migration is running
#: Data exceptions, violated constraints, statement limits, errors raised by triggers.
_OF_VALUES = ("22", "23", "54", "P0")
_DOWN = ("57P01", "57P02", "57P03")  # shutting down, crashed, starting up
_DOWN_WORDS = "the database system is"  # shutting down, or not yet accepting connections
_REFUSED = ("Connection refused", "No such file or directory")  # the latter: no such socket


class Postgres(Server):
    """PostgreSQL, with psycopg2."""

    name = "postgres"
    title, version_query = "PostgreSQL", "SHOW server_version"
    nulls_are_alike = False
    part = "SELECT * FROM ({}) AS part"
    #: Ids never change, so rows that refer to a task may be written meanwhile.
    hold_words = "FOR NO KEY UPDATE"
    clock_query = "SELECT extract(epoch FROM clock_timestamp())"

    @classmethod
    def connection_options(cls, settings: Settings) -> dict[str, Any]:
        """Detect a dead network within seconds instead of 15 minutes."""
        import psycopg2.extensions

        seconds = patience(settings)
        options: dict[str, Any] = {
            "connect_timeout": max(2, math.ceil(seconds)),
            "keepalives": 1,
            "keepalives_idle": 2,
            "keepalives_interval": 1,
            "keepalives_count": 2,
            "application_name": "plugin_scheduler",
        }
        if psycopg2.extensions.libpq_version() >= KNOWS_USER_TIMEOUT:
            options["tcp_user_timeout"] = int(seconds * 1000)
        return options

    def __init__(self, db: Any, clock: Clock, settings: Settings) -> None:
        super().__init__(db, clock, settings)
        self._pid = 0
        self._listen_connection: ListenConnection | None = None

    def prepare_connection(self) -> None:
        connection = adapter_of(self.db).connection
        self._pid, port = self.db.executesql("SELECT pg_backend_pid(), inet_client_port()")[0]
        self.met(port, self._pid == connection.info.backend_pid)
        if self._stopped_listening():
            self._listen_connection = None
        if connection.encoding != _UNICODE:
            connection.set_client_encoding(_UNICODE)
        self.db.commit()  # the isolation level applies to later transactions only
        # Explicit BEGIN: most queries need no transaction.
        connection.set_session(autocommit=True)
        if self.is_direct:  # behind a pooler, settings would affect sessions of other clients
            connection.set_session(isolation_level="READ COMMITTED")
            self.db.executesql(self._limits("SET", LOCK_MS))

    def begin(self) -> None:
        self._begin(BEGIN if self.is_direct else f"{BEGIN}; {self._limits('SET LOCAL', LOCK_MS)}")

    def begin_reading(self) -> None:
        if not self.is_direct:
            self.begin()  # sets lock_timeout: ALTER TABLE blocks readers, too

    def _begin(self, words: str) -> None:
        was_closed = self._stopped_listening()
        self.db.executesql(words)
        if was_closed:  # the server still answers: only that connection was closed
            self._listen_connection = None

    def _limits(self, how: str, lock_ms: int) -> str:
        """Return statements that set the timeouts, for the session or for one transaction.

        Behind a pooler, other clients share the session. If this worker is cut off or suspended
        during a transaction, its locks must not outlast its lease.
        """
        silent_ms = int(self._settings.lease * 1000)
        return (
            f"{how} lock_timeout = {lock_ms}; "
            f"{how} idle_in_transaction_session_timeout = {silent_ms}"
        )

    def commit(self) -> None:
        self._end("COMMIT", super().commit)

    def rollback(self) -> None:
        self._end("ROLLBACK", super().rollback)

    def _end(self, word: str, by_driver: Callable[[], None]) -> None:
        """End a transaction: by the driver on an app's connection, by SQL in autocommit mode."""
        connection = adapter_of(self.db).connection
        if not connection.autocommit:
            by_driver()
        elif not self.is_idle(connection):
            self.db.executesql(word)

    def update_many(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], only: str
    ) -> None:
        same, own, rows = Changes.of(columns, rows)
        row = "({})".format(", ".join(["{}"] * (len(own) + 1)))
        changes = [f"{column} = {{}}" for column in same]
        changes += [f"{column} = news.{column}" for column in own]
        self.execute(
            f"UPDATE {table} SET {', '.join(changes)} FROM (VALUES {', '.join([row] * len(rows))})"
            f" AS news ({', '.join(['id', *own])}) WHERE {table}.id = news.id AND {only}",
            [*same.values(), *(value for one in rows for value in one)],
        )

    def insert_many(self, table: Any, rows: Sequence[dict[str, Any]], key: str) -> list[int]:
        if not fits(table, rows):
            return super().insert_many(table, rows, key)
        begin, pairs = insert_into(table, rows), []
        end = f" RETURNING {sql_name(id_field(table))}, {sql_name(table[key])}"
        for some in _selects(table, self._literals.columns(table, rows)):
            pairs += self.db.executesql(begin + some + end)
        return ids_of(pairs, rows, key)

    def passing_over(self, update: str, ids: Collection[int], many: bool) -> str:
        if not many:
            return update
        named = f"id IN ({listed(ids)})"
        free = self._locking(f"SELECT id FROM scheduler_task WHERE {named} ORDER BY id", "skip")
        # An array is evaluated once. A subquery would be joined, which takes four times as long.
        return update.replace(f"scheduler_task.{named}", f"scheduler_task.id = ANY (ARRAY({free}))")

    def _begins_point(self) -> bool:
        connection = adapter_of(self.db).connection
        if getattr(connection, "autocommit", False) and self.is_idle(connection):
            return False
        self.db.executesql(f"SAVEPOINT {POINT}")
        return True

    def _parts(self, ask: Ask, lock: str) -> list[str]:
        """Return one LATERAL query, planned once: planning per row takes longer than execution."""
        if len(ask.rows) == 1:
            return super()._parts(ask, lock)
        names = [f"value{number}" for number, _ in enumerate(ask.placeholders)]
        rows = ", ".join(f"({', '.join(map(str, row))})" for row in ask.rows)
        each = self._locking(ask.filled([f"given.{name}" for name in names]), lock)
        given = f"(VALUES {rows}) AS given ({', '.join(names)})"
        return [f"SELECT each_one.* FROM {given} CROSS JOIN LATERAL ({each}) AS each_one"]

    # -- character sets --------------------

    def _ask_encoding(self) -> tuple[str, ...]:
        # The server reports its encoding on connect. pydal sets the client encoding to UTF-8, but
        # the driver still uses the server's encoding, which fails for most characters.
        import psycopg2.extensions

        connection = adapter_of(self.db).connection
        server = connection.info.parameter_status("server_encoding")
        if server == _UNICODE:
            return ()
        if server == _NO_ENCODING or connection.encoding != _UNICODE:
            return (ASCII,)
        return (psycopg2.extensions.encodings.get(server, ASCII),)

    # -- errors --------------------

    def as_stored(self, field: Any) -> Any:
        return Expression(self.db, f"CAST({field} AS TEXT)", None, None, "string")

    def is_transient(self, error: Exception) -> bool:
        import psycopg2

        if getattr(error, "pgcode", None) in _TABLE_AWAY:
            return True
        nameless = type(error) is psycopg2.DatabaseError  # a lost connection, without a message
        return nameless or super().is_transient(error)

    def blames_values(self, error: Exception) -> bool:
        code = getattr(error, "pgcode", None) or ""
        return code[:2] in _OF_VALUES or super().blames_values(error)

    @classmethod
    def is_read_only(cls, error: Exception) -> bool:
        return getattr(error, "pgcode", None) == _READ_ONLY

    def hang_up(self) -> None:
        if self._listen_connection is not None:  # the LISTEN connection leads to the same server
            self._listen_connection.close()
            self._listen_connection = None
        super().hang_up()

    def kind_of(self, error: Exception) -> type[StoreUnavailable]:
        return _KINDS.get(getattr(error, "pgcode", None) or "", StoreUnavailable)

    def says_goodbye(self, error: Exception) -> bool:
        return getattr(error, "pgcode", None) in _DOWN

    def is_said_to_all(self, error: Exception) -> bool:
        return self.says_goodbye(error) or _DOWN_WORDS in str(error)

    def is_refusal(self, error: Exception) -> bool:
        words = str(error)  # one line for each address tried
        refused = sum(words.count(refusal) for refusal in _REFUSED)
        return 0 < refused >= words.count("failed:")

    @classmethod
    def line_of(cls, connection: Any) -> Any:
        return None if connection is None or connection.closed else connection

    def has_left(self) -> bool:
        # During a query, the driver does not tell how its connection ended. But a server that shuts
        # down closes all connections, and the LISTEN connection runs no query.
        return super().has_left() or (self.is_direct and self._stopped_listening())

    def _stopped_listening(self) -> bool:
        """Return True if the server has closed the LISTEN connection."""
        return self._listen_connection is not None and self._listen_connection.is_left()

    # -- notifier --------------------

    def notifier(self) -> Notifier:
        return Listener(
            self._open_listen_connection, self._ring, lambda: self._pid, CHANNEL, self._clock
        )

    def _open_listen_connection(self) -> ListenConnection:
        """Open a second connection, used only for LISTEN."""
        adapter = adapter_of(self.db)
        connection = adapter.driver.connect(**{**adapter.driver_args, "async_": True})
        listening = ListenConnection(connection, self._clock, patience(self._settings))
        if self._is_shared(listening):
            listening.close()
            raise ConnectionError(SHARED)
        self._listen_connection = listening
        return listening

    def _is_shared(self, listening: ListenConnection) -> bool:
        """Return True if a pooler assigns the connection a session for each transaction.

        LISTEN would then deliver our notifications to other clients permanently.
        """
        if _pid_of(listening.ask) == listening.pid:
            return False  # the server's own pid: no pooler in between
        return any(self._meet(listening) for _ in range(MEETINGS))

    def _meet(self, listening: ListenConnection) -> bool:
        """Return True if our two connections share a session, or one of them changes sessions."""
        before = _pid_of(listening.ask)
        with self.reading():
            between = _pid_of(self.db.executesql)
        return before == between or before != _pid_of(listening.ask)

    def _ring(self, channel: str) -> str | None:
        """Notify our own channel; return a message if the triggers of writers are missing."""
        names = ", ".join(f"'{name}'" for name in NEEDED)
        there = f"tgrelid IN {_OURS} AND tgname IN ({names}) AND tgenabled <> 'D'"
        count = f"(SELECT count(*) FROM pg_trigger WHERE {there})"
        with self.reading():
            [[_, found]] = self.db.executesql(f"SELECT pg_notify(%s, ''), {count}", [channel])
            self.commit()
        return None if found == len(NEEDED) else MUTE

    # -- tables --------------------

    def prepare_tables(self, indexes: Any) -> list[str]:
        missing = self._missing(indexes)
        refused = []
        for what, statements in missing:
            try:
                self._make(statements)
            except Exception as error:  # no privilege, or the table is locked: not essential
                self._roll_back()
                refused.append((what, first_line(error)))
        return lacks(refused)

    def _missing(self, indexes: Any) -> list[tuple[str, list[str]]]:
        """Return missing objects with their DDL. Queried first: even IF NOT EXISTS takes a lock."""
        found = self._names(
            "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid "
            f"WHERE indrelid IN {_OURS} AND indisvalid"
        )
        wanted = [(name, [_index(*index)]) for index in indexes if (name := index[1]) not in found]
        triggers = self._names(f"SELECT tgname FROM pg_trigger WHERE tgrelid IN {_OURS}")
        if not set(TRIGGERS) <= triggers:
            ddl = [FUNCTION, *(line for pair in TRIGGERS.values() for line in pair)]
            wanted.append(("triggers that notify workers", ddl))
        swept = self._names(
            f"SELECT relname FROM pg_class WHERE oid IN {_OURS} AND reloptions IS NOT NULL"
        )
        for table, options in AUTOVACUUM_OPTIONS.items():
            if table not in swept:
                wanted.append((f"autovacuum of {table}", [f"ALTER TABLE {table} SET ({options})"]))
        return wanted

    def _names(self, query: str) -> set[str]:
        return {row[0] for row in self.db.executesql(query)}

    def _make(self, statements: list[str]) -> None:
        """Run DDL in one transaction, one worker at a time."""
        self.db.executesql(f"BEGIN; {self._limits('SET LOCAL', DDL_LOCK_MS)}")
        self.db.executesql(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})")
        for statement in statements:
            self.db.executesql(statement)
        self.commit()

    # -- the app's own connection --------------------

    @classmethod
    def is_broken(cls, connection: Any) -> bool:
        if connection.closed:
            return True
        if not has_news(connection):
            return False
        # The server sent data without a query: a notification, or the end of the connection.
        with contextlib.suppress(Exception):  # driver-specific
            heard = len(connection.notifies)
            connection.poll()
            return bool(connection.closed or len(connection.notifies) == heard)
        return True

    @classmethod
    def is_idle(cls, connection: Any) -> bool:
        return bool(connection.info.transaction_status == 0)  # the client's state, without a query

    @classmethod
    def is_aborted(cls, connection: Any) -> bool:
        return bool(connection.info.transaction_status == 3)  # TRANSACTION_STATUS_INERROR


def _pid_of(ask: Callable[[str], Any]) -> int:
    """Return the backend pid of the session."""
    return int(ask("SELECT pg_backend_pid()")[0][0])


def _index(table: str, name: str, columns: tuple[str, ...], condition: str = "") -> str:
    fields = ", ".join(f'"{column}"' for column in columns)
    where = f" WHERE {condition}" if condition else ""
    return f'CREATE INDEX IF NOT EXISTS "{name}" ON "{table}" ({fields}){where}'


def _selects(table: Any, columns: dict[str, list[str]]) -> Iterator[str]:
    """Yield the rows of an INSERT.

    Values that all rows share are written once, which makes the statement much shorter. Differing
    values then need a cast to their type, unless they are text.
    """
    differing = {name: column for name, column in columns.items() if len(set(column)) > 1}
    if not differing or any(table[name].type not in _TOLD for name in differing):
        yield from values(zip(*columns.values(), strict=True), FULL_ROWS)
        return
    chosen = ", ".join(
        f"{name}_{_TOLD[table[name].type]}" if name in differing else column[0]
        for name, column in columns.items()
    )
    names = ", ".join(f"{name}_" for name in differing)
    for some in values(zip(*differing.values(), strict=True)):
        yield f"SELECT {chosen} FROM ({some}) AS news ({names})"
