"""Dialect of MySQL and MariaDB: session settings, indexes, error codes and limits.

Uses SKIP LOCKED where the server supports it. The notifier polls a cheap query.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydal.objects import Expression

from plugin_scheduler.core.errors import Conflict, Locked, StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects.bulk_insert import (
    batches,
    fits,
    ids_of,
    ids_where,
    insert_into,
    is_pydals,
    values,
)
from plugin_scheduler.database.dialects.bulk_sql import POINT, Changes
from plugin_scheduler.database.dialects.encodings import codecs_of_mysql
from plugin_scheduler.database.dialects.server import Server, lacks, patience
from plugin_scheduler.database.dialects.sql_template import listed
from plugin_scheduler.database.notifier import Notifier
from plugin_scheduler.database.notifier.polling import Probe
from plugin_scheduler.models import CLAIM_INDEX, TABLES
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.pydal_access import adapter_of, update_hooks
from plugin_scheduler.system.socket_state import has_news

IN_TRANSACTION = 1  # SERVER_STATUS_IN_TRANS
FOUND_ROWS = 2  # CLIENT.FOUND_ROWS: an update counts the rows it found, changed or not
ANSWER_WITHIN = 3  # seconds, minimum of the read timeout; with a longer lease a third of it
TABLES_WITHIN = 600  # seconds for a change of a large table
TABLE_LOCK_S = 10  # seconds to wait for transactions that have read the table
#: pydal's text columns have 512 characters, an index key at most 3072 bytes: index prefixes.
PREFIXES = {"status": 16, "group_name": 100, "assigned_worker_name": 200}
SMALL_TABLE_ROWS = 10_000  # rows; ALTER TABLE is fast below this

#: Deadlock, row changed since it was read (MariaDB), lock wait timeout.
DEADLOCK = 1213  # rolls back the whole transaction of the victim
_KINDS: dict[int, type[StoreUnavailable]] = {DEADLOCK: Conflict, 1020: Conflict, 1205: Locked}
_TABLE_AWAY = (1146, 1054)  # no such table or column: a migration is running
_TOO_LARGE = 1153
_OPTION_PREVENTS = 1290  # --read-only, --super-read-only, and others
_READ_ONLY = (1792, 1836)  # a read-only transaction, by default; read-only mode
#: Wrong, too long or too large values, invalid JSON, violated constraints, errors of triggers.
_OF_VALUES = (_TOO_LARGE, 1118, 1264, 1265, 1292, 1300, 1366, 1406, 1644, 3140, 3141, 3819, 4025)
_DOWN = (1053,)  # shutting down
_LOST = 2013  # connection lost during a query
_REFUSED = ("Connection refused", "[Errno 2]")  # Errno 2: no such socket
_NO_INDEX = 1176
_BY_KEY = "FORCE INDEX (PRIMARY)"
_TABLE = re.compile(r"(?:^UPDATE| FROM) `?scheduler_\w+`?")
_UPDATE = re.compile(r"^UPDATE `?scheduler_task`? SET")
ALL_ROWS = 1_000_000  # a LIMIT makes MySQL materialize the derived table of locked rows
_EXISTS = (1061,)  # another worker created the index first


class MySQL(Server):
    """MySQL and MariaDB, with any driver that pydal supports."""

    name = "mysql"
    title, version_query = "MySQL", "SELECT VERSION()"
    part = "({})"
    steps_down = False  # it may scan from the end of the index
    clock_query = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1000000"

    def __init__(self, db: Any, clock: Clock, settings: Settings) -> None:
        super().__init__(db, clock, settings)
        self._packet = 0

    @classmethod
    def connection_options(cls, settings: Settings) -> dict[str, Any]:
        seconds = math.ceil(max(ANSWER_WITHIN, settings.lease / 3))
        return {
            "connect_timeout": math.ceil(patience(settings)),
            "read_timeout": seconds,
            "write_timeout": seconds,
            "client_flag": FOUND_ROWS,
            "autocommit": True,  # explicit BEGIN: most queries need no transaction
        }

    def prepare_connection(self) -> None:
        seen = "(SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID())"
        asked = f"SELECT VERSION(), @@max_allowed_packet, CONNECTION_ID(), {seen}"
        version, packet, session, host = self.db.executesql(asked)[0]
        port = (host or "").rpartition(":")[2]
        self.met(
            int(port) if port.isdigit() else None,
            session == adapter_of(self.db).connection.thread_id() and not self._believes_proxies(),
        )
        self.locks_rows, self._packet = skips_locked_rows(version), int(packet)
        self.look_words = "LOCK IN SHARE MODE" if "MariaDB" in version else "FOR SHARE"
        # The default level also locks gaps between rows, which causes needless deadlocks.
        self.db.executesql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # Also for metadata locks: ALTER TABLE blocks readers, and the default timeout is a year.
        self.db.executesql("SET SESSION innodb_lock_wait_timeout=1, lock_wait_timeout=1")
        # If this worker is cut off or suspended during a transaction, its locks must not outlast
        # its lease by much. A connection in use is never idle for that long.
        self.db.executesql(f"SET SESSION wait_timeout={math.ceil(self._settings.lease)}")
        self.db.executesql("SET NAMES utf8mb4")

    def begin(self) -> None:
        self.db.executesql("BEGIN")

    def rollback(self) -> None:
        if not self.is_idle(adapter_of(self.db).connection):
            self.db.rollback()

    def update_many(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], only: str
    ) -> None:
        same, own, rows = Changes.of(columns, rows)
        first = ", ".join(f"{{}} AS {column}" for column in ("id", *own))
        other = ", ".join(["{}"] * (len(own) + 1))
        news = " UNION ALL ".join([f"SELECT {first}", *[f"SELECT {other}"] * (len(rows) - 1)])
        changes = [f"{table}.{column} = news.{column}" for column in own]
        changes += [f"{table}.{column} = {{}}" for column in same]
        # Row by row by primary key: a full table scan would wait for rows that others have locked.
        straight = f"({news}) AS news STRAIGHT_JOIN {table} FORCE INDEX (PRIMARY)"
        self.execute(
            f"UPDATE {straight} ON {table}.id = news.id SET {', '.join(changes)} WHERE {only}",
            [*(value for one in rows for value in one), *same.values()],
        )

    def insert_many(self, table: Any, rows: Sequence[dict[str, Any]], key: str) -> list[int]:
        if not fits(table, rows):
            return super().insert_many(table, rows, key)
        begin = insert_into(table, rows)
        columns = self._literals.columns(table, rows)
        for some in values(zip(*columns.values(), strict=True)):
            self.db.executesql(begin + some)
        if len(rows) == 1:
            return [int(adapter_of(self.db).lastrowid(table))]
        begin, pairs = ids_where(table, key), []
        for keys in batches(columns[key]):
            pairs += self.db.executesql(f"{begin} IN ({', '.join(keys)})")
        return ids_of(pairs, rows, key)

    def by_key(self, sql: str) -> str:
        # By another index, or by a scan of a small table, it would lock other rows, and above
        # READ COMMITTED (the usual level of apps) also the gaps between rows.
        return _TABLE.sub(rf"\g<0> {_BY_KEY}", sql, count=1)

    def passing_over(self, update: str, ids: Collection[int], many: bool) -> str:
        if not (many and self.locks_rows):
            return self.by_key(update)
        free = self._locking(
            f"SELECT id FROM scheduler_task {_BY_KEY} WHERE id IN ({listed(ids)}) "
            f"ORDER BY id LIMIT {ALL_ROWS}",
            "skip",
        )
        straight = f"UPDATE ({free}) AS free STRAIGHT_JOIN scheduler_task {_BY_KEY}"
        return _UPDATE.sub(f"{straight} ON scheduler_task.id = free.id SET", update, count=1)

    def _change(self, rows: Any, columns: Mapping[str, Any]) -> int:
        table = adapter_of(self.db).get_table(rows.query)
        if not all(map(is_pydals, update_hooks(table))):
            # Single updates also use the primary key, and call the app's callbacks.
            ids = [row.id for row in rows.select(table.id)]
            return sum(self._those(table, [one], rows.query).update(**columns) or 0 for one in ids)
        adapter_of(self.db).execute(self.by_key(rows._update(**columns)))
        return int(adapter_of(self.db).cursor.rowcount)

    def _begins_point(self) -> bool:
        connection = adapter_of(self.db).connection
        commits_each = getattr(connection, "get_autocommit", bool)()
        if commits_each and self.is_idle(connection):
            return False
        self.db.executesql(f"SAVEPOINT {POINT}")
        return True

    def delete_rows(self, table: str, ids: Sequence[int], only: str) -> None:
        # By primary key, as above.
        keyed = f"{table} FROM {table} FORCE INDEX (PRIMARY)"
        self.db.executesql(f"DELETE {keyed} WHERE id IN ({listed(ids)}) AND {only}")

    def group_after(self, status: str, group: str | None = None) -> str | None:
        # SELECT cannot use the order of an index with prefixes.
        edge = f"{self.literal(status, 'string')}, {self.literal(group or '', 'string')}"
        step = f"HANDLER claim_steps READ {CLAIM_INDEX} > ({edge}) LIMIT 1"
        self.db.executesql("HANDLER scheduler_task OPEN AS claim_steps")
        try:
            found = self.db.executesql(step, as_dict=True)
        except Exception as error:  # driver-specific
            if _number(error) != _NO_INDEX:
                raise
            return super().group_after(status, group)
        finally:
            self.db.executesql("HANDLER claim_steps CLOSE")
        return found[0]["group_name"] if found and found[0]["status"] == status else None

    def _believes_proxies(self) -> bool:
        """Return True if a proxy may tell the server the client's port (PROXY protocol)."""
        asked = "SHOW VARIABLES LIKE 'proxy_protocol_networks'"
        return any(networks for _, networks in self.db.executesql(asked))

    def _ask_encoding(self) -> tuple[str, ...]:
        names = ", ".join(f"'{table}'" for table in TABLES)
        asked = (
            "SELECT DISTINCT character_set_name FROM information_schema.columns "
            f"WHERE table_schema = DATABASE() AND table_name IN ({names}) "
            "AND character_set_name IS NOT NULL"
        )
        found = [str(name) for (name,) in self.db.executesql(asked)]
        [[connection]] = self.db.executesql("SELECT @@character_set_client")
        return codecs_of_mysql([*found, str(connection)])

    def check_size(self, text: str | None) -> None:
        if text is not None and len(text) > self._packet // 2 and self._packet:
            size, most = len(text) / (1 << 20), self._packet / (1 << 20)
            raise ValueError(
                f"a text of {size:.1f} MiB is too large for the server: its max_allowed_packet of "
                f"{most:.0f} MiB allows {most / 2:.1f} MiB"
            )

    # -- errors --------------------

    def is_transient(self, error: Exception) -> bool:
        return _number(error) in _TABLE_AWAY or super().is_transient(error)

    def blames_values(self, error: Exception) -> bool:
        return _number(error) in _OF_VALUES or super().blames_values(error)

    @classmethod
    def is_read_only(cls, error: Exception) -> bool:
        number = _number(error)
        says_so = number == _OPTION_PREVENTS and "read" in str(error).lower()
        return says_so or number in _READ_ONLY

    def kind_of(self, error: Exception) -> type[StoreUnavailable]:
        return _KINDS.get(_number(error), StoreUnavailable)

    def says_goodbye(self, error: Exception) -> bool:
        # The driver adds other causes in brackets, such as a reset or a timeout; none means closed.
        closed = _number(error) == _LOST and "(" not in str(error.args[-1])
        return closed or _number(error) in _DOWN

    def is_said_to_all(self, error: Exception) -> bool:
        return _number(error) in _DOWN

    def is_refusal(self, error: Exception) -> bool:
        return any(words in str(error) for words in _REFUSED)

    @classmethod
    def line_of(cls, connection: Any) -> Any:
        return getattr(connection, "_sock", None)

    # -- notifier --------------------

    def notifier(self) -> Notifier:
        return Probe(self._news, self._clock)

    def _news(self) -> object:
        """Query new tasks and worker commands, by the primary key and from a small table.

        Changed tasks are found by the regular polling.
        """
        orders = "SELECT GROUP_CONCAT(status ORDER BY id) FROM scheduler_worker"
        try:
            with self.reading():
                return self.db.executesql(f"SELECT MAX(id), ({orders}) FROM scheduler_task")[0]
        except StoreUnavailable:
            return object()  # a change: the next query will raise the error

    # -- tables --------------------

    def prepare_tables(self, indexes: Any) -> list[str]:
        missing = self._missing(indexes)
        if not missing:
            return []
        self.db.commit()  # release the metadata lock, for which the statements below would wait
        refused = []
        with contextlib.closing(self._patient_connection()) as connection:
            for what, statement in missing:
                try:
                    connection.cursor().execute(statement)
                except Exception as error:  # driver-specific; the object is not essential
                    if _number(error) not in _EXISTS:
                        refused.append((what, str(error.args[-1])))
        return lacks(refused)

    def _missing(self, indexes: Any) -> list[tuple[str, str]]:
        query = "SELECT DISTINCT index_name FROM information_schema.statistics "
        found = {row[0] for row in self.db.executesql(query + "WHERE table_schema = DATABASE()")}
        return [
            *((name, _index(*index)) for index in indexes if (name := index[1]) not in found),
            *self._narrow_texts(),
        ]

    def _narrow_texts(self) -> list[tuple[str, str]]:
        """Return statements that convert small tables to utf8mb4.

        pydal creates tables that cannot store every character (no emoji). Converting a large table
        takes long, so it is left to the administrator.
        """
        names = ", ".join(f"'{table}'" for table in TABLES)
        query = (
            "SELECT DISTINCT table_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND character_set_name IN ('utf8', 'utf8mb3') "
            f"AND table_name IN ({names})"
        )
        return [
            (
                f"utf8mb4 text in {table}",
                f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4",
            )
            for (table,) in self.db.executesql(query)
            if self._is_small(table)
        ]

    def _is_small(self, table: str) -> bool:
        beyond = f"SELECT id FROM {table} LIMIT 1 OFFSET {SMALL_TABLE_ROWS}"
        return not self.db.executesql(beyond)

    def _patient_connection(self) -> Any:
        adapter = adapter_of(self.db)
        options = {**adapter.driver_args, "read_timeout": TABLES_WITHIN}
        connection = adapter.driver.connect(**options)
        connection.cursor().execute(f"SET SESSION lock_wait_timeout={TABLE_LOCK_S}")
        return connection

    def characters(self, field: Any) -> Any:
        # pydal's `len` counts bytes here; `aggregate` calls a function of one column
        return Expression(self.db, field._dialect.aggregate, field, "CHAR_LENGTH", "integer")

    # -- the app's own connection --------------------

    @classmethod
    def is_broken(cls, connection: Any) -> bool:
        socket = getattr(connection, "_sock", None)
        if socket is not None and not has_news(socket):
            return False
        # The server sent data without a query, or the driver hides its socket.
        try:
            connection.ping(False)
        except Exception:  # driver-specific
            return True
        return False

    @classmethod
    def is_idle(cls, connection: Any) -> bool:
        # The status in the server's last response; not every driver keeps it.
        status = getattr(connection, "server_status", None)
        is_open = getattr(connection, "open", False)
        return bool(is_open and status is not None and not status & IN_TRANSACTION)

    may_lose = True

    @classmethod
    def has_lost(cls, connection: Any, error: Exception) -> bool:
        if _number(error) == DEADLOCK:
            return True
        # A lock timeout rolls back the transaction or only the statement, depending on the server's
        # configuration. The error does not tell which; the next response does.
        try:
            connection.ping(False)
        except Exception:  # driver-specific: the connection is lost, and the transaction with it
            return True
        return hasattr(connection, "server_status") and cls.is_idle(connection)


def skips_locked_rows(version: str) -> bool:
    """Return True for a version with SKIP LOCKED: MySQL from 8.0, MariaDB from 10.6.

    >>> [skips_locked_rows(version) for version in ("10.11.6-MariaDB", "5.7.44", "8.4.0")]
    [True, False, True]
    """
    found = re.search(r"(\d+)\.(\d+)", version.removeprefix("5.5.5-"))
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    return number >= ((10, 6) if "MariaDB" in version else (8, 0))


def _number(error: Exception) -> int:
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else 0


def _index(table: str, name: str, columns: tuple[str, ...], *_: str) -> str:
    parts = (
        f"`{column}`({PREFIXES[column]})" if column in PREFIXES else f"`{column}`"
        for column in columns
    )
    return f"CREATE INDEX `{name}` ON `{table}` ({', '.join(parts)})"
