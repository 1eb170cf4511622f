"""Compare the database with the table definitions, and add missing tables and columns.

The tables may have been created by web2py, by this package, or not yet. One process at a time
changes them. pydal would compare the definitions with its ``.table`` file, which may be outdated or
come from another host. So this module queries the database itself. Columns that this package has
renamed are renamed in place. Types are never changed, columns never dropped, and rows never
touched.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import portalocker
from pydal import DAL, Field

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.system.private_files import private_folder
from plugin_scheduler.system.pydal_access import (
    ExecutionHandler,
    fakes_migrations,
    migrate_into,
    scheme_of,
    uri_of,
)

NAMES = (
    "scheduler_task",
    "scheduler_run",
    "scheduler_worker",
    "scheduler_task_deps",
    "scheduler_history",
    "scheduler_metric",
)
#: Renamed columns: the old names are reserved words for pydal's `check_reserved=["all"]`.
RENAMED = {
    "scheduler_history": {"at": "noted_at"},
    "scheduler_metric": {"minute": "epoch_minute"},
}
#: Columns with ids whose names do not end in "_id".
_ID_NAMES = ("id", "task_parent", "task_child")
PATIENCE = 20  # seconds to wait for a lock; drivers time out after thirty

_QUOTED = ", ".join(f"'{name}'" for name in NAMES)
#: Collects missing tables and columns inside `only_looking`.
_SEEN: ContextVar[list[Lack] | None] = ContextVar("seen", default=None)


@dataclass(frozen=True)
class Lack:
    """What one table lacks: columns, and renamed columns.

    ``is_missing`` is True if the whole table is missing.
    """

    table: str
    columns: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    is_missing: bool = False

    def __str__(self) -> str:
        if self.is_missing:
            return f"there is no {self.table}"
        parts = [
            f"{self.table}.{old} must be renamed to {new}" for old, new in self.renamed.items()
        ]
        parts += [f"{self.table} has no {', '.join(self.columns)}"] if self.columns else []
        return "; ".join(parts)


@contextlib.contextmanager
def only_looking() -> Iterator[list[Lack]]:
    """Define tables without creating or changing them, whatever the app allows.

    Yields a list that receives what the tables lack. Databases that this module does not support
    are still left to pydal.
    """
    seen: list[Lack] = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def lacks_of(db: Any) -> list[Lack]:
    """Return what the database lacks of the defined tables; [] for an unsupported database."""
    engine = engine_of(db)
    return list(_lacks(db, engine.look(db))) if engine else []


def _lacks(db: Any, found: Mapping[str, set[str]]) -> Iterator[Lack]:
    for name in NAMES:
        if lack := _lack(name, db[name], found.get(name)):
            yield lack


def _lack(name: str, fields: Iterable[Field], there: set[str] | None) -> Lack | None:
    """Return what a table lacks; ``there`` are its columns, under their old or new names."""
    if there is None:
        return Lack(name, is_missing=True)
    names = RENAMED.get(name, {})
    renamed = {old: new for old, new in names.items() if old in there and new not in there}
    known = there | set(renamed.values())
    columns = tuple(one.name for one in fields if one.name not in known)
    return Lack(name, columns, renamed) if columns or renamed else None


def holds_id(column: str) -> bool:
    """Return True for a column with ids: it gets 64 bits, whatever the app's tables use."""
    return column in _ID_NAMES or column.endswith("_id")


class MigrationEngine:
    """Queries and locks for one kind of database."""

    #: Query for pairs of table and column.
    columns: str

    def look(self, db: Any) -> dict[str, set[str]]:
        """Return the columns of the existing tables."""
        found: dict[str, set[str]] = {}
        for table, column in db.executesql(self.columns):
            found.setdefault(table.lower(), set()).add(column.lower())
        return found

    def patient(self, db: Any) -> contextlib.AbstractContextManager[None]:
        """Return a context with long timeouts, while other processes create the tables."""
        return contextlib.nullcontext()

    def alone(self, db: Any) -> contextlib.AbstractContextManager[None]:
        """Return a context that one process on any host enters at a time, until the next commit."""
        raise NotImplementedError

    def rename(self, db: Any, table: str, old: str, new: str) -> None:
        """Rename a column; type, values and indexes stay."""
        db.executesql(f'ALTER TABLE {table} RENAME COLUMN "{old}" TO "{new}"')

    def makes_wide_references(self, db: Any) -> bool:
        """Return True if a new table may refer to tasks by 64-bit ids."""
        return True

    def scratch_uri(self, db: Any, folder: str) -> Any:
        """Return the URI of a database of the same kind, from which pydal only needs the types."""
        return uri_of(db)


class SQLiteMigration(MigrationEngine):
    """SQLite: one writer at a time, and DDL is transactional."""

    columns = (
        "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c "
        f"WHERE m.type = 'table' AND m.name IN ({_QUOTED})"
    )

    @contextlib.contextmanager
    def patient(self, db: Any) -> Iterator[None]:
        usual = db.executesql("PRAGMA busy_timeout")[0][0]
        db.executesql(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
        try:
            yield
        finally:
            db.executesql(f"PRAGMA busy_timeout = {usual}")

    @contextlib.contextmanager
    def alone(self, db: Any) -> Iterator[None]:
        db.executesql("BEGIN IMMEDIATE TRANSACTION")
        yield

    def scratch_uri(self, db: Any, folder: str) -> str:
        return f"sqlite://{folder}/scratch.sqlite"


class PostgresMigration(MigrationEngine):
    """PostgreSQL: DDL is transactional, and the lock belongs to the transaction."""

    columns = (
        f"SELECT t.name, a.attname FROM unnest(ARRAY[{_QUOTED}]) AS t(name), pg_attribute AS a "
        "WHERE a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped"
    )
    NUMBER = 7_307_202_612  # an arbitrary key for an advisory lock

    @contextlib.contextmanager
    def alone(self, db: Any) -> Iterator[None]:
        db.executesql(f"SET LOCAL lock_timeout = '{PATIENCE}s'")
        db.executesql(f"SELECT pg_advisory_xact_lock({self.NUMBER})")
        yield


class MySQLMigration(MigrationEngine):
    """MySQL: each DDL statement commits, and the lock belongs to the connection."""

    columns = (
        "SELECT table_name, column_name FROM information_schema.columns "
        f"WHERE table_schema = DATABASE() AND table_name IN ({_QUOTED})"
    )
    NAME = "CONCAT('plugin_scheduler', MD5(DATABASE()))"  # lock names are global to the server

    @contextlib.contextmanager
    def alone(self, db: Any) -> Iterator[None]:
        if db.executesql(f"SELECT GET_LOCK({self.NAME}, {PATIENCE})")[0][0] != 1:
            raise TimeoutError("another process is changing the scheduler's tables")
        usual = db.executesql("SELECT @@lock_wait_timeout")[0][0]
        db.executesql(f"SET lock_wait_timeout = {PATIENCE}")
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # the connection is lost, and the lock with it
                db.executesql(f"SET lock_wait_timeout = {usual}")
                db.executesql(f"SELECT RELEASE_LOCK({self.NAME})")

    def rename(self, db: Any, table: str, old: str, new: str) -> None:
        # RENAME COLUMN needs MySQL 8.0 or MariaDB 10.5; CHANGE needs the type.
        [[kind]] = db.executesql(
            "SELECT column_type FROM information_schema.columns WHERE table_schema = DATABASE() "
            f"AND table_name = '{table}' AND column_name = '{old}'"
        )
        kind = kind if isinstance(kind, str) else kind.decode()
        db.executesql(f"ALTER TABLE {table} CHANGE `{old}` `{new}` {kind} NULL")

    def makes_wide_references(self, db: Any) -> bool:
        # A foreign key must have the type of the referenced column.
        found = db.executesql(
            "SELECT 1 FROM information_schema.columns WHERE table_schema = DATABASE() "
            f"AND table_name = '{NAMES[0]}' AND column_name = 'id' AND data_type = 'int'"
        )
        return not found


_ENGINES: dict[str, MigrationEngine] = {
    "sqlite": SQLiteMigration(),
    "postgres": PostgresMigration(),
    "postgres2": PostgresMigration(),
    "postgres3": PostgresMigration(),
    "mysql": MySQLMigration(),
}


def engine_of(db: Any) -> MigrationEngine | None:
    """Return the engine for a database; None for an unsupported one."""
    return _ENGINES.get(scheme_of(db))


class Tables:
    """Defines tables on ``db``, and adds missing tables and columns if allowed."""

    def __init__(
        self, db: Any, migrate: Any, engine: MigrationEngine | None, may_add: bool
    ) -> None:
        self.db, self._migrate = db, migrate
        self._engine, self._may_add = engine, may_add
        self._seen = _SEEN.get()
        self.found = self._look()

    def _look(self) -> dict[str, set[str]] | None:
        """Return the existing columns; None for an unsupported database."""
        if self._engine is None:
            return None
        if self._may_add:
            return self._engine.look(self.db)
        try:
            return self._engine.look(self.db)
        except Exception:  # driver-specific: the first use of the tables will raise the error
            return {}

    def define(self, name: str, *fields: Field, **options: Any) -> None:
        """Define a table, and create or extend it in the database if allowed."""
        if self.found is None:
            file = _table_file(name, self._migrate)
            self.db.define_table(name, *fields, migrate=file, **options)
        elif self._may_add and _lack(name, fields, self.found.get(name)):
            self._add(name, fields, options)
        else:
            self.db.define_table(name, *fields, migrate=False, **options)
        table = self.db[name]  # resolve lazy_tables now, before the app adds common fields
        migrate_into(table, _table_file(name, self._migrate))  # used by an archive of the table

    def check(self) -> None:
        """Raise `ConfigError` if tables or columns are missing that must not be added."""
        if self._seen is not None and self.found is not None:
            self._seen += _lacks(self.db, self.found)
            return
        if self._may_add or not self.found:
            return
        missing = "; ".join(map(str, _lacks(self.db, self.found)))
        if missing:
            raise ConfigError(
                f"the database's tables are older than this scheduler: {missing}. Make "
                "a backup, then start the app once with migrate=True (and no fake_migrate), or "
                "run scheduler.py upgrade -u URI: this adds missing tables and columns, renames "
                "columns, and changes no row"
            )

    def _add(self, name: str, fields: Sequence[Field], options: dict[str, Any]) -> None:
        """Create the table, or add columns to it, unless another process has just done so."""
        assert self._engine is not None
        try:
            self.db.commit()  # like pydal: releases locks of the app
            with private_folder() as folder, self._engine.alone(self.db):
                self.found = self._engine.look(self.db)
                lack = _lack(name, fields, self.found.get(name))
                if lack is None:  # another process has created it
                    self.db.define_table(name, *fields, migrate=False, **options)
                    self.db.commit()
                    return
                for old, new in lack.renamed.items():
                    self._engine.rename(self.db, name, old, new)
                    self.found[name] = self.found[name] - {old} | {new}
                self._define_and_migrate(name, fields, options, folder)
                self.db.commit()
        except Exception as error:  # driver-specific; its text becomes part of the message
            with contextlib.suppress(Exception):  # the connection may be lost
                self.db.rollback()
            raise ConfigError(what_failed(name, error)) from error

    def _define_and_migrate(
        self, name: str, fields: Sequence[Field], options: dict[str, Any], folder: str
    ) -> None:
        """Let pydal migrate, with a ``.table`` file that describes the current state."""
        assert self._engine is not None and self.found is not None
        uri = self._engine.scratch_uri(self.db, folder)
        if name not in self.found:
            refers = any(str(field.type).startswith("reference") for field in fields)
            wide = not refers or self._engine.makes_wide_references(self.db)
            statement = _creation(name, fields, self._kept_file(name), self.db, uri, wide)
            self.db.executesql(statement)
            self.db.define_table(name, *fields, migrate=False, **options)
            return
        file = os.path.join(folder, "known.table")
        there = [field for field in fields if field.name in self.found[name]]
        _write_down(name, there, file, self.db, uri)
        self.db.define_table(name, *fields, migrate=file, **options)
        self.db[name]._dbt = None  # or pydal would search the file when the table is dropped

    def _kept_file(self, name: str) -> str | None:
        """Return the path of the ``.table`` file of a new table, if the app sets a prefix."""
        if not isinstance(self._migrate, str):
            return None
        folder = os.path.abspath(self.db._folder or "")
        return _forgotten(os.path.join(folder, _table_file(name, self._migrate)))


def _may_add(db: Any, migrate: Any) -> bool:
    faked = fakes_migrations(db)
    return bool(migrate is not False and db._migrate_enabled and not faked and _SEEN.get() is None)


@contextlib.contextmanager
def tables_of(db: Any, migrate: Any) -> Iterator[Tables]:
    """Yield an object that defines tables; raise `ConfigError` if tables are missing at the end."""
    engine, may_add = engine_of(db), _may_add(db, migrate)
    waits: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if engine is None:
        waits = _one_at_a_time(db, migrate)
    elif may_add:
        waits = engine.patient(db)
    with waits:
        tables = Tables(db, migrate, engine, may_add)
        yield tables
        tables.check()


def _creation(
    name: str, fields: Sequence[Field], file: str | None, db: Any, uri: Any, wide: bool
) -> str:
    """Return pydal's statement to create a table with 64-bit ids.

    The app's connection is not changed, and pydal executes nothing.
    """
    copies = [_wide(field) if wide else _same(field) for field in fields if field.type != "id"]
    scratch_of = _scratch(db, uri, _CreationRecorder, bigint_id=wide)
    with private_folder() as empty, scratch_of as scratch:
        if name != NAMES[0]:
            scratch.define_table(NAMES[0], migrate=False)
        if file:
            scratch.define_table(name, *copies, migrate=file, fake_migrate=True)
        try:
            path = os.path.join(empty, "new.table")
            scratch.define_table(name, *map(_same, copies), migrate=path, redefine=True)
        except _Written as written:
            return str(written)
    raise AssertionError("unreachable")


class _Written(Exception):
    """Carries the statement that pydal was about to execute."""


class _CreationHandler(ExecutionHandler):
    def before_execute(self, command: str) -> None:
        if command.startswith("CREATE TABLE"):
            raise _Written(command)


class _CreationRecorder(DAL):
    """A DAL that raises the CREATE TABLE statement instead of executing it."""

    execution_handlers = [_CreationHandler]


def _write_down(name: str, there: Sequence[Field], file: str, db: Any, uri: Any) -> None:
    """Make pydal write a ``.table`` file with these columns and types, so that none is changed."""
    with _scratch(db, uri) as scratch:
        copies = [_copy(field) for field in there if field.type != "id"]
        scratch.define_table(name, *copies, migrate=file, fake_migrate=True)


@contextlib.contextmanager
def _scratch(db: Any, uri: Any, kind: type[DAL] = DAL, **options: Any) -> Iterator[Any]:
    """Open another connection to a database of this kind, for pydal's knowledge of its types."""
    scratch = kind(
        uri,
        db_uid="plugin_scheduler",
        decode_credentials=db._decode_credentials,
        driver_args=dict(db._driver_args or {}),
        adapter_args={**(db._adapter_args or {}), "logfile": None},
        attempts=1,
        **options,
    )
    try:
        yield scratch
    finally:
        scratch.close()


def _copy(field: Field) -> Field:
    """Copy a field; a reference becomes an integer, since its table need not exist.

    pydal never changes the type of a reference.
    """
    return _same(field, "integer" if field.type.startswith("reference") else field.type)


def _wide(field: Field) -> Field:
    """Copy a field, with 64 bits for ids: pydal's option `bigint_id` covers references only."""
    return _same(field, "bigint" if field.type == "integer" and holds_id(field.name) else None)


def _same(field: Field, kind: str | None = None) -> Field:
    shape = {"length": field.length, "unique": field.unique, "notnull": field.notnull}
    return Field(field.name, kind or field.type, **shape)


def _forgotten(file: str) -> str:
    """Delete the ``.table`` file of a missing table, which would keep pydal from creating it."""
    path = os.path.abspath(file)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return path


def what_failed(name: str, error: Exception) -> str:
    """Return the error message, with a remedy, for a table that could not be changed."""
    said = first_line(error) or type(error).__name__
    remedy = "Correct this"
    if isinstance(error, TimeoutError) or re.search(r"\block", str(error).lower()):
        remedy = "Another session locks the table (a worker of web2py, or an open shell): end it"
    return (
        f"table {name} could not be created or changed: {said}. {remedy}, then "
        "start again; finished steps are not repeated"
    )


def _table_file(name: str, migrate: Any) -> Any:
    """Return pydal's ``migrate`` argument; a string is a prefix of the file name, as in web2py."""
    return f"{migrate}{name}.table" if isinstance(migrate, str) else migrate is not False


@contextlib.contextmanager
def _one_at_a_time(db: Any, migrate: Any) -> Iterator[None]:
    """Let one process of this host at a time migrate an unsupported database."""
    folder = db._folder
    if migrate is False or not folder or not os.access(folder, os.W_OK):
        yield
        return
    with portalocker.Lock(os.path.join(folder, "scheduler_tables.lock"), "a", timeout=30):
        yield
