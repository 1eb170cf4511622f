"""The form of a task: a field for each argument, and the values of the columns.

Makes the plain values for the template. A secret is never put into a page: its field is empty, and
says that the stored value is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from plugin_scheduler.controllers.web.request_context import Visit

from plugin_scheduler.core import form_values, json_codec
from plugin_scheduler.core.errors import BadTask, NotFound
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.redaction import HIDDEN, NOWHERE, Place, listed, marks
from plugin_scheduler.core.signature import ABSENT, Argument, ArgumentKind, arguments_of, summary_of
from plugin_scheduler.core.types import OnFailure
from plugin_scheduler.operations.edit_task import EDITABLE, OWN, as_text
from plugin_scheduler.queries.views import TaskView
from plugin_scheduler.system import clock

NOW, AT, EVERY, CRON = "now", "at", "every", "cron"
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
TIMES = ("start_time", "next_run_time", "stop_time")
#: Input types of browsers by kind; kinds not listed use a text field.
INPUTS = {
    ArgumentKind.INT: "number",
    ArgumentKind.FLOAT: "number",
    ArgumentKind.DATE: "date",
    ArgumentKind.DATETIME: "datetime-local",
    ArgumentKind.TIME: "time",
}
EXAMPLES = {ArgumentKind.LIST: '[1, "two"]', ArgumentKind.DICT: '{"a": 1}'}
#: Labels of the ways to set the time; for an edited task, in the second list.
MODES = ((NOW, "Now"), (AT, "At a set time"), (EVERY, "Repeat"), (CRON, "Cron line"))
MODES_OF_OLD = ((AT, "Once"), *MODES[2:])
AREAS = (ArgumentKind.LONG_TEXT, ArgumentKind.LIST, ArgumentKind.DICT)


class TaskForm:
    """The form of a new task, of a copy, or of a waiting task that is edited."""

    def __init__(
        self,
        visit: Visit,
        function: str,
        task: TaskView | None = None,
        edits: bool = False,
        once: bool = False,
    ) -> None:
        self.visit, self.task, self.edits, self.once = visit, task, edits, once
        self.name = json_codec.clean(task.function if task and not function else function)
        if task and self.name != json_codec.clean(task.function):  # secrets belong to one function
            what = "task {id} runs {function}: its form cannot be used for another function"
            raise BadTask(Sentence(what, id=task.id, function=task.function))
        catalog = visit.scheduler.catalog
        self.functions = catalog.functions()
        self.function = self.functions.get(self.name)
        self.declared = catalog.defaults(self.name)

    # -- arguments --------------------

    @cached_property
    def arguments(self) -> list[Argument]:
        """The arguments of the function; empty if it is unknown here."""
        return arguments_of(self.function) if self.function else []

    @cached_property
    def original(self) -> dict[str, Any]:
        """The columns of the task, including secrets: for use on the server only."""
        return self.visit.scheduler.like_task(self.task.id) if self.task else {}

    @cached_property
    def before(self) -> tuple[list[Any], dict[str, Any]]:
        """The task's arguments, unmasked; empty for a new task."""
        return _decoded(self.original.get("args"), []), _decoded(self.original.get("vars"), {})

    @cached_property
    def masked(self) -> tuple[list[Any], dict[str, Any]]:
        """The task's arguments as displayed."""
        if self.task is None:
            return [], {}
        return _decoded(self.task.args, []), _decoded(self.task.vars, {})

    @cached_property
    def secret(self) -> set[str]:
        """Names of arguments that are hidden, as a whole or in part."""
        found = secret_names(self.arguments, self.declared.get("secret"))
        found |= secret_names(self.arguments, self.original.get("secret"))
        shown = form_values.named(self.arguments, *self.masked) or {}
        return found | {one.name for one in self.arguments if _has_dots(one, shown.get(one.name))}

    @cached_property
    def kept(self) -> dict[str, Any]:
        """The secrets that the task has, by name."""
        found = form_values.named(self.arguments, *self.before) or {}
        return {name: value for name, value in found.items() if name in self.secret}

    def stand_ins(self) -> dict[str, Any]:
        """Return dots for each secret that is kept, as many as its argument has values."""
        gathers = {one.name: one.gathers for one in self.arguments}
        return {name: _dots(gathers[name], value) for name, value in self.kept.items()}

    @cached_property
    def texts(self) -> dict[str, str] | None:
        """The contents of the fields; None if the form cannot express the task's arguments."""
        pargs, pvars = self.before
        if not self.task:
            return {}
        if not self.function:
            return None
        return form_values.texts(self.arguments, pargs, pvars)

    def fields(self) -> list[dict[str, Any]]:
        """Return a field for each argument."""
        return [self._field(one) for one in self.arguments]

    def _field(self, one: Argument) -> dict[str, Any]:
        text = (self.texts or {}).get(one.name, "")
        is_secret, default = one.name in self.secret, default_text(one)
        is_kept, example = one.name in self.kept, EXAMPLES.get(one.kind, "")
        return {
            "name": one.name,
            "id": f"arg-{one.name}",
            "kind": one.kind,
            "input": "password" if is_secret else INPUTS.get(one.kind, "text"),
            "is_area": (one.kind in AREAS or "\n" in text) and not is_secret,
            "is_choice": one.kind in (ArgumentKind.CHOICE, ArgumentKind.BOOL),
            "choices": self._choices(one),
            "value": "" if is_secret else text,
            "required": one.required and not one.nullable and not is_kept,
            "placeholder": HIDDEN if is_kept else "" if is_secret else default or example,
            "default": "" if is_secret else default,
            "has_default": one.has_default,
            "help": one.help,
            "gathers": one.gathers,
            "is_secret": is_secret,
            "is_kept": is_kept,
        }

    def _choices(self, one: Argument) -> list[tuple[str, str]]:
        """Return the choices: the value that is sent, and the label."""
        if one.kind == ArgumentKind.BOOL:
            return [(form_values.YES, self.visit.T("yes")), (form_values.NO, self.visit.T("no"))]
        return [(shown, shown) for shown, _ in one.choices]

    # -- columns --------------------

    @cached_property
    def columns(self) -> dict[str, str]:
        """All other columns, as texts for their fields."""
        table, settings = self.visit.scheduler.db.scheduler_task, self.visit.scheduler.settings
        found = {name: table[name].default for name in EDITABLE}
        found |= {"on_failure": settings.on_failure, "task_name": ""}
        found |= {name: self.declared[name] for name in EDITABLE if name in self.declared}
        found |= self.original
        if not self.edits:
            found |= dict.fromkeys(OWN)
        elif self.task:
            found |= {name: getattr(self.task, name) for name in OWN}
        if self.once:
            found |= {"repeats": 1, "cronline": None, "enabled": True}
        return {name: as_text(None if callable(value) else value) for name, value in found.items()}

    def when(self) -> str:
        """Return how the time of the task is set."""
        if self.columns["cronline"]:
            return CRON
        if self.columns["repeats"] != "1":
            return EVERY
        return AT if self.edits else NOW

    def every(self) -> tuple[str, str]:
        """Return the period in its largest unit."""
        seconds = int(self.columns["period"] or 0)
        for unit, length in reversed(UNITS.items()):
            if seconds and seconds % length == 0:
                return str(seconds // length), unit
        return str(seconds), "seconds"

    def _how_often(self) -> str:
        """Return the number of repetitions; empty if unlimited, or if the task does not repeat."""
        is_told = self.when() in (EVERY, CRON) and self.columns["repeats"] != "0"
        return self.columns["repeats"] if is_told else ""

    def secret_text(self) -> str:
        """Return the names and positions that are secret besides those that the function
        declares."""
        try:
            told, places = listed(self.declared.get("secret")), listed(self.columns["secret"])
        except BadTask:
            return self.columns["secret"]
        names = {one.name for one in marks(told) if one.name}
        own = [one for one in marks(places) if not one.name or one.name not in names]
        by_place = [one.name for one in self.arguments if not (one.by_name_only or one.gathers)]
        told_places = {by_place.index(name) for name in names if name in by_place}
        shown = (one.name or one.place for one in own)
        return ", ".join(str(place) for place in shown if place not in told_places)

    def shown(self) -> dict[str, str]:
        """Return the columns as displayed: the browser returns them, so that an outdated form is
        detected."""
        assert self.task is not None
        return {**self.columns, "args": self.task.args, "vars": self.task.vars}

    def document(self) -> str:
        """Return the form as JSON: the arguments of `queue_task`, or the columns of an edited
        task."""
        columns = {name: _plain(name, text) for name, text in self.columns.items()}
        pargs, pvars = self.masked
        if not self.task:
            pvars = {one.name: _example(one) for one in self.arguments if one.required}
        kept = ("group_name", "timeout", "retry_failed", "priority")
        for name in ("args", "vars", "function_name", *(() if self.edits else OWN)):
            columns.pop(name)
        if not self.edits:
            usual = {
                name: _plain(name, as_text(field.default))
                for name, field in self.visit.scheduler.db.scheduler_task.iteritems()
                if name in columns and not callable(field.default)
            }
            columns = {
                name: value
                for name, value in columns.items()
                if name in kept or (value not in (None, "") and value != usual.get(name))
            }
        return self.written(self.name, pargs, pvars, columns)

    def written(
        self, function: str, pargs: list[Any], pvars: dict[str, Any], columns: dict[str, Any]
    ) -> str:
        """Write a document with these values."""
        told = {
            name: as_text(value) if name in TIMES and value else value
            for name, value in columns.items()
        }
        return form_values.written(
            {"function": function, "pargs": pargs, "pvars": pvars, **told}, indent=2
        )

    def behind(self) -> tuple[list[Any], dict[str, Any]]:
        """Return the values that dots may stand for, by position and by name, however they were
        given."""
        return self._either_way(*self.before)

    def is_hidden(self, place: Place) -> bool:
        """Return True if dots at that position or name stand for a hidden value."""
        by_place, by_name = self._either_way(*self.masked)
        if isinstance(place, str):
            return bool(by_name.get(place) == HIDDEN)
        return bool(by_place[place : place + 1] == [HIDDEN])

    def count_hidden(self) -> int:
        """Return the number of hidden arguments."""
        pargs, pvars = self.masked
        return [*pargs, *pvars.values()].count(HIDDEN)

    def _either_way(
        self, pargs: list[Any], pvars: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return each argument under its position and under its name, if both are possible."""
        found = form_values.named(self.arguments, pargs, pvars) or {}
        by_place = [one.name for one in self.arguments if not (one.by_name_only or one.gathers)]
        others = [found.get(name, ABSENT) for name in by_place[len(pargs) :]]
        both = {one.name for one in self.arguments if not (one.by_place_only or one.gathers)}
        return [*pargs, *others], {**{name: found[name] for name in found.keys() & both}, **pvars}

    # -- the template ------------------

    def context(self) -> dict[str, Any]:
        """Return the variables for the template."""
        columns = self.columns
        return {
            "edits": self.edits,
            "once": self.once,
            "task": self.task,
            "function": self.name,
            "is_known": self.function is not None,
            "summary": summary_of(self.function) if self.function else "",
            "fields": self.fields(),
            "fits": self.texts is not None,
            "columns": columns,
            "when_mode": self.when(),
            "modes": MODES_OF_OLD if self.edits else MODES,
            "how_often": self._how_often(),
            "every": self.every(),
            "units": list(UNITS),
            "groups": self._groups(),
            "on_failures": OnFailure.ALL,
            "secret_text": self.secret_text(),
            "shown": json.dumps(self.shown()) if self.edits else "",
            "document": self.document(),
            "zone_name": self.visit.shown.zone or clock.own_zone() or "",
            "usual_name": self.name,
        }

    def _groups(self) -> list[str]:
        """Return groups to offer: those that workers serve, and the scheduler's own."""
        served = {name for worker in self.visit.queries.workers() for name in worker.groups}
        own = {*self.visit.scheduler.settings.group_names, "main"}
        return sorted({*served, *own, self.columns["group_name"]} - {""})


def form_for(visit: Visit) -> TaskForm | None:
    """Return the form that the address requests; None if no function is selected yet."""
    like, function = json_codec.clean(visit.query.get("like", "")), visit.query.get("function", "")
    task = visit.task(like) if like else None
    if task is None and not function:
        return None
    form = TaskForm(visit, function, task, once=bool(visit.query.get("once")))
    if form.function is None and task is None:
        raise NotFound(Sentence('this app has no task named "{name}"', name=function))
    return form


def secret_names(arguments: Sequence[Argument], given: Any) -> set[str]:
    """Return the arguments that a list of names and positions selects; all for an invalid list."""
    try:
        found = listed(given)
    except BadTask:
        return {one.name for one in arguments}
    by_place = [one.name for one in arguments if not (one.by_name_only or one.gathers)]
    rest = [one.name for one in arguments if one.gathers == "*"]
    names = {one for one in found if isinstance(one, str)}
    for place in (one for one in found if isinstance(one, int) and one != NOWHERE):
        names.update(by_place[place : place + 1] or rest)
    return names


def _has_dots(one: Argument, value: Any) -> bool:
    if not one.gathers or not value:
        return bool(value == HIDDEN)
    return HIDDEN in (value.values() if isinstance(value, dict) else value)


def _dots(gathers: str, value: Any) -> Any:
    if gathers == "*":
        return [HIDDEN] * len(value)
    return dict.fromkeys(value, HIDDEN) if gathers == "**" else HIDDEN


def default_text(one: Argument) -> str:
    if not one.has_default or one.default is None:
        return ""
    return form_values.text_of(one, one.default)


def _example(one: Argument) -> Any:
    if one.kind in (ArgumentKind.LIST, ArgumentKind.DICT):
        return [] if one.kind == ArgumentKind.LIST else {}
    return one.choices[0][1] if one.choices else None


def _decoded(text: Any, empty: Any) -> Any:
    """Decode a task's arguments; return the empty value if its row is unreadable."""
    try:
        found = json_codec.decode(text) if text else empty
    except ValueError:
        return empty
    return found if isinstance(found, type(empty)) else empty


def _plain(name: str, text: str) -> Any:
    """Return a column's text as a JSON value."""
    if name in ("enabled", "broadcast", "prevent_drift"):
        return text == "true"
    if name == "secret":
        return _decoded(text, [])
    if name in ("task_name", "group_name", "cronline", "only_worker", "on_failure", *TIMES):
        return text or None
    return int(text) if re.fullmatch(r"-?\d+", text) else text or None
