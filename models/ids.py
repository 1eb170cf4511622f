"""Columns that hold ids: how wide they are, how many ids are left, and what makes the next one.

Tables that this package makes have ids of 64 bits. Tables of web2py, and those of earlier versions,
have 32 bits on servers; `models.widen` changes that. This module only reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plugin_scheduler.models.migrations import NAMES, holds_id

INT = 2**31 - 1
BIGINT = 2**63 - 1
#: JSON numbers above this one lose digits in JavaScript.
EXACT = 2**53 - 1

_TABLES = ", ".join(f"'{name}'" for name in NAMES)


@dataclass(frozen=True)
class Ids:
    """The ids of one table. ``next`` is what the next row gets, as far as that can be asked;
    ``sequence`` names what counts them, where the database has sequences."""

    table: str
    largest: int
    highest: int
    next: int | None
    sequence: str = ""
    counts_to: int = BIGINT

    @property
    def is_behind(self) -> bool:
        """True where the next id is one that a row has already: no row can be added."""
        return bool(self.sequence) and self.next is not None and self.next <= self.highest

    @property
    def are_used_up(self) -> bool:
        """True where the next id does not fit."""
        return (self.next or self.highest + 1) > self.largest

    @property
    def share(self) -> float:
        """The part of all ids that is used."""
        return min(1.0, max(self.highest, (self.next or 1) - 1) / self.largest)


@dataclass(frozen=True)
class Narrow:
    """A column for ids that has 32 bits; ``name`` is "table.column"."""

    table: str
    column: str

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


class IdEngine:
    """How one kind of database is asked. A database without sequences cannot lag behind."""

    largest = BIGINT

    def ids(self, db: Any, tables: tuple[str, ...]) -> list[Ids]:
        """Of each of these tables."""
        found = []
        for table in tables:
            [[highest]] = db.executesql(f"SELECT MAX(id) FROM {table}")
            found.append(Ids(table, self.largest, int(highest or 0), None))
        return found

    def narrow(self, db: Any) -> list[Narrow]:
        """Columns for ids that are too small, in the order of the tables; those of the app's own
        tables that refer to ours are among them."""
        return []


class SQLiteIds(IdEngine):
    """Ids have 64 bits, and are counted by the file itself."""


class PostgresIds(IdEngine):
    """A sequence for each table, which a restore of rows alone leaves behind."""

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
    #: A sequence that belongs to no column, as some restores make it, is found in the default.
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
    """A counter for each table, which never lags."""

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
            # The server's own views of this number may be a day old.
            [[_, made]] = db.executesql(f"SHOW CREATE TABLE {table}")
            counter = re.search(r"\bAUTO_INCREMENT=(\d+)", made)
            largest = INT if f"{table}.id" in narrow else BIGINT
            follows = max(int(counter[1]) if counter else 1, int(highest or 0) + 1)
            # At its end the counter stands still.
            is_over = highest is not None and int(highest) >= largest
            found.append(Ids(table, largest, int(highest or 0), None if is_over else follows))
        return found

    def _ours(self, db: Any) -> list[Narrow]:
        return _in_order(db.executesql(self._columns), ())

    def narrow(self, db: Any) -> list[Narrow]:
        return _in_order(db.executesql(self._columns), db.executesql(self._references))


def _in_order(ours: Any, others: Any) -> list[Narrow]:
    """Of these columns those which hold ids, our tables first."""
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
    return _ENGINES.get((db._dbname or "").partition(":")[0]) or IdEngine()


def ids_of(db: Any, *tables: str) -> list[Ids]:
    """How the ids of these tables stand; of all where none is named."""
    return _engine(db).ids(db, tables or NAMES)


def narrow_columns(db: Any) -> list[Narrow]:
    """Columns for ids that have 32 bits."""
    return _engine(db).narrow(db)


def running_out(db: Any) -> Iterator[Ids]:
    """The two tables that grow with each run, where no row can be added to them."""
    for one in ids_of(db, "scheduler_task", "scheduler_run"):
        if one.is_behind or one.are_used_up:
            yield one
