"""Databases that cannot hold every letter: such letters are escaped in what runs leave, and refused
in what callers give."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.databases import Shared
from support.home import Connect, connections, engine_on, scheduler_on
from support.throwaway import Server, new_name

from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.types import Outcome, Report

SMILE, ACUTE = "\U0001f600", "é"
#: Kind of server, character set, and whether it holds é.
NARROW = [
    ("postgres", "LATIN1", True),
    ("postgres", "SQL_ASCII", False),
    ("mysql", "latin1", True),
    ("mysql", "utf8mb3", True),
    ("mysql", "ascii", False),
]


@contextlib.contextmanager
def narrow_database(server: Server, charset: str, folder: Path) -> Iterator[Connect]:
    """With the scheduler's tables in it."""
    name = new_name()
    how = f"ENCODING '{charset}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    server.execute(f"CREATE DATABASE {name} {how if server.kind == 'postgres' else ''}")
    try:
        with connections(folder, server.uri(name)) as connect:
            db = connect()
            scheduler_on(db)
            for table in ("task", "run") if server.kind == "mysql" else ():
                convert = f"CONVERT TO CHARACTER SET {charset}"
                db.executesql(f"ALTER TABLE scheduler_{table} {convert}")
            yield connect
    finally:
        server.drop_database(name)


@pytest.mark.parametrize(("kind", "charset", "holds_acute"), NARROW)
def test_letters_that_a_database_cannot_hold_are_escaped_or_refused(
    servers: Shared, tmp_path: Path, kind: str, charset: str, holds_acute: bool
) -> None:
    with narrow_database(servers.server(kind), charset, tmp_path) as connect:
        db: Any = connect()
        scheduler = scheduler_on(db)
        refused = scheduler.queue_task("add", task_name=f"a {SMILE} b", group_name="main")
        assert refused.id is None and set(refused.errors) == {"task_name"}
        assert SMILE in refused.errors["task_name"]
        [first, second] = [scheduler.queue_task("add", [SMILE]).id for _ in range(2)]
        assert set(scheduler.edit_task(first, task_name=SMILE).errors) == {"task_name"}
        db.commit()
        with engine_on(connect, prepares=False) as store:
            claim = store.claims.take("me", ["main"], 2, store.dialect.now())
            orders = {order.task.id: order for order in claim.orders}
            text = f"out {ACUTE} {SMILE}"
            good = Report(
                orders[first],
                Outcome.COMPLETED,
                orders[first].started,
                0.1,
                result='"x"',
                output=text,
            )
            why = Reason(ReasonCode.REPORT_REFUSED, error=text)
            bad = Report(
                orders[second],
                Outcome.FAILED,
                orders[second].started,
                0.1,
                reason=why,
                traceback=text,
            )
            moves = [move for _, move in store.tasks.report([good, bad], "me")]
            assert [move and move.name for move in moves] == ["finish", "fail"]
            escaped = f"out {ACUTE if holds_acute else chr(92) + 'xe9'} \\U0001f600"
            task, run = store.db.scheduler_task, store.db.scheduler_run
            [told] = store.db(run.task_id == first).select()
            [failed] = store.db(run.task_id == second).select()
            assert (told.run_output, failed.traceback) == (escaped, escaped)
            assert (
                escaped in failed.reason
                and escaped in store.db(task.id == second).select()[0].reason
            )
            store.db.commit()
