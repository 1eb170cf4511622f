"""The order of tasks that wait for each other."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from plugin_scheduler.core.errors import DependencyCycle, SchedulerError
from plugin_scheduler.scheduling.dependency_order import order


def test_no_edges_give_no_layers() -> None:
    assert order([]) == []


def test_what_waits_for_nothing_comes_first() -> None:
    assert order([(2, 1)]) == [{1}, {2}]


def test_a_diamond_has_three_layers() -> None:
    assert order([(4, 2), (4, 3), (2, 1), (3, 1)]) == [{1}, {2, 3}, {4}]


def test_a_task_stands_in_the_layer_after_the_last_one_it_waits_for() -> None:
    assert order([(3, 1), (3, 2), (2, 1)]) == [{1}, {2}, {3}]


def test_separate_groups_of_tasks_share_layers() -> None:
    assert order([(2, 1), (20, 10)]) == [{1, 10}, {2, 20}]


def test_an_edge_given_twice_counts_once() -> None:
    assert order(iter([(2, 1), (2, 1)])) == [{1}, {2}]


def test_a_task_that_waits_for_itself_does_not_wait() -> None:
    assert order([(1, 1)]) == [{1}]
    assert order([(2, 2), (2, 1)]) == [{1}, {2}]


def test_two_tasks_that_wait_for_each_other_are_a_ring() -> None:
    with pytest.raises(DependencyCycle) as caught:
        order([(3, 5), (5, 3)])
    assert str(caught.value) in (
        "task 3 waits for task 5 waits for task 3",
        "task 5 waits for task 3 waits for task 5",
    )
    assert isinstance(caught.value, SchedulerError)


def test_the_path_of_a_ring_follows_the_edges_from_waiting_to_awaited() -> None:
    edges = [(1, 2), (2, 3), (3, 4), (4, 2), (9, 8)]
    with pytest.raises(DependencyCycle) as caught:
        order(edges)
    path = caught.value.path
    assert path[0] == path[-1]
    assert set(path) == {2, 3, 4}
    assert set(pairwise(path)) <= set(edges)


def test_a_chain_of_ten_thousand_tasks_is_ordered() -> None:
    layers = order((task + 1, task) for task in range(10_000))
    assert layers == [{task} for task in range(10_001)]


def test_a_ring_of_ten_thousand_tasks_is_found() -> None:
    with pytest.raises(DependencyCycle) as caught:
        order((task, (task + 1) % 10_000) for task in range(10_000))
    assert len(caught.value.path) == 10_001


def test_in_any_order_of_edges_no_task_comes_before_one_it_waits_for() -> None:
    rng = random.Random(3)
    for _ in range(50):
        edges = [(rng.randint(i + 1, 40), i) for i in range(39) for _ in range(2)]
        rng.shuffle(edges)
        layers = order(edges)
        place = {task: number for number, layer in enumerate(layers) for task in layer}
        assert all(place[child] < place[parent] for parent, child in edges)
        for number, layer in enumerate(layers[1:], start=1):
            for task in layer:
                assert max(place[c] for p, c in edges if p == task) == number - 1
