"""SQL conditions of a filter, and the index that finds its rows.

Does not write, and does not decide how far to search: `tasks` scans.
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Iterable, Iterator
from typing import Any

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries.base import Source
from plugin_scheduler.queries.task_filter import TIMES, Filter

MANY = 10_000  # larger results are neither counted nor sorted


class Matching(Source):
    """A filter as conditions on ``scheduler_task``."""

    def _matching(self, wanted: Filter, step: Any) -> Any:
        """Return all conditions, for the rows of a step.

        The rows are found by their ids. No other index may be used, or the step would sort all its
        rows.
        """
        conditions = [
            *self._words(wanted),
            *self._switches(wanted),
            *self._bounds(wanted),
            *self._texts(wanted),
        ]
        if self.application:  # "all ids" beside the step's would be a second range to choose from
            conditions.append(self._mine())
        return functools.reduce(operator.and_, conditions, step)

    def _words(self, wanted: Filter) -> Iterator[Any]:
        task, by_id = self._task, self._dialect.by_id
        if wanted.status:
            yield by_id(task.status).belongs(list(wanted.status))
        if wanted.group is not None:
            yield by_id(task.group_name) == wanted.group
        if wanted.function is not None:
            yield task.function_name == wanted.function
        if wanted.worker is not None:
            yield by_id(task.assigned_worker_name) == wanted.worker

    def _switches(self, wanted: Filter) -> Iterator[Any]:
        repeats = self._dialect.by_id(self._task.repeats)
        if wanted.enabled is not None:
            yield self._task.enabled == wanted.enabled
        if wanted.repeating is not None:
            yield repeats != 1 if wanted.repeating else (repeats == 1) | (repeats == None)

    def _bounds(self, wanted: Filter) -> Iterator[Any]:
        if wanted.time not in TIMES:
            raise BadTask(f"time={wanted.time!r}: must be one of {', '.join(TIMES)}")
        column = self._task[wanted.time]
        if wanted.since is not None:
            yield column >= wanted.since
        if wanted.until is not None:
            yield column <= wanted.until

    def _texts(self, wanted: Filter) -> Iterator[Any]:
        """Search the texts. Secret arguments are excluded, so that they cannot be guessed by
        searching."""
        if not wanted.text:
            return
        task, texts = self._task, _as_stored(wanted.text)
        query = _in_any((task.args, task.vars), texts) & (task.secret == None)
        query |= _in_any((task.task_name, task.function_name, task.uuid), texts[:1])
        yield query | self._in_output(texts) if wanted.in_output else query

    def _in_output(self, texts: list[str]) -> Any:
        """Search the latest run of each task only, so that a million runs cost no more."""
        run = self._run
        query = _in_any((run.run_output, run.traceback), texts[:1])
        query |= _in_any((run.run_result,), texts)
        latest = (run.id == self._task.run_id) & query
        latest.ignore_common_filters = True
        return self._task.run_id.belongs(self._db(latest).nested_select(run.id, correlated=True))

    # -- few rows, found by an index --------------------

    def _few(self, wanted: Filter) -> list[int] | None:
        """Return the ids of all possible matches, if an index shows that they are few."""
        for query in self._by_index(wanted):
            ids = self._numbers(query, limitby=(0, MANY + 1), orderby_on_limitby=False)
            if len(ids) <= MANY:
                return ids
        return None

    def _by_index(self, wanted: Filter) -> Iterator[Any]:
        task = self._task
        if wanted.worker is not None:
            yield task.assigned_worker_name == wanted.worker
        if wanted.group is not None:
            statuses = list(wanted.status or TaskStatus.ALL)
            yield task.status.belongs(statuses) & (task.group_name == wanted.group)
        elif wanted.status:
            yield task.status.belongs(list(wanted.status))
        if wanted.repeating:
            yield task.repeats != 1
        yield task.id > 0

    def _is_narrow(self, wanted: Filter) -> bool:
        """Return True if the filter uses more than the indexes contain."""
        more = (wanted.function, wanted.text, wanted.since, wanted.until, wanted.enabled)
        several = sum(map(bool, (wanted.status or wanted.group, wanted.worker, wanted.repeating)))
        asks = any(one is not None for one in more) or wanted.repeating is False
        return asks or several > 1 or bool(self.application)

    def _numbers(self, query: Any, **options: Any) -> list[int]:
        return [row[0] for row in self._told(query, [self._task.id], **options)]


def _as_stored(text: str) -> list[str]:
    """Return the text as it is, and in JSON form if that differs."""
    return list(dict.fromkeys((text, json.dumps(text)[1:-1])))


def _in_any(columns: Iterable[Any], texts: Iterable[str]) -> Any:
    found = [column.contains(text) for column in columns for text in texts]
    return functools.reduce(operator.or_, found)
