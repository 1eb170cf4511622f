"""MySQL and MariaDB: row locks that are skipped where the server knows how, and a probe as bell.

I own their settings, indexes, errors and limits. I call pydal and its driver.
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
from plugin_scheduler.system.socket_state import has_news

IN_TRANSACTION = 1  # the server's flag for that
FOUND_ROWS = 2  # the drivers' flag for: an update counts the rows it found, changed or not
ANSWER_WITHIN = 3  # seconds at least; with a longer lease a third of it
TABLES_WITHIN = 600  # seconds for a change of a large table
TABLE_LOCK_S = 10  # seconds to wait for somebody who has looked at a table and not committed
#: pydal makes texts of 512 characters, an index may have 3072 bytes: so much of a name must do.
PREFIXES = {"status": 16, "group_name": 100, "assigned_worker_name": 200}
NOTHING_IN_A_TABLE = 10_000  # rows; below that a change of a column takes no time

#: Deadlock, changed since it was read (MariaDB), lock wait timeout.
DEADLOCK = 1213  # its victim loses all of its transaction
_KINDS: dict[int, type[StoreUnavailable]] = {DEADLOCK: Conflict, 1020: Conflict, 1205: Locked}
_TABLE_AWAY = (1146, 1054)  # no such table or column: somebody is at work on the tables
_TOO_LARGE = 1153
_OPTION_PREVENTS = 1290  # --read-only, --super-read-only, and others
_READ_ONLY = (1792, 1836)  # a read-only transaction, by default; read-only mode
#: Wrong, too long or too large values, no JSON, violated constraints, errors raised by triggers.
_OF_VALUES = (_TOO_LARGE, 1118, 1264, 1265, 1292, 1300, 1366, 1406, 1644, 3140, 3141, 3819, 4025)
_DOWN = (1053,)  # shutting down
_LOST = 2013  # the connection, in the middle of a question
_REFUSED = ("Connection refused", "[Errno 2]")  # the latter: no such socket
_NO_INDEX = 1176
_BY_KEY = "FORCE INDEX (PRIMARY)"
_TABLE = re.compile(r"(?:^UPDATE| FROM) `?scheduler_\w+`?")
_UPDATE = re.compile(r"^UPDATE `?scheduler_task`? SET")
ALL_ROWS = 1_000_000  # with a limit, MySQL keeps the locked rows of a derived table apart
_EXISTS = (1061,)  # another worker was quicker


class MySQL(Server):
    """MySQL and MariaDB, by any driver that pydal has."""

    name = "mysql"
    title, version_query = "MySQL", "SELECT VERSION()"
    part = "({})"
    steps_down = False  # it may begin at the index's end, and pass over all that is in between
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
            "autocommit": True,  # we say where a transaction begins: most questions need none
        }

    def prepare_connection(self) -> None:
        seen = "(SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID())"
        asked = f"SELECT VERSION(), @@max_allowed_packet, CONNECTION_ID(), {seen}"
        version, packet, session, host = self.db.executesql(asked)[0]
        port = (host or "").rpartition(":")[2]
        self.met(
            int(port) if port.isdigit() else None,
            session == self.db._adapter.connection.thread_id() and not self._believes_proxies(),
        )
        self.locks_rows, self._packet = skips_locked_rows(version), int(packet)
        self.look_words = "LOCK IN SHARE MODE" if "MariaDB" in version else "FOR SHARE"
        # The default holds gaps between rows, too, and so makes deadlocks where none need be.
        self.db.executesql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # Not only rows: who changes a table keeps readers out of it, too, by default for a year.
        self.db.executesql("SET SESSION innodb_lock_wait_timeout=1, lock_wait_timeout=1")
        # When this worker is cut off or put to sleep in the middle of a transaction, its locks must
        # not outlast its lease by much. A connection that is in use is never silent for so long.
        self.db.executesql(f"SET SESSION wait_timeout={math.ceil(self._settings.lease)}")
        self.db.executesql("SET NAMES utf8mb4")

    def begin(self) -> None:
        self.db.executesql("BEGIN")

    def rollback(self) -> None:
        if not self.is_idle(self.db._adapter.connection):
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
        # Row by row, by the key: where the server chose to read the whole table instead, it would
        # wait for rows that somebody holds.
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
            return [int(self.db._adapter.lastrowid(table))]
        begin, pairs = ids_where(table, key), []
        for keys in batches(columns[key]):
            pairs += self.db.executesql(f"{begin} IN ({', '.join(keys)})")
        return ids_of(pairs, rows, key)

    def by_key(self, sql: str) -> str:
        # By another index, or from end to end of a small table, it would lock rows that are not
        # asked for, and above READ COMMITTED (an app's usual level) the gaps between rows, too.
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
        table = self.db._adapter.get_table(rows.query)
        if not all(map(is_pydals, (*table._before_update, *table._after_update))):
            # One by one is by their ids, too, and the app's callbacks are called.
            ids = [row.id for row in rows.select(table.id)]
            return sum(self._those(table, [one], rows.query).update(**columns) or 0 for one in ids)
        self.db._adapter.execute(self.by_key(rows._update(**columns)))
        return int(self.db._adapter.cursor.rowcount)

    def _begins_point(self) -> bool:
        connection = self.db._adapter.connection
        commits_each = getattr(connection, "get_autocommit", bool)()
        if commits_each and self.is_idle(connection):
            return False
        self.db.executesql(f"SAVEPOINT {POINT}")
        return True

    def delete_rows(self, table: str, ids: Sequence[int], only: str) -> None:
        # By the key, as above.
        keyed = f"{table} FROM {table} FORCE INDEX (PRIMARY)"
        self.db.executesql(f"DELETE {keyed} WHERE id IN ({listed(ids)}) AND {only}")

    def group_after(self, status: str, group: str | None = None) -> str | None:
        # An index over the first characters of names has no order that SELECT could use.
        edge = f"{self.literal(status, 'string')}, {self.literal(group or '', 'string')}"
        step = f"HANDLER claim_steps READ {CLAIM_INDEX} > ({edge}) LIMIT 1"
        self.db.executesql("HANDLER scheduler_task OPEN AS claim_steps")
        try:
            found = self.db.executesql(step, as_dict=True)
        except Exception as error:  # each driver's own
            if _number(error) != _NO_INDEX:
                raise
            return super().group_after(status, group)
        finally:
            self.db.executesql("HANDLER claim_steps CLOSE")
        return found[0]["group_name"] if found and found[0]["status"] == status else None

    def _believes_proxies(self) -> bool:
        """May a proxy tell the server whose port it is to see?"""
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
                f"a text of {size:.1f} MiB is too large for the server: with its "
                f"max_allowed_packet of {most:.0f} MiB it takes {most / 2:.1f} MiB"
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
        # In brackets the driver says what else happened: a reset, silence. None: it was closed.
        closed = _number(error) == _LOST and "(" not in str(error.args[-1])
        return closed or _number(error) in _DOWN

    def is_said_to_all(self, error: Exception) -> bool:
        return _number(error) in _DOWN

    def is_refusal(self, error: Exception) -> bool:
        return any(words in str(error) for words in _REFUSED)

    @classmethod
    def line_of(cls, connection: Any) -> Any:
        return getattr(connection, "_sock", None)

    # -- doorbell --------------------

    def doorbell(self) -> Notifier:
        return Probe(self._news, self._clock)

    def _news(self) -> object:
        """New tasks and orders to workers: answered from the primary key, and a small table. Tasks
        that others change are found by the full looks."""
        orders = "SELECT GROUP_CONCAT(status ORDER BY id) FROM scheduler_worker"
        try:
            with self.reading():
                return self.db.executesql(f"SELECT MAX(id), ({orders}) FROM scheduler_task")[0]
        except StoreUnavailable:
            return object()  # let the query that follows find out what is the matter

    # -- tables --------------------

    def prepare_tables(self, indexes: Any) -> list[str]:
        missing = self._missing(indexes)
        if not missing:
            return []
        self.db.commit()  # having looked at a table is a hold on it: what follows would wait for us
        refused = []
        with contextlib.closing(self._patient_connection()) as connection:
            for what, statement in missing:
                try:
                    connection.cursor().execute(statement)
                except Exception as error:  # each driver's own; a worker works without, slower
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
        """pydal makes tables that cannot hold every character (no emoji). Small ones are widened;
        in a large one that takes its time, so it is left to its owner."""
        names = ", ".join(f"'{table}'" for table in TABLES)
        query = (
            "SELECT DISTINCT table_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND character_set_name IN ('utf8', 'utf8mb3') "
            f"AND table_name IN ({names})"
        )
        return [
            (
                f"every character in {table}",
                f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4",
            )
            for (table,) in self.db.executesql(query)
            if self._is_small(table)
        ]

    def _is_small(self, table: str) -> bool:
        beyond = f"SELECT id FROM {table} LIMIT 1 OFFSET {NOTHING_IN_A_TABLE}"
        return not self.db.executesql(beyond)

    def _patient_connection(self) -> Any:
        adapter = self.db._adapter
        options = {**adapter.driver_args, "read_timeout": TABLES_WITHIN}
        connection = adapter.driver.connect(**options)
        connection.cursor().execute(f"SET SESSION lock_wait_timeout={TABLE_LOCK_S}")
        return connection

    def characters(self, field: Any) -> Any:
        # pydal's way to call a function of one column; its `len` counts bytes here
        return Expression(self.db, field._dialect.aggregate, field, "CHAR_LENGTH", "integer")

    # -- the app's own connection --------------------

    @classmethod
    def is_broken(cls, connection: Any) -> bool:
        socket = getattr(connection, "_sock", None)
        if socket is not None and not has_news(socket):
            return False
        # The server said something while nobody asked, or the driver does not let us look.
        try:
            connection.ping(False)
        except Exception:  # each driver's own
            return True
        return False

    @classmethod
    def is_idle(cls, connection: Any) -> bool:
        # As the server said with its last answer; not every driver keeps that.
        status = getattr(connection, "server_status", None)
        is_open = getattr(connection, "open", False)
        return bool(is_open and status is not None and not status & IN_TRANSACTION)

    may_lose = True

    @classmethod
    def has_lost(cls, connection: Any, error: Exception) -> bool:
        if _number(error) == DEADLOCK:
            return True
        # A lock that was not to be had may end the whole transaction or the statement alone, as
        # the server is configured; an error does not say which, the next answer does.
        try:
            connection.ping(False)
        except Exception:  # each driver's own: the connection is gone, and the transaction with it
            return True
        return hasattr(connection, "server_status") and cls.is_idle(connection)


def skips_locked_rows(version: str) -> bool:
    """MySQL since 8.0, MariaDB since 10.6.

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
