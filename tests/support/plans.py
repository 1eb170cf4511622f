"""What is said to a database, and what it would do then: for tests of how much is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

READS = ("SELECT", "(SELECT", "INSERT", "UPDATE", "DELETE")
SORTING = ("TEMP B-TREE", "Sort", "filesort")
#: All of the tasks, or all of an index over them.
WHOLE = r"Seq Scan on scheduler_task\b|SCAN scheduler_task\b|'scheduler_task', '(ALL|index)'"
Statement = tuple[str, Any]


def is_mysql(db: Any) -> bool:
    return bool(db._uri.startswith("mysql"))


@contextmanager
def heard(db: Any, then: Callable[[], None] = lambda: None) -> Iterator[list[Statement]]:
    """The statements that were sent meanwhile, with their values; not what begins and ends. After
    each of them ``then`` is done."""
    sent: list[Statement] = []
    send = db._adapter.execute

    def listen(sql: str, values: Any = None) -> Any:
        if sql.startswith(READS):
            sent.append((sql, values))
            then()
        return send(sql, values) if values else send(sql)

    db._adapter.execute = listen
    try:
        yield sent
    finally:
        del db._adapter.execute


def plan(db: Any, sql: str, values: Any = None) -> str:
    """What the database would do, in its own words."""
    how = "EXPLAIN QUERY PLAN" if db._uri.startswith("sqlite") else "EXPLAIN"
    more = {"placeholders": values} if values else {}
    return "\n".join(str(row) for row in db.executesql(f"{how} {sql}", **more))
