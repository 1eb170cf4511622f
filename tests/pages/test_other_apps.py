"""Two apps in one database: the pages of one app do not show or change tasks of the other.

Also, a rule that is not in the roles of routes: the role `act` deletes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.pages_kit import Site
from support.routes import HTML, JSON, Asker, differences, dump, meant

from plugin_scheduler.core.types import RunStatus, TaskStatus

MARK = "qzxforeignjkv"
THERE = "other"
ROUTES = meant()
#: Every way to name tasks in the body of a change.
ACTS = ("stop", "requeue", "run_now", "enable", "disable", "set_priority", "set_group", "delete")


class Neighbour:
    """The rows of another app in the same tables."""

    def __init__(self, site: Site) -> None:
        db = site.app.fresh()
        names = {"task_name": MARK, "function_name": MARK, "group_name": MARK}
        self.tasks = [
            db.scheduler_task.insert(application_name=THERE, status=status, uuid=status, **names)
            for status in TaskStatus.ALL
        ]
        now = site.app.scheduler.now()
        self.runs = [
            db.scheduler_run.insert(
                task_id=self.tasks[4], status=status, run_output=MARK, traceback=MARK, reason=MARK
            )
            for status in RunStatus.ALL
        ]
        db(db.scheduler_run).update(start_time=now, stop_time=now)
        pair = {"job_name": MARK, "task_parent": self.tasks[0], "task_child": self.tasks[4]}
        db.scheduler_task_deps.insert(**pair)
        note = {"who": MARK, "did": MARK, "task_id": self.tasks[0], "detail": {MARK: MARK}}
        db.scheduler_history.insert(noted_at=now, application_name=THERE, **note)
        names.pop("task_name")
        minute = int(site.app.scheduler.now().timestamp()) // 60
        db.scheduler_metric.insert(
            epoch_minute=minute, application_name=THERE, worker_name="w", completed=1, **names
        )
        db.commit()

    @property
    def places(self) -> list[str]:
        return [*map(str, self.tasks), *map(str, self.runs), *TaskStatus.ALL]


@pytest.fixture(scope="module")
def neighbour(site: Site) -> Neighbour:
    return Neighbour(site)


@pytest.fixture(scope="module")
def asker(site: Site, neighbour: Neighbour) -> Iterator[Asker]:
    """A user with all permissions here."""
    one = Asker(site, "adele")
    yield one
    one.session.close()


def bodies(ids: list[int]) -> Iterator[dict[str, Any]]:
    """Return the requests of the pages' scripts that change tasks, and some others."""
    for act in ACTS:
        given = {"act": act, "priority": 7, "group_name": "main", "enabled": "on", "key": MARK}
        yield {**given, "id": ids}
        yield {**given, "all": 1, "query": ""}
        yield {**given, "function": "add", "task_name": "mine now", "repeats": "3"}


def test_no_page_shows_another_apps_tasks(asker: Asker, neighbour: Neighbour) -> None:
    shown = []
    for route in (one for one in ROUTES if one.method == "GET"):
        for path in dict.fromkeys(route.filled(place) for place in neighbour.places):
            for accept in (HTML, JSON):
                answer = asker.ask("GET", path, accept)
                # An answer may repeat the name in the address.
                if MARK in answer.text:
                    shown.append(f"{path}: {answer.status_code}")
    assert not shown


def test_no_change_reaches_another_apps_tasks(
    site: Site, asker: Asker, neighbour: Neighbour
) -> None:
    before = theirs(site, neighbour)
    for route in (one for one in ROUTES if one.method == "POST"):
        for place in dict.fromkeys(route.filled(place) for place in neighbour.places):
            for body in bodies(neighbour.tasks) if "<" not in route.path else [{"act": "stop"}]:
                asker.change_json(place, body)
                assert theirs(site, neighbour) == before, f"{route.method} {place} {body}"


def theirs(site: Site, neighbour: Neighbour) -> list[str]:
    """Return the other app's rows, as text."""
    rows = dump(site)
    tasks = [row for row in rows["task"] if row["id"] in neighbour.tasks]
    runs = [row for row in rows["run"] if row["id"] in neighbour.runs]
    return [json.dumps(row, default=str) for row in (*tasks, *runs, *rows["task_deps"])]


def test_who_is_no_admin_makes_nothing_disappear(site: Site) -> None:
    mine = [site.app.queue("add", 1, 2, group_name="elsewhere") for _ in range(2)]
    alan = Asker(site, "alan")
    names = {"run_id": None, "key": "x"}
    for route in (one for one in ROUTES if one.method == "POST"):
        for body in bodies(mine):
            alan.change_json(route.filled(str(mine[0])), {**names, **body})
            assert all(site.app.task(one) for one in mine), f"{route} {body}"
    alan.session.close()


def test_a_viewer_changes_nothing_but_that_he_looks(site: Site, neighbour: Neighbour) -> None:
    """Following the output of a run writes a time into its row, and nothing else."""
    mine = site.app.queue("add", 1, 2, group_name="elsewhere")
    vera, before = Asker(site, "vera"), dump(site)
    for route in (one for one in ROUTES if one.method == "POST"):
        for body in bodies([mine]):
            vera.change_json(route.filled(str(mine)), body)
    changed = differences(before, dump(site))
    vera.session.close()
    assert not changed
