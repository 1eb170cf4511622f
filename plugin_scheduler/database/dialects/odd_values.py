"""Read rows that may contain invalid values, for example after edits by hand.

A pydal select fails as a whole if one value cannot be parsed: an invalid time, invalid JSON, text
with an invalid encoding. The functions here return None for such a value and record its column in
the row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydal.objects import SQLALL, Field, Row, Table

from plugin_scheduler.core import row_values
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.bulk_insert import batches
from plugin_scheduler.database.dialects.bulk_sql import among
from plugin_scheduler.system.pydal_access import table_of


def read_rows(dialect: Dialect, query: Any, *fields: Any, **options: Any) -> list[Any]:
    """Return rows like pydal's select.

    If a row cannot be parsed, every row has an attribute ``odd``: its invalid columns, which are
    None, with the reason.
    """
    found = dialect.db(query, ignore_common_filters=True)
    try:
        rows = list(found.select(*fields, **options))
        if not any(map(_has_bytes, rows)):
            return rows
    except Exception as error:  # specific to drivers and parsers
        if dialect.is_transient(error):
            raise
    options.pop("cacheable", None)
    columns = [each for one in fields for each in _columns(one)]
    return [_row(dialect, columns, values) for values in read_raw(dialect, found, columns, options)]


def hold_rows(dialect: Dialect, table: Any, ids: Collection[int], *fields: Any) -> list[Any]:
    """Lock rows like `Dialect.hold`; with ``odd`` if a row cannot be parsed."""
    try:
        return dialect.hold(table, ids, fields)
    except Exception as error:  # specific to drivers and parsers
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
    """Return the rows of a set as driver values, or as stored if the driver cannot convert them."""
    rows = dialect.db.executesql(found._select(*columns, **options))
    if rows is None:  # pydal returns None if the driver failed
        plain = [dialect.as_stored(one) if isinstance(one, Field) else one for one in columns]
        return ask(dialect, found._select(*plain, **options))
    return list(rows)


def ask(dialect: Dialect, sql: str) -> list[tuple[Any, ...]]:
    """Return the driver's rows of a SELECT, also if a text has an invalid encoding."""
    found = dialect.db.executesql(sql)
    if found is None:
        with dialect.any_text():
            found = dialect.db.executesql(sql)
    return list(found or ())


def _has_bytes(row: Any) -> bool:
    """Return True if a row contains bytes: SQLite accepts bytes in text columns."""
    return any(
        isinstance(value, bytes) or (isinstance(value, Row) and _has_bytes(value))
        for value in row.values()
    )


def _columns(given: Any) -> list[Any]:
    """Return the columns of an argument of select: a table, ``ALL`` or a single column."""
    if isinstance(given, SQLALL):
        given = table_of(given)
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
        except Exception as error:  # specific to the parser
            odd[column.name] = str(error) or type(error).__name__
            value = None
        tables.setdefault(str(table_of(column)), {})[column.name] = value
    rows = {name: Row(odd=odd, **found) for name, found in tables.items()}
    if len(rows) == 1 and not extra:  # like pydal
        return next(iter(rows.values()))
    return Row(odd=odd, _extra=Row(extra), **rows)
