"""Inspect columns with ids: their width, the remaining ids, and the sequences.

Tables created by this package have 64-bit ids. Tables of web2py and of earlier versions have 32-bit
ids on servers; `models.widen` changes that. This module only reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plugin_scheduler.models.migrations import NAMES, holds_id

from plugin_scheduler.system.pydal_access import scheme_of

INT = 2**31 - 1
BIGINT = 2**63 - 1
#: Larger JSON numbers lose digits in JavaScript.
EXACT = 2**53 - 1

_TABLES = ", ".join(f"'{name}'" for name in NAMES)


@dataclass(frozen=True)
class Ids:
    """The state of the ids of one table.

    ``next`` is the id of the next row, or None where unknown. ``sequence`` is the name of the
    sequence, on databases that have sequences.
    """

    table: str
    largest: int
    highest: int
    next: int | None
    sequence: str = ""
    counts_to: int = BIGINT

    @property
    def is_behind(self) -> bool:
        """True if the next id is already in use: no row can be added."""
        return bool(self.sequence) and self.next is not None and self.next <= self.highest

    @property
    def are_used_up(self) -> bool:
        """True if the next id does not fit the column."""
        return (self.next or self.highest + 1) > self.largest

    @property
    def share(self) -> float:
        """The used fraction of all ids."""
        return min(1.0, max(self.highest, (self.next or 1) - 1) / self.largest)


@dataclass(frozen=True)
class Narrow:
    """A 32-bit column for ids; ``name`` is "table.column"."""

    table: str
    column: str

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


class IdEngine:
    """Queries on ids for one kind of database; this default is for databases without sequences."""

    largest = BIGINT

    def ids(self, db: Any, tables: tuple[str, ...]) -> list[Ids]:
        """Return the state of the ids of each of these tables."""
        found = []
        for table in tables:
            [[highest]] = db.executesql(f"SELECT MAX(id) FROM {table}")
            found.append(Ids(table, self.largest, int(highest or 0), None))
        return found

    def narrow(self, db: Any) -> list[Narrow]:
        """Return the 32-bit columns for ids, in the order of the tables.

        Includes columns of the app's tables that refer to the scheduler's tables.
        """
        return []


class SQLiteIds(IdEngine):
    """SQLite: ids have 64 bits, and there are no sequences."""


class PostgresIds(IdEngine):
    """PostgreSQL: each table has a sequence, which lags behind after a restore of rows alone."""

    _columns = (
        "SELECT t.name, a.attname FROM unnest(ARRAY[{tables}]) AS t(name), pg_attribute AS a "
        "WHERE a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped "
        "AND a.atttypid = 'int4'::regtype"
    )
    _references = (
        "SELECT c.conrelid::regclass::text, a.attname FROM pg_constraint AS c, pg_attribute AS a "
        "WHERE c.contype = 'f' AND c.confrelid IN ({oids}) AND a.attrelid = c.conrelid "
        "AND a.attnum = ANY (c.conkey) AND a.atttypid = 'int4'::regtype"
    )
    #: A sequence that is not owned by a column, as after some restores, is found in the default.
    _sequences = (
        "SELECT t.name, a.atttypid = 'int4'::regtype, s.name, "
        "has_sequence_privilege(s.name, 'SELECT'), "
        "(SELECT seqmax FROM pg_sequence WHERE seqrelid = s.name::regclass) "
        "FROM unnest(ARRAY[{tables}]) AS t(name) "
        "JOIN pg_attribute AS a ON a.attrelid = to_regclass(t.name) AND a.attname = 'id' "
        "LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        "CROSS JOIN LATERAL (SELECT coalesce(pg_get_serial_sequence(t.name, 'id'), "
        "substring(pg_get_expr(d.adbin, d.adrelid) FROM '''([^'']+)''')) AS name) AS s"
    )

    def ids(self, db: Any, tables: tuple[str, ...]) -> list[Ids]:
        names = ", ".join(f"'{table}'" for table in tables)
        found, parts = [], []
        rows = db.executesql(self._sequences.format(tables=names))
        for place, (table, is_narrow, sequence, may_read, most) in enumerate(rows):
            counter = f"SELECT NULL::bigint, NULL::boolean FROM {table} LIMIT 0"
            if sequence and may_read:
                counter = f"SELECT last_value, is_called FROM {sequence}"
            parts.append(
                f"SELECT {place}, (SELECT MAX(id) FROM {table}), c.* FROM (SELECT 1) AS one "
                f"LEFT JOIN ({counter}) AS c(last, called) ON true"
            )
            most = int(most or BIGINT)
            largest = min(INT if is_narrow else BIGINT, most)
            found.append(Ids(table, largest, 0, None, sequence or "", most))
        answers = sorted(db.executesql(" UNION ALL ".join(parts))) if parts else []
        return [
            Ids(
                one.table,
                one.largest,
                int(highest or 0),
                None if last is None else int(last) + bool(called),
                one.sequence,
                one.counts_to,
            )
            for one, (_, highest, last, called) in zip(found, answers, strict=True)
        ]

    def narrow(self, db: Any) -> list[Narrow]:
        ours = db.executesql(self._columns.format(tables=_TABLES))
        oids = ", ".join(f"to_regclass('{name}')" for name in NAMES)
        others = db.executesql(self._references.format(oids=oids))
        return _in_order(ours, others)


class MySQLIds(IdEngine):
    """MySQL: each table has a counter, which never lags behind."""

    _columns = (
        "SELECT table_name, column_name FROM information_schema.columns "
        f"WHERE table_schema = DATABASE() AND table_name IN ({_TABLES}) AND data_type = 'int'"
    )
    _references = (
        "SELECT k.table_name, k.column_name FROM information_schema.key_column_usage AS k "
        "JOIN information_schema.columns AS c ON c.table_schema = k.table_schema "
        "AND c.table_name = k.table_name AND c.column_name = k.column_name "
        "WHERE k.table_schema = DATABASE() AND k.referenced_table_schema = DATABASE() "
        f"AND k.referenced_table_name IN ({_TABLES}) AND c.data_type = 'int'"
    )

    def ids(self, db: Any, tables: tuple[str, ...]) -> list[Ids]:
        narrow = {one.name for one in self._ours(db)}
        found = []
        for table in tables:
            [[highest]] = db.executesql(f"SELECT MAX(id) FROM {table}")
            # The server's statistics views of this number may be a day old.
            [[_, made]] = db.executesql(f"SHOW CREATE TABLE {table}")
            counter = re.search(r"\bAUTO_INCREMENT=(\d+)", made)
            largest = INT if f"{table}.id" in narrow else BIGINT
            follows = max(int(counter[1]) if counter else 1, int(highest or 0) + 1)
            # The counter stops at its maximum.
            is_over = highest is not None and int(highest) >= largest
            found.append(Ids(table, largest, int(highest or 0), None if is_over else follows))
        return found

    def _ours(self, db: Any) -> list[Narrow]:
        return _in_order(db.executesql(self._columns), ())

    def narrow(self, db: Any) -> list[Narrow]:
        return _in_order(db.executesql(self._columns), db.executesql(self._references))


def _in_order(ours: Any, others: Any) -> list[Narrow]:
    """Return the columns that hold ids, the scheduler's tables first."""
    found = [Narrow(str(table), str(column)) for table, column in ours if holds_id(str(column))]
    found.sort(key=lambda one: NAMES.index(one.table))
    rest = {Narrow(str(table), str(column)) for table, column in others} - set(found)
    return [*found, *sorted(rest, key=lambda one: one.name)]


_ENGINES: dict[str, IdEngine] = {
    "sqlite": SQLiteIds(),
    "postgres": PostgresIds(),
    "postgres2": PostgresIds(),
    "postgres3": PostgresIds(),
    "mysql": MySQLIds(),
}


def _engine(db: Any) -> IdEngine:
    return _ENGINES.get(scheme_of(db)) or IdEngine()


def ids_of(db: Any, *tables: str) -> list[Ids]:
    """Return the state of the ids of these tables, by default of all tables."""
    return _engine(db).ids(db, tables or NAMES)


def narrow_columns(db: Any) -> list[Narrow]:
    """Return the 32-bit columns for ids."""
    return _engine(db).narrow(db)


def running_out(db: Any) -> Iterator[Ids]:
    """Yield the task and run tables, which grow constantly, if no row can be added to them."""
    for one in ids_of(db, "scheduler_task", "scheduler_run"):
        if one.is_behind or one.are_used_up:
            yield one
