"""Order tasks that depend on each other, and detect dependency cycles.

Does not access the database, and does not change tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from plugin_scheduler.core.errors import DependencyCycle


def order(edges: Iterable[tuple[int, int]]) -> list[set[int]]:
    """Return layers of task ids: tasks without dependencies first, then tasks that depend on them.

    An edge is ``(task_parent, task_child)`` as in web2py's table: the parent WAITS FOR the child.
    The result has the format of web2py's ``JobGraph.validate``. A dependency of a task on itself is
    ignored, as in web2py. Without edges the result is empty.

    Raises ``DependencyCycle`` with the cycle in its ``path``. web2py returns None instead, and the
    tasks wait forever without an error message.

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
        # graphlib lists a cycle from child to parent; the error message reads the other way.
        raise DependencyCycle(ring.args[1][::-1]) from None
    return list(_layers(sorter))


def _layers(sorter: TopologicalSorter[int]) -> Iterator[set[int]]:
    while sorter.is_active():
        layer = set(sorter.get_ready())
        yield layer
        sorter.done(*layer)
