"""Runs: one with its details, its output in pieces, and the runs of a task.

Outputs and results may be large, and are read only when they are displayed. Does not write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plugin_scheduler.core import row_values
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.types import RunStatus
from plugin_scheduler.queries import views
from plugin_scheduler.queries.base import Source, unreadable
from plugin_scheduler.queries.progress import TAIL as LAST_LINES
from plugin_scheduler.queries.progress import ProgressView, headway
from plugin_scheduler.queries.views import RunView

PIECE = 1 << 17  # characters of output that are read at once
RESULT = 1 << 16  # characters of a result that are shown
COMPARED = 1 << 15  # characters of output that are compared as a whole; longer outputs are sampled
SAMPLES, SAMPLE = 16, 256
GLIMPSE = 200  # characters of a result in a list
LARGE = ("run_output", "run_result")


@dataclass(frozen=True)
class RunDetail(RunView):
    """A run without its output, which may be large: `Runs.output` returns that in pieces.

    Of a result longer than ``RESULT`` only the beginning is included, as text (``result_cut``).
    """

    printed: int
    result_cut: bool
    headway: ProgressView


@dataclass(frozen=True)
class RunPage:
    """Newest first; ``older`` is the ``before`` of the next page, None on the last."""

    items: list[RunView]
    older: int | None


@dataclass(frozen=True)
class Piece:
    """A part of an output, from character ``start`` on. ``marker`` is for the next request.
    ``fresh``: the piece replaces all that was read before."""

    text: str
    start: int
    total: int
    marker: str
    fresh: bool

    @property
    def end(self) -> int:
        """The start of the next piece."""
        return self.start + len(self.text)


class Runs(Source):
    """The runs of this app's tasks."""

    def run(self, run_id: int) -> RunDetail | None:
        """Return a run without its output; None if this app has no such run."""
        run = self._run
        size, length = self._size(run.run_output), self._size(run.run_result)
        columns = [run[name] for name in run.fields if name not in LARGE]
        shown = run.run_result[:RESULT]
        rows = self._read_rows(self._of_app(run_id), *columns, size, length, shown)
        if not rows:
            return None
        row = rows[0]
        if row.get("odd"):
            raise BadTask(unreadable("Run {id} cannot be read: {why}", run_id, row))
        plain, result = row.scheduler_run, row[shown]
        plain.run_output, plain.run_result, cut = "", result, (row[length] or 0) > RESULT
        view = vars(views.run_view(plain))
        if cut:
            view["result"] = result
        printed = row[size] or 0
        return RunDetail(
            **view, printed=printed, result_cut=cut, headway=self._headway(plain, printed)
        )

    def run_ids(self, run_id: int, task_id: int) -> tuple[int | None, int | None]:
        """Return the runs of a task before and after one: older, newer."""
        run, of_task = self._run, self._run.task_id == task_id
        older, newer = run.id.max(), run.id.min()
        before = self._set(of_task & (run.id < run_id)).select(older).first()
        after = self._set(of_task & (run.id > run_id)).select(newer).first()
        return before[older], after[newer]

    def runs(self, task_id: int, before: int | None = None, limit: int = 20) -> RunPage:
        """Return a page of a task's runs, newest first, without output; results are cut, as
        text."""
        run = self._run
        query = run.task_id == task_id
        if before is not None:
            query &= run.id < before
        ids = [
            one for (one,) in self._told(query, [run.id], orderby=~run.id, limitby=(0, limit + 1))
        ]
        items = self._glimpses(ids[:limit])
        return RunPage(items, ids[limit - 1] if len(ids) > limit else None)

    def _glimpses(self, ids: list[int]) -> list[RunView]:
        run = self._run
        columns = [run[name] for name in run.fields if name not in LARGE]
        shown = run.run_result[:GLIMPSE]
        rows = self._read_rows(run.id.belongs(ids), *columns, shown, orderby=~run.id) if ids else []
        return [_glimpse(row.scheduler_run, row[shown]) for row in rows if not row.get("odd")]

    def latest_run(self, task_id: int) -> RunView | None:
        """Return the newest run of a task whose row is kept, with its output and result."""
        of_task, newest = self._run.task_id == task_id, ~self._run.id
        rows = self._read_rows(of_task, self._run.ALL, orderby=newest, limitby=(0, 1))
        return views.run_view(rows[0]) if rows else None

    # -- output --------------------

    def output(self, run_id: int, after: int = 0, marker: str = "") -> Piece | None:
        """Return what a run of this app printed from character ``after`` on.

        Output may be cut, or cleared by ``!clear!``: then the ``marker`` of the previous piece does
        not match, and the end of the current output is returned, which replaces all earlier pieces.

        >>> first = queries.output(7)
        >>> more = queries.output(7, first.end, first.marker)
        """
        run, text = self._of_app(run_id), self._run.run_output
        size = self._size(text)
        row = self._set(run).select(size).first()
        if row is None:
            return None
        total = row[size] or 0
        if marker and after <= total:
            end = min(total, after + PIECE)
            more, before, here = self._read(run, slice(after, end), after, end)
            if before == marker:
                return Piece(more, after, total, here, fresh=False)
        start = max(0, total - PIECE)
        tail, _, here = self._read(run, slice(start, total), 0, total)
        return Piece(tail, start, total, here, fresh=True)

    def whole_output(self, run_id: int) -> str | None:
        """Return the complete stored output of a run of this app."""
        return self._whole(run_id, self._run.run_output)

    def whole_result(self, run_id: int) -> str | None:
        """Return a result as it is stored, of any size."""
        return self._whole(run_id, self._run.run_result)

    def _whole(self, run_id: int, field: Any) -> str | None:
        rows = self._read_rows(self._of_app(run_id), field)
        return (row_values.text(rows[0][field.name]) or "") if rows else None

    def _read(self, run: Any, part: slice, *lengths: int) -> tuple[str, ...]:
        """Return a part of an output, and for each length the marker of that much of its
        beginning."""
        text = self._run.run_output
        places = [[text[one] for one in _samples(length)] for length in lengths]
        columns = {str(one): one for some in places for one in some}
        rows = self._read_rows(run, text[part], *columns.values())
        if not rows:
            return ("", *("" for _ in lengths))
        found = {name: row_values.text(value) or "" for name, value in rows[0]["_extra"].items()}
        markers = (_marker([found[str(one)] for one in some]) for some in places)
        return (found[str(text[part])], *markers)

    def _headway(self, row: Any, printed: int) -> ProgressView:
        """Return the progress of a running run; empty for one that has ended."""
        if row.status != RunStatus.RUNNING:
            return ProgressView()
        end = ""
        if not row.progress and printed:
            tail = slice(max(0, printed - LAST_LINES), printed)
            end = self._read(self._run.id == row.id, tail)[0]
        return headway(row.progress, end, row.start_time, self.now())

    def _of_app(self, run_id: int) -> Any:
        task = self._task
        return (self._run.id == run_id) & (self._run.task_id == task.id) & self._mine()

    def _size(self, field: Any) -> Any:
        return self._dialect.characters(field)


def _samples(length: int) -> Iterator[slice]:
    """Yield parts that identify a beginning: all of it, if it is short."""
    if length <= COMPARED:
        yield slice(0, length)
        return
    for number in range(SAMPLES):
        at = (length - SAMPLE) * number // (SAMPLES - 1)
        yield slice(at, at + SAMPLE)


def _marker(samples: list[str]) -> str:
    text = "\0".join(samples).encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=9).hexdigest()


def _glimpse(row: Any, result: str | None) -> RunView:
    row.run_output, row.run_result = "", result
    return views.run_view(row)
