"""What the drawing of dependencies promises, on every database."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from support.kit import Lab

from plugin_scheduler import JobGraph
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import OnChildFailure, RunStatus, TaskStatus
from plugin_scheduler.queries import Queries
from plugin_scheduler.queries.graphs import Graph

NOW = datetime(2026, 1, 31, 12, 0)


class Shelf:
    """A lab's tables, and a browser."""

    def __init__(self, lab: Lab) -> None:
        self.db = lab.db
        self.browser = Queries(self.db, Settings(), "lab")

    def task(self, **columns: Any) -> int:
        given = {"function_name": "add", "next_run_time": NOW, **columns}
        return int(self.db.scheduler_task.insert(**given))

    def tasks(self, number: int) -> list[int]:
        return [self.task() for _ in range(number)]

    def waits(self, task_id: int, *others: int, job: str = "job", **options: Any) -> None:
        for other in others:
            JobGraph(self.db, job).add_deps(task_id, other, **options)


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    return Shelf(lab)


def ids(graph: Graph) -> set[int]:
    return {node.id for node in graph.nodes}


def links(graph: Graph) -> set[tuple[int, int]]:
    return {(edge.before, edge.after) for edge in graph.edges}


def test_all_that_hangs_together_is_drawn_from_whichever_end_one_looks(shelf: Shelf) -> None:
    one, two, three, four, other, alone = shelf.tasks(6)
    shelf.waits(three, one, two)
    shelf.waits(four, three)
    shelf.waits(other, alone)
    for task_id in (one, two, three, four):
        graph = shelf.browser.graph_of(task_id)
        assert ids(graph) == {one, two, three, four} and not graph.cut
        assert links(graph) == {(one, three), (two, three), (three, four)}
    columns = {node.id: node.column for node in graph.nodes}
    assert columns == {one: 0, two: 0, three: 1, four: 2}


def test_a_task_without_others_is_drawn_alone_and_one_that_is_not_there_not_at_all(
    shelf: Shelf,
) -> None:
    (alone,) = shelf.tasks(1)
    assert ids(shelf.browser.graph_of(alone)) == {alone}
    assert shelf.browser.graph_of(alone + 99).nodes == []


def test_a_node_says_how_its_task_stands_and_how_far_its_run_is(shelf: Shelf) -> None:
    task_id = shelf.task(task_name="bind", status=TaskStatus.RUNNING, enabled=False)
    progress = {"at": 3, "of": 10}
    run_id = shelf.db.scheduler_run.insert(
        task_id=task_id, status=RunStatus.RUNNING, progress=progress
    )
    shelf.db(shelf.db.scheduler_task.id == task_id).update(run_id=run_id)
    (node,) = shelf.browser.graph_of(task_id).nodes
    assert (node.name, node.function, node.status) == ("bind", "add", TaskStatus.RUNNING)
    assert (node.enabled, node.progress, node.deleted) == (False, progress, False)


def test_an_edge_says_whether_it_is_fulfilled_and_what_a_failure_means(shelf: Shelf) -> None:
    one, two, three = shelf.tasks(3)
    shelf.waits(three, one, on_failure=OnChildFailure.RUN)
    shelf.waits(three, two, job="another job")
    shelf.db(shelf.db.scheduler_task_deps.task_child == two).update(can_visit=True, on_failure=None)
    first, second = shelf.browser.graph_of(three).edges
    assert (first.fulfilled, first.on_failure, first.job) == (False, OnChildFailure.RUN, "job")
    assert (second.fulfilled, second.on_failure) == (True, OnChildFailure.STOP)
    assert second.job == "another job"


def test_a_task_that_was_deleted_while_another_waits_for_it_is_drawn_as_gone(shelf: Shelf) -> None:
    one, two, three = shelf.tasks(3)
    shelf.waits(three, one, two)
    shelf.db(shelf.db.scheduler_task.id == one).delete()
    graph = shelf.browser.graph_of(three)
    gone = [node for node in graph.nodes if node.deleted]
    assert len(gone) == 1 and gone[0].id < 0
    assert ids(graph) == {two, three, gone[0].id}
    assert (gone[0].id, three) in links(graph)


def test_what_is_too_large_is_cut_and_said_to_be(shelf: Shelf) -> None:
    chain = shelf.tasks(8)
    for one, other in pairwise(chain):
        shelf.waits(other, one)
    graph = shelf.browser.graph_of(chain[0], most=5)
    assert ids(graph) == set(chain[:5]) and graph.cut
    job = shelf.browser.graph_of_job("job", most=5)
    assert ids(job) == set(chain[-5:]) and job.cut
    assert not shelf.browser.graph_of(chain[0], most=8).cut
    assert not shelf.browser.graph_of_job("job", most=8).cut


def test_a_ring_is_told(shelf: Shelf) -> None:
    one, two = shelf.tasks(2)
    shelf.waits(one, two)
    shelf.waits(two, one)
    graph = shelf.browser.graph_of(one)
    assert [set(ring) for ring in graph.rings] == [{one, two}] and ids(graph) == {one, two}


def test_another_apps_tasks_are_not_shown_and_no_way_leads_through_them(shelf: Shelf) -> None:
    one, two, three = shelf.task(), shelf.task(application_name="other"), shelf.task()
    shelf.waits(one, two)
    shelf.waits(two, three)
    graph = shelf.browser.graph_of(one)
    assert ids(graph) == {one} and graph.edges == []
    assert shelf.browser.graph_of(two).nodes == []
    assert ids(shelf.browser.graph_of_job("job")) == {one, three}


def test_a_job_is_drawn_without_the_others(shelf: Shelf) -> None:
    one, two, three = shelf.tasks(3)
    shelf.waits(two, one, job="a")
    shelf.waits(three, two, job="b")
    assert ids(shelf.browser.graph_of_job("a")) == {one, two}
    assert shelf.browser.graph_of_job("c").nodes == []


def test_jobs_are_listed_the_newest_first_with_the_states_of_their_tasks(shelf: Shelf) -> None:
    one, two, three = shelf.tasks(3)
    failed = shelf.task(status=TaskStatus.FAILED)
    shelf.waits(three, one, two, job="old")
    shelf.waits(two, failed, job="new")
    shelf.waits(shelf.task(application_name="x"), shelf.task(application_name="x"), job="theirs")
    jobs = shelf.browser.jobs()
    assert [(job.name, job.tasks, job.edges) for job in jobs.items] == [
        ("new", 2, 1),
        ("old", 3, 2),
    ]
    assert jobs.items[0].by_status == {TaskStatus.QUEUED: 1, TaskStatus.FAILED: 1}
    assert not jobs.more
    few = shelf.browser.jobs(most=2)
    assert [job.name for job in few.items] == ["new"] and few.more
