"""Values named in `secret=[...]` are in no page, no JSON, and no log of server or worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from support.pages_kit import Site
from support.routes import HTML, JSON, Asker, Route, meant

from plugin_scheduler.core.types import TaskStatus

#: Each reaches the site in another way. JSON and HTML do not escape any of their letters.
BY_PLACE, BY_NAME, NESTED, WAITING, TYPED, REJECTED = (f"hush{number}kqxzvj" for number in range(6))
ALL = (BY_PLACE, BY_NAME, NESTED, WAITING, TYPED, REJECTED)
TASKS = """
    @scheduler.task(secret=["password", "keys"])
    def log_in(user, password="", keys=None, *, fails=False):
        if fails:
            raise ValueError("no such user: " + user)
        return user

    from py4web import action, request

    @action("tell", method="POST")
    @action.uses(db)
    def _tell():
        answer = scheduler.queue_task("log_in", **request.json)
        return {"id": answer.id, "errors": str(answer.errors)}
"""
ROUTES = meant()
READS = [route for route in ROUTES if route.method == "GET"]
CHANGES = [route for route in ROUTES if route.method == "POST"]


class Told:
    """A site whose tasks have secrets, and the ids of its rows."""

    def __init__(self, site: Site) -> None:
        app = self.app = site.app
        self.worker = app.start_worker("-L", "DEBUG")
        done = self.queue(site, pargs=["ann", BY_PLACE])["id"]
        named = {"password": BY_NAME, "fails": True}
        failed = self.queue(site, pargs=["bob"], pvars=named)["id"]
        nested = self.queue(site, pargs=["eve", "", {"a": [NESTED]}], pvars={"fails": True})["id"]
        app.becomes(done, TaskStatus.COMPLETED)
        for task_id in (failed, nested):
            app.becomes(task_id, TaskStatus.FAILED)
        later = {"group_name": "elsewhere", "period": 60, "repeats": 0}
        waiting = self.queue(site, pargs=["zoe", WAITING], **later)["id"]
        refused = self.queue(site, pargs=["x", REJECTED], period=-5)
        assert refused["errors"] != "{}" and REJECTED not in str(refused)
        self.tasks = [done, failed, nested, waiting]
        rows = [app.task(task_id) for task_id in self.tasks]
        runs = [run.id for task_id in self.tasks for run in app.runs(task_id)]
        self.places = [*map(str, self.tasks), *(row.uuid for row in rows), *map(str, runs)]
        self.places += ["log_in", "main", app.worker_row().worker_name.replace("#", "%23")]

    def queue(self, site: Site, **given: Any) -> Any:
        """Queue through an action of the app, which knows the function's secrets."""
        answer = requests.post(f"{site.root}/lab/tell", json=given, timeout=20)
        assert answer.ok, answer.text
        return answer.json()

    def fillings(self, route: Route) -> Iterator[str]:
        yield from dict.fromkeys(route.filled(place) for place in self.places)


@pytest.fixture(scope="module")
def told(site: Site) -> Told:
    return Told(site)


@pytest.fixture(scope="module")
def asker(site: Site, told: Told) -> Iterator[Asker]:
    """A user with all permissions, who still sees no secret."""
    one = Asker(site, "adele")
    yield one
    one.session.close()


def secrets_in(text: str) -> list[str]:
    return [one for one in ALL if one in text]


def test_the_function_is_told(told: Told) -> None:
    """The rows have the secrets: otherwise the tests below would test nothing."""
    stored = " ".join(f"{row.args} {row.vars}" for row in map(told.app.task, told.tasks))
    assert secrets_in(stored) == [BY_PLACE, BY_NAME, NESTED, WAITING]


def test_no_page_and_no_json_tells_a_secret(told: Told, asker: Asker) -> None:
    telling, shown = [], 0
    for route in READS:
        for path in told.fillings(route):
            for accept in (HTML, JSON):
                text = asker.ask("GET", path, accept).text
                shown += "log_in" in text
                telling += [f"{path}: {one}" for one in secrets_in(text)]
    assert shown, "nothing is shown of these tasks at all"
    assert not telling


def test_a_search_does_not_find_a_secret(told: Told, asker: Asker) -> None:
    """A correct guess gets the same answer as a text that does not occur."""
    for route in READS:
        path = next(told.fillings(route))
        for name in ("text", "args", "q", "search"):
            for accept in (HTML, JSON):
                asked = [f"{path}?{name}={word}" for word in (WAITING, "nowhere1kqxzvj")]
                found, other = (asker.ask("GET", one, accept).text for one in asked)
                assert found.count("log_in") == other.count("log_in"), f"{path}?{name}="


def test_an_answer_to_a_change_tells_no_secret(told: Told, asker: Asker) -> None:
    """Including a form with errors, which keeps the typed values."""
    for route in CHANGES:
        path = route.filled(str(told.tasks[-1]))
        wrong: dict[str, Any] = {"function": "log_in", "function_name": "log_in", "period": "-5"}
        wrong |= {"password": TYPED, "arg-password": TYPED, "args": json.dumps(["x", TYPED])}
        for answer in (asker.change(path, **wrong), asker.change_json(path, wrong)):
            assert not secrets_in(answer.text.replace(TYPED, "")), path
    for route in READS:
        for path in told.fillings(route):
            assert not secrets_in(asker.ask("GET", path).text.replace(TYPED, "")), path


def test_no_log_tells_a_secret(site: Site, told: Told, asker: Asker) -> None:
    told.app.becomes(told.tasks[0], TaskStatus.COMPLETED)
    # A search text is part of an address, which the server logs.
    server = "\n".join(line for line in site.server.log.splitlines() if "?" not in line)
    for what, log in (("the worker", told.worker.log), ("the server", server)):
        assert log and not secrets_in(log), what
    assert not site.tickets()
