"""Databases that refuse every change of one row, by a trigger as an app might have one."""

from __future__ import annotations

from typing import Any

#: By the engine: have the database refuse every change of one row.
REFUSING = {
    "sqlite": [
        "CREATE TRIGGER refuses BEFORE UPDATE ON {table} WHEN NEW.id = {id} "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    ],
    "postgres": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'refused'; END $$",
        "CREATE TRIGGER refuses BEFORE UPDATE ON {table} FOR EACH ROW "
        "WHEN (NEW.id = {id}) EXECUTE PROCEDURE refuse()",
    ],
    "mysql": [
        "CREATE TRIGGER refuses BEFORE UPDATE ON {table} FOR EACH ROW BEGIN "
        "IF NEW.id = {id} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused'; END IF; END"
    ],
}
FORGIVING = {
    "sqlite": ["DROP TRIGGER refuses"],
    "postgres": ["DROP TRIGGER refuses ON {table}"],
    "mysql": ["DROP TRIGGER refuses"],
}


def ask(db: Any, statements: list[str], table: str, row_id: int = 0) -> None:
    for statement in statements:
        db.executesql(statement.replace("{table}", table).replace("{id}", str(row_id)))
    db.commit()
