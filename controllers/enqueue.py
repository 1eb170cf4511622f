"""Queue a task, edit a waiting one, or run one again with other arguments.

The actions for people and for scripts. `task_form` makes the form, `task_form_parser` reads the
submitted values, and the scheduler executes the action. Does not write rows itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from plugin_scheduler.controllers.function_list import functions
from plugin_scheduler.controllers.task_form import EVERY, UNITS, TaskForm, form_for
from plugin_scheduler.controllers.task_form_parser import (
    LARGEST,
    ParsedForm,
    columns_of,
    of_document,
    of_form,
    of_text,
)
from plugin_scheduler.controllers.web.auth import ACT
from plugin_scheduler.controllers.web.request_context import Done, Visit
from plugin_scheduler.controllers.web.routing import Site
from plugin_scheduler.controllers.web.template_helpers import NOTHING

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.operations.edit_task import as_text
from plugin_scheduler.scheduling import cron, recurrence

TIMES_SHOWN = 5
LONGEST = 80  # characters of a value in the history
WRONG = 422


def mount(site: Site) -> None:
    """Register the form, its actions, and the same for scripts."""
    _mount_queue(site)
    _mount_edit(site)
    _mount_api(site)


def _mount_queue(site: Site) -> None:
    @site.page("queue", "queue.html")
    def scheduler_queue_form(visit: Visit) -> dict[str, Any]:
        form = form_for(visit)
        if form is None:
            return {"form": None, "functions": functions(visit)}
        return {"form": form.context(), "functions": []}

    @site.change("queue", role=ACT)
    def scheduler_queue(visit: Visit) -> Done:
        """Queue the task of the form."""
        form = _form_of(visit)
        return _queued(visit, form, _sent(form, visit.given))

    @site.change("queue/document", role=ACT)
    def scheduler_queue_document(visit: Visit) -> Done:
        """Return the form as `document`, a JSON text; nothing is queued or changed."""
        form = _form_of(visit)
        sent = of_form(form, visit.given, form.stand_ins())
        if form.texts is None:  # no argument was entered here
            sent.pargs, sent.pvars = form.masked
        if sent.errors:
            return _wrong(visit, sent.errors)
        text = form.written(sent.function, sent.pargs, sent.pvars, sent.columns)
        return Done("", to="queue", data={"document": text})


def _mount_edit(site: Site) -> None:
    @site.page("tasks/<ref>/edit", "queue.html")
    def scheduler_edit_form(visit: Visit, ref: str) -> dict[str, Any]:
        form = TaskForm(visit, "", visit.task(ref), edits=True)
        _check_waits(form)
        return {"form": form.context(), "functions": []}

    @site.change("tasks/<ref>/edit", role=ACT)
    def scheduler_edit(visit: Visit, ref: str) -> Done:
        """Save the changes of the form."""
        form = TaskForm(visit, "", visit.task(ref), edits=True)
        _check_waits(form)
        return _edited(visit, form, _sent(form, visit.given))


def _mount_api(site: Site) -> None:
    @site.data("api/functions")
    def scheduler_api_functions(visit: Visit) -> dict[str, Any]:
        """Return the functions that can be queued, each with its arguments: name, kind, default,
        help."""
        return {"functions": functions(visit)}

    @site.change("api/tasks", role=ACT)
    def scheduler_api_queue(visit: Visit) -> Done:
        """Queue a task: `function`, `pargs`, `pvars` and columns, as `queue_task` takes them."""
        given = {name: value for name, value in visit.given.items() if not name.startswith("_")}
        form = TaskForm(visit, "")
        return _queued(visit, form, of_document(form, given))

    @site.data("api/next")
    def scheduler_api_next(visit: Visit) -> dict[str, Any]:
        """Return a schedule in words, and its next times; `line`, or `every` and `unit`."""
        return _next(visit)


def _form_of(visit: Visit) -> TaskForm:
    """Return the submitted form: of a new task, of a copy, or of an edited task."""
    edited = json_codec.clean(str(visit.given.get("edits") or ""))
    like = edited or json_codec.clean(str(visit.given.get("like") or ""))
    task = visit.task(like) if like else None
    return TaskForm(visit, str(visit.given.get("function") or ""), task, edits=bool(edited))


def _check_waits(form: TaskForm) -> None:
    """Refuse to show a page that cannot be saved."""
    assert form.task is not None
    form.visit.scheduler.edit_task(form.task.id)


def _sent(form: TaskForm, given: Mapping[str, Any]) -> ParsedForm:
    if given.get("mode") == "json":
        return of_text(form, str(given.get("document") or ""))
    return of_form(form, given, form.kept)


# -- actions -----------------------------------------------------------------------------------


def _queued(visit: Visit, form: TaskForm, sent: ParsedForm) -> Done:
    if sent.errors:
        return _wrong(visit, sent.errors)
    scheduler, columns = visit.scheduler, columns_of(form, sent)
    made = scheduler.queue_task(sent.function, sent.pargs, sent.pvars, **columns)
    if made.errors:
        return _wrong(visit, made.errors)
    like = {"like": form.task.id} if form.task else {}
    visit.journal.note(visit.person.name, "queue", made.id, function=sent.function, **like)
    data = {"id": made.id, "uuid": made.uuid, "url": visit.url(f"tasks/{made.id}")}
    return Done(visit.T("Task {id} is queued.", id=made.id), to=f"tasks/{made.id}", data=data)


def _edited(visit: Visit, form: TaskForm, sent: ParsedForm) -> Done:
    if sent.errors:
        return _wrong(visit, sent.errors)
    assert form.task is not None
    task, columns = form.task, columns_of(form, sent)
    if sent.function != form.name:
        columns["function_name"] = sent.function
    if sent.has_arguments:
        columns["args"] = json_codec.encode(sent.pargs, "pargs")
        columns["vars"] = json_codec.encode(sent.pvars, "pvars")
    answer = visit.scheduler.edit_task(task.id, _shown(visit), **columns)
    if answer.errors:
        return _wrong(visit, answer.errors)
    changed = _told(form, sent, answer.changed)
    if changed:
        detail = {name: _change(*pair) for name, pair in changed.items()}
        visit.journal.note(visit.person.name, "edit", task.id, **detail)
    message = visit.T("Saved.") if changed else visit.T("No changes.")
    data = {"id": task.id, "changed": list(changed), "url": visit.url(f"tasks/{task.id}")}
    return Done(message, to=f"tasks/{task.id}", data=data)


def _told(form: TaskForm, sent: ParsedForm, changed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the changed columns. If a hidden value was entered, all arguments count as changed:
    otherwise "nothing was changed" would confirm a guess."""
    if not sent.is_typed or form.task is None:
        return changed
    same = {"args": [form.task.args] * 2, "vars": [form.task.vars] * 2}
    others = {name: pair for name, pair in changed.items() if name not in same}
    return {name: changed.get(name, pair) for name, pair in same.items()} | others


def _shown(visit: Visit) -> dict[str, Any]:
    """Return the values that the form had when it was opened."""
    try:
        found = json_codec.decode(str(visit.given.get("shown") or "{}"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadTask(Sentence("This page is out of date. Reload it and try again."))
    return found


def _change(before: Any, after: Any) -> str:
    one, other = (as_text(value)[:LONGEST] or NOTHING for value in (before, after))
    return f"{one} → {other}"


def _wrong(visit: Visit, errors: Mapping[str, str]) -> Done:
    """Report that nothing was done, with an error for each field. (A browser without scripts gets
    one text.)"""
    said = {_field_of(name): visit.say(error) for name, error in errors.items()}
    first = "; ".join(f"{name}: {sentence}" for name, sentence in said.items())
    message = visit.T("Not saved. {what}", what=first)
    return Done(message, to="queue", data={"errors": said}, status=WRONG)


def _field_of(name: str) -> str:
    """Return the form's name for a column."""
    return {"args": "pargs", "vars": "pvars", "function_name": "function"}.get(name, name)


# -- schedules ---------------------------------------------------------------------------------


def _next(visit: Visit) -> dict[str, Any]:
    line, repeats = visit.query.get("line", "").strip(), visit.query.get("repeats", "")
    often = int(repeats) if repeats.isdecimal() and len(repeats) < 10 else 0
    if visit.query.get("mode") == EVERY:
        every, unit = visit.query.get("every", ""), UNITS.get(visit.query.get("unit", ""), 1)
        period = int(every) * unit if every.isdecimal() and len(every) < 11 else -1
        if not 0 <= period <= LARGEST:
            return {"words": "", "times": [], "error": visit.say(Sentence("enter a whole number"))}
        words = recurrence.in_words(period=period, repeats=often)
        steps = min(often or TIMES_SHOWN, TIMES_SHOWN) if period else 1
        moments = [visit.now + timedelta(seconds=period * step) for step in range(steps)]
    else:
        error = cron.check(line) if line else Sentence("enter a cron line")
        if error:
            return {"words": "", "times": [], "error": visit.say(error)}
        words = recurrence.in_words(period=60, repeats=often, cronline=line)
        count = min(often or TIMES_SHOWN, TIMES_SHOWN)
        moments = _moments(line, visit.now, count)
    return {"words": visit.say(words), "times": [visit.iso(one) for one in moments], "error": ""}


def _moments(line: str, now: Any, count: int) -> list[Any]:
    return list(itertools.islice(cron.CronParser(line, now), count))
