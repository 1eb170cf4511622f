"""Checks of the scheduler's tables: ids, indexes, orphaned rows, sizes."""

from __future__ import annotations

from collections.abc import Iterator

from plugin_scheduler.doctor.findings import Exam, Finding, finding
from plugin_scheduler.models import INDEXES, TABLES
from plugin_scheduler.models.ids import narrow_columns
from plugin_scheduler.models.indexes import found_indexes
from plugin_scheduler.queries.views import quantity

LARGE = 1_000_000  # rows
GROWING = ("scheduler_run", "scheduler_history", "scheduler_task")
SHOWN = 10  # ids in a sentence


def columns(exam: Exam) -> Iterator[Finding]:
    """Find tables of an older version of this package, or of web2py; or none."""
    if sum(lack.is_missing for lack in exam.lacks) == len(TABLES):
        yield finding("tables_missing", "the database has no scheduler tables")
    elif exam.lacks:
        lacks = "; ".join(map(str, exam.lacks))
        yield finding(
            "tables_old",
            f"the tables are older than this package: {lacks}. Tasks and workers can be checked "
            "after the upgrade",
        )


def ids(exam: Exam) -> Iterator[Finding]:
    """Check how many ids are left, and whether the next one is free."""
    return exam.told("sequence_behind", "ids_used_up", "ids_running_out")


def widths(exam: Exam) -> Iterator[Finding]:
    """Find columns that are limited to 32 bits."""
    narrow = [one.name for one in narrow_columns(exam.db)]
    if narrow:
        yield finding("ids_narrow", f"ids have 32 bits in {', '.join(narrow)}")


def indexes(exam: Exam) -> Iterator[Finding]:
    """Check the indexes that workers create at their start."""
    if exam.kind == "any":
        return
    there = found_indexes(exam.db)
    missing = [name for _, name, *_ in INDEXES if name not in there]
    if missing:
        words = "claims and lists are slow, because indexes are missing"
        yield finding("index_missing", f"{words}: {', '.join(missing)}")
    for table, name, *_ in INDEXES:
        if not there.get(name, True):
            yield finding("index_invalid", f"the index {name} of {table} is invalid and not used")


def statuses(exam: Exam) -> Iterator[Finding]:
    """Find tasks with an invalid status."""
    return exam.told("status_odd")


def orphans(exam: Exam) -> Iterator[Finding]:
    """Find rows that belong to no row of another table."""
    if number := exam.queries.runs_without_task():
        yield finding("runs_without_task", f"{quantity(number, 'run')} without a task")
    if number := exam.queries.dependencies_without_task():
        words = "dependency refers" if number == 1 else "dependencies refer"
        yield finding("dependencies_without_task", f"{number} {words} to a deleted task")


def held_tasks(exam: Exam) -> Iterator[Finding]:
    """Find tasks that are ASSIGNED or RUNNING at a worker that is not alive."""
    alive = {one.name for one in exam.workers if one.alive}
    for name, number in exam.queries.held_without_worker(alive).items():
        whose = f"worker {name}, which is not alive" if name else "no worker"
        sentence = f"{quantity(number, 'task')} assigned to {whose}"
        yield finding("tasks_without_worker", sentence)


def rows(exam: Exam) -> Iterator[Finding]:
    """Find values of the wrong type."""
    if unreadable := exam.queries.unreadable():
        words = f"waiting {_tasks(unreadable)} cannot be read"
        yield finding("rows_unreadable", words)
    if condemned := exam.queries.condemned():
        yield finding("rows_condemned", f"{_tasks(condemned)} FAILED because of unreadable values")


def _tasks(numbers: list[int]) -> str:
    named = ", ".join(map(str, numbers[:SHOWN]))
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"task{'s' if len(numbers) > 1 else ''} {named}{more}"


def sizes(exam: Exam) -> Iterator[Finding]:
    """Find large tables: by an estimate of the server, or counted up to a limit."""
    for table in GROWING:
        number = _rows_of(exam, table)
        if number >= LARGE:
            about = "more than" if exam.kind in ("sqlite", "any") else "about"
            yield finding("table_large", f"{table} has {about} {number:,} rows")


def _rows_of(exam: Exam, table: str) -> int:
    if exam.kind == "postgres":
        sql = f"SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('{table}')"
    elif exam.kind == "mysql":
        sql = (
            "SELECT table_rows FROM information_schema.tables "
            f"WHERE table_schema = DATABASE() AND table_name = '{table}'"
        )
    else:
        sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM {table} LIMIT {LARGE}) AS some"
    return int(exam.ask(sql)[0][0] or 0)


#: Checks that work with tables of any version.
OF_OLD = (columns, widths)
CHECKS = (columns, ids, widths, indexes, statuses, orphans, held_tasks, rows, sizes)
