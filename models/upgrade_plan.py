"""Steps that upgrade old tables: 64-bit ids, correct sequences, reason codes.

Each step is one transaction. The plan depends on the state of the database: after an interruption,
a new plan leaves out the finished steps. No row is lost, and the only change to rows is to fill
empty reason codes. Missing tables and columns are reported here, and added by `models.migrations`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from plugin_scheduler.models import migrations
from plugin_scheduler.models.ids import INT, Ids, Narrow, ids_of, narrow_columns
from plugin_scheduler.models.migrations import NAMES, Lack, engine_of, what_failed

from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.reasons import ReasonCode
from plugin_scheduler.core.types import TaskStatus

BYTES_A_SECOND = 30_000_000  # of a table with its indexes, on an ordinary disk
WIDEN, SEQUENCE, FILL = "widen", "sequence", "fill"
MAKE, ADD, RENAME = "make", "add", "rename"
#: Steps that do not affect workers of this or earlier versions.
HARMLESS = (MAKE, ADD, FILL)
TASK = NAMES[0]
#: Columns of the scheduler's tables with a foreign key to tasks.
REFERENCES = (("scheduler_run", "task_id"), ("scheduler_task_deps", "task_child"))
#: Tasks that an earlier version skipped. It wrote these texts without a code, but `requeue` of the
#: failed task searches the code.
SKIPPED = (
    f"status = '{TaskStatus.STOPPED}' AND (reason LIKE 'skipped: it waits for task %, which %' "
    "OR reason = 'skipped: the task it waits for was deleted')"
)


@dataclass(frozen=True)
class UpgradeStep:
    """One change of one table, with its statements."""

    kind: str
    table: str
    does: str
    statements: tuple[str, ...]
    size: int = 0

    @property
    def seconds(self) -> float:
        """The estimated duration; the table is locked meanwhile."""
        return self.size / BYTES_A_SECOND


class WideningEngine:
    """Builds the steps for one kind of database."""

    size_query = ""

    def plan(self, db: Any) -> Iterator[UpgradeStep]:
        """Yield the steps, small steps last."""
        tables: dict[str, list[Narrow]] = {}
        for one in narrow_columns(db):
            tables.setdefault(one.table, []).append(one)
        for table, columns in tables.items():
            names = ", ".join(one.column for one in columns)
            whose = "" if table in NAMES else " (a table of the app that refers to these)"
            statements = tuple(self.widening(db, table, [one.column for one in columns]))
            yield UpgradeStep(
                WIDEN, table, f"64 bits for {names}{whose}", statements, self._size(db, table)
            )
        yield from self.counters(db)

    def widening(self, db: Any, table: str, columns: Sequence[str]) -> Iterator[str]:
        raise NotImplementedError

    def counters(self, db: Any) -> Iterator[UpgradeStep]:
        """Yield the steps for sequences."""
        return iter(())

    def _size(self, db: Any, table: str) -> int:
        return int(db.executesql(self.size_query.format(table=table))[0][0] or 0)

    def obstacle(self, db: Any) -> str:
        """Return what prevents the plan, with the remedy; "" if nothing does."""
        return ""

    @contextlib.contextmanager
    def prepared(self, db: Any) -> Iterator[None]:
        """Change session settings while the statements are executed."""
        yield


class SQLiteWidening(WideningEngine):
    """SQLite: no steps, since ids always have 64 bits."""

    def plan(self, db: Any) -> Iterator[UpgradeStep]:
        return iter(())


class PostgresWidening(WideningEngine):
    """PostgreSQL: rewrites each table in one transaction."""

    size_query = "SELECT pg_total_relation_size(to_regclass('{table}'))"

    def widening(self, db: Any, table: str, columns: Sequence[str]) -> Iterator[str]:
        changes = ", ".join(f'ALTER COLUMN "{column}" TYPE bigint' for column in columns)
        yield f"ALTER TABLE {table} {changes}"

    def counters(self, db: Any) -> Iterator[UpgradeStep]:
        for one in ids_of(db):
            does, statements = [], []
            if one.sequence and one.counts_to <= INT:
                does.append("lets the sequence count on")
                statements.append(f"ALTER SEQUENCE {one.sequence} AS bigint")
            if one.is_behind:
                does.append(f"sets the sequence behind id {one.highest}")
                statements.append(_set_behind(one))
            if statements:
                yield UpgradeStep(SEQUENCE, one.table, " and ".join(does), tuple(statements))

    @contextlib.contextmanager
    def prepared(self, db: Any) -> Iterator[None]:
        db.executesql("SET LOCAL statement_timeout = 0")
        yield


class MySQLWidening(WideningEngine):
    """MySQL: copies each table.

    A column that a foreign key refers to cannot be changed. So the foreign keys of the scheduler's
    tables are dropped in the first step, and created again when their table is widened.
    """

    size_query = (
        "SELECT data_length + index_length FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_name = '{table}'"
    )
    _keys = (
        "SELECT k.table_name, k.column_name, k.constraint_name, r.delete_rule, r.update_rule "
        "FROM information_schema.key_column_usage AS k "
        "JOIN information_schema.referential_constraints AS r "
        "ON r.constraint_schema = k.constraint_schema AND r.table_name = k.table_name "
        "AND r.constraint_name = k.constraint_name "
        "WHERE k.table_schema = DATABASE() AND k.referenced_table_name = 'scheduler_task'"
    )

    def plan(self, db: Any) -> Iterator[UpgradeStep]:
        return (step for step in super().plan(db) if step.table in NAMES)

    def widening(self, db: Any, table: str, columns: Sequence[str]) -> Iterator[str]:
        if table == TASK and "id" in columns:
            for child, _, key, *_ in db.executesql(self._keys):
                if child in NAMES:
                    yield f"ALTER TABLE `{child}` DROP FOREIGN KEY `{key}`"
        changes = [f"MODIFY {words}" for words in self._wider(db, table, columns)]
        changes += [
            f"ADD FOREIGN KEY (`{column}`) REFERENCES `{TASK}` (`id`) ON DELETE CASCADE"
            for column in columns
            if (table, column) in REFERENCES
        ]
        yield f"ALTER TABLE `{table}` {', '.join(changes)}"

    def _wider(self, db: Any, table: str, columns: Sequence[str]) -> list[str]:
        listed = ", ".join(f"'{column}'" for column in columns)
        found = db.executesql(
            "SELECT column_name, is_nullable, extra FROM information_schema.columns WHERE "
            f"table_schema = DATABASE() AND table_name = '{table}' AND column_name IN ({listed})"
        )
        return [
            f"`{name}` BIGINT {'NULL' if nullable == 'YES' else 'NOT NULL'}"
            + (" AUTO_INCREMENT" if "auto_increment" in extra else "")
            for name, nullable, extra in found
        ]

    def obstacle(self, db: Any) -> str:
        narrow = {one.name for one in narrow_columns(db)}
        if f"{TASK}.id" not in narrow:
            return ""
        for child, column, key, on_delete, on_update in db.executesql(self._keys):
            if child not in NAMES:
                [wider] = self._wider(db, child, [column])
                return (
                    f"{child}.{column}, a table of the app, refers to {TASK}. MySQL cannot change "
                    "a column with a foreign key to it. Execute "
                    f"`ALTER TABLE {child} DROP FOREIGN KEY "
                    f"{key}`, run upgrade again, then execute `ALTER TABLE {child} MODIFY {wider},"
                    f" ADD CONSTRAINT {key} FOREIGN KEY ({column}) REFERENCES {TASK} (id) "
                    f"ON DELETE {on_delete} ON UPDATE {on_update}`"
                )
        return ""

    @contextlib.contextmanager
    def prepared(self, db: Any) -> Iterator[None]:
        db.executesql("SET SESSION foreign_key_checks = 0")  # the rows are unchanged
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # the connection is lost, with its settings
                db.executesql("SET SESSION foreign_key_checks = 1")


_ENGINES: dict[type[migrations.MigrationEngine], WideningEngine] = {
    migrations.SQLiteMigration: SQLiteWidening(),
    migrations.PostgresMigration: PostgresWidening(),
    migrations.MySQLMigration: MySQLWidening(),
}


def _set_behind(one: Ids) -> str:
    return f"SELECT setval('{one.sequence}', (SELECT MAX(id) FROM {one.table}))"


def _kind(db: Any) -> WideningEngine:
    engine = engine_of(db)
    return _ENGINES[migrations.SQLiteMigration if engine is None else type(engine)]


def plan(db: Any) -> list[UpgradeStep]:
    """Return the steps besides missing tables and columns; changes nothing."""
    return [*_kind(db).plan(db), *_codes(db)]


def additions(lack: Lack) -> Iterator[UpgradeStep]:
    """Yield descriptions of what `models.migrations` does to a table."""
    if lack.is_missing:
        yield UpgradeStep(MAKE, lack.table, "makes the table", ())
    for old, new in lack.renamed.items():
        yield UpgradeStep(RENAME, lack.table, f"renames {old} to {new}", ())
    if lack.columns:
        yield UpgradeStep(ADD, lack.table, f"adds {', '.join(lack.columns)}", ())


def _codes(db: Any) -> Iterator[UpgradeStep]:
    engine = engine_of(db)
    there = engine.look(db).get(TASK, set()) if engine else set()
    if "reason" not in there:
        return
    lacking = SKIPPED + (" AND reason_code IS NULL" if "reason_code" in there else "")
    [[number]] = db.executesql(f"SELECT COUNT(*) FROM {TASK} WHERE {lacking}")
    if number:
        fills = f"UPDATE {TASK} SET reason_code = '{ReasonCode.SKIPPED}' WHERE {lacking}"
        tasks = "1 skipped task" if number == 1 else f"{number} skipped tasks"
        yield UpgradeStep(FILL, TASK, f"fills reason_code of {tasks}", (fills,))


def obstacle(db: Any) -> str:
    """Return what prevents the plan, with the remedy; "" if nothing does."""
    return _kind(db).obstacle(db)


def carry_out(db: Any, step: UpgradeStep) -> bool:
    """Execute a step, one process at a time; return False if another process has done it."""
    engine, kind = engine_of(db), _kind(db)
    assert engine is not None
    try:
        db.commit()
        with engine.alone(db):
            # Plan again: a part of the step may be done.
            left = [one for one in plan(db) if (one.kind, one.table) == (step.kind, step.table)]
            if not left:
                return False
            with kind.prepared(db):
                for statement in left[0].statements:
                    db.executesql(statement)
            db.commit()
        return True
    except Exception as error:  # driver-specific; its text becomes part of the message
        raise ConfigError(what_failed(step.table, error)) from error
    finally:
        with contextlib.suppress(Exception):  # the connection may be lost
            db.rollback()
