"""Every route of the pages, from the router of a running app; and asking each, as anybody.

I know where routes come from, what may stand in their places, and what of an answer counts. I
never know what a page is for: a new one is tried like all others without being named anywhere.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import requests

from plugin_scheduler import controllers
from plugin_scheduler.core.types import TaskStatus
from support.home import add_worker
from support.pages_kit import Site

TABLES = ("task", "run", "worker", "task_deps", "history", "metric")
MISSING = ("987654", "00000000-0000-4000-8000-000000000000", "nobody")
STATIC = "static/<name:path>"
PLACE = re.compile(r"<(\w+)(?::[^>]*)?>")
HTML, JSON = "text/html,application/xhtml+xml,*/*;q=0.8", "application/json"
#: They differ between two answers that are the same, or tell of the connection only.
PASSING = {"date", "server", "connection"}


@dataclasses.dataclass(frozen=True, order=True)
class Route:
    """A method and a path below the pages' own, with places such as ``<ref>``."""

    path: str
    method: str
    role: str = ""
    module: str = ""  # where its action is

    @property
    def places(self) -> list[str]:
        return PLACE.findall(self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path or '/'}"

    def filled(self, value: str) -> str:
        return PLACE.sub(lambda _: value, self.path)


class Listing:
    """Stands for a site: notes what would be mounted, and for whom."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def page(self, path: str, template: str, role: str = "view") -> Callable[[Any], Any]:
        return self._note(path, "GET", role)

    def data(self, path: str, role: str = "view") -> Callable[[Any], Any]:
        return self._note(path, "GET", role)

    def text(self, path: str, role: str = "view") -> Callable[[Any], Any]:
        return self._note(path, "GET", role)

    def change(self, path: str, role: str = "act") -> Callable[[Any], Any]:
        return self._note(path, "POST", role)

    def _note(self, path: str, method: str, role: str) -> Callable[[Any], Any]:
        def note(action: Any) -> Any:
            module = action.__module__.rpartition(".")[2]
            self.routes.append(Route(path, method, role, module))
            return action

        return note


def meant() -> list[Route]:
    """What the code mounts, with the role that each asks for."""
    listing: Any = Listing()
    for one in controllers.PAGES:
        one.mount(listing)
    return sorted(listing.routes)


def mounted(site: Site) -> set[tuple[str, str]]:
    """Path and method of whatever the app's router knows below the pages' address."""
    with site.log_in() as session:
        known = session.get(f"{site.root}/_dashboard/routes", timeout=20).json()["payload"]["lab"]
    start = "/lab/scheduler"
    ours = [one for one in known if f"{one['rule']}/".startswith(f"{start}/")]
    return {(one["rule"].removeprefix(start).strip("/"), one["method"]) for one in ours}


class Asker:
    """Somebody with a login and a token, who sends what a browser would, or something else."""

    def __init__(self, site: Site, who: str) -> None:
        self.site, self.session = site, site.log_in(who)
        page = self.ask("GET", "history", HTML).text
        found = re.search(r'name="token" content="([^"]+)"', page)
        self.token = found[1] if found else "none"

    def ask(self, method: str, path: str, accept: str = HTML, **more: Any) -> requests.Response:
        """An answer, as it came; ``more`` goes to requests."""
        headers = {"Accept": accept, **more.pop("headers", {})}
        url = f"{self.site.pages}/{path}".rstrip("/")
        return self.session.request(
            method, url, headers=headers, allow_redirects=False, timeout=30, **more
        )

    def change(self, path: str, accept: str = HTML, **given: Any) -> requests.Response:
        """A form of a page of ours, sent as it is meant to be."""
        data = {"_token": self.token, **given}
        return self.ask("POST", path, accept, data=data, headers={"Origin": self.site.root})

    def change_json(self, path: str, body: Any) -> requests.Response:
        """What a script of a page of ours sends."""
        headers = {"Origin": self.site.root, "X-Scheduler-Token": self.token}
        return self.ask("POST", path, JSON, json=body, headers=headers)


def facts(answer: requests.Response) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    """All of an answer that may tell somebody something."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    kept = {name: value for name, value in headers.items() if name not in PASSING}
    kept["set-cookie"] = " ".join(sorted(answer.cookies.keys()))  # their values are sealed
    return answer.status_code, answer.text, tuple(sorted(kept.items()))


def dump(site: Site) -> dict[str, list[Any]]:
    """Every row of every table of ours."""
    db = site.app.fresh()
    found = {}
    for name in TABLES:
        table = db[f"scheduler_{name}"]
        rows = db(table).select(orderby=table.id)
        found[name] = [{field: row[field] for field in table.fields} for row in rows]
    db.commit()
    return found


def differences(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> list[str]:
    """Rows that are not the same."""
    found = []
    for name in TABLES:
        pairs = itertools.zip_longest(one[name], other[name])
        found += [f"{name}: {before} is now {after}" for before, after in pairs if before != after]
    return found[:5]


class World:
    """A site with a bit of everything in it, and no worker that could change anything."""

    def __init__(self, site: Site) -> None:
        self.site, app = site, site.app
        worker = app.start_worker()
        done = app.becomes(app.queue("add", 1, 2), TaskStatus.COMPLETED)
        failed = app.becomes(app.queue("fail"), TaskStatus.FAILED)
        worker.send(15)
        worker.wait()
        waiting = app.queue("add", 1, 2, group_name="elsewhere", period=60, repeats=0)
        db = app.fresh()
        db.scheduler_task_deps.insert(job_name="job", task_parent=waiting, task_child=failed.id)
        add_worker(db, "host#1", ["main"])
        run = db(db.scheduler_run.task_id == done.id).select().first()
        db.commit()
        self.refs = [str(one) for one in (done.id, failed.id, waiting, done.uuid)]
        self.there = [*self.refs, str(run.id), "host#1".replace("#", "%23"), "job", "main", "add"]

    def fillings(self, route: Route) -> Iterator[str]:
        """The route's path with each thing that is there in its places."""
        yield from dict.fromkeys(route.filled(value) for value in self.there)

    def empty(self, route: Route) -> Iterator[str]:
        """The same with things that are not there."""
        yield from dict.fromkeys(route.filled(value) for value in MISSING)
