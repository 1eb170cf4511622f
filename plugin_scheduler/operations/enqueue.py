"""Checks and defaults behind `queue_task`.

Turns the caller's values into a validated row, or into an error for each invalid field, with the
same result on every database. Does not write.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from pydal.validators import IS_NOT_IN_DB

from plugin_scheduler.core import json_codec, redaction
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.registry import Call, Catalog
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.models import new_uuid
from plugin_scheduler.models.validators import IS_JSON_OF
from plugin_scheduler.operations.validation_cache import Checks, ColumnValidation
from plugin_scheduler.scheduling import cron, recurrence
from plugin_scheduler.system import clock

TIMES = ("start_time", "next_run_time", "stop_time")
FLAGS = ("enabled", "broadcast", "prevent_drift")
_YES_OR_NO = dict.fromkeys(("true", "t", "yes", "on", "1"), True)
_YES_OR_NO |= dict.fromkeys(("false", "f", "no", "off", "0"), False)
#: Columns that only the scheduler writes.
SCHEDULERS_OWN = (
    "times_run",
    "times_failed",
    "times_lost",
    "last_run_time",
    "assigned_worker_name",
    "run_id",
    "reason",
    "reason_code",
)
_TWICE = Sentence("is the uuid of another task in the same call")
_UNUSUAL = {*SCHEDULERS_OWN, *FLAGS, "status"}
#: Columns that identify one task, and so cannot be defaults for all.
NO_DEFAULTS = ("function_name", "uuid", "args", "vars", "pargs", "pvars", "immediate")


class Form:
    """The common state of all tasks of one call: the time, and the values of columns left out."""

    def __init__(
        self,
        checks: Checks,
        catalog: Catalog,
        now: Callable[[], Any],
        zone: str | None,
        has_defaults: bool = True,
    ) -> None:
        self.checks, self.catalog, self.zone = checks.begin(), catalog, zone
        self._now, self._moment = now, None
        self.errors: dict[str, str] = {}
        self.defaults: dict[str, Any] = {}
        self.varying: list[str] = []  # columns with a callable default, evaluated for each task
        self.free_uuids: set[str] = set()  # uuids that no row has
        self.uuids: set[Any] = set()  # uuids of the tasks so far
        self._names: dict[Any, str] = {}  # names of functions
        self._calls: dict[str, Call | None] = {}
        #: Columns that a caller may set and that need only their validators.
        self.usual = self.checks.keys() - _UNUSUAL
        for name, check in self.checks.items() if has_defaults else ():
            self._set_default(name, check)

    def now(self) -> Any:
        if self._moment is None:
            self._moment = self._now()
        return self._moment

    def name_of(self, function: Any) -> str:
        """Return the name under which a function is queued; raise BadTask as `Catalog.name_of`
        does."""
        try:
            return self._names[function]
        except KeyError:
            name = self._names[function] = self.catalog.name_of(function)
            return name
        except TypeError:  # not hashable
            return self.catalog.name_of(function)

    def call(self, name: str) -> Call | None:
        """Return the same as `Catalog.call`."""
        if name not in self._calls:
            self._calls[name] = self.catalog.call(name)
        return self._calls[name]

    def time(self, name: str, value: Any) -> tuple[Any, Any]:
        """Return a time as naive scheduler time, and the error, if any."""
        try:
            value, error = self.checks[name].ask(self._naive(value))
            return self._naive(value), error  # the validator may have parsed a text
        except (OverflowError, ValueError):
            what = "must be in the years 1 to 9999 in the scheduler's time zone"
            return value, Sentence(what)

    def _naive(self, value: Any) -> Any:
        is_time = isinstance(value, datetime.datetime)
        return clock.naive(value, self.zone) if is_time else value

    def _set_default(self, name: str, check: ColumnValidation) -> None:
        default = check.field.default
        if check.field.compute:
            return
        if callable(default):
            if default != self._now:
                self.varying.append(name)
                return
            default = self.now()
        self.defaults[name], error = check.ask(default)
        if error:
            self.errors[name] = error


class Draft:
    """One new task: its columns, and their errors."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.columns: dict[str, Any] = {}
        self.errors: dict[str, str] = {}
        self._sure: dict[str, type] = {}  # columns, and the validators that they need not pass
        self.names_itself = False  # the caller gave its uuid
        self._asked: set[str] = set()  # columns that are validated already

    def fill(
        self,
        function: Any,
        pargs: Sequence[Any],
        pvars: Mapping[str, Any],
        columns: Mapping[str, Any],
    ) -> Draft:
        """Set the caller's values, with web2py's rules for those left out."""
        given = dict(columns)
        function = given.pop("function_name", None) or function or ""
        name = function if isinstance(function, str) else self._name(function)
        declared = self._form.catalog.defaults(name)
        secret = [declared.get("secret"), given.pop("secret", None)]
        given = {**declared, **given}
        given.pop("secret", None)
        # `args` and `vars` are JSON text already, and override `pargs` and `pvars`
        pargs = self._json("args", given.pop("args", None), pargs, "pargs")
        pvars = self._json("vars", given.pop("vars", None), pvars, "pvars")
        self.columns.update(
            function_name=name,
            task_name=given.pop("task_name", None) or (name if _is_clean(name) else ""),
            uuid=self._uuid(given.pop("uuid", None)),
            **given,
        )
        self._set_secret(name, secret)
        self._set_times()
        self._check_names()
        stop = self.columns.get("stop_time")
        self._check_together(stop and (self.columns.get("start_time") or self._form.now()))
        self._validate()
        call = self._form.call(name)
        if call is not None:
            self._check_call(name, call, pargs, pvars)
        return self

    def declare(self, name: str, function: Any, columns: Mapping[str, Any]) -> dict[str, str]:
        """Return the errors of columns declared for all tasks of a function, without the
        database."""
        self.columns = {one: value for one, value in columns.items() if one != "secret"}
        for one in self.columns.keys() & NO_DEFAULTS:
            self.errors[one] = Sentence("belongs to a single task: pass it to queue_task")
            del self.columns[one]
        try:
            secret = redaction.listed(columns.get("secret"))
            redaction.resolved(secret, function, name, [], {})
        except BadTask as error:
            self.errors["secret"] = error.args[0]
        self._set_times()
        self._check_names()
        # Against a declared start only: an app must load also after the stop_time has passed.
        self._check_together(self.columns.get("start_time"))
        self._validate()
        return self.errors

    def _name(self, function: Any) -> str:
        try:
            return self._form.name_of(function)
        except BadTask as error:
            self.errors["function_name"] = error.args[0]
            return ""

    def _check_call(
        self, name: str, call: Call, pargs: Sequence[Any], pvars: Mapping[str, Any]
    ) -> None:
        """Check whether Python could call the function with these arguments."""
        if self.errors and self.errors.keys() & {"args", "vars", "function_name"}:
            return
        if "args" not in self._sure:
            pargs = json_codec.decode(self.columns["args"])
        if "vars" not in self._sure:
            pvars = json_codec.decode(self.columns["vars"])
        found = call.misfit(pargs, pvars)
        if found is not None:
            column, why = found
            what = "{function} cannot be called with these arguments: {why}"
            self.errors[column] = Sentence(what, function=name, why=why)

    def _uuid(self, given: Any) -> Any:
        form, name = self._form, given or new_uuid()
        self.names_itself = bool(given)
        if not given or (isinstance(given, str) and given in form.free_uuids):
            self._sure["uuid"] = IS_NOT_IN_DB
        key = str(name) if isinstance(name, (str, UUID)) else name
        if isinstance(key, Hashable):
            if key in form.uuids:
                self.errors["uuid"] = _TWICE
            form.uuids.add(key)
        return name

    def _json(self, column: str, text: str | None, value: Any, what: str) -> Any:
        """Return the value as a list or a dict, and store it as JSON unless its text is given."""
        try:
            value = _listed(value) if column == "args" else _named(value)
            self.columns[column] = text or json_codec.encode(value, what)
            if not text:
                self._sure[column] = IS_JSON_OF
        except BadTask as error:
            self.errors[column] = error.args[0]
        return value

    def _set_secret(self, name: str, given: Sequence[Any]) -> None:
        """Combine the function's secrets and the caller's: neither makes the other visible."""
        if not any(one or one == 0 for one in given):
            return
        try:
            secret = redaction.joined(redaction.listed(one) for one in given)
            pargs, pvars = _stored(self.columns.get("args")), _stored(self.columns.get("vars"))
            function = self._form.catalog.functions().get(name)
            places = redaction.resolved(secret, function, name, pargs or [], pvars or {})
            self.columns["secret"] = places
        except BadTask as error:
            self.errors["secret"] = error.args[0]

    def _set_times(self) -> None:
        columns = self.columns
        for name in TIMES:
            if columns.get(name) is not None:
                self._set_time(name, columns[name])
        start, cronline = columns.get("start_time"), columns.get("cronline")
        if start is None:
            columns.pop("start_time", None)
        if columns.get("next_run_time") is not None:
            return
        columns.pop("next_run_time", None)
        if cronline:
            self._set_cron_time(start or self._form.now(), cronline)
        elif start is not None and "start_time" not in self.errors:
            columns["next_run_time"] = start

    def _set_time(self, name: str, value: Any) -> None:
        """Validate a time early: later steps compare it and count from it."""
        self._asked.add(name)
        self.columns[name], error = self._form.time(name, value)
        if error:
            self.errors[name] = error

    def _set_cron_time(self, start: Any, cronline: str) -> None:
        are_fit = isinstance(cronline, str) and isinstance(start, datetime.datetime)
        if not are_fit or cron.check(cronline) is not None:
            return
        try:
            first = recurrence.first_run_time(start_time=start, cronline=cronline)
        except ValueError as error:  # no such time within the supported years
            what, after = "has no time after {start}: {why}", f"{start:%Y-%m-%d %H:%M}"
            self.errors["cronline"] = Sentence(what, start=after, why=error.args[0])
        else:
            self.columns.update(start_time=start, next_run_time=first)

    def _check_names(self) -> None:
        known = self._form.checks
        for name in self.columns.keys() - self._form.usual:
            value = self.columns[name]
            if name not in known:
                names = [one for one in known if one not in SCHEDULERS_OWN]
                near = difflib.get_close_matches(name, names, 1)
                self.errors[name] = _no_column(near, names)
            elif name in SCHEDULERS_OWN:
                self.errors[name] = Sentence("is written only by the scheduler; leave it out")
            elif name == "status" and value != TaskStatus.QUEUED:
                what = "must be {queued} for a new task; use enabled=False to keep it from running"
                self.errors[name] = Sentence(what, queued=TaskStatus.QUEUED)
            elif name in FLAGS and not isinstance(value, bool):
                self._set_flag(name, value)

    def _set_flag(self, name: str, value: Any) -> None:
        """Set a boolean; databases differ on what other values mean."""
        known = _YES_OR_NO.get(str(value).lower()) if isinstance(value, (int, str)) else None
        if known is not None:
            self.columns[name] = known
        else:
            what = "must be True or False, not {value}"
            self.errors[name] = Sentence(what, value=f"{value!r:.40}")

    def _check_together(self, start: Any) -> None:
        """Refuse settings that cannot work together, while the caller can still correct them."""
        columns = self.columns
        stop = columns.get("stop_time")
        are_fit = not self.errors.keys() & {"start_time", "stop_time"}
        if are_fit and _are_times(start, stop) and stop <= start:
            what = "must be after start_time; otherwise the task never starts"
            self.errors["stop_time"] = Sentence(what)
        drifts = not columns.get("prevent_drift") or columns.get("cronline")
        if not drifts and columns.get("period", 60) == 0:
            what = "needs a period greater than 0"
            self.errors["prevent_drift"] = Sentence(what)

    def _validate(self) -> None:
        form, given = self._form, self.columns
        self.columns = {**form.defaults, **given}
        for name, value in given.items():
            if name not in self.errors and name not in self._asked:
                self._ask(name, value)
        for name in form.varying:
            if name not in given and name not in self.errors:
                self._ask(name, form.checks[name].field.default())
        for name, error in form.errors.items():
            if name not in given:
                self.errors.setdefault(name, error)

    def _ask(self, name: str, value: Any) -> None:
        check, sure = self._form.checks[name], self._sure.get(name)
        self.columns[name], error = check.ask_but(sure, value) if sure else check.ask(value)
        if error:
            self.errors[name] = error


def _no_column(near: Sequence[str], names: Sequence[str]) -> Sentence:
    if near:
        what = "is not a column of scheduler_task; did you mean {near}?"
        return Sentence(what, near=near[0])
    return Sentence("is not a column of scheduler_task; the columns are: {names}", names=names)


def _is_clean(text: str) -> bool:
    """Return True for valid text; the function's own column reports invalid text."""
    return json_codec.flaw_of(text) is None


def _are_times(*values: Any) -> bool:
    return all(isinstance(value, datetime.datetime) for value in values)


def _stored(text: Any) -> Any:
    """Decode JSON, or return None; the validators check the result."""
    try:
        return json_codec.decode(text)
    except (ValueError, TypeError, RecursionError):
        return None


def _listed(pargs: Any) -> list[Any]:
    if isinstance(pargs, (str, bytes, Mapping)) or not isinstance(pargs, Iterable):
        what = "{name} must be a list of arguments, not {kind} {value}"
        kind = type(pargs).__name__
        raise BadTask(Sentence(what, name="pargs", kind=kind, value=repr(pargs)))
    return list(pargs)


def _named(pvars: Any) -> dict[str, Any]:
    if not hasattr(pvars, "keys"):  # a Row is not a Mapping, but has keys
        what = "{name} must be a dict of arguments, not {kind} {value}"
        kind = type(pvars).__name__
        raise BadTask(Sentence(what, name="pvars", kind=kind, value=repr(pvars)))
    return dict(pvars)
