"""Write the status of tasks. No other module does so.

Every move is guarded: it changes only tasks in a source state of its rule in the state machine.
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
    """Make a move for the tasks in a source state of its rule that meet the condition ``only``.

    Returns the number of changed tasks. Locks no other rows.
    """
    task = dialect.db.scheduler_task
    begins = task.status.belongs(MOVES[name].sources)
    guard = begins if only is None else begins & only
    return dialect.change(task, ids, guard, **_columns(name, changes))


def move_in_words(db: Any, name: str, selection: Any, **changes: Any) -> str:
    """Return the SQL of a move."""
    begins = db.scheduler_task.status.belongs(MOVES[name].sources)
    guarded = db(selection & begins, ignore_common_filters=True)
    return str(guarded._update(**_columns(name, changes)))


def _columns(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a move: the status, the changes, and a reason with its code."""
    if "reason" in changes:
        changes |= reason_columns(changes["reason"])
    return {"status": MOVES[name].target, **changes}
