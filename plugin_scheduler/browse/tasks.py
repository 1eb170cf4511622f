"""Tasks: a filter goes in, a page comes out.

I own the filter and the paging. I call sight for the looks of a row. I never write.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from plugin_scheduler import sight
from plugin_scheduler.browse.source import Source
from plugin_scheduler.sight import TaskView

LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Filter:
    """Which tasks: every part that is given must hold. ``before`` asks for those older than an id.

    >>> Filter(status=("FAILED",), text="invoice", limit=50)
    """

    status: Collection[str] = ()
    group: str | None = None
    function: str | None = None
    text: str | None = None
    before: int | None = None
    limit: int = 20


@dataclass(frozen=True)
class Page:
    """Newest first; ``older`` is the ``before`` of the page that follows, None on the last."""

    items: list[Any]
    older: int | None


class Tasks(Source):
    """Lists of tasks, and one task."""

    def tasks(self, wanted: Filter) -> Page:
        """A page of the tasks that ``wanted`` describes."""
        query = self._matching(wanted)
        if wanted.before is not None:
            query &= self._task.id < wanted.before
        window = (0, wanted.limit + 1)
        rows = list(self._set(query).select(self._task.ALL, orderby=~self._task.id, limitby=window))
        items = [sight.task_view(row) for row in rows[: wanted.limit]]
        return Page(items, items[-1].id if len(rows) > wanted.limit else None)

    def count(self, wanted: Filter) -> int:
        """How many tasks ``wanted`` describes, on whichever page."""
        return int(self._set(self._matching(wanted)).count())

    def task(self, ref: int | str) -> TaskView | None:
        """The task with that id or uuid; None when this app has none."""
        named = self._task.uuid == str(ref)
        if str(ref).isdecimal() and int(ref) <= LARGEST_ID:
            named |= self._task.id == int(ref)
        rows = [sight.task_view(row) for row in self._set(named & self._mine()).select()]
        rows.sort(key=lambda task: task.uuid == str(ref))  # an id goes before a uuid of digits
        return rows[0] if rows else None

    def _matching(self, wanted: Filter) -> Any:
        query, task = self._mine(), self._task
        if wanted.status:
            query &= task.status.belongs(list(wanted.status))
        if wanted.group is not None:
            query &= task.group_name == wanted.group
        if wanted.function is not None:
            query &= task.function_name == wanted.function
        return query & self._with_text(wanted.text) if wanted.text else query

    def _with_text(self, text: str) -> Any:
        """Arguments of tasks with secrets are not searched: whoever guesses would be told."""
        as_json = json.dumps(text)[1:-1]  # how args and vars have it stored
        task = self._task
        query = task.args.contains(as_json) | task.vars.contains(as_json)
        query |= task.args.contains(text) | task.vars.contains(text)
        query &= task.secret == None
        for name in ("task_name", "function_name", "uuid"):
            query |= task[name].contains(text)
        return query
