"""Edit a waiting task, and copy the columns of a task.

The checks are those of a new task. Never commits, and never overwrites a change that was made since
the caller read the task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydal.objects import Row

from plugin_scheduler.core import redaction
from plugin_scheduler.core.errors import BadTask, NotFound
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.database.dialects.odd_values import read_rows
from plugin_scheduler.queries.base import TASK_UNREADABLE, unreadable

if TYPE_CHECKING:
    from typing_extensions import Unpack  # a type checker has it; nothing is imported at run time

    from plugin_scheduler.core.task_columns import ChangedTask
    from plugin_scheduler.database.dialects.base import Dialect
    from plugin_scheduler.operations.enqueue import Draft, Form

#: The columns that a user may set; the scheduler writes all others.
EDITABLE = (
    "task_name",
    "function_name",
    "args",
    "vars",
    "secret",
    "group_name",
    "priority",
    "enabled",
    "broadcast",
    "only_worker",
    "start_time",
    "next_run_time",
    "stop_time",
    "repeats",
    "period",
    "cronline",
    "prevent_drift",
    "timeout",
    "retry_failed",
    "on_failure",
    "sync_output",
)
#: Columns that are not copied to another task.
OWN = ("start_time", "next_run_time", "stop_time")
#: Columns that are checked together: an error of one may come from another.
TOGETHER = {
    "stop_time": {"stop_time", "start_time"},
    "prevent_drift": {"prevent_drift", "period", "cronline"},
    "cronline": {"cronline", "start_time"},
    "args": {"function_name", "args", "vars"},
    "vars": {"function_name", "args", "vars"},
    "secret": {"secret", "function_name", "args", "vars"},
}
CHANGED = Sentence("was changed in the meantime: look at the current task, and try again")


class Editing:
    """The methods of a scheduler that change tasks."""

    db: Any

    if TYPE_CHECKING:
        _dialect: Dialect

        def _set(self, query: Any) -> Any: ...
        def _query(self, ref: Any) -> Any: ...
        def _form(self) -> Form: ...
        def _draft(
            self, form: Form, function: Any, pargs: Any, pvars: Any, given: Any
        ) -> Draft: ...

    def edit_task(
        self, ref: Any, shown: Mapping[str, Any] | None = None, **columns: Unpack[ChangedTask]
    ) -> Row:
        """Change columns of a waiting task. Checks the values as `queue_task` does, and does not
        commit.

        A new cronline or start_time also sets next_run_time, unless that is given.

        Parameters:
        - ``ref``: as for `task_status`.
        - ``shown``: the values that the caller saw. A value equal to the one shown is not a change.
          If a column that the caller changed holds another value by now, nothing is written, and
          its error says so.
        - ``columns``: the new values.

        Returns: ``id``, ``uuid``, ``errors`` (as of `queue_task`), and ``changed``: a dict of
        column to old and new value, with secrets masked.

        Raises: BadTask if the task does not wait, and NotFound if it does not exist.

        >>> scheduler.edit_task(17, priority=5).changed
        {'priority': [0, 5]}
        """
        row = self._waiting(ref)
        current = {name: row[name] for name in EDITABLE}
        seen, shown = _discreet(current, row.secret), shown or {}
        given = {
            name: value
            for name, value in columns.items()
            if name not in shown or as_text(value) != as_text(shown[name])
        }
        wanted, errors = self._checked(row, current, given)
        for name in given.keys() & shown.keys():
            if as_text(seen.get(name)) != as_text(shown[name]):
                errors[name] = CHANGED
        changes = {
            name: value
            for name, value in wanted.items()
            if as_text(value) != as_text(current[name])
        }
        if changes and not errors and not self._write(row, current, changes):
            errors = dict.fromkeys(changes, CHANGED)
        if errors:
            return Row(id=None, uuid=None, errors=errors, changed={})
        return Row(id=row.id, uuid=row.uuid, errors={}, changed=_told(current, changes))

    def like_task(self, ref: Any) -> dict[str, Any]:
        """Return the columns of a task as arguments for `queue_task`, to queue a similar one.

        Parameters:
        - ``ref``: as for `task_status`.

        Returns: a dict without uuid and times: the new task has a uuid of its own, and starts now.
        Secrets are included.

        Raises: NotFound if the task does not exist, and BadTask if its row cannot be read.

        >>> scheduler.queue_task(**{**scheduler.like_task(17), "args": "[5]"})
        """
        row = self._named(ref)
        given = {name: row[name] for name in EDITABLE if name not in OWN}
        return {name: value for name, value in given.items() if value is not None}

    def _waiting(self, ref: Any) -> Any:
        row = self._named(ref)
        if row.status == TaskStatus.QUEUED:
            return row
        what = (
            "task {id} has ended ({status}) and cannot be changed; "
            "run it again with other arguments"
        )
        if row.status in TaskStatus.HELD:
            what = "task {id} is claimed or running; stop it, or wait until it has ended"
        raise BadTask(Sentence(what, id=row.id, status=row.status))

    def _named(self, ref: Any) -> Any:
        query, task = self._query(ref), self.db.scheduler_task
        rows = read_rows(self._dialect, query, task.ALL, limitby=(0, 1))
        if not rows:
            raise NotFound(Sentence("there is no task {ref}", ref=str(ref)))
        if rows[0].get("odd"):
            raise BadTask(unreadable(TASK_UNREADABLE, ref, rows[0]))
        return rows[0]

    def _checked(
        self, row: Any, current: Mapping[str, Any], given: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the columns to write, and the errors of the given ones."""
        if not given:
            return {}, {}
        whole, follows = {**current, "uuid": row.uuid, **given}, {"secret"}
        if "secret" not in given and ("args" in given) != ("vars" in given):
            whole["secret"] = _still_secret(current)
        if "next_run_time" not in given and (given.get("cronline") or given.get("start_time")):
            whole["next_run_time"] = None
            whole["start_time"] = given.get("start_time")  # a new schedule counts from now on
            follows |= {"start_time", "next_run_time"}
        form = self._form()
        form.free_uuids = {row.uuid}
        draft = self._draft(form, None, (), {}, whole)
        if "secret" in draft.errors:  # its meaning is unknown: leave it unchanged
            follows.discard("secret")
        errors = {
            name: error
            for name, error in draft.errors.items()
            if name in given
            or TOGETHER.get(name, set()) & given.keys()
            or name in follows - {"secret"}
        }
        for name in given.keys() - EDITABLE:
            errors.setdefault(name, Sentence("cannot be changed"))
        names = {name for name in (*given, *follows) if name in EDITABLE}
        return {name: draft.columns.get(name) for name in names}, errors

    def _write(self, row: Any, current: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write if the task still waits and these columns hold the values that were read."""
        task = self.db.scheduler_task
        query = (task.id == row.id) & (task.status == TaskStatus.QUEUED)
        for name in changes:
            query &= task[name] == current[name]
        return bool(self._set(query).update(**changes))


def _still_secret(current: Mapping[str, Any]) -> Any:
    """Return the list with each hidden argument: other names must not reveal other arguments."""
    try:
        own = redaction.listed(current["secret"])
    except BadTask:
        return current["secret"]
    return redaction.joined([own, redaction.explicit(own, current["args"], current["vars"])])


def as_text(value: Any) -> str:
    """Return a column's value as text in a form, to compare it with the value shown.

    >>> as_text(None), as_text(True), as_text(datetime(2026, 1, 31, 9))
    ('', 'true', '2026-01-31T09:00:00')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, (list, tuple)):
        return json.dumps(value)
    return str(value).replace("\r\n", "\n")


def _told(current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the old and new value of each column, without old or new secrets."""
    told = []
    for columns in (current, {**current, **changes}):
        shown = _discreet(columns, current["secret"])
        told.append(_discreet(shown, changes.get("secret")))
    return {name: [one[name] for one in told] for name in changes}


def _discreet(columns: Mapping[str, Any], secret: Any) -> dict[str, Any]:
    """Return the columns as displayed."""
    args, pvars = redaction.masked(columns["args"] or "[]", columns["vars"] or "{}", secret)
    return {**columns, "args": args, "vars": pvars}
