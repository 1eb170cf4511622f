"""SQL that bypasses pydal's select, insert and update.

Covers prepared statements, several queries in one statement, and many rows in one statement. The
implementations here are portable; dialects override them with faster ones. Does not begin or end
transactions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from pydal.objects import Query

from plugin_scheduler.database.dialects.bulk_insert import Literals, batches, fits, insert_into
from plugin_scheduler.database.dialects.bulk_insert import values as in_brackets
from plugin_scheduler.database.dialects.sql_template import Placeholders, Statement, listed
from plugin_scheduler.system.pydal_access import adapter_of, id_field, sql_name

#: Builds a statement, with placeholders for its values.
Write = Callable[[Placeholders], str]

POINT = "scheduler_before_insert"  # the name of a savepoint
MOST_PARTS = 60  # of a UNION: SQLite allows 500; one statement with dozens is as fast as two


def among(field: Any, ids: Collection[int]) -> Any:
    """Return `field.belongs(ids)` without pydal's slow conversion of each number."""
    return Query(field.db, _in_list, field, listed(ids))


def _in_list(field: Any, numbers: str, **_: Any) -> str:
    return f"{field.tablename}.{field.name} IN ({numbers})"


class Question(NamedTuple):
    """A query for the existence of a row."""

    query: Any
    field: Any
    left: Any = None


class Ask(NamedTuple):
    """A select that runs once for each row of values, which replace its placeholders."""

    text: str
    placeholders: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def filled(self, row: Sequence[Any]) -> str:
        sql = self.text.rstrip("; ")
        for placeholder, value in zip(self.placeholders, row, strict=True):
            sql = sql.replace(placeholder, str(value))
        return sql


class Changes(NamedTuple):
    """The changes of `update_many`.

    ``same`` applies to all rows. Each of ``rows`` has an id and the values of ``columns``. Values
    that all rows share are sent to the server only once.
    """

    same: dict[str, Any]
    columns: list[str]
    rows: list[list[Any]]

    @classmethod
    def of(cls, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Changes:
        by_column = list(zip(*rows, strict=True))
        first, *values = by_column
        alike = [column.count(column[0]) == len(column) for column in values]
        same = {name: rows[0][place] for place, name in enumerate(columns, 1) if alike[place - 1]}
        kept = [name for name in columns if name not in same]
        own = [first, *(values[columns.index(name)] for name in kept)]
        return cls(same, kept, [list(row) for row in zip(*own, strict=True)])


class Taken(Exception):
    """Raised when a row with the key of a new row exists; nothing was inserted."""


class BulkStatements:
    """Base class of the dialects: bulk statements."""

    db: Any
    _narrow: tuple[str, ...] | None
    _storable: Callable[[Any], Any]
    #: True if a scalar subquery may be a column of a select.
    asks_at_once = False
    #: The form of a select with an order and a limit inside a UNION; "" where unknown.
    part = ""
    #: True if VALUES may have many rows.
    inserts_at_once = False
    _statements: dict[str, Statement]

    def exist(
        self, name: str, write: Callable[[Placeholders], Sequence[Question]], **values: Any
    ) -> list[bool]:
        """Return for each question whether a row exists.

        Uses one statement, cached under its name, if the database allows subqueries as columns.
        """
        if self.asks_at_once:
            return [
                found is not None
                for found in self.ask(
                    name, lambda placeholder: self._at_once(write(placeholder)), **values
                )[0]
            ]
        return [
            bool(self.ask(f"{name} {place}", partial(self._one_of, write, place), **values))
            for place in range(len(write(Placeholders())))
        ]

    def _at_once(self, questions: Sequence[Question]) -> str:
        columns = (f"({self._first(one)}) AS q{place}" for place, one in enumerate(questions))
        return f"SELECT {', '.join(columns)}"

    def _one_of(
        self,
        write: Callable[[Placeholders], Sequence[Question]],
        place: int,
        placeholder: Placeholders,
    ) -> str:
        return self._first(write(placeholder)[place])

    def _first(self, question: Question) -> str:
        query, field, left = question
        options = {"limitby": (0, 1), "orderby_on_limitby": False}
        return str(self.db(query)._select(field, left=left, **options)).rstrip("; ")

    def ask(self, name: str, write: Write, **values: Any) -> list[tuple[Any, ...]]:
        """Return rows of a statement that is built once and cached under its name."""
        return list(self.db.executesql(*self._words(name, write, values)) or ())

    def run(self, name: str, write: Write, **values: Any) -> int:
        """Run a cached statement that changes rows; return their number."""
        sql, given = self._words(name, write, values)
        # Not `executesql`, which also fetches rows and so loses the row count.
        adapter_of(self.db).execute(sql, *([given] if given else []))
        return int(adapter_of(self.db).cursor.rowcount)

    def _words(self, name: str, write: Write, values: Mapping[str, Any]) -> tuple[str, Any]:
        if name not in self._statements:
            placeholders = Placeholders()
            self._statements[name] = Statement(write(placeholders), placeholders, self._mark)
        return self._statements[name].filled(values)

    @property
    def _mark(self) -> str:
        """The driver's placeholder for a value."""
        paramstyle = getattr(adapter_of(self.db).driver, "paramstyle", "format")
        return "?" if paramstyle == "qmark" else "%s"

    def execute(self, sql: str, values: Sequence[Any]) -> None:
        """Run a statement with {} for each value; times are cut to whole seconds, as in pydal."""
        whole = [one.replace(microsecond=0) if isinstance(one, datetime) else one for one in values]
        if self._narrow:
            whole = [self._storable(one) for one in whole]
        self.db.executesql(sql.format(*[self._mark] * len(values)), placeholders=whole)

    def update_many(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], only: str
    ) -> None:
        """Write ``columns`` of many rows; each of ``rows`` begins with its id.

        ``only`` is an SQL condition that a row must meet.
        """
        changes = ", ".join(f"{column} = {{}}" for column in columns)
        where = f"WHERE id = {{}} AND {only}"
        for row_id, *values in rows:
            self.execute(f"UPDATE {table} SET {changes} {where}", (*values, row_id))

    def insert_many(self, table: Any, rows: Sequence[dict[str, Any]], key: str) -> list[int]:
        """Insert rows (dicts with every column) into a pydal table; return their ids in order.

        ``key`` is the name of a column that is unique among the rows.
        """
        ids = table.bulk_insert(rows)  # 0 if a callback of the app refused the row
        return [int(row_id) for row_id in ids] if ids else [0] * len(rows)

    def insert_new(self, table: Any, rows: Sequence[dict[str, Any]], key: str) -> list[int]:
        """Insert like `insert_many`, while another session may insert the same key.

        Raises `Taken` in that case; the caller's transaction continues unchanged.
        """
        has_point = self._begins_point()
        try:
            ids = self.insert_many(table, rows, key)
        except Exception as error:  # the error for a duplicate key is driver-specific
            if not _is_taken(error, key) or not (has_point or len(rows) == 1):
                raise
            if has_point:
                self.db.executesql(f"ROLLBACK TO SAVEPOINT {POINT}")
                self.db.executesql(f"RELEASE SAVEPOINT {POINT}")
            raise Taken(str(error)) from error
        if has_point:
            self.db.executesql(f"RELEASE SAVEPOINT {POINT}")
        return ids

    def _begins_point(self) -> bool:
        """Set a savepoint; return False if there is no transaction."""
        return False

    def insert_all(self, table: Any, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows like `insert_many`, without returning ids."""
        if not rows:
            return
        if not self.inserts_at_once or not fits(table, rows):
            table.bulk_insert(rows)
            return
        columns = Literals(adapter_of(self.db)).columns(table, rows)
        for some in in_brackets(zip(*columns.values(), strict=True)):
            self.db.executesql(insert_into(table, rows) + some)

    # -- rows by id: only these are locked, nothing else (ARCHITECTURE.md, "Locks")

    def hold(
        self, table: Any, ids: Collection[int], fields: Sequence[Any], only: Any = None
    ) -> list[Any]:
        """Read and lock rows in the order of their ids, until the transaction ends.

        Locks no other row, and no gap between rows.
        """
        return [
            row for some in batches(sorted(ids)) for row in self._hold(table, some, fields, only)
        ]

    def _hold(self, table: Any, ids: Sequence[int], fields: Sequence[Any], only: Any) -> list[Any]:
        # An update without a change locks rows in every database.
        column = sql_name(table.status)
        where = f"{sql_name(id_field(table))} IN ({listed(ids)})"
        self.db.executesql(f"UPDATE {sql_name(table)} SET {column} = {column} WHERE {where}")
        rows = self._those(table, ids, only).select(*fields, orderby=table.id, cacheable=True)
        return list(rows)

    def change(self, table: Any, ids: Collection[int], only: Any = None, **columns: Any) -> int:
        """Update rows by id, if they meet the condition ``only``; return their number.

        Calls the app's callbacks on the table, like pydal's `update`. For several rows, call `hold`
        first: an update locks rows in any order.
        """
        parts = batches(sorted(ids))
        return sum(self._change(self._those(table, some, only), columns) for some in parts)

    def _change(self, rows: Any, columns: Mapping[str, Any]) -> int:
        return int(rows.update(**columns) or 0)

    def _those(self, table: Any, ids: Collection[int], only: Any) -> Any:
        mine = among(table.id, ids)
        return self.db(mine if only is None else mine & only, ignore_common_filters=True)

    def unheld(self, table: Any, ids: Collection[int]) -> set[int]:
        """Lock the rows that no other transaction has locked, without waiting; return their ids.

        Without SKIP LOCKED, returns all existing rows.
        """
        return {
            int(row_id)
            for some in batches(sorted(ids))
            for (row_id,) in self.db.executesql(self._unheld(table, some))
        }

    def _unheld(self, table: Any, ids: Sequence[int]) -> str:
        return self._locking(self.by_key(self._those(table, ids, None)._select(table.id)), "skip")

    def by_key(self, sql: str) -> str:
        """Make a statement find its rows by the primary key and by no other index.

        Most databases choose the better index themselves.
        """
        return sql

    def passing_over(self, update: str, ids: Collection[int], many: bool) -> str:
        """Make an update of tasks by id skip locked rows, if one statement can express that.

        An update of a single task may wait for its row.
        """
        return self.by_key(update)

    @functools.cached_property
    def _literals(self) -> Literals:
        return Literals(adapter_of(self.db))

    def delete_rows(self, table: str, ids: Sequence[int], only: str) -> None:
        """Delete rows by id, without cascading to rows that refer to them."""
        self.db.executesql(f"DELETE FROM {table} WHERE id IN ({listed(ids)}) AND {only}")

    def rows_of_all(self, asks: Sequence[Ask], lock: str = "") -> list[tuple[Any, ...]]:
        """Return the rows of several selects, unordered; in one statement if possible."""
        parts = [part for ask in asks for part in self._parts(ask, lock)]
        rows: list[tuple[Any, ...]] = []
        at_once = MOST_PARTS if self.part else 1
        for first in range(0, len(parts), at_once):
            some = parts[first : first + at_once]
            if len(some) > 1:
                some = [" UNION ALL ".join(self.part.format(sql) for sql in some)]
            rows += self.db.executesql(some[0])
        return rows

    def _parts(self, ask: Ask, lock: str) -> list[str]:
        return [self._locking(ask.filled(row), lock) for row in ask.rows]

    def _locking(self, sql: str, lock: str) -> str:
        return sql

    def group_after(self, status: str, group: str | None = None) -> str | None:
        """Return the next group among tasks of a status: one step in the claim index.

        A DISTINCT query for all groups would read the whole index.
        """
        task = self.db.scheduler_task
        query = (task.status == status) & (task.group_name > (group or ""))
        rows = self.db(query, ignore_common_filters=True)
        row = rows.select(task.group_name, orderby=task.group_name, limitby=(0, 1)).first()
        return row.group_name if row else None

    def literal(self, value: Any, kind: str) -> str:
        """Return the SQL literal of a value of a pydal type."""
        return str(adapter_of(self.db).represent(value, kind))


def _is_taken(error: Exception, key: str) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "IntegrityError" in kinds and key in str(error).lower()
