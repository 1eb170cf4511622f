"""Layout of a job's graph: columns from left to right, rows with few crossings.

Does not access the database; tasks are known by their ids only.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from plugin_scheduler.core.errors import DependencyCycle
from plugin_scheduler.scheduling import dependency_order

TALLEST = 24  # a larger layer is folded into several columns
SWEEPS = 6  # in both directions; more sweeps do not improve the result
MOST_PASSING = 2000  # places that are kept free for lines; beyond that number, lines are straight

Edge = tuple[int, int]
#: A task, or a line through a layer: the waiting task, the other task, and the layer.
Key = int | tuple[int, int, int]


class NodePosition(NamedTuple):
    """A place in the drawing; rows are centred, so half rows occur."""

    column: int
    row: float


class Drawing(NamedTuple):
    """The place of each task; the places that longer lines pass, from left to right; and the cycles
    whose tasks wait for ever."""

    places: dict[int, NodePosition]
    ways: dict[Edge, list[NodePosition]]
    rings: list[tuple[int, ...]]


def drawing(ids: Iterable[int], edges: Iterable[Edge]) -> Drawing:
    """Return places for tasks; an edge is (waiting task, other task), as in `dependency_order`.

    A task is to the right of all that it waits for, unless there is a cycle.

    >>> drawing([1, 2, 3], [(3, 1), (3, 2)]).places[3]
    NodePosition(column=1, row=0.0)
    """
    names, links = list(dict.fromkeys(ids)), {(one, other) for one, other in edges if one != other}
    layers, rings = _layers(names, links)
    pieces, passing = _with_passing(layers, links)
    places = _placed(_ordered(pieces, _friends(links, passing)))
    ways = {edge: [places[one] for one in keys] for edge, keys in passing.items()}
    return Drawing({one: places[one] for one in names}, ways, rings)


def _layers(names: list[int], links: set[Edge]) -> tuple[list[list[int]], list[tuple[int, ...]]]:
    """Return the layers in the order of ids; one edge of each cycle is ignored, and the cycle
    returned."""
    left, rings = set(links), list[tuple[int, ...]]()
    while True:
        try:
            found = [sorted(layer) for layer in dependency_order.order(sorted(left))]
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


def _with_passing(
    layers: list[list[int]], links: set[Edge]
) -> tuple[list[list[Key]], dict[Edge, list[Key]]]:
    """Add a place to each layer that a line passes, so that the line crosses no task there."""
    found: list[list[Key]] = [list(layer) for layer in layers]
    level = {one: number for number, layer in enumerate(layers) for one in layer}
    passing: dict[Edge, list[Key]] = {}
    number = sum(max(0, level[one] - level[other] - 1) for one, other in links)
    if number > MOST_PASSING:
        return found, passing
    for one, other in sorted(links):
        keys: list[Key] = [(one, other, at) for at in range(level[other] + 1, level[one])]
        for at, key in enumerate(keys, start=level[other] + 1):
            found[at].append(key)
        if keys:
            passing[one, other] = keys
    return found, passing


def _friends(links: set[Edge], passing: Mapping[Edge, list[Key]]) -> Mapping[Key, list[Key]]:
    """Return the neighbours of each piece: what a line connects."""
    found: dict[Key, list[Key]] = defaultdict(list)
    for one, other in sorted(links):
        chain: list[Key] = [other, *passing.get((one, other), []), one]
        for left, right in itertools.pairwise(chain):
            found[left].append(right)
            found[right].append(left)
    return found


def _ordered(layers: list[list[Key]], friends: Mapping[Key, list[Key]]) -> list[list[Key]]:
    """Place the pieces of each layer near their neighbours: the usual sweeps by mean position."""
    for sweep in range(SWEEPS):
        there = range(1, len(layers)) if sweep % 2 == 0 else range(len(layers) - 2, -1, -1)
        for number in there:
            level = _heights(layers)
            layers[number].sort(key=lambda one: _mean(one, friends, level))
    return layers


def _heights(layers: list[list[Key]]) -> dict[Key, float]:
    return {one: row - len(layer) / 2 for layer in layers for row, one in enumerate(layer)}


def _mean(one: Key, friends: Mapping[Key, list[Key]], level: dict[Key, float]) -> float:
    near = [level[other] for other in friends.get(one, ()) if other in level]
    return sum(near) / len(near) if near else level[one]


def _placed(layers: Collection[list[Key]]) -> dict[Key, NodePosition]:
    places: dict[Key, NodePosition] = {}
    column = 0
    for layer in layers:
        for first in range(0, len(layer), TALLEST):
            some = layer[first : first + TALLEST]
            for row, one in enumerate(some):
                places[one] = NodePosition(column, row - (len(some) - 1) / 2)
            column += 1
    return places
