"""Dependency graphs: the list of jobs, and the drawing of one job or of one task's neighbours.

Turns positions of tasks into coordinates of a picture.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from plugin_scheduler.controllers.web.request_context import Visit
from plugin_scheduler.controllers.web.routing import Site
from plugin_scheduler.controllers.web.template_helpers import TONES

from plugin_scheduler.core.types import OnChildFailure, TaskStatus
from plugin_scheduler.queries.graphs import Edge, Graph, Node
from plugin_scheduler.queries.progress import headway

# Sizes in units of the picture, which are pixels without zoom.
WIDTH, HEIGHT = 172, 46
ACROSS, DOWN = 236, 64  # distance from a task to the next
MARGIN, ARROW = 24, 5
LONGEST = 18  # characters of a name

#: Signs for statuses, for people who do not see colours.
SIGNS: dict[str, str] = {
    TaskStatus.QUEUED: "○",
    TaskStatus.ASSIGNED: "◐",
    TaskStatus.RUNNING: "▶",
    TaskStatus.COMPLETED: "✓",
    TaskStatus.FAILED: "✕",
    TaskStatus.TIMEOUT: "✕",
    TaskStatus.STOPPED: "■",
    TaskStatus.EXPIRED: "■",
}

#: What happens to a waiting task if the other one fails, as text for templates.
ON_FAILURE: dict[str, str] = {
    OnChildFailure.STOP: "is stopped if it fails",
    OnChildFailure.RUN: "runs even if it fails",
    OnChildFailure.WAIT: "keeps waiting if it fails",
}


def mount(site: Site) -> None:
    """Register the graph."""

    @site.page("graph", "graph.html")
    def scheduler_graph(visit: Visit) -> dict[str, Any]:
        task_id, job = visit.number("task"), visit.query.get("job")
        if task_id is None and job is None:
            return {"jobs": visit.queries.jobs(), "picture": None}
        task = visit.task(task_id) if task_id is not None else None
        graph = _graph(visit, task_id, job)
        going_on = (*TaskStatus.WAITING, TaskStatus.RUNNING)
        moving = any(one.status in going_on for one in graph.nodes)
        return {
            "task": task,
            "job": job,
            "graph": graph,
            "picture": _picture(graph, task.id if task else None),
            "names": {one.id: one.name for one in graph.nodes},
            "moving": moving,
            "tone": lambda status: TONES.get(status, "calm"),
            "on_failure": ON_FAILURE,
        }

    @site.data("api/graph")
    def scheduler_api_graph(visit: Visit) -> dict[str, Any]:
        """Return tasks (``nodes``) and dependencies (``edges``: ``after`` waits for ``before``),
        around the ``task`` with that id, or of the ``job`` with that name; without both, the newest
        jobs with the statuses of their tasks. ``column`` and ``row`` are positions in a drawing."""
        task_id, job = visit.number("task"), visit.query.get("job")
        if task_id is None and job is None:
            found = visit.queries.jobs()
            return {"jobs": [vars(one) for one in found.items], "more": found.more}
        if task_id is not None:
            visit.task(task_id)
        graph = _graph(visit, task_id, job)
        return {
            "nodes": [vars(one) for one in graph.nodes],
            "edges": [vars(one) for one in graph.edges],
            "cut": graph.cut,
            "rings": graph.rings,
        }


def _graph(visit: Visit, task_id: int | None, job: str | None) -> Graph:
    if task_id is not None:
        return visit.queries.graph_of(task_id)
    return visit.queries.graph_of_job(job or "")


# -- the picture ------------------


class Box(NamedTuple):
    """A task in the picture; ``share`` is its progress, if known."""

    node: Node
    x: float
    y: float
    label: str
    sign: str
    share: float | None
    chosen: bool


class Line(NamedTuple):
    """A line from a task to one that waits for it; ``path`` in SVG form."""

    path: str
    kind: str
    edge: Edge


class Picture(NamedTuple):
    """The complete picture, with its size."""

    width: float
    height: float
    boxes: list[Box]
    lines: list[Line]


def _picture(graph: Graph, chosen: int | None) -> Picture:
    columns = 1 + max((one.column for one in graph.nodes), default=0)
    rows = [one.row for one in graph.nodes]
    rows += [place.row for one in graph.edges for place in one.via]
    reach = max(map(abs, rows), default=0)
    middle = MARGIN + HEIGHT / 2 + reach * DOWN
    boxes = [
        Box(
            node=one,
            x=MARGIN + one.column * ACROSS,
            y=middle + one.row * DOWN - HEIGHT / 2,
            label=one.name if len(one.name) <= LONGEST else f"{one.name[: LONGEST - 1]}…",
            sign=SIGNS.get(one.status, "?"),
            share=headway(one.progress, "", None, None).share,
            chosen=one.id == chosen,
        )
        for one in graph.nodes
    ]
    places = {one.node.id: one for one in boxes}
    lines = [_line(one, places, middle) for one in graph.edges]
    width = 2 * MARGIN + (columns - 1) * ACROSS + WIDTH
    return Picture(width, 2 * middle, boxes, lines)


def _line(edge: Edge, places: dict[int, Box], middle: float) -> Line:
    """Draw a line from the right side of a task to the left side of another, horizontal at both
    ends and past the tasks between them."""
    one, other = places[edge.before], places[edge.after]
    points = [(one.x + WIDTH, one.y + HEIGHT / 2)]
    for place in edge.via:
        left, y = MARGIN + place.column * ACROSS, middle + place.row * DOWN
        points += [(left, y), (left + WIDTH, y)]
    points.append((other.x - ARROW, other.y + HEIGHT / 2))
    path = "".join(_curve(*points[at : at + 2]) for at in range(0, len(points), 2))
    x, y = points[0]
    return Line(f"M{x:g},{y:g}{path}", "done" if edge.fulfilled else edge.on_failure, edge)


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Draw a curve through a gap between columns, then a horizontal line to the next gap."""
    (x, top), (until, bottom) = start, end
    bend = (until - x) / 2 if until > x else 60.0
    return f" L{x:g},{top:g} C{x + bend:g},{top:g} {until - bend:g},{bottom:g} {until:g},{bottom:g}"
