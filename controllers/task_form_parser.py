"""Parse a submitted form or JSON document into columns of a task.

Returns the arguments of `queue_task` or `edit_task`, with an error for each invalid field. Does not
write, and never repeats a value in an error.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plugin_scheduler.controllers.task_form import AT, CRON, EVERY, TIMES, UNITS, TaskForm

from plugin_scheduler.core import form_values, json_codec, redaction
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.time_text import read_time
from plugin_scheduler.operations.edit_task import EDITABLE

NUMBERS = ("priority", "timeout", "retry_failed", "sync_output", "repeats", "period")
FLAGS = ("enabled", "broadcast", "prevent_drift")
NAMES = ("task_name", "group_name", "on_failure", "only_worker")
LARGEST = 2**31 - 1  # largest integer that every database accepts
YEARS = range(1970, 3000)
#: Members of a document besides columns.
OF_ARGUMENTS = ("pargs", "pvars")
OF_CALL = ("function", *OF_ARGUMENTS)
DOCUMENT = (*OF_CALL, "uuid", *(one for one in EDITABLE if one not in ("args", "vars")))


@dataclass
class ParsedForm:
    """The parsed values, and the errors by field name."""

    function: str
    pargs: list[Any] = field(default_factory=list)
    pvars: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    has_arguments: bool = True  # they differ from the task's
    filled: list[redaction.Place] = field(default_factory=list)  # positions of dots
    is_typed: bool = False  # another value was entered for a hidden one


# -- the form ----------------------------------------------------------------------------------


def of_form(form: TaskForm, given: Mapping[str, Any], kept: Mapping[str, Any]) -> ParsedForm:
    """Parse the form's fields; ``kept`` holds the values of hidden fields that are empty."""
    sent, texts = ParsedForm(form.name), {name: str(value) for name, value in given.items()}
    if form.texts is None:  # its arguments are displayed, and can only be changed as JSON
        sent.pargs, sent.pvars = form.before
    else:
        typed_in = {one.name: texts.get(f"arg.{one.name}", "") for one in form.arguments}
        reading = form_values.read(form.arguments, typed_in, kept)
        sent.pargs, sent.pvars = reading.pargs, reading.pvars
        sent.errors = {f"arg.{name}": error for name, error in reading.errors.items()}
        sent.is_typed = any(typed_in[name].strip() for name in form.kept)
    is_other = _by_name(form, sent.pargs, sent.pvars) != _by_name(form, *form.before)
    sent.has_arguments = is_other or sent.is_typed
    _read_columns(sent, texts, form.edits)
    _read_when(sent, texts, form.edits)
    sent.columns["secret"] = _places(texts.get("secret", ""))
    return sent


def _by_name(form: TaskForm, pargs: list[Any], pvars: dict[str, Any]) -> str:
    """Return the same text for the same arguments, however they are given."""
    found = form_values.named(form.arguments, pargs, pvars)
    return json.dumps([pargs, pvars] if found is None else found, sort_keys=True)


def _read_columns(sent: ParsedForm, texts: Mapping[str, str], edits: bool) -> None:
    for name in (*NAMES, *NUMBERS):
        text = json_codec.clean(texts.get(name, "")).strip()
        if text or edits:
            sent.columns[name] = text or (None if name == "only_worker" else text)
    for name in FLAGS:
        sent.columns[name] = texts.get(name) in ("true", "on")
    for name in TIMES:
        if name in texts:
            _read_time(sent, name, texts[name].strip())
    for name in NUMBERS:
        _check_number(sent, name)


def _read_time(sent: ParsedForm, name: str, text: str) -> None:
    if not text:
        sent.columns[name] = None
        return
    try:
        moment = read_time(text)
    except ValueError:
        sent.errors[name] = Sentence("must be a date with a time, such as 2026-12-31T23:00")
        return
    if moment.year not in YEARS:
        sent.errors[name] = Sentence("must be a year from 1970 to 2999")
    sent.columns[name] = moment


def _check_number(sent: ParsedForm, name: str) -> None:
    text = str(sent.columns.get(name) or "").strip()
    if re.fullmatch(r"-?\d+", text) and (len(text) > 11 or abs(int(text)) > LARGEST):
        sent.errors[name] = Sentence("is too large: at most {most}", most=LARGEST)


def _read_when(sent: ParsedForm, texts: Mapping[str, str], edits: bool) -> None:
    """Parse the four ways to set the time, as columns."""
    columns, mode = sent.columns, texts.get("when", "")
    columns["cronline"] = None
    if mode in (EVERY, CRON):
        columns["repeats"] = columns.get("repeats") or 0
    else:
        columns["repeats"] = 1
    if mode == EVERY:
        _read_period(sent, texts)
    elif mode == CRON:
        columns["cronline"] = json_codec.clean(texts.get("cronline", "")).strip() or None
        if not columns["cronline"]:
            sent.errors["cronline"] = Sentence(
                "enter a cron line, such as {line}", line="0 3 * * *"
            )
    elif mode == AT:
        name = "next_run_time" if edits else "start_time"
        if columns.get(name) is None and name not in sent.errors:
            sent.errors[name] = Sentence("enter a time")
    if mode != AT and not edits and columns.get("start_time") is None:
        columns.pop("start_time", None)
    if edits and columns.get("next_run_time") is None:
        sent.errors.setdefault("next_run_time", Sentence("enter a time"))


def _read_period(sent: ParsedForm, texts: Mapping[str, str]) -> None:
    text, unit = texts.get("every", "").strip(), UNITS.get(texts.get("unit", ""), 1)
    if not text.isdecimal() or len(text) > 10:
        sent.errors["every"] = Sentence("must be a whole number, such as 3")
        return
    sent.columns["period"] = int(text) * unit
    if sent.columns["period"] > LARGEST:
        sent.errors["every"] = Sentence("is too large: at most {most}", most=LARGEST // unit)


def _places(text: str) -> list[Any]:
    """Parse names separated by commas; numbers are positions."""
    words = [word.strip() for word in text.split(",")]
    return [int(word) if word.isdecimal() and len(word) < 5 else word for word in words if word]


# -- JSON --------------------------------------------------------------------------------------


def of_text(form: TaskForm, text: str) -> ParsedForm:
    """Parse a JSON document that was typed."""
    try:
        document = json_codec.from_json(text)
    except json.JSONDecodeError as error:
        where = {"line": error.lineno, "column": error.colno, "what": error.msg}
        sentence = Sentence("is not valid JSON: line {line}, column {column}: {what}", **where)
        return ParsedForm(form.name, errors={"document": sentence})
    except ValueError as error:
        return ParsedForm(
            form.name, errors={"document": Sentence("is not valid JSON: {what}", what=str(error))}
        )
    return of_document(form, document)


def of_document(form: TaskForm, document: Any) -> ParsedForm:
    """Parse a document with `queue_task`'s arguments."""
    sent = ParsedForm(form.name)
    if not isinstance(document, dict):
        example = '{"function": "add", "pargs": [3, 4]}'
        sent.errors["document"] = Sentence(
            "must be a JSON object, such as {example}", example=example
        )
        return sent
    sent.function = _function_of(form, document, sent)
    _read_call(form, document, sent)
    for name, value in document.items():
        if name not in OF_CALL:
            _read_column(sent, name, value, form.edits)
    if sent.errors:  # otherwise the scheduler reports it
        _check_fit(form, sent)
    return sent


def _function_of(form: TaskForm, document: Mapping[str, Any], sent: ParsedForm) -> str:
    name = document.get("function", document.get("function_name", form.name))
    if not isinstance(name, str) or not name.strip():
        sent.errors["function"] = Sentence("must name the function to run")
        return ""
    return json_codec.clean(name).strip()


def _read_call(form: TaskForm, document: Mapping[str, Any], sent: ParsedForm) -> None:
    """Parse the arguments; dots stand for the secrets of the original task."""
    is_same = form.task is None or sent.function in (form.name, "")
    is_told = "pargs" in document or "pvars" in document
    sent.has_arguments = is_told or not form.edits or not is_same
    before_args, before_vars = form.before if is_same else form.masked
    hidden = form.behind() if is_same else ([], {})
    pargs = document.get("pargs", before_args if form.edits else [])
    pvars = document.get("pvars", before_vars if form.edits else {})
    if not isinstance(pargs, list):
        sent.errors["pargs"] = Sentence(
            "must be a JSON list, such as {example}", example='[1, "two"]'
        )
        pargs = []
    if not isinstance(pvars, dict):
        sent.errors["pvars"] = Sentence(
            "must be a JSON object, such as {example}", example='{"a": 1}'
        )
        pvars = {}
    for name, value, before in zip(OF_ARGUMENTS, (pargs, pvars), hidden, strict=True):
        try:
            setattr(sent, name, redaction.unmasked(value, before, sent.filled))
        except BadTask as error:
            sent.errors[name] = error.args[0] if is_same else _of_another(form)
    kept = sum(form.is_hidden(place) for place in sent.filled)
    sent.is_typed = is_told and is_same and kept < form.count_hidden()


def _of_another(form: TaskForm) -> Sentence:
    what = "dots stand for arguments of {function}: enter the arguments of the other function"
    return Sentence(what, function=form.name)


def _read_column(sent: ParsedForm, name: str, value: Any, edits: bool) -> None:
    allowed = DOCUMENT if not edits else tuple(one for one in DOCUMENT if one != "uuid")
    if name not in allowed:
        sent.errors[json_codec.clean(name)] = _not_to_be_said(name, allowed)
    elif name == "function_name":
        return
    elif name == "secret":
        sent.columns[name] = value
    elif isinstance(value, (dict, list)):
        sent.errors[name] = Sentence("must be a text, a number, true, false or null")
    elif name in TIMES and isinstance(value, str):
        _read_time(sent, name, value.strip())
    else:
        sent.columns[name] = value
        if name in NUMBERS:
            _check_number(sent, name)


def _not_to_be_said(name: str, allowed: tuple[str, ...]) -> Sentence:
    near = difflib.get_close_matches(name, allowed, 1)
    if near:
        return Sentence("unknown field; did you mean {near}?", near=near[0])
    return Sentence("unknown field; known fields: {names}", names=allowed)


def _check_fit(form: TaskForm, sent: ParsedForm) -> None:
    """Report, besides other errors, that the function cannot be called with these arguments."""
    call = form.visit.scheduler.catalog.call(sent.function)
    if call is None or sent.errors.keys() & set(OF_ARGUMENTS):
        return
    found = call.misfit(sent.pargs, sent.pvars)
    if found is not None:
        column, why = found
        what = "{function} cannot be called with these arguments: {why}"
        sent.errors[f"p{column}"] = Sentence(what, function=sent.function, why=why)


# -- secrets -----------------------------------------------------------------------------------


def columns_of(form: TaskForm, sent: ParsedForm) -> dict[str, Any]:
    """Return the columns; the task's secrets stay secret wherever their values were moved.

    Otherwise a user without permission could see them.
    """
    columns = dict(sent.columns)
    if form.task is None or sent.function != form.name:  # another function: no common arguments
        return columns
    try:
        given = redaction.listed(columns.get("secret"))
    except BadTask:  # reported when the task is queued or written
        return columns
    function = form.functions.get(sent.function)
    own = redaction.carried(form.original, function, sent.pargs, sent.pvars)
    columns["secret"] = redaction.joined([own, given])
    return columns
