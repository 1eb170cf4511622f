"""The one place where a task's status is written.

I own the guard of every move: it changes only tasks that stand where it begins. I call lifecycle
for the table of moves, and dialects.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from plugin_scheduler.core.reasons import reason_columns
from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.scheduling.state_machine import MOVES


def move(
    dialect: Dialect, name: str, ids: Collection[int], only: Any = None, **changes: Any
) -> int:
    """Make a move for those of the tasks that stand where it begins and meet the condition
    ``only``; how many that were. Locks no row but theirs."""
    task = dialect.db.scheduler_task
    begins = task.status.belongs(MOVES[name].sources)
    guard = begins if only is None else begins & only
    return dialect.change(task, ids, guard, **_columns(name, changes))


def move_in_words(db: Any, name: str, selection: Any, **changes: Any) -> str:
    """The statement that `move` would say."""
    begins = db.scheduler_task.status.belongs(MOVES[name].sources)
    guarded = db(selection & begins, ignore_common_filters=True)
    return str(guarded._update(**_columns(name, changes)))


def _columns(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The status, and a reason together with its code."""
    if "reason" in changes:
        changes |= reason_columns(changes["reason"])
    return {"status": MOVES[name].target, **changes}
