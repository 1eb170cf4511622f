"""Checks of an installation: the database, the tables, the workers and this machine.

Every check is read-only, and reads a limited number of rows. A check that fails (no permission, a
statement that takes too long) is a finding of its own, and the others go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.doctor import database, machine, tables, workers
from plugin_scheduler.doctor.findings import CODES as CODES
from plugin_scheduler.doctor.findings import Exam as Exam
from plugin_scheduler.doctor.findings import Finding as Finding
from plugin_scheduler.doctor.findings import finding

Check = Callable[[Exam], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    *database.CHECKS,
    *tables.CHECKS,
    *workers.CHECKS,
    *machine.CHECKS,
)
#: Checks that work before old tables are upgraded.
OF_OLD_TABLES: tuple[Check, ...] = (*database.CHECKS, *tables.OF_OLD, *machine.CHECKS)
_GRAVEST_FIRST = ("error", "warning", "note")


def examine(exam: Exam) -> list[Finding]:
    """Return the findings of all checks, the most severe first."""
    checks = OF_OLD_TABLES if exam.lacks else CHECKS
    found = list(itertools.chain.from_iterable(_carried_out(check, exam) for check in checks))
    return sorted(found, key=lambda one: _GRAVEST_FIRST.index(one.severity))


def _carried_out(check: Check, exam: Exam) -> list[Finding]:
    try:
        with exam.bounded():
            return list(check(exam))
    except Exception as error:  # any exception of a driver; reported as a finding
        name, why = check.__name__.replace("_", " "), first_line(error) or type(error).__name__
        return [finding("not_checked", f"{name} could not be checked: {why}")]
