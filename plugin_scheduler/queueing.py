"""What is asked for, made into rows: the checks and defaults behind `queue_task`.

I own the way from arguments to a validated row, with an error for each field that is wrong. I call
values, recurrence and the table's validators. I write nothing.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from plugin_scheduler import clock, cron, recurrence, values
from plugin_scheduler.catalog import Catalog
from plugin_scheduler.errors import BadTask
from plugin_scheduler.models import new_uuid

TIMES = ("start_time", "next_run_time", "stop_time")


class Draft:
    """One task to be: its columns, and what is wrong with them."""

    def __init__(
        self, table: Any, catalog: Catalog, now: Callable[[], Any], zone: str | None
    ) -> None:
        self._table, self._catalog, self._now, self._zone = table, catalog, now, zone
        self.columns: dict[str, Any] = {}
        self.errors: dict[str, str] = {}

    def fill(
        self,
        function: Any,
        pargs: Sequence[Any],
        pvars: Mapping[str, Any],
        columns: Mapping[str, Any],
    ) -> Draft:
        """Take the caller's words; web2py's rules for what is left out."""
        given = dict(columns)
        name = self._catalog.name_of(given.pop("function_name", None) or function or "")
        given = {**self._catalog.defaults(name), **given}
        # `args` and `vars` are JSON text already, and win over `pargs` and `pvars`
        self._json("args", given.pop("args", None), pargs, "pargs")
        self._json("vars", given.pop("vars", None), pvars, "pvars")
        self.columns.update(
            function_name=name,
            task_name=given.pop("task_name", None) or name,
            uuid=given.pop("uuid", None) or new_uuid(),
            **given,
        )
        self._set_times()
        self._check_names()
        self._check_together()
        self._validate()
        return self

    def _json(self, column: str, text: str | None, value: Any, what: str) -> None:
        try:
            plain = _listed(value) if column == "args" else _named(value)
            self.columns[column] = text or values.encode(plain, what)
        except BadTask as error:
            self.errors[column] = str(error)

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
            self._set_cron_time(start or self._now(), cronline)
        elif start is not None and "start_time" not in self.errors:
            columns["next_run_time"] = start

    def _set_time(self, name: str, value: Any) -> None:
        """Text is read here already: what follows compares times, and counts from them."""
        if not isinstance(value, datetime.datetime):
            value, error = self._table[name].validate(value)
            if error:
                self.errors[name] = str(error)
        if isinstance(value, datetime.datetime):
            value = clock.naive(value, self._zone)
        self.columns[name] = value

    def _set_cron_time(self, start: Any, cronline: str) -> None:
        if cron.check(str(cronline)) is None and isinstance(start, datetime.datetime):
            first = recurrence.first_run_time(start_time=start, cronline=str(cronline))
            self.columns.update(start_time=start, next_run_time=first)

    def _check_names(self) -> None:
        known = [field for field in self._table.fields if field != "id"]
        for name in self.columns:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
                self.errors[name] = f"is not a column of scheduler_task; {hint}"

    def _check_together(self) -> None:
        """Settings that cannot work together are refused here, where they can still be mended."""
        columns = self.columns
        start, stop = columns.get("start_time") or self._now(), columns.get("stop_time")
        if _are_times(start, stop) and stop <= start:
            self.errors["stop_time"] = "must be after start_time, or the task can never start"
        drifts = not columns.get("prevent_drift") or columns.get("cronline")
        if not drifts and columns.get("period", 60) == 0:
            self.errors["prevent_drift"] = "needs a period: there is no grid to keep to with 0"

    def _validate(self) -> None:
        for name in self._table.fields:
            if name == "id" or name in self.errors:
                continue
            field = self._table[name]
            if name in self.columns:
                value = self.columns[name]
            else:
                value = field.default() if callable(field.default) else field.default
            value, error = field.validate(value)
            if error:
                self.errors[name] = str(error)
            self.columns[name] = value


def _are_times(*values: Any) -> bool:
    return all(isinstance(value, datetime.datetime) for value in values)


def _listed(pargs: Any) -> list[Any]:
    if isinstance(pargs, (str, bytes, Mapping)) or not isinstance(pargs, Iterable):
        raise BadTask(f"pargs must be a list of arguments, not {type(pargs).__name__} {pargs!r}")
    return list(pargs)


def _named(pvars: Any) -> dict[str, Any]:
    if not hasattr(pvars, "keys"):  # a Row is no Mapping, but has them
        raise BadTask(f"pvars must be a dict of arguments, not {type(pvars).__name__} {pvars!r}")
    return dict(pvars)
