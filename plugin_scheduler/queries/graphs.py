"""Dependency graphs: the tasks around one task, or those of a job, as a drawing.

Limits how far a graph is followed, and reports when more is left out. Does not write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from plugin_scheduler.core.types import OnChildFailure, TaskStatus
from plugin_scheduler.database.dialects.bulk_insert import batches
from plugin_scheduler.queries import graph_layout
from plugin_scheduler.queries.base import Source

MOST_TASKS = 500
MOST_EDGES = 5 * MOST_TASKS
MOST_STEPS = 100  # from the requested task
MOST_LOOKED_AT = 2000  # newest dependencies from which jobs are listed


@dataclass(frozen=True)
class Node:
    """A task in a drawing. ``deleted``: the task is gone, but another task waits for it; its id is
    negative and artificial."""

    id: int
    name: str
    function: str
    status: str
    enabled: bool
    progress: Any
    column: int
    row: float
    deleted: bool = False


@dataclass(frozen=True)
class Edge:
    """``after`` waits for ``before``. ``on_failure`` is what happens to it when that one fails.
    ``via`` are places that the line passes, so that it crosses no task."""

    before: int
    after: int
    fulfilled: bool
    on_failure: str
    job: str
    via: tuple[graph_layout.NodePosition, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Tasks and their dependencies. ``cut``: there are more. Each of ``rings`` is a cycle, whose
    tasks wait for ever."""

    nodes: list[Node]
    edges: list[Edge]
    cut: bool
    rings: list[tuple[int, ...]]


@dataclass(frozen=True)
class Job:
    """Tasks that depend on each other under one name, counted by status."""

    name: str
    tasks: int
    edges: int
    newest: int
    by_status: dict[str, int]


@dataclass(frozen=True)
class Jobs:
    """The newest first; ``more``: older dependencies were not read."""

    items: list[Job]
    more: bool


class Graphs(Source):
    """Jobs, and tasks that depend on each other."""

    def jobs(self, most: int = MOST_LOOKED_AT) -> Jobs:
        """Return the jobs of the newest dependencies.

        >>> queries.jobs().items[0]
        Job(name='make a book', tasks=3, edges=2, newest=7, by_status={'COMPLETED': 3})
        """
        rows = self._edges(self._deps.id > 0, most + 1)
        statuses = self._statuses_of({one for row in rows[:most] for one in _ends(row)})
        found: dict[str, list[Any]] = {}
        for row in rows[:most]:
            if any(one in statuses for one in _ends(row)):
                found.setdefault(row.job_name or "", []).append(row)
        items = [_job(name, some, statuses) for name, some in found.items()]
        return Jobs(items, len(rows) > most)

    def graph_of(self, task_id: int, most: int = MOST_TASKS) -> Graph:
        """Return all tasks that a task waits for, or that wait for it, directly or indirectly.

        >>> [node.name for node in queries.graph_of(7).nodes]
        ['print pages', 'bind']
        """
        seen = set(self._statuses_of({task_id}))
        found: dict[int, Any] = {}
        frontier, cut, steps = set(seen), False, 0
        while frontier and not cut:
            steps += 1
            rows = self._around(frontier)
            found.update({row.id: row for row in rows})
            new = set(self._statuses_of({one for row in rows for one in _ends(row)} - seen))
            room = most - len(seen)
            cut = len(new) > room or len(found) > MOST_EDGES or steps > MOST_STEPS
            frontier = set(sorted(new)[:room])
            seen |= frontier
        return self._drawing_of(seen, list(found.values())[:MOST_EDGES], cut)

    def graph_of_job(self, name: str, most: int = MOST_TASKS) -> Graph:
        """Return the tasks of a job; of a large one, the newest."""
        rows = self._edges(self._deps.job_name == name, MOST_EDGES + 1)
        seen: set[int] = set()
        known = self._statuses_of({one for row in rows for one in _ends(row)})
        for row in rows:
            ends = {one for one in _ends(row) if one in known}
            if len(seen | ends) > most:
                break
            seen |= ends
        cut = len(rows) > MOST_EDGES or len(seen) < len(known)
        return self._drawing_of(seen, rows[:MOST_EDGES], cut)

    # -- reading --------------------

    def _edges(self, query: Any, limit: int) -> list[Any]:
        """Return the newest dependencies."""
        return self._some_edges(query, limit, orderby=~self._deps.id)

    def _some_edges(self, query: Any, limit: int, **options: Any) -> list[Any]:
        options.update(limitby=(0, limit), orderby_on_limitby=False)
        return self._read_rows(query, self._deps.ALL, **options)

    def _around(self, ids: set[int]) -> list[Any]:
        """Return the dependencies of these tasks in both directions, each from its index."""
        deps, rows = self._deps, []
        for some in batches(sorted(ids)):
            for end in (deps.task_parent, deps.task_child):
                rows += self._some_edges(end.belongs(some), MOST_EDGES + 1)
        return rows

    def _statuses_of(self, ids: Collection[int]) -> dict[int, str]:
        """Return the status of those tasks that exist and belong to this app."""
        task = self._task
        return {row.id: row.status for row in self._tasks_by_id(ids, task.id, task.status)}

    def _tasks_by_id(self, ids: Collection[int], *fields: Any) -> Iterator[Any]:
        mine = self._mine()
        for some in batches(sorted(ids)):
            yield from self._rows(self._task, self._task.id.belongs(some) & mine, *fields)

    def _progress_of(self, rows: list[Any]) -> dict[int, Any]:
        run, found = self._run, {}
        at_work = {row.run_id for row in rows if row.status == TaskStatus.RUNNING and row.run_id}
        for some in batches(sorted(at_work)):
            for row in self._rows(run, run.id.belongs(some), run.id, run.progress):
                found[row.id] = row.progress
        return found

    def _drawing_of(self, ids: set[int], rows: list[Any], cut: bool) -> Graph:
        task = self._task
        fields = ("id", "task_name", "function_name", "status", "enabled", "run_id")
        found = {row.id: row for row in self._tasks_by_id(ids, *(task[name] for name in fields))}
        edges = sorted(_drawn(rows, found), key=lambda one: (one.after, one.before))
        gone = [one.before for one in edges if one.before < 0]
        drawing = graph_layout.drawing(
            [*sorted(found), *gone], [(one.after, one.before) for one in edges]
        )
        ways = drawing.ways
        edges = [replace(one, via=tuple(ways.get((one.after, one.before), ()))) for one in edges]
        progress = self._progress_of(list(found.values()))
        nodes = [
            _node(found[one], progress, place) if one in found else _gone(one, place)
            for one, place in drawing.places.items()
        ]
        return Graph(nodes, edges, cut, drawing.rings)


def _ends(row: Any) -> list[int]:
    return [one for one in (row.task_child, row.task_parent) if one]


def _drawn(rows: list[Any], found: dict[int, Any]) -> Iterator[Edge]:
    """Yield edges between drawn tasks, and from deleted ones to the tasks that wait for them."""
    for row in rows:
        before = row.task_child or -row.id
        if row.task_parent in found and (before in found or before < 0):
            yield Edge(
                before=int(before),
                after=row.task_parent,
                fulfilled=bool(row.can_visit),
                on_failure=row.on_failure or OnChildFailure.STOP,
                job=row.job_name or "",
            )


def _node(row: Any, progress: dict[int, Any], place: graph_layout.NodePosition) -> Node:
    return Node(
        id=row.id,
        name=row.task_name or row.function_name,
        function=row.function_name,
        status=row.status,
        enabled=bool(row.enabled),
        progress=progress.get(row.run_id),
        column=place.column,
        row=place.row,
    )


def _gone(number: int, place: graph_layout.NodePosition) -> Node:
    return Node(number, "", "", "", True, None, place.column, place.row, deleted=True)


def _job(name: str, rows: list[Any], statuses: dict[int, str]) -> Job:
    ids = {one for row in rows for one in _ends(row) if one in statuses}
    counts = Counter(statuses[one] for one in ids)
    by_status: dict[str, int] = {
        status: counts[status] for status in TaskStatus.ALL if counts[status]
    }
    return Job(name, len(ids), len(rows), max(ids), by_status)
