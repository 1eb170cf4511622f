"""Read rows of which some may have been written by hand, so that one odd value spoils no other.

A select of pydal's fails as a whole where one value cannot be read: a time that is none, JSON that
is none, text in no encoding. Here such a value is None, and its row says which one that was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydal.objects import SQLALL, Field, Row, Table

from plugin_scheduler.core import row_values
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.bulk_insert import batches
from plugin_scheduler.database.dialects.bulk_sql import among


def read_rows(dialect: Dialect, query: Any, *fields: Any, **options: Any) -> list[Any]:
    """Rows as pydal's select gives them. Where one cannot be read, each has ``odd``: the columns
    that are None because of that, with the reason."""
    found = dialect.db(query, ignore_common_filters=True)
    try:
        rows = list(found.select(*fields, **options))
        if not any(map(_has_bytes, rows)):
            return rows
    except Exception as error:  # each driver and parser has its own kind
        if dialect.is_transient(error):
            raise
    options.pop("cacheable", None)
    columns = [each for one in fields for each in _columns(one)]
    return [_row(dialect, columns, values) for values in read_raw(dialect, found, columns, options)]


def hold_rows(dialect: Dialect, table: Any, ids: Collection[int], *fields: Any) -> list[Any]:
    """As `Dialect.hold`, with ``odd`` where a row cannot be read."""
    try:
        return dialect.hold(table, ids, fields)
    except Exception as error:  # each driver and parser has its own kind
        if dialect.is_transient(error):
            raise
    dialect.hold(table, ids, [table.id])
    return [
        row
        for some in batches(sorted(ids))
        for row in read_rows(dialect, among(table.id, some), *fields, orderby=table.id)
    ]


def read_raw(
    dialect: Dialect, found: Any, columns: Sequence[Any], options: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Rows of a set as the driver gives them, or as they are stored where it cannot."""
    rows = dialect.db.executesql(found._select(*columns, **options))
    if rows is None:  # pydal's answer where the driver could not give them
        plain = [dialect.as_stored(one) if isinstance(one, Field) else one for one in columns]
        return ask(dialect, found._select(*plain, **options))
    return list(rows)


def ask(dialect: Dialect, sql: str) -> list[tuple[Any, ...]]:
    """What the driver answers to a SELECT; also where a text is in no encoding."""
    found = dialect.db.executesql(sql)
    if found is None:
        with dialect.any_text():
            found = dialect.db.executesql(sql)
    return list(found or ())


def _has_bytes(row: Any) -> bool:
    """SQLite takes bytes for text."""
    return any(
        isinstance(value, bytes) or (isinstance(value, Row) and _has_bytes(value))
        for value in row.values()
    )


def _columns(given: Any) -> list[Any]:
    """The single columns of what a select is given: a table, all of it, or one column."""
    if isinstance(given, SQLALL):
        given = given._table
    return list(given) if isinstance(given, Table) else [given]


def _row(dialect: Dialect, columns: list[Any], values: Any) -> Row:
    odd: dict[str, str] = {}
    extra: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for column, value in zip(columns, values, strict=True):
        if not isinstance(column, Field):
            extra[str(column)] = value
            continue
        try:
            value = dialect.parsed(column, value)
            value = row_values.text(value) if isinstance(value, bytes) else value
        except Exception as error:  # each parser has its own kind
            odd[column.name] = str(error) or type(error).__name__
            value = None
        tables.setdefault(str(column._table), {})[column.name] = value
    rows = {name: Row(odd=odd, **found) for name, found in tables.items()}
    if len(rows) == 1 and not extra:  # as pydal does it
        return next(iter(rows.values()))
    return Row(odd=odd, _extra=Row(extra), **rows)
