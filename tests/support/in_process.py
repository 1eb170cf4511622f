"""The pages without a server: each route's action is called, and its template drawn, here."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import py4web.core
from plugin_scheduler.controllers import PAGES
from plugin_scheduler.controllers.web.auth import ADMIN, Person
from plugin_scheduler.controllers.web.request_context import Visit
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler import Scheduler
from plugin_scheduler.core.errors import SchedulerError
from support.routes import PLACE

Show = Callable[[Any], str]


class Pages(Site):
    """A site that keeps its routes to itself."""

    def __init__(self, scheduler: Scheduler) -> None:
        py4web.core.Session.SECRET = str(uuid.uuid4())
        super().__init__(scheduler, None, None, "scheduler")
        self.reads: dict[str, tuple[Any, Any]] = {}
        for page in PAGES:
            page.mount(self)
        py4web.core.Fixture.local_initialize(self._session)
        self._session.local.data = {}
        self._translator.select("en")

    def _action(self, path: str, method: str, role: str, show: Any) -> Callable[[Any], Any]:
        def register(handler: Any) -> Any:
            self.paths.add(path)
            if method == "GET":
                self.reads[path] = (handler, show)
            return handler

        return register

    def get(self, path: str, place: str = "", query: str = "") -> str:
        """What a route answers: its text, or the words of an error that is the reader's."""
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": f"/lab/scheduler/{PLACE.sub(lambda _: quote(place), path)}",
            "QUERY_STRING": query,
            "wsgi.input": io.BytesIO(),
            "HTTP_HOST": "localhost",
        }
        py4web.core.request.__init__(environ)
        py4web.core.request.app_name = "lab"
        handler, show = self.reads[path]
        person = Person("adele", ADMIN)
        visit: Visit = self._visit(person)
        try:
            places = {name: place for name in PLACE.findall(path)}
            return str(show(person, visit, handler(visit, **places)))
        except SchedulerError as error:
            return f"refused: {error}"

    def paths_with(self, place: bool) -> Iterator[str]:
        return (path for path in sorted(self.reads) if bool(PLACE.search(path)) == place)
