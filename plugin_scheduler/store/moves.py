"""The one place where a task's status is written.

I own the guard of every move: it changes only tasks that stand where it begins. I call lifecycle
for the table of moves, and pydal.
"""

from __future__ import annotations

from typing import Any

from plugin_scheduler.lifecycle import MOVES
from plugin_scheduler.reasons import reason_columns


def move(db: Any, name: str, selection: Any, **changes: Any) -> int:
    """Make a move for all selected tasks that stand where it begins; how many that were."""
    return int(_guarded(db, name, selection).update(**_columns(name, changes)) or 0)


def move_in_words(db: Any, name: str, selection: Any, **changes: Any) -> str:
    """The statement that `move` would say."""
    guarded = _guarded(db, name, selection)
    return str(guarded._update(**_columns(name, changes)))


def _columns(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The status, and a reason together with its code."""
    if "reason" in changes:
        changes |= reason_columns(changes["reason"])
    return {"status": MOVES[name].target, **changes}


def _guarded(db: Any, name: str, selection: Any) -> Any:
    begins = db.scheduler_task.status.belongs(MOVES[name].sources)
    return db(selection & begins, ignore_common_filters=True)
