"""Lists of tasks: a filter and a page, within a time limit.

Whatever the filter, and however many tasks there are, a query reads only for a limited time. The
page holds what was found by then, and says how far the search came. Does not write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.queries import views
from plugin_scheduler.queries.base import TASK_UNREADABLE, unreadable
from plugin_scheduler.queries.budgeted_scan import Few, Pace, Span
from plugin_scheduler.queries.filter_sql import MANY, Matching
from plugin_scheduler.queries.task_filter import (
    NEWEST,
    OLDEST,
    SORTS,
    CappedCount,
    Filter,
    Listing,
    PagePosition,
    place_of,
)
from plugin_scheduler.queries.views import TaskView

LARGEST_ID = 2**63 - 1
PAGE_SECONDS, COUNT_SECONDS = 0.13, 0.05
TO_SORT = 0.6  # share of the time for a page; with too many tasks, the rest is used unsorted
FIRST, FIRST_WITH_TEXT, FIRST_WITH_OUTPUT = 2000, 500, 100  # ids of the first step


class Some(NamedTuple):
    """The result of a scan, in its order; ``is_all`` if the scan was completed."""

    rows: list[tuple[Any, ...]]
    reached: int
    is_all: bool


class Ground(NamedTuple):
    """The ids to search: a range, or the few that an index returned."""

    low: int
    high: int
    few: list[int] | None

    def span(self, down: bool, low: int = 0, high: int = LARGEST_ID) -> Span:
        """Return all of it, or a part."""
        whole = Span(max(low, self.low), min(high, self.high), down)
        return whole if self.few is None else Few(self.few, whole)


class TaskQueries(Matching):
    """Lists of tasks, and single tasks."""

    def tasks(
        self, wanted: Filter, seconds: float = PAGE_SECONDS, ground: Ground | None = None
    ) -> Listing:
        """Return a page of the tasks that match ``wanted``, as far as found in that time."""
        if wanted.sort not in (NEWEST, OLDEST, *SORTS):
            orders = ", ".join((NEWEST, OLDEST, *SORTS))
            raise BadTask(f"sort={wanted.sort!r}: must be one of {orders}")
        ground = ground or self.ground(wanted)
        way = self._sorted if wanted.sort in SORTS else self._by_age
        return way(wanted, seconds, ground)

    def listed(self, wanted: Filter) -> tuple[Listing, CappedCount]:
        """Return a page, and the number of tasks on all pages."""
        ground = self.ground(wanted)
        return self.tasks(wanted, ground=ground), self.count(wanted, ground=ground)

    def count(
        self, wanted: Filter, seconds: float = COUNT_SECONDS, ground: Ground | None = None
    ) -> CappedCount:
        """Return how many tasks match ``wanted`` on all pages, exactly or as a lower bound."""
        span = (ground or self.ground(wanted)).span(down=True)
        number, total = self._task.id.count(), 0
        for size in self._pace(wanted, seconds).steps():
            if span.is_over or total > MANY:
                break
            step = self._matching(wanted, span.next(self._task.id, size))
            total += int(self._told(step, [number])[0][0])
        return CappedCount(min(total, MANY), more=total > MANY or not span.is_over)

    def ids(
        self, wanted: Filter, above: int, upto: int, most: int, seconds: float = PAGE_SECONDS
    ) -> tuple[list[int], int | None]:
        """Return at most ``most`` ids after ``above`` up to ``upto``, ascending, and the last id
        that was searched; None if the search is complete."""
        span = self.ground(wanted).span(down=False, low=above + 1, high=upto)
        some = self._walk(wanted, span, most, seconds)
        ids = [row[0] for row in some.rows]
        return ids, None if some.is_all else ids[-1] if len(ids) == most else some.reached

    def some(self, ids: Sequence[int]) -> list[TaskView]:
        """Return those of this app's tasks with these ids that are readable, in their order."""
        return self._read_all(ids)[0]

    def newest_id(self) -> int:
        """Return the highest id of all tasks, 0 if there are none."""
        return self._told(self._task.id > 0, [self._task.id.max()])[0][0] or 0

    def task(self, ref: int | str) -> TaskView | None:
        """Return the task with that id or uuid; None if this app has none."""
        named = self._task.uuid == str(ref)
        if str(ref).isdecimal() and len(str(ref)) < 20 and int(ref) <= LARGEST_ID:
            named |= self._task.id == int(ref)
        rows = self._read_rows(named & self._mine(), self._task.ALL)
        rows.sort(key=lambda task: task.uuid == str(ref))  # an id precedes a uuid of digits
        if rows and rows[0].get("odd"):
            raise BadTask(unreadable(TASK_UNREADABLE, ref, rows[0]))
        return views.task_view(rows[0]) if rows else None

    def ground(self, wanted: Filter) -> Ground:
        """Return the ids to search; a page and its count share the result."""
        task_id = self._task.id
        # Two queries: with one for both, SQLite reads the whole table.
        [(lowest,)] = self._told(task_id > 0, [task_id.min()])
        return Ground(lowest or 1, self.newest_id(), self._few(wanted) if lowest else [])

    # -- by age, which is the order of ids --------------------

    def _by_age(self, wanted: Filter, seconds: float, ground: Ground) -> Listing:
        back = place_of(wanted.before)
        start = back or place_of(wanted.after)
        down = (wanted.sort == NEWEST) == (back is None)
        edge = {} if start is None else {"high": start.id - 1} if down else {"low": start.id + 1}
        some = self._walk(wanted, ground.span(down, **edge), wanted.limit + 1, seconds)
        ids = [row[0] for row in some.rows]
        if back and some.is_all and len(ids) <= wanted.limit:
            return self._by_age(replace(wanted, before=None, after=None), seconds, ground)
        more, ids = len(ids) > wanted.limit, ids[: wanted.limit]
        onward = ids[-1] if more else None if some.is_all else some.reached
        return self._listing(
            wanted,
            ids[::-1] if back else ids,
            after=(ids[0] if ids else None) if back else onward,
            before=onward if back else ids[0] if start and ids else None,
            looked_to=None if more or some.is_all else some.reached,
        )

    def _listing(self, wanted: Filter, ids: Sequence[int], **more: Any) -> Listing:
        for side in ("after", "before"):
            more[side] = None if more[side] is None else str(more[side])
        items, notes = self._read_all(ids)
        return Listing(items, sort=wanted.sort, notes=notes, **more)

    # -- sorted, if there are few enough --------------------

    def _sorted(self, wanted: Filter, seconds: float, ground: Ground) -> Listing:
        sort = SORTS[wanted.sort]
        if ground.few is None and not self._is_narrow(wanted):
            return self._unsorted(wanted, seconds, ground)
        span, time = ground.span(down=False), seconds * TO_SORT
        some = self._walk(wanted, span, MANY + 1, time, sort.columns)
        if not some.is_all:
            return self._unsorted(wanted, seconds, ground)
        places = sorted(PagePosition(sort.key(*values), row_id) for row_id, *values in some.rows)
        first, last = _stretch(places, wanted)
        return self._listing(
            wanted,
            [place.id for place in places[first:last]],
            after=places[last - 1] if last < len(places) else None,
            before=places[first] if first else None,
        )

    def _unsorted(self, wanted: Filter, seconds: float, ground: Ground) -> Listing:
        """Return an unsorted page. Cursors of one order are useless in another one, except for
        their ids."""
        why = Sentence(
            "Too many tasks to sort by {sort}: the newest come first. Use a narrower filter.",
            sort=Sentence(wanted.sort),
        )
        page = self._by_age(replace(wanted, sort=NEWEST), seconds * TO_SORT, ground)
        return replace(page, notes=(*page.notes, why))

    # -- the scan --------------------

    def _walk(
        self, wanted: Filter, span: Span, most: int, seconds: float, columns: Sequence[str] = ()
    ) -> Some:
        """Return the first ``most`` matches, or as many as are found in that time."""
        task_id, rows = self._task.id, list[tuple[Any, ...]]()
        fields = [task_id, *(self._task[name] for name in columns)]
        order = ~task_id if span.down else task_id
        for size in self._pace(wanted, seconds).steps():
            if span.is_over or len(rows) >= most:
                break
            step, limit = span.next(task_id, size), (0, most - len(rows))
            step = self._matching(wanted, step)
            rows += self._told(step, fields, orderby=order, limitby=limit)
        return Some(rows, span.reached, span.is_over and len(rows) < most)

    def _pace(self, wanted: Filter, seconds: float) -> Pace:
        first = FIRST_WITH_TEXT if wanted.text else FIRST
        return Pace(self._clock, seconds, FIRST_WITH_OUTPUT if wanted.in_output else first)

    def _read_all(self, ids: Sequence[int]) -> tuple[list[TaskView], list[Sentence]]:
        """Return the tasks with these ids, in their order, and sentences on those that are
        unreadable."""
        found, notes = dict[int, TaskView](), list[Sentence]()
        query = self._task.id.belongs(list(ids)) & self._mine()
        for row in self._read_rows(query, self._task.ALL) if ids else []:
            if row.get("odd"):
                notes.append(unreadable(TASK_UNREADABLE, row.id, row))
            else:
                found[row.id] = views.task_view(row)
        return [found[one] for one in ids if one in found], notes


def _stretch(places: Sequence[PagePosition], wanted: Filter) -> tuple[int, int]:
    """Return the start and the end of a page of sorted positions."""
    back, start = place_of(wanted.before), place_of(wanted.after)
    if back is not None:
        last = sum(place < back for place in places)
        if last > wanted.limit:
            return last - wanted.limit, last
        start = None
    first = sum(place <= start for place in places) if start else 0
    return first, min(len(places), first + wanted.limit)
