"""The tasks around one task: what it waits for, and what waits for it."""

from __future__ import annotations

from typing import Any

import pytest
from support.kit import Lab

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries import Link, Queries


class Shelf:
    """Tasks and what waits for what."""

    def __init__(self, lab: Lab) -> None:
        self.db = lab.db
        self.browser = Queries(self.db, Settings(), "lab")

    def task(self, name: str, **columns: Any) -> int:
        return int(self.db.scheduler_task.insert(function_name="f", task_name=name, **columns))

    def waits(self, parent: int, child: int, **columns: Any) -> None:
        given = {"job_name": "book", "task_parent": parent, "task_child": child, **columns}
        self.db.scheduler_task_deps.insert(**given)


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    return Shelf(lab)


def test_both_sides_are_told_with_their_states(shelf: Shelf) -> None:
    draw = shelf.task("draw", status=TaskStatus.COMPLETED)
    paint, bind = shelf.task("paint"), shelf.task("bind")
    shelf.waits(bind, draw, can_visit=True)
    shelf.waits(bind, paint, on_failure="run")
    assert shelf.browser.waits_for(bind) == [
        Link(draw, "draw", TaskStatus.COMPLETED, "book", True, "stop"),
        Link(paint, "paint", TaskStatus.QUEUED, "book", False, "run"),
    ]
    [after] = shelf.browser.waited_by(draw)
    assert (after.id, after.name, after.fulfilled) == (bind, "bind", True)
    assert shelf.browser.waits_for(draw) == shelf.browser.waited_by(bind) == []


def test_a_task_that_was_deleted_is_told_of_as_nobody(shelf: Shelf) -> None:
    gone, bind = shelf.task("gone"), shelf.task("bind")
    shelf.waits(bind, gone)
    shelf.db(shelf.db.scheduler_task.id == gone).delete()
    [link] = shelf.browser.waits_for(bind)
    assert (link.id, link.name, link.fulfilled) == (None, "", False)
