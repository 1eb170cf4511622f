"""Counts with an upper limit, and the groups and functions in use.

No count reads more rows than the limit, however large the tables are. Does not write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from plugin_scheduler.core.types import Outcome, RunStatus, TaskStatus
from plugin_scheduler.queries.base import Source
from plugin_scheduler.store.priority_scan import Stretch

#: Maximum rows that one count reads: of waiting tasks, and of ended tasks or runs. Each row may be
#: on a different page of the file, and there is a count for each group in use.
MOST, MOST_DONE = 3_000, 1_000

#: Columns that a count can use; the others are long, and are not read.
COLUMNS = (
    "id",
    "application_name",
    "status",
    "group_name",
    "function_name",
    "enabled",
    "broadcast",
    "only_worker",
    "next_run_time",
    "stop_time",
)


@dataclass(frozen=True)
class GroupedCounts:
    """Rows grouped by some columns, with the number that meets each condition. ``capped``: there
    may be more rows than were read."""

    rows: list[tuple[tuple[str, ...], dict[str, int]]]
    capped: bool

    def total(self, name: str) -> int:
        return sum(counts[name] for _, counts in self.rows)

    def by_key(self, name: str) -> Counter[tuple[str, ...]]:
        found: Counter[tuple[str, ...]] = Counter()
        for key, counts in self.rows:
            found[key] += counts[name]
        return found


@dataclass
class Amounts:
    """Sums, and the keys whose sums are only a lower bound."""

    numbers: Counter[Any] = field(default_factory=Counter)
    capped: set[Any] = field(default_factory=set)

    def add(self, key: Any, number: int, capped: bool) -> None:
        if number or capped:
            self.numbers[key] += number
        if capped:
            self.capped.add(key)


class Counting(Source):
    """Counts with an upper limit."""

    most, most_done = MOST, MOST_DONE

    def tally(
        self,
        query: Any,
        conditions: Mapping[str, Any],
        by: Sequence[str] = (),
        order: Any = None,
        most: int | None = None,
    ) -> GroupedCounts:
        """Count how many of the first tasks of ``query`` meet each condition, grouped by columns.

        ``order`` lets the database use its index instead of the table.
        """
        most = self.most if most is None else most
        fields = [self._task[name] for name in COLUMNS]
        how = {"limitby": (0, most), "orderby": order, "orderby_on_limitby": False}
        some = str(self._set(query)._select(*fields, **how)).rstrip("; ")
        sums = [f"SUM(CASE WHEN {one} THEN 1 ELSE 0 END)" for one in conditions.values()]
        keys = [str(self._task[name]) for name in by]
        # The conditions use the table's own name, so they apply to the selected rows.
        sql = f"SELECT {', '.join([*keys, 'COUNT(*)', *sums])} FROM ({some}) AS scheduler_task"
        found = self._answer(sql + (f" GROUP BY {', '.join(keys)}" if keys else ""))
        rows: list[tuple[tuple[str, ...], dict[str, int]]] = []
        looked = 0
        for row in found:
            looked += row[len(keys)]
            numbers = (int(one or 0) for one in row[len(keys) + 1 :])
            key = tuple(str(one or "") for one in row[: len(keys)])
            rows.append((key, dict(zip(conditions, numbers, strict=True))))
        return GroupedCounts(rows, looked >= most)

    def standing(self, status: str, group: str) -> GroupedCounts:
        """Count this app's tasks of a status and group, by function."""
        query = (self._task.status == status) & (self._task.group_name == group)
        order = self._task.priority | self._task.next_run_time
        most = self.most_done if status in TaskStatus.ENDED else self.most
        return self.tally(query, {"mine": self._mine()}, ("function_name",), order, most)

    def due(self, groups: Sequence[str], now: datetime, late_by: float) -> Iterator[GroupedCounts]:
        """Count tasks that can be claimed in these groups, and those that could be ``late_by``
        seconds ago, by application and group."""
        conditions = {
            "due": self._due.at(now),
            "late": self._due.at(now - timedelta(seconds=late_by)),
        }
        left: dict[str, int] = {}
        for level in self._levels_of(groups, now):
            most = left.get(level.group, self.most)
            if most > 0:
                query = self._within(level, now)
                by = ("application_name", "group_name")
                tally = self.tally(query, conditions, by, self._due.order, most)
                left[level.group] = 0 if tally.capped else most - tally.total("due")
                yield tally

    def ahead_of(self, task: Any, now: datetime) -> GroupedCounts:
        """Count the due tasks of its group that a worker claims before this one.

        Uses the claim's order, level by level, and stops at the first capped count.
        """
        number, capped = 0, False
        for level in self._levels_of([task.group], now):
            priority = 0 if level.low is None else level.low
            head_start = self._settings.ageing * (priority - task.priority)
            alike = _later(task.next_run_time, head_start)
            query = self._within(level, min(now, alike))
            if alike <= now:  # tasks of equal rank are ordered by id
                query &= (self._task.next_run_time < alike) | (self._task.id < task.id)
            tally = self.tally(query, {"ahead": self._due.at(now)}, (), self._due.order)
            number, capped = number + tally.total("ahead"), capped or tally.capped
            if capped:
                break
        return GroupedCounts([((), {"ahead": number})], capped)

    def _levels_of(self, groups: Sequence[str], now: datetime) -> list[Stretch]:
        return [
            level for level in self._due.levels(groups, now) if isinstance(level.low, _PRIORITY)
        ]

    def _within(self, level: Stretch, until: datetime) -> Any:
        return self._due.within(level.group, level.words) & (self._task.next_run_time <= until)

    def failed_runs(self, since: datetime) -> Amounts:
        """Count failed runs since then, by function; stopped runs only if no user stopped them."""
        found, run, task = Amounts(), self._run, self._task
        died = f" AND failed_run.outcome IN {_quoted(_NOT_STOPPED)}"
        kinds = {RunStatus.FAILED: "", RunStatus.TIMEOUT: "", RunStatus.STOPPED: died}
        for status, only in kinds.items():
            recent = (run.status == status) & (run.start_time > since)
            how = {"limitby": (0, self.most_done), "orderby": ~run.start_time}
            some = str(self._set(recent)._select(run.task_id, run.outcome, **how)).rstrip("; ")
            rows = self._answer(
                f"SELECT {task.function_name}, COUNT(*) FROM ({some}) AS failed_run, "
                f"scheduler_task WHERE {task.id} = failed_run.task_id AND {self._mine()}{only} "
                f"GROUP BY {task.function_name}"
            )
            looked_at = self._answer(f"SELECT COUNT(*) FROM ({some}) AS failed_run")[0][0]
            capped = int(looked_at) >= self.most_done
            for function, number in rows:
                found.add(str(function or ""), int(number), capped)
        return found

    def past_their_end(self, now: datetime) -> GroupedCounts:
        """Count tasks that passed their stop_time without a start, and that no worker has ended
        yet."""
        late = self._task.status.belongs(TaskStatus.WAITING) & (self._task.stop_time < now)
        return self.tally(late, {"mine": self._mine()})

    def held_by(self, worker: str) -> int:
        """Count the tasks that a worker holds."""
        held = self._task.assigned_worker_name == worker
        held &= self._task.status.belongs(TaskStatus.HELD)
        return self.tally(held, {"all": self._task.id > 0}).total("all")


_PRIORITY = (int, type(None))
#: Outcomes whose run status is "stopped" although no user stopped the run.
_NOT_STOPPED = tuple(
    one for one in Outcome.FAILURES if Outcome.RUN_STATUS[one] == RunStatus.STOPPED
)


def _quoted(words: Iterable[str]) -> str:
    return "({})".format(", ".join(f"'{one}'" for one in words))


def _later(moment: datetime, seconds: float) -> datetime:
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max if seconds > 0 else datetime.min
