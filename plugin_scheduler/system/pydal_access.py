"""What this package uses of pydal beyond its documented API, in one place.

pydal may change these names in any release: a change is answered here. `setup.py` has the versions
that were tested, and `make pydal-head` runs the contract tests with pydal's development head.
"""

from __future__ import annotations

from typing import Any

from pydal._globals import THREAD_LOCAL
from pydal.adapters.base import SQLAdapter as SQLAdapter
from pydal.connection import ConnectionPool as ConnectionPool
from pydal.helpers.classes import ExecutionHandler as ExecutionHandler

# -- databases --------------------


def adapter_of(db: Any) -> Any:
    """Return the adapter of a DAL: its connection, its driver and its SQL dialect."""
    return db._adapter


def uri_of(db: Any) -> str:
    """Return the URI of a DAL, with its password."""
    return str(db._uri)


def scheme_of(db: Any) -> str:
    """Return the first part of the URI's scheme, such as ``sqlite``, ``postgres`` or ``mysql``.

    >>> scheme_of(DAL("postgres:psycopg2://localhost/shop"))
    'postgres'
    """
    return (db._dbname or "").partition(":")[0]


def fakes_migrations(db: Any) -> bool:
    """Return True if the DAL only records that its tables are migrated."""
    return bool(db._fake_migrate or db._fake_migrate_all)


def dals_of_thread() -> list[Any]:
    """Return every DAL of this thread that is not closed."""
    groups = getattr(THREAD_LOCAL, "_pydal_db_instances_", {})
    return [db for group in list(groups.values()) for db in group if hasattr(db, "_adapter")]


def number_of_dals() -> int:
    """Return how many DALs this thread has. Called for each run, so it does not list them."""
    groups = getattr(THREAD_LOCAL, "_pydal_db_instances_", None)
    return sum(map(len, groups.values())) if groups else 0


# -- connections --------------------


def open_connection(adapter: Any) -> Any:
    """Return this thread's connection or None, without opening one as pydal's property does."""
    return getattr(THREAD_LOCAL, adapter._connection_uname_, None)


# -- tables and fields --------------------


def sql_name(named: Any) -> str:
    """Return the quoted name of a table or a field in SQL."""
    return str(named._rname)


def id_field(table: Any) -> Any:
    """Return the id field of a table, which may have another name."""
    return table._id


def table_of(field: Any) -> Any:
    """Return the table of a field."""
    return field._table


def parsed(field: Any, value: Any) -> Any:
    """Convert a driver's value as a select does."""
    return adapter_of(field.db).parse_value(value, field._itype, field.type)


def insert_hooks(table: Any) -> tuple[Any, ...]:
    """Return what an app, or pydal, calls before and after an insert."""
    return (*table._before_insert, *table._after_insert)


def update_hooks(table: Any) -> tuple[Any, ...]:
    """Return what an app, or pydal, calls before and after an update."""
    return (*table._before_update, *table._after_update)


def before_delete(table: Any) -> list[Any]:
    """Return the list of what is called before a delete; functions may be added."""
    hooks: list[Any] = table._before_delete
    return hooks


def migrate_into(table: Any, file: str | bool) -> None:
    """Set the ``.table`` file of a defined table, which an archive of the table uses."""
    table._migrate = file
