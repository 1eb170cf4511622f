"""Checks of the database itself: its clock, its settings, and whether it can be written to."""

from __future__ import annotations

import os
from collections.abc import Iterator

from plugin_scheduler.doctor.findings import Exam, Finding, finding
from plugin_scheduler.queries.views import span
from plugin_scheduler.queries.warnings import SKEWED


def clock(exam: Exam) -> Iterator[Finding]:
    """Compare this machine's clock with the database's."""
    exam.dialect.epoch()
    skew = exam.dialect.skew
    if abs(skew) >= SKEWED:
        way = "ahead of" if skew > 0 else "behind"
        sentence = f"the clock of this machine is {span(abs(skew))} {way} the database's"
        yield finding("clock_here", sentence)


def journal_mode(exam: Exam) -> Iterator[Finding]:
    """Check SQLite's journal mode: readers and the writer should not block each other."""
    if exam.kind == "sqlite" and exam.settings.sqlite_wal:
        [[mode]] = exam.ask("PRAGMA journal_mode")
        if mode != "wal":
            sentence = f"the file's journal mode is {mode}: readers and writers block each other"
            yield finding("wal_off", sentence)


def isolation(exam: Exam) -> Iterator[Finding]:
    """Check the default isolation of apps' transactions; those of workers are READ COMMITTED."""
    if exam.kind == "postgres":
        [[level]] = exam.ask("SELECT current_setting('default_transaction_isolation')")
        if level != "read committed":
            yield finding(
                "isolation",
                f"transactions of apps are {level.upper()} by default: queueing and stopping tasks "
                "while workers run may fail with serialization errors",
            )
    if exam.kind == "mysql":
        [[is_kept, form]] = exam.ask("SELECT @@log_bin, @@binlog_format")
        if is_kept and str(form).upper() == "STATEMENT":
            sentence = "the server's binlog_format is STATEMENT: workers cannot write (error 1665)"
            yield finding("binlog_statement", sentence)


def writable(exam: Exam) -> Iterator[Finding]:
    """Detect a replica, a read-only server, or a file without write permission."""
    closed = ""
    if exam.kind == "postgres":
        [[is_replica, is_closed]] = exam.ask(
            "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'"
        )
        closed = "the server is a replica" if is_replica else ""
        closed = closed or ("transactions are read-only by default" if is_closed else "")
    elif exam.kind == "mysql":
        [[is_closed]] = exam.ask("SELECT @@global.read_only")
        closed = "the server is read-only" if is_closed else ""
    elif exam.kind == "sqlite":
        path = str(exam.ask("PRAGMA database_list")[0][2])
        places = [place for place in (path, os.path.dirname(path)) if path]
        refused = [place for place in places if not os.access(place, os.W_OK)]
        closed = f"this user may not write to {refused[0]}" if refused else ""
    if closed:
        yield finding("database_read_only", f"{closed}: no task can run")


CHECKS = (clock, journal_mode, isolation, writable)
