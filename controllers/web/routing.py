"""Routing: `page`, `data` and `change` turn functions into py4web actions.

Common to all pages: authentication, tokens, headers, transactions, error messages, and rendering.
Does not read tables.

>>> def mount(site):
...     @site.page("tasks", "tasks.html")            # GET; a dict for the template
...     def tasks(visit): return {"page": visit.queries.tasks(Filter())}
...     @site.data("api/tasks")                      # GET; a dict as JSON
...     def api_tasks(visit): return {...}
...     @site.change("tasks/<ref>/stop", role=ACT)   # POST; redirects a form, tells a script
...     def stop(visit, ref): return Done(visit.T("Stopped."), to="tasks")
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from typing import Any

from plugin_scheduler.controllers.web import csrf, request_body
from plugin_scheduler.controllers.web.auth import ACT, VIEW, Door, Person, Policy
from plugin_scheduler.controllers.web.i18n import Languages
from plugin_scheduler.controllers.web.request_context import Done, Visit
from plugin_scheduler.controllers.web.template_helpers import Shown
from plugin_scheduler.views import FOLDER, STATIC
from py4web import URL, Session, action, request, response
from py4web.core import BareFixture, bottle, render
from yatl.helpers import INPUT

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import NotFound, SchedulerError, StoreUnavailable
from plugin_scheduler.core.visible_text import visible

DAY = 24 * 3600
#: Templates whose fields are submitted.
FORMS = ("queue.html",)
LONGEST_FLASH = 600  # characters, because it is stored in a cookie

#: Pages in the order of the navigation: path and label.
NAVIGATION = (
    ("", "Overview"),
    ("tasks", "Tasks"),
    ("queue", "Queue"),
    ("failures", "Failures"),
    ("schedule", "Schedule"),
    ("timeline", "Timeline"),
    ("graph", "Graph"),
    ("workers", "Workers"),
    ("history", "History"),
)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Shown before a session, and with it a language, is known.
UNREADABLE = "The request body is too large, or does not match its content type."

Handler = Callable[..., Any]


class Site:
    """The pages of one scheduler, below one route of its app."""

    def __init__(
        self,
        scheduler: Any,
        auth: Any,
        policy: Policy | None,
        route: str,
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        self.scheduler, self.route = scheduler, route
        self._proxies = csrf.networks(trusted_proxies)
        self.paths: set[str] = set()
        self._translator = Languages()
        self._session = Session(name="{app_name}_scheduler_session")
        dashboard = Session(name="_dashboard_session")
        self._door = Door(dashboard, auth, policy)
        self._auth = auth
        fixtures = [self._translator, dashboard, self._session, auth, scheduler.db]
        self._uses = action.uses(*(one for one in fixtures if isinstance(one, BareFixture)))

    # -- the three kinds of actions --------------------

    def page(self, path: str, template: str, role: str = VIEW) -> Callable[[Handler], Handler]:
        """Register a page for people: GET; the action returns a dict for the template."""

        def show(person: Person, visit: Visit, answer: Any) -> str:
            return self._render(template, person, visit.shown, answer)

        return self._action(path, "GET", role, show)

    def data(self, path: str, role: str = VIEW) -> Callable[[Handler], Handler]:
        """Register data for scripts: GET; the action returns a value for JSON."""

        def show(person: Person, visit: Visit, answer: Any) -> str:
            return _json(answer)

        return self._action(path, "GET", role, show)

    def text(self, path: str, role: str = VIEW) -> Callable[[Handler], Handler]:
        """Register a text to download: GET; the action returns a plain file name and the
        content."""

        def show(person: Person, visit: Visit, answer: tuple[str, str]) -> str:
            name, text = answer
            response.headers["Content-Type"] = "text/plain; charset=utf-8"
            response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
            return text

        return self._action(path, "GET", role, show)

    def change(self, path: str, role: str = ACT) -> Callable[[Handler], Handler]:
        """Register a change: POST with a token, from one of these pages; the action returns a
        `Done`."""

        def show(person: Person, visit: Visit, answer: Done) -> str:
            if _wants_json():
                response.status = answer.status
                return _json({"message": answer.message, **(answer.data or {})})
            self._session["flash"] = answer.message[:LONGEST_FLASH]
            response.headers["Location"] = visit.url(answer.to, **(answer.query or {}))
            response.status = 303
            return ""

        return self._action(path, "POST", role, show)

    def serve_static(self) -> None:
        """Register scripts and styles, which are public and the same for all users."""

        @action(f"{self.route}/static/<name:path>", method="GET")
        def scheduler_static(name: str) -> Any:
            answer = bottle.static_file(name, root=str(STATIC))
            answer.headers["X-Content-Type-Options"] = "nosniff"
            answer.headers["Cache-Control"] = f"public, max-age={DAY}"
            return answer

    # -- handling of a request --------------------

    def _action(self, path: str, method: str, role: str, show: Any) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            @self._uses
            @wraps(handler)
            def answer(**places: Any) -> Any:
                return self._answer(handler, method, role, show, places)

            @wraps(handler)
            def asked(**places: Any) -> Any:
                response.headers.update(HEADERS)
                if method == "POST" and not request_body.is_readable():
                    response.status = 400
                    return _json({"error": UNREADABLE})
                return answer(**{name: _cleaned(value) for name, value in places.items()})

            self.paths.add(path)
            whole_path = f"{self.route}/{path}".rstrip("/")
            action(whole_path, method=method)(asked)
            return handler

        return register

    def _answer(
        self, handler: Handler, method: str, role: str, show: Any, places: dict[str, Any]
    ) -> Any:
        person = self._door.person()
        if person is None:
            return self._refuse()
        visit = self._visit(person)
        db = self.scheduler.db
        try:
            if not person.may(role):
                return self._complain(403, visit.T("Your role does not allow this."), visit)
            if method == "POST":
                own = csrf.own_origin(request.environ, self._proxies)
                csrf.check(self._session, request.headers, _body(visit), own)
            with self.scheduler.trouble():
                answer = show(person, visit, handler(visit, **places))
                db.commit() if method == "POST" else db.rollback()
            return answer
        except csrf.Refused as refused:
            return self._complain(403, visit.T(str(refused)), visit)
        except SchedulerError as error:
            db.rollback()
            return self._complain(_status_of(error), visit.say(_words_of(error)), visit)

    def _visit(self, person: Person) -> Visit:
        shown = Shown(self._translator, self.route, self.scheduler.zone())
        return Visit(self.scheduler, person, shown)

    # -- answers --------------------

    def _refuse(self) -> str:
        """Answer a stranger: always in the same way, whatever was requested."""
        response.status = 403
        if _wants_json():
            return _json({"error": "not allowed"})
        shown = Shown(self._translator, self.route, None)
        login = URL(f"{self._auth.route}/login") if getattr(self._auth, "route", None) else ""
        language = self._translator.local.tag or "en"
        return self._rendered(
            "stranger.html", {"login": login, "language": language, **shown.all()}
        )

    def _complain(self, status: int, message: str, visit: Visit) -> str:
        response.status = status
        if _wants_json():
            return _json({"error": message})
        return self._render("message.html", visit.person, visit.shown, {"message": message})

    def _render(self, template: str, person: Person, shown: Shown, given: dict[str, Any]) -> str:
        flash = self._session.get("flash")
        if flash:
            del self._session["flash"]
        token = csrf.token_of(self._session, person.name)
        context = {
            **shown.all(),
            "person": person,
            "token": token,
            "token_field": lambda: INPUT(_type="hidden", _name=csrf.FIELD, _value=token),
            "flash": flash,
            "navigation": [(path, name) for path, name in NAVIGATION if path in self.paths],
            "here": request.path.partition(f"/{self.route}")[2].strip("/").partition("/")[0],
            "app": self.scheduler.application_name,
            "zone": shown.zone,
            "language": self._translator.local.tag or "en",
            "words": {text: shown.word(text) for text in script_texts()},
            **given,
        }
        return self._rendered(template, context)

    def _rendered(self, template: str, context: dict[str, Any]) -> str:
        response.headers["Content-Type"] = "text/html; charset=utf-8"
        folder = str(FOLDER)
        text: str = render(filename=str(FOLDER / template), path=folder, context=context)
        text = json_codec.clean(text)  # half a surrogate pair cannot be encoded
        # A form must return its values unchanged; all other pages are only read.
        return text if template in FORMS else visible(text, lines=True)


@lru_cache
def script_texts() -> tuple[str, ...]:
    """Return the texts in scripts: each page includes their translations."""
    texts: set[str] = set()
    for path in sorted(STATIC.glob("*.js")):
        texts.update(re.findall(r'\bT\("([^"]+)"', path.read_text("utf-8")))
    return tuple(sorted(texts))


def _wants_json() -> bool:
    accepts = request.headers.get("Accept") or ""
    return "application/json" in accepts or "/api/" in request.path


def _json(answer: Any) -> str:
    response.headers["Content-Type"] = "application/json"
    return json.dumps(json_codec.document(answer), allow_nan=False)


def _body(visit: Visit) -> dict[str, Any]:
    """Return the body, which may contain a token; an unreadable body has none."""
    try:
        return visit.given
    except SchedulerError:
        return {}


def _cleaned(place: Any) -> Any:
    """Return a part of an address in a form that every database accepts."""
    return json_codec.clean(place) if isinstance(place, str) else place


def _status_of(error: SchedulerError) -> int:
    if isinstance(error, NotFound):
        return 404
    return 503 if isinstance(error, StoreUnavailable) else 400


def _words_of(error: SchedulerError) -> str:
    """Return a sentence, if the error has one, so that it can be translated."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, str) else str(error)
