"""Build INSERT statements with many rows, with each value in pydal's notation.

Caches the literals of repeated values. Executes no statements.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydal.objects import Expression

from plugin_scheduler.system.pydal_access import id_field, insert_hooks, sql_name

Row = dict[str, Any]
Item = TypeVar("Item")

ROWS = 500  # in one statement
CHARACTERS = 250_000  # in one statement: at most 1 MB, which every server accepts
KEPT = 1000  # cached values of one type
SHORT = 64  # characters
#: Types whose equal values have equal literals; aware datetimes with equal values may differ.
PLAIN = frozenset((bool, int, str, datetime, type(None)))
#: Characters that must be escaped in a literal.
_SPECIAL = re.compile(r"['\\\x00]").search


def fits(table: Any, rows: Sequence[Row]) -> bool:
    """Return True if rows may bypass pydal's insert: the app has no callbacks on the table."""
    hooks = insert_hooks(table)
    if hasattr(table, "_on_insert_error") or not all(map(is_pydals, hooks)):
        return False
    names = set(table.fields) - {id_field(table).name}
    fields = (getattr(table, name) for name in names)
    return all(map(_is_simple, fields)) and all(row.keys() == names for row in rows)


def _is_simple(field: Any) -> bool:
    has_own_type = not isinstance(field.type, str) or field.type == "upload"
    return not (has_own_type or field.compute) and is_pydals(field.filter_in)


def is_pydals(function: Any) -> bool:
    """Return True for None or one of pydal's own callbacks, which only handle uploads and times."""
    return function is None or getattr(function, "__module__", "").startswith("pydal.")


class Literals:
    """Converts rows to literals; ``read`` converts a literal to a value for the driver."""

    def __init__(self, adapter: Any, read: Callable[[str], Any] | None = None) -> None:
        self._adapter, self._read = adapter, read
        self._kept: dict[str, dict[tuple[type, Any], Any]] = {}

    def columns(self, table: Any, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """Return the values of each column, in the order of `insert_into`."""
        return {
            name: self._column(getattr(table, name), [row[name] for row in rows])
            for name in rows[0]
        }

    def rows(self, table: Any, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """Return a tuple for each row, in the order of `insert_into`."""
        return list(zip(*self.columns(table, rows).values(), strict=True))

    def _column(self, field: Any, values: list[Any]) -> list[Any]:
        kept = self._kept.setdefault(field.type, {})
        if len(values) == 1 or len(set(map(id, values))) == 1:  # for example, a default
            return [self._known(kept, values[0], field)] * len(values)
        if field.type in ("string", "text") and field.filter_in is None:
            return [self._text(kept, value, field) for value in values]
        return [self._known(kept, value, field) for value in values]

    def _text(self, kept: dict[tuple[type, Any], Any], value: Any, field: Any) -> Any:
        if type(value) is str and value.isascii() and not _SPECIAL(value):
            return f"'{value}'" if self._read is None else value
        return self._known(kept, value, field)

    def _known(self, kept: dict[tuple[type, Any], Any], value: Any, field: Any) -> Any:
        key = (type(value), value)
        if not is_plain(value):
            return self._write(value, field)
        try:
            return kept[key]
        except KeyError:
            if len(kept) >= KEPT:
                kept.clear()
            written = kept[key] = self._write(value, field)
            return written

    def _write(self, value: Any, field: Any) -> Any:
        is_sql = isinstance(value, Expression)
        if field.filter_in and not is_sql:
            value = field.filter_in(value() if callable(value) else value)
        literal = self._adapter.expand(value, field.type)
        if is_sql and self._read is not None:
            raise ValueError(f"{literal} is no value")
        return literal if self._read is None else self._read(literal)


def is_plain(value: Any) -> bool:
    """Return True for a short value whose literal depends only on its type and value."""
    kind = type(value)
    if kind is str:
        return len(value) <= SHORT
    return kind in PLAIN and (kind is not datetime or value.tzinfo is None)


def insert_into(table: Any, rows: Sequence[Row]) -> str:
    """Return the beginning of an INSERT, before VALUES or SELECT."""
    columns = ", ".join(sql_name(getattr(table, name)) for name in rows[0])
    return f"INSERT INTO {sql_name(table)} ({columns}) "


def values(texts: Iterable[tuple[str, ...]], most: int = ROWS) -> Iterator[str]:
    """Yield VALUES clauses, each with as many rows as a statement may contain."""
    bracketed = map("({})".format, map(", ".join, texts))
    return (f"VALUES {', '.join(some)}" for some in portions(bracketed, len, most))


def portions(
    items: Iterable[Item], length: Callable[[Item], int], most: int | None = None
) -> Iterator[list[Item]]:
    """Split items into portions for one statement each, by length and number."""
    some: list[Item] = []
    size = 0
    for item in items:
        added = length(item)
        if some and (len(some) == most or size + added > CHARACTERS):
            yield some
            some, size = [], 0
        some.append(item)
        size += added
    if some:
        yield some


def characters(row: Sequence[Any]) -> int:
    """Return the total length of the texts of a row."""
    return sum(len(value) for value in row if isinstance(value, str))


def ids_where(table: Any, key: str) -> str:
    """Return the beginning of a query for pairs of id and key, up to the condition on the key."""
    name = sql_name(table[key])
    return f"SELECT {sql_name(id_field(table))}, {name} FROM {sql_name(table)} WHERE {name}"


def ids_of(pairs: Sequence[tuple[int, str]], rows: Sequence[Row], key: str) -> list[int]:
    """Return the ids of rows, from pairs of id and key in any order."""
    found = {str(value): int(row_id) for row_id, value in pairs}
    return [found[str(row[key])] for row in rows]


def batches(items: Sequence[Any], size: int = ROWS) -> Iterator[Sequence[Any]]:
    """Split items into batches."""
    for start in itertools.count(0, size):
        if start >= len(items):
            return
        yield items[start : start + size]
