"""Where the tasks of a job stand in a drawing."""

from __future__ import annotations

import random

from plugin_scheduler.queries.graph_layout import TALLEST, drawing


def crossings(places: dict[int, tuple[int, float]], edges: list[tuple[int, int]]) -> int:
    """Of edges between the same two columns."""
    found = 0
    for one in edges:
        for other in edges:
            ends = [places[number] for number in (*one, *other)]
            if ends[0][0] == ends[2][0] and ends[1][0] == ends[3][0]:
                found += (ends[0][1] < ends[2][1]) and (ends[1][1] > ends[3][1])
    return found


def test_who_waits_stands_to_the_right_of_all_that_it_waits_for() -> None:
    numbers = random.Random(7)
    edges = [(one, numbers.randrange(one)) for one in range(1, 60) for _ in range(2)]
    places = drawing(range(60), edges).places
    assert all(places[waiting].column > places[other].column for waiting, other in edges)
    assert len(set(places.values())) == 60


def test_tasks_that_nothing_is_known_of_stand_in_the_first_column() -> None:
    assert drawing([4], []).places == {4: (0, 0)}
    places = drawing([1, 2, 3, 9], [(2, 1), (3, 2)]).places
    assert [places[one].column for one in (1, 2, 3, 9)] == [0, 1, 2, 0]


def test_nothing_gives_an_empty_drawing() -> None:
    assert drawing([], []) == ({}, {}, [])


def test_a_column_is_centred() -> None:
    rows = [place.row for place in drawing([1, 2, 3, 4], [(4, 1), (4, 2), (4, 3)]).places.values()]
    assert rows == [-1, 0, 1, 0]


def test_rows_are_ordered_so_that_lines_do_not_cross_without_need() -> None:
    edges = [(11, 3), (12, 2), (13, 1), (21, 13), (22, 12), (23, 11)]
    ids = [1, 2, 3, 11, 12, 13, 21, 22, 23]
    assert crossings(drawing(ids, edges).places, edges) == 0


def test_a_line_that_passes_a_layer_has_a_place_there_that_no_task_has() -> None:
    found = drawing([1, 2, 3, 4], [(2, 1), (3, 2), (4, 3), (4, 1)])
    passed = found.ways[4, 1]
    assert [place.column for place in passed] == [1, 2]
    assert not set(passed) & set(found.places.values())
    assert list(found.ways) == [(4, 1)]


def test_where_too_many_lines_would_pass_they_go_straight() -> None:
    chain = [(one, one - 1) for one in range(2, 60)]
    found = drawing(range(1, 60), [*chain, *((59, one) for one in range(1, 58))])
    assert found.ways
    many = [(one, other) for one in range(2, 60) for other in range(1, one)]
    assert drawing(range(1, 60), many).ways == {}


def test_a_tall_layer_is_folded_and_what_waits_for_it_still_stands_to_the_right() -> None:
    many = list(range(1, 3 * TALLEST))
    places = drawing([*many, 999], [(999, one) for one in many]).places
    assert {places[one].column for one in many} == {0, 1, 2}
    assert places[999].column == 3
    assert max(place.row for place in places.values()) <= TALLEST / 2


def test_a_ring_is_told_and_drawn_all_the_same() -> None:
    found = drawing([1, 2, 3, 4], [(2, 1), (3, 2), (1, 3), (4, 3)])
    (ring,) = found.rings
    assert ring[0] == ring[-1] and set(ring) == {1, 2, 3}
    assert set(found.places) == {1, 2, 3, 4}


def test_each_of_several_rings_is_told() -> None:
    found = drawing(range(1, 5), [(1, 2), (2, 1), (3, 4), (4, 3)])
    assert [set(ring) for ring in sorted(found.rings)] == [{1, 2}, {3, 4}]


def test_a_task_that_waits_for_itself_is_taken_as_not_waiting() -> None:
    assert drawing([1], [(1, 1)]) == ({1: (0, 0)}, {}, [])


def test_the_same_job_is_drawn_in_the_same_way_each_time() -> None:
    edges = [(5, 1), (5, 2), (6, 2), (6, 3), (7, 5), (7, 6)]
    assert drawing([1, 2, 3, 5, 6, 7], edges) == drawing([1, 2, 3, 5, 6, 7], edges[::-1])
