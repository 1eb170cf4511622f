"""Rows with faults: an invalid status, ids that run out, orphans.

Every query is bounded: it reads a limited number of rows.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from plugin_scheduler.core.reasons import ReasonCode
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.models.ids import Ids, ids_of
from plugin_scheduler.queries.capped_counts import Counting

MOST = 1_000  # rows of one kind
MOST_PAIRS = 10_000  # newest rows that are looked up in another table
#: Without an order, so that the database reads no more rows than these.
_ANY: dict[str, Any] = {"limitby": (0, MOST), "orderby_on_limitby": False}
USED = 0.5  # used share of all ids from which on it is reported


@dataclass(frozen=True)
class Odd:
    """Tasks with an invalid status: "" stands for NULL. ``first`` is the id of one of them."""

    status: str
    tasks: int
    first: int


@dataclass(frozen=True)
class Left:
    """The ids left in a table; ``ends`` is when the last one is used at the present rate."""

    ids: Ids
    ends: datetime | None


class Integrity(Counting):
    """Faults in the tables."""

    def odd_statuses(self) -> list[Odd]:
        """Return this app's tasks with an invalid status, which no worker claims and no list
        shows."""
        status, known = self._task.status, sorted(TaskStatus.ALL)
        gaps = [status == None, status < known[0], status > known[-1]]
        gaps += [(status > low) & (status < high) for low, high in itertools.pairwise(known)]
        # Gap by gap, so that the database uses its index; the gaps are nearly always empty.
        selects = [
            str(self._set(gap & self._mine())._select(status, self._task.id, **_ANY)).rstrip("; ")
            for gap in gaps
        ]
        parts = (f"SELECT * FROM ({one}) AS gap{place}" for place, one in enumerate(selects))
        found: dict[str, list[int]] = {}
        for word, number in self._answer(" UNION ALL ".join(parts)):
            found.setdefault(str(word or ""), []).append(int(number))
        return [Odd(word, len(ids), min(ids)) for word, ids in sorted(found.items())]

    def ids_left(self) -> Iterator[Left]:
        """Yield the tables whose ids run out, have run out, or cannot continue."""
        for one in ids_of(self._db, "scheduler_task", "scheduler_run"):
            if one.is_behind or one.are_used_up:
                yield Left(one, None)
            elif one.share >= USED:
                yield Left(one, self._end_of(one))

    def _end_of(self, ids: Ids) -> datetime | None:
        """Estimate the end from the ids used between the oldest kept row and the newest."""
        table = self._db[ids.table]
        dated = table.start_time != None
        ends = [
            self._set(dated).select(table.id, table.start_time, orderby=order, limitby=(0, 1))
            for order in (table.id, ~table.id)
        ]
        if not all(ends):
            return None
        (first, last), now = (rows[0] for rows in ends), self.now()
        seconds = (last.start_time - first.start_time).total_seconds()
        if seconds < 60 or last.id <= first.id:
            return None
        left = (ids.largest - max(ids.highest, last.id)) * seconds / (last.id - first.id)
        return _later(now, left)

    def runs_without_task(self) -> int:
        """Count how many of the newest runs belong to no task."""
        return self._count(
            f"SELECT r.id FROM (SELECT id, task_id FROM scheduler_run ORDER BY id DESC LIMIT "
            f"{MOST_PAIRS}) AS r LEFT JOIN scheduler_task AS t ON t.id = r.task_id "
            "WHERE t.id IS NULL"
        )

    def dependencies_without_task(self) -> int:
        """Count how many of the newest open dependencies lead from or to no task."""
        return self._count(
            "SELECT d.id FROM (SELECT id, task_parent, task_child FROM scheduler_task_deps "
            f"WHERE can_visit = 'F' ORDER BY id DESC LIMIT {MOST_PAIRS}) AS d "
            "LEFT JOIN scheduler_task AS p ON p.id = d.task_parent "
            "LEFT JOIN scheduler_task AS c ON c.id = d.task_child "
            "WHERE p.id IS NULL OR c.id IS NULL"
        )

    def _count(self, rows: str) -> int:
        return int(self._answer(f"SELECT COUNT(*) FROM ({rows}) AS found")[0][0])

    def held_without_worker(self, alive: set[str]) -> dict[str, int]:
        """Count tasks held by workers that are not alive, by worker; "" if no worker is named."""
        held = self._task.status.belongs(TaskStatus.HELD) & self._mine()
        rows = self._told(held, [self._task.assigned_worker_name], **_ANY)
        names = Counter(str(name or "") for (name,) in rows)
        return {name: number for name, number in sorted(names.items()) if name not in alive}

    def unreadable(self) -> list[int]:
        """Return the ids of waiting tasks that have a value of the wrong type."""
        waiting = self._task.status.belongs(TaskStatus.WAITING) & self._mine()
        ids = {int(one) for (one,) in self._told(waiting, [self._task.id], **_ANY)}
        these = (self._task.id > 0) & self._among(self._task.id, ids)
        some = self._rows(self._task, these, self._task.ALL)
        return sorted(ids - {row.id for row in some})

    def condemned(self) -> list[int]:
        """Return the ids of tasks that FAILED because their row was unreadable, among some
        thousands."""
        failed = (self._task.status == TaskStatus.FAILED) & self._mine()
        fields, how = [self._task.id, self._task.reason_code], {**_ANY, "limitby": (0, MOST_PAIRS)}
        found = self._told(failed, fields, **how)
        return sorted(int(one) for one, code in found if code == ReasonCode.BAD_ROW.value)


def _later(moment: datetime, seconds: float) -> datetime | None:
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return None
