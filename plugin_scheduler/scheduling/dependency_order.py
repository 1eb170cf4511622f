"""What waits for what? The order of tasks that depend on each other.

I own the ordering of edges and the finding of rings. I call the standard library's graphlib and
the package's errors. I never read the database and never change a task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from plugin_scheduler.core.errors import DependencyCycle


def order(edges: Iterable[tuple[int, int]]) -> list[set[int]]:
    """Layers of task ids: those that wait for nothing, then those that wait only for them, ...

    An edge is ``(task_parent, task_child)`` as in web2py's table: the parent WAITS FOR the child.
    The result has the shape of web2py's ``JobGraph.validate``. A task that depends on itself is
    taken as not depending, as in web2py. No edges give no layers.

    Raises ``DependencyCycle`` with the ring in its ``path``: web2py answered None to a ring, and
    its tasks waited for ever without a hint.

    >>> order([(3, 1), (3, 2), (2, 1)])
    [{1}, {2}, {3}]
    """
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for parent, child in edges:
        sorter.add(child)
        sorter.add(parent, *({child} - {parent}))
    try:
        sorter.prepare()
    except CycleError as ring:
        # graphlib lists a ring from the awaited to the waiting; our sentence reads the other way.
        raise DependencyCycle(ring.args[1][::-1]) from None
    return list(_layers(sorter))


def _layers(sorter: TopologicalSorter[int]) -> Iterator[set[int]]:
    while sorter.is_active():
        layer = set(sorter.get_ready())
        yield layer
        sorter.done(*layer)
