"""Where does each task of a job stand in a drawing? Columns from left to right, rows with few
crossings.

I own the places. I call graph for the layers. I never read the database, and know tasks by their
ids only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from plugin_scheduler import graph
from plugin_scheduler.errors import DependencyCycle

TALLEST = 24  # a layer with more is folded into several columns
SWEEPS = 6  # there and back; after a few nothing gets better


class Place(NamedTuple):
    """A place in the drawing; rows are centred, so that half ones occur."""

    column: int
    row: float


class Drawing(NamedTuple):
    """The place of each task, and the rings that keep their tasks waiting for ever."""

    places: dict[int, Place]
    rings: list[tuple[int, ...]]


def drawing(ids: Iterable[int], edges: Iterable[tuple[int, int]]) -> Drawing:
    """Places for tasks; an edge is (who waits, for whom), as in `graph`.

    Who waits stands to the right of all that it waits for, where no ring forbids it.

    >>> drawing([1, 2, 3], [(3, 1), (3, 2)]).places
    {1: Place(column=0, row=-0.5), 2: Place(column=0, row=0.5), 3: Place(column=1, row=0.0)}
    """
    names, links = list(dict.fromkeys(ids)), {(one, other) for one, other in edges if one != other}
    layers, rings = _layers(names, links)
    ordered = _ordered(layers, links)
    places: dict[int, Place] = {}
    column = 0
    for layer in ordered:
        for first in range(0, len(layer), TALLEST):
            some = layer[first : first + TALLEST]
            for row, one in enumerate(some):
                places[one] = Place(column, row - (len(some) - 1) / 2)
            column += 1
    return Drawing({one: places[one] for one in names}, rings)


def _layers(
    names: list[int], links: set[tuple[int, int]]
) -> tuple[list[list[int]], list[tuple[int, ...]]]:
    """Layers in the order of ids; of each ring one edge is passed over, and the ring told."""
    left, rings = set(links), list[tuple[int, ...]]()
    while True:
        try:
            found = [sorted(layer) for layer in graph.order(sorted(left))]
            break
        except DependencyCycle as ring:
            path = tuple(int(str(one)) for one in ring.path)
            rings.append(path)
            left.remove((path[0], path[1]))
    linked = {one for layer in found for one in layer}
    alone = [one for one in names if one not in linked]
    if alone:
        found = [[*(found[0] if found else []), *alone], *found[1:]]
    return found, rings


def _ordered(layers: list[list[int]], links: Collection[tuple[int, int]]) -> list[list[int]]:
    """Each layer's tasks near those that they are linked with: the usual sweeps by mean place."""
    friends: Mapping[int, list[int]] = _friends(links)
    for sweep in range(SWEEPS):
        there = range(1, len(layers)) if sweep % 2 == 0 else range(len(layers) - 2, -1, -1)
        for number in there:
            level = _heights(layers)
            layers[number].sort(key=lambda one: _mean(one, friends, level))
    return layers


def _friends(links: Collection[tuple[int, int]]) -> Mapping[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for one, other in sorted(links):
        found[one].append(other)
        found[other].append(one)
    return found


def _heights(layers: list[list[int]]) -> dict[int, float]:
    return {one: row - len(layer) / 2 for layer in layers for row, one in enumerate(layer)}


def _mean(one: int, friends: Mapping[int, list[int]], level: dict[int, float]) -> float:
    near = [level[other] for other in friends.get(one, ()) if other in level]
    return sum(near) / len(near) if near else level[one]
