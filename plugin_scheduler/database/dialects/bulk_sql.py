"""What is said past pydal's select, insert and update: the same statement again and again, several
questions at once, many rows at once.

I own the ways of saying it that every database understands; a dialect says it in a better one. I
call pydal's adapter. I never begin or end a transaction.
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
from plugin_scheduler.database.dialects.sql_template import Holes, Statement, listed

#: Writes a statement, with holes for its values.
Write = Callable[[Holes], str]

POINT = "scheduler_before_insert"  # the name of a savepoint
MOST_PARTS = 60  # of a UNION: SQLite takes 500, and one of dozens is not slower than two


def among(field: Any, ids: Collection[int]) -> Any:
    """`field.belongs(ids)`; pydal looks at each number of a long list for long."""
    return Query(field.db, _in_list, field, listed(ids))


def _in_list(field: Any, numbers: str, **_: Any) -> str:
    return f"{field.tablename}.{field.name} IN ({numbers})"


class Question(NamedTuple):
    """Is there a row of that kind?"""

    query: Any
    field: Any
    left: Any = None


class Ask(NamedTuple):
    """A select that is asked once for each row of values, which stand in its holes."""

    text: str
    holes: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def filled(self, row: Sequence[Any]) -> str:
        sql = self.text.rstrip("; ")
        for hole, value in zip(self.holes, row, strict=True):
            sql = sql.replace(hole, str(value))
        return sql


class Changes(NamedTuple):
    """What `update_many` writes: ``same`` to all rows, ``columns`` to each row its own of ``rows``,
    behind its id. What is the same need not be said, nor read by a server, for each row."""

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
    """Another row has the key of one that was to be inserted; nothing was inserted."""


class Sayings:
    """A part of each dialect."""

    db: Any
    _narrow: tuple[str, ...] | None
    _storable: Callable[[Any], Any]
    #: Can the answer to a question be a column of another one?
    asks_at_once = False
    #: How a select with an order and a limit stands in a UNION; "" where nobody has tried.
    part = ""
    #: Does VALUES take many rows?
    inserts_at_once = False
    _statements: dict[str, Statement]

    def exist(
        self, name: str, write: Callable[[Holes], Sequence[Question]], **values: Any
    ) -> list[bool]:
        """Is there a row that answers each question? In one statement, kept under its name, where
        the database takes questions in the place of columns."""
        if self.asks_at_once:
            return [
                found is not None
                for found in self.ask(name, lambda hole: self._at_once(write(hole)), **values)[0]
            ]
        return [
            bool(self.ask(f"{name} {place}", partial(self._one_of, write, place), **values))
            for place in range(len(write(Holes())))
        ]

    def _at_once(self, questions: Sequence[Question]) -> str:
        columns = (f"({self._first(one)}) AS q{place}" for place, one in enumerate(questions))
        return f"SELECT {', '.join(columns)}"

    def _one_of(self, write: Callable[[Holes], Sequence[Question]], place: int, hole: Holes) -> str:
        return self._first(write(hole)[place])

    def _first(self, question: Question) -> str:
        query, field, left = question
        options = {"limitby": (0, 1), "orderby_on_limitby": False}
        return str(self.db(query)._select(field, left=left, **options)).rstrip("; ")

    def ask(self, name: str, write: Write, **values: Any) -> list[tuple[Any, ...]]:
        """Rows, by a statement that is written once and kept under its name."""
        return list(self.db.executesql(*self._words(name, write, values)) or ())

    def run(self, name: str, write: Write, **values: Any) -> int:
        """As `ask`, for a statement that changes rows; how many."""
        sql, given = self._words(name, write, values)
        # Not by `executesql`, which looks for rows besides, and so forgets how many were changed.
        self.db._adapter.execute(sql, *([given] if given else []))
        return int(self.db._adapter.cursor.rowcount)

    def _words(self, name: str, write: Write, values: Mapping[str, Any]) -> tuple[str, Any]:
        if name not in self._statements:
            holes = Holes()
            self._statements[name] = Statement(write(holes), holes, self._mark)
        return self._statements[name].filled(values)

    @property
    def _mark(self) -> str:
        """What stands for a value, in the driver's language."""
        paramstyle = getattr(self.db._adapter.driver, "paramstyle", "format")
        return "?" if paramstyle == "qmark" else "%s"

    def execute(self, sql: str, values: Sequence[Any]) -> None:
        """A statement in which {} stand for ``values``; times are whole seconds, as pydal's."""
        whole = [one.replace(microsecond=0) if isinstance(one, datetime) else one for one in values]
        if self._narrow:
            whole = [self._storable(one) for one in whole]
        self.db.executesql(sql.format(*[self._mark] * len(values)), placeholders=whole)

    def update_many(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], only: str
    ) -> None:
        """Write ``columns`` of many rows; each of ``rows`` begins with its id. ``only`` is a
        condition in SQL that a row must meet."""
        changes = ", ".join(f"{column} = {{}}" for column in columns)
        where = f"WHERE id = {{}} AND {only}"
        for row_id, *values in rows:
            self.execute(f"UPDATE {table} SET {changes} {where}", (*values, row_id))

    def insert_many(self, table: Any, rows: Sequence[dict[str, Any]], key: str) -> list[int]:
        """Insert rows (each a dict with every column) into a table of pydal's; their ids, in the
        same order. No two rows have the same ``key``, which is the name of a column."""
        ids = table.bulk_insert(rows)  # 0 where a callback of the app's refused them
        return [int(row_id) for row_id in ids] if ids else [0] * len(rows)

    def insert_new(self, table: Any, rows: Sequence[dict[str, Any]], key: str) -> list[int]:
        """As `insert_many`, where another session may have inserted the same key meanwhile. Taken
        says so then, and the caller's transaction goes on as if nothing had been asked."""
        has_point = self._begins_point()
        try:
            ids = self.insert_many(table, rows, key)
        except Exception as error:  # each driver has its own kind for: the key is taken
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
        """Set a savepoint; False where there is no transaction that it could be in."""
        return False

    def insert_all(self, table: Any, rows: Sequence[dict[str, Any]]) -> None:
        """As `insert_many`, where nobody asks for the ids."""
        if not rows:
            return
        if not self.inserts_at_once or not fits(table, rows):
            table.bulk_insert(rows)
            return
        columns = Literals(self.db._adapter).columns(table, rows)
        for some in in_brackets(zip(*columns.values(), strict=True)):
            self.db.executesql(insert_into(table, rows) + some)

    # -- rows by their ids: what a lock is taken on, and nothing else (ARCHITECTURE.md, "Locks")

    def hold(
        self, table: Any, ids: Collection[int], fields: Sequence[Any], only: Any = None
    ) -> list[Any]:
        """Read rows as they are now, in the order of their ids, and keep others from changing them
        until the transaction ends. Locks no other row, and no gap between rows."""
        return [
            row for some in batches(sorted(ids)) for row in self._hold(table, some, fields, only)
        ]

    def _hold(self, table: Any, ids: Sequence[int], fields: Sequence[Any], only: Any) -> list[Any]:
        # A write that changes nothing is what every database understands.
        column = table.status._rname
        where = f"{table._id._rname} IN ({listed(ids)})"
        self.db.executesql(f"UPDATE {table._rname} SET {column} = {column} WHERE {where}")
        rows = self._those(table, ids, only).select(*fields, orderby=table.id, cacheable=True)
        return list(rows)

    def change(self, table: Any, ids: Collection[int], only: Any = None, **columns: Any) -> int:
        """Update rows by their ids, where they meet the condition ``only``; how many. The app's own
        callbacks of the table are called, as by pydal's `update`. Of many rows, `hold` the locks
        before: an update takes them in an order of its own."""
        parts = batches(sorted(ids))
        return sum(self._change(self._those(table, some, only), columns) for some in parts)

    def _change(self, rows: Any, columns: Mapping[str, Any]) -> int:
        return int(rows.update(**columns) or 0)

    def _those(self, table: Any, ids: Collection[int], only: Any) -> Any:
        mine = among(table.id, ids)
        return self.db(mine if only is None else mine & only, ignore_common_filters=True)

    def unheld(self, table: Any, ids: Collection[int]) -> set[int]:
        """Of these rows those that no other transaction holds, held for this one; it never waits.
        Where rows cannot be passed over, all that are there."""
        return {
            int(row_id)
            for some in batches(sorted(ids))
            for (row_id,) in self.db.executesql(self._unheld(table, some))
        }

    def _unheld(self, table: Any, ids: Sequence[int]) -> str:
        return self._locking(self.by_key(self._those(table, ids, None)._select(table.id)), "skip")

    def by_key(self, sql: str) -> str:
        """A statement about rows that it names by their ids, so that the database finds them by
        these and by no other index. Most databases know by themselves which is shorter."""
        return sql

    def passing_over(self, update: str, ids: Collection[int], many: bool) -> str:
        """An update of tasks by their ids that passes over those that others hold, where there is a
        way to say that in the same statement. Of one task alone, it may wait for its row."""
        return self.by_key(update)

    @functools.cached_property
    def _literals(self) -> Literals:
        return Literals(self.db._adapter)

    def delete_rows(self, table: str, ids: Sequence[int], only: str) -> None:
        """Delete rows by their ids, and what else refers to them stays as it is."""
        self.db.executesql(f"DELETE FROM {table} WHERE id IN ({listed(ids)}) AND {only}")

    def rows_of_all(self, asks: Sequence[Ask], lock: str = "") -> list[tuple[Any, ...]]:
        """The rows of several selects, in no order: by one question where there is a way."""
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
        """One step in the claim's index: the group that comes next among tasks of a status. (To
        ask for all of them, DISTINCT, reads all of that index.)"""
        task = self.db.scheduler_task
        query = (task.status == status) & (task.group_name > (group or ""))
        rows = self.db(query, ignore_common_filters=True)
        row = rows.select(task.group_name, orderby=task.group_name, limitby=(0, 1)).first()
        return row.group_name if row else None

    def literal(self, value: Any, kind: str) -> str:
        """A value of one of pydal's types, as it stands in a statement."""
        return str(self.db._adapter.represent(value, kind))


def _is_taken(error: Exception, key: str) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "IntegrityError" in kinds and key in str(error).lower()
