"""One request, as an action sees it.

Reads the parameters. Does not check permissions: a visit exists only for an admitted user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from plugin_scheduler.controllers.web.auth import Person
from plugin_scheduler.controllers.web.template_helpers import Shown
from py4web import request

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask, NotFound
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.operations.bulk_actions import Acted, Acts
from plugin_scheduler.queries import Queries
from plugin_scheduler.queries.views import TaskView
from plugin_scheduler.store.audit_log import AuditLog

LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Done:
    """The result of a change: a sentence, the next page (``query`` is the end of its address), and
    data for scripts.

    ``status`` is the HTTP status for scripts if nothing, or not all, was done.
    """

    message: str
    to: str = ""
    data: Mapping[str, Any] | None = None
    status: int = 200
    query: Mapping[str, Any] | None = None


class Visit:
    """The context of an action: the scheduler, its queries, the user, and the request.

    >>> visit.query.get("status")
    'FAILED'
    """

    def __init__(self, scheduler: Any, person: Person, shown: Shown) -> None:
        self.scheduler, self.person, self.shown = scheduler, person, shown
        self.T, self.say, self.url, self.iso = shown.T, shown.say, shown.url, shown.iso

    @cached_property
    def queries(self) -> Queries:
        """The read-only queries."""
        return Queries.of(self.scheduler)

    @cached_property
    def journal(self) -> AuditLog:
        """The audit log."""
        home = self.scheduler
        return AuditLog(home.db, home.now, home.application_name)

    @cached_property
    def acts(self) -> Acts:
        """The actions of this person on tasks."""
        return Acts(self.scheduler, self.queries, self.journal, self.person.name)

    @cached_property
    def now(self) -> datetime:
        """The scheduler's time; constant for one request."""
        moment: datetime = self.queries.now()
        return moment

    # -- the request --------------------

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters of the address; the last value if a name occurs twice."""
        return {name: _text(_all(value)[-1]) for name, value in request.query.items()}

    def several(self, name: str) -> list[str]:
        """Return all values of a parameter of the address."""
        return [_text(value) for value in _all(request.query.get(name, []))]

    @cached_property
    def given(self) -> dict[str, Any]:
        """The body of a POST: a form's fields, or the members of a JSON object."""
        if "json" in (request.content_type or ""):
            body = _json_body()
            if not isinstance(body, dict):
                raise BadTask("the body must be a JSON object")
            return body
        return {name: _text(_all(value)[-1]) for name, value in request.forms.items()}

    def listed(self, name: str) -> list[Any]:
        """Return a member of the body as a list: a JSON list, or a repeated field of a form."""
        if "json" in (request.content_type or ""):
            value = self.given.get(name) or []
            return value if isinstance(value, list) else [value]
        return [_text(value) for value in _all(request.forms.get(name, []))]

    def number(self, name: str, default: int | None = None) -> int | None:
        """Return a parameter as an integer; raise BadTask if it is not one."""
        text = self.query.get(name, "").strip()
        if not text:
            return default
        return whole(text, name)

    def instants(self, view: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a view for scripts, with times as instants."""
        return {
            name: self.iso(value) if isinstance(value, datetime) else value
            for name, value in view.items()
        }

    def skips(self, acted: Acted) -> dict[str, int]:
        """Return the reasons for skipped tasks, in the reader's language, with numbers."""
        return {self.say(why.sentence): number for why, number in acted.skipped.items()}

    def task(self, ref: int | str) -> TaskView:
        """Return the task with that id or uuid; raise NotFound if this app has none."""
        found = self.queries.task(ref)
        if found is None:
            raise NotFound(self.T("Task not found. It may have been deleted."))
        return found


def whole(text: Any, name: str) -> int:
    """Return an integer that a database accepts as an id or a count."""
    try:
        number = int(str(text))
    except ValueError:
        number = LARGEST + 1
    if abs(number) > LARGEST:
        raise BadTask(f"{name} must be a whole number")
    return number


def _json_body() -> Any:
    try:
        return json_codec.from_json(request.body.read().decode("utf-8"))
    except ValueError as error:
        raise BadTask(Sentence("the body is not valid JSON: {why}", why=str(error))) from error
    finally:
        request.body.seek(0)


def _all(value: Any) -> list[Any]:
    """Return a list: the server returns a single value unless a name is repeated."""
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return json_codec.clean(value if isinstance(value, str) else str(value))
