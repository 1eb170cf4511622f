"""Display views on the terminal: tables, lines and colours.

Does not access the database. Texts of tasks are printed without control characters, which a
terminal would execute.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plugin_scheduler.core.types import Outcome, RunStatus, TaskStatus, WorkerStatus
from plugin_scheduler.core.visible_text import visible
from plugin_scheduler.doctor import Finding
from plugin_scheduler.queries import CappedCount, Explanation, Listing, Overview
from plugin_scheduler.queries.progress import as_number, plain_number
from plugin_scheduler.queries.views import (
    RunView,
    TaskView,
    WorkerView,
    amount,
    call,
    quantity,
    span,
)
from plugin_scheduler.scheduling.recurrence import in_words
from plugin_scheduler.store.audit_log import AuditEntry

UNBOUNDED = 100_000  # columns of output that does not go to a terminal
SOON = 24 * 3600  # seconds; nearer times are also shown as a span
SHORT = 60  # characters of a call in a list
_COLOURS: dict[str, str] = {
    TaskStatus.ASSIGNED: "cyan",
    TaskStatus.RUNNING: "cyan",
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.TIMEOUT: "red",
    TaskStatus.STOPPED: "yellow",
    TaskStatus.EXPIRED: "yellow",
    Outcome.DIED: "red",
    Outcome.LOST: "red",
    Outcome.INTERRUPTED: "yellow",
    WorkerStatus.ACTIVE: "green",
    WorkerStatus.DISABLED: "yellow",
}


_SEVERITIES = {"error": "bold red", "warning": "yellow", "note": "dim"}


class Screen:
    """Standard output: a terminal, or a file without colours and without a width."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else UNBOUNDED
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:  # an encoding without some letters must not raise
            reconfigure(errors="replace")
        self._out = Console(width=width, highlight=False, markup=False, emoji=False)
        self._err = Console(
            stderr=True, width=UNBOUNDED, highlight=False, markup=False, emoji=False
        )

    # -- status ---------------------------------------------------------------------------------

    def overview(self, seen: Overview) -> None:
        """Print counts, running tasks, workers and warnings."""
        self._counts(seen)
        self._running(seen)
        self._workers(seen.workers)
        for warning in seen.warnings:
            self._line(Text("! ", style="bold red"), _clean(warning.sentence))

    def _counts(self, seen: Overview) -> None:
        if not seen.counts:
            odd = any(one.code == "status_odd" for one in seen.warnings)
            self._line("no tasks with a status" if odd else "no tasks")
            return
        used = [one for one in TaskStatus.ALL if any(one in row.by_status for row in seen.counts)]
        table = _table("group", *used, "due", "late", right=(*used, "due", "late"))
        for row in seen.counts:
            numbers = [
                _number(row.by_status.get(one, 0), _COLOURS.get(one, ""), one in row.capped)
                for one in used
            ]
            due = _number(row.due, "", "due" in row.capped)
            late = _number(row.late, "bold red", "late" in row.capped)
            table.add_row(_clean(row.group), *numbers, due, late)
        self._lay(table)

    def _running(self, seen: Overview) -> None:
        if not seen.running:
            return
        self._line()
        table = _table("running now", "name", "worker", "since", "progress", right=("running now",))
        for one in seen.running:
            since = f"{_clock(one.since, seen.at)}, {span(one.seconds)}"
            table.add_row(
                str(one.task.id),
                _clean(one.task.name),
                _clean(one.task.worker or "-"),
                since,
                _clean(_progress(one.progress)),
            )
        self._lay(table)

    def _workers(self, workers: Sequence[WorkerView]) -> None:
        self._line()
        if not workers:
            self._line("no workers")
            return
        names = ("worker", "status", "groups", "slots", "running", "runs", "failed", "heartbeat")
        table = _table(*names, right=("slots", "running", "runs", "failed"))
        for one in workers:
            leader = ", leader" if one.is_ticker else ""
            beat = Text(f"{span(one.silent_for)} ago")
            if not one.alive:
                beat = Text(f"silent for {span(one.silent_for)}", style="bold red")
            table.add_row(
                _clean(one.name),
                Text.assemble(_status(one.status), leader),
                _clean(", ".join(one.groups)),
                str(one.slots),
                str(len(one.running)),
                f"{one.total:,}",
                f"{one.errors:,}",
                beat,
            )
        self._lay(table)

    # -- tasks ----------------------------------------------------------------------------------

    def tasks(
        self, page: Listing, total: CappedCount, now: datetime, hints: Iterable[str] = ()
    ) -> None:
        """Print a list, how many tasks are left out and why, and hints for misspelled filters."""
        if page.looked_to is not None:
            self._line(f"too many tasks to search all: searched back to task {page.looked_to}")
        if page.items:
            self._tasks(page.items, now)
        else:
            self._line("no matching tasks")
        for hint in hints:
            self._line(_clean(hint))
        for note in page.notes:
            self._line(_clean(note))
        if page.after is not None:
            self._line(f"{len(page.items):,} of {total} tasks; --limit shows more")

    def _tasks(self, tasks: Sequence[TaskView], now: datetime) -> None:
        names = ("id", "name", "call", "status", "group", "next run", "runs", "reason")
        table = _table(*names, right=("id", "runs"))
        for one in tasks:
            table.add_row(
                str(one.id),
                _clean(one.name),
                _clean(call(one, SHORT)),
                _status(one.status),
                _clean(one.group),
                _next_run(one, now),
                str(one.times_run),
                _clean(one.reason or ""),
            )
        self._lay(table)

    def explanation(self, seen: Explanation) -> None:
        """Print why a task does not run: its state, and each condition with yes or no."""
        task = seen.task
        self._line(
            Text(visible(f"task {task.id} {task.name}  "), style="bold"),
            _status(task.status),
        )
        self._line("  ", _clean(seen.state))
        for reason in seen.besides:
            self._line(Text("  - ", style="bold red"), _clean(reason))
        if seen.checks:
            self._line()
        for check in seen.checks:
            mark = Text("  yes  ", style="green") if check.met else Text("  no   ", style="red")
            self._line(mark, _clean(check.sentence))

    def history(self, notes: Sequence[AuditEntry], more: bool, now: datetime) -> None:
        """Print the actions of users and the events of workers."""
        if not notes:
            self._line("no entries")
            return
        table = _table("time", "user", "event", "task or worker")
        for one in notes:
            detail = ", ".join(f"{name}: {value}" for name, value in one.detail.items())
            did = one.event or (f"{one.did} ({detail})" if detail else one.did)
            what = one.worker_name or ("" if one.task_id is None else f"task {one.task_id}")
            table.add_row(_clock(one.at, now), _clean(one.who), _clean(did), _clean(what))
        self._lay(table)
        if more:
            self._line("more entries exist; --limit shows more")

    # -- one task -------------------------------------------------------------------------------

    def task(
        self, task: TaskView, run: RunView | None, obstacles: Sequence[str], now: datetime
    ) -> None:
        """Print a task and its latest run."""
        heading = f"task {task.id} {task.name}  "
        self._line(Text(visible(heading), style="bold"), _status(task.status))
        facts = [("calls", call(task, 10 * SHORT)), ("uuid", task.uuid), ("group", task.group)]
        facts += [("schedule", _schedule(task)), ("reason", task.reason or "")]
        facts += [("next run", _next_run(task, now).plain)]
        facts += [("waits because", text) for text in obstacles]
        self._facts(facts)
        self._line()
        if run is None:
            self._line(_no_run(task))
        else:
            self._run(run, now)

    def _run(self, run: RunView, now: datetime) -> None:
        self._line(Text(f"run {run.id}  ", style="bold"), _status(run.word))
        times = _clock(run.start_time, now)
        if run.stop_time:
            times += f" to {_clock(run.stop_time, now)}"
        if run.duration is not None:
            times += f", took {span(run.duration)}"
        asked = "stop requested" if run.stop_requested and run.status == RunStatus.RUNNING else ""
        progress = _progress(run.progress)
        facts = [("worker", run.worker or ""), ("time", times), ("reason", run.reason or "")]
        self._facts([*facts, ("progress", progress), ("", asked)])
        if run.has_result:
            self._block("result", Text(json.dumps(run.result, indent=2, ensure_ascii=False)))
        if run.output:
            self._block("output", Text.from_ansi(run.output.rstrip()))
        if run.traceback:
            self._block("traceback", Text(run.traceback.rstrip()))

    def _facts(self, facts: Iterable[tuple[str, str]]) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in facts:
            if text:
                table.add_row(f"  {name}", _clean(text))
        if table.row_count:
            self._lay(table)

    def _block(self, name: str, text: Text) -> None:
        self._line(Text(f"  {name}", style="dim"))
        shown = visible(text.plain, lines=True)
        if shown != text.plain:
            text = Text(shown)
        for line in text.split("\n", allow_blank=True):
            self._out.print(Text("    ").append_text(line), soft_wrap=True)

    # -- changes --------------------------------------------------------------------------------

    def queued(self, task: TaskView, obstacles: Sequence[str]) -> None:
        """Print a new task, and why it waits."""
        self._line(_clean(f"task {task.id} {task.name} queued, uuid {task.uuid}"))
        for text in obstacles:
            self._line("  waits because: ", _clean(text))

    def outcomes(self, outcomes: Iterable[dict[str, Any]]) -> None:
        """Print what was done to each task, and errors on standard error."""
        for one in outcomes:
            if one["error"]:
                self.complain([f"Error: {one['error']}"])
            else:
                self._line(f"task {one['id']} ", _clean(one["name"]), f": {one['did']}")

    def findings(self, found: Sequence[Finding]) -> None:
        """Print the findings of the doctor, each with its cure."""
        for one in found:
            severity = Text(f"{one.severity:<8}", style=_SEVERITIES.get(one.severity, ""))
            self._line(severity, Text(f"{one.code}: ", style="bold"), _clean(one.sentence))
            self._line("        cure: ", _clean(one.cure))
        if not found:
            self._line("no problems found")

    def lines(self, lines: Iterable[str]) -> None:
        """Print lines of text."""
        for line in lines:
            self._line(_clean(line))

    def complain(self, errors: Iterable[str]) -> None:
        """Print one line for each error on standard error."""
        for error in errors:
            self._err.print(_clean(error), soft_wrap=True)

    def _lay(self, table: Table) -> None:
        """Print a table without trailing blanks."""
        with self._out.capture() as captured:
            self._out.print(table)
        lines = captured.get().splitlines()
        self._out.file.write("".join(f"{line.rstrip()}\n" for line in lines))

    def _line(self, *parts: str | Text) -> None:
        self._out.print(Text.assemble(*parts), soft_wrap=True)


def _table(*names: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        numeric = name in right
        first = name == names[0] and not numeric
        keep = numeric or name in ("status", "worker", "heartbeat")
        table.add_column(
            name, justify="right" if numeric else "left", no_wrap=keep or first, overflow="fold"
        )
    return table


def _clean(text: str) -> Text:
    """Return text without control characters and without markup."""
    return Text(visible(text))


def _number(number: int, style: str, more: bool = False) -> Text:
    if not number and not more:
        return Text("-", style="dim")
    return Text(amount(number, more), style=style)


def _status(status: str) -> Text:
    return Text(visible(status or "-"), style=_COLOURS.get(status, ""))


def _clock(moment: datetime | None, now: datetime) -> str:
    """Format a time; with its date, if that is not today."""
    if moment is None:
        return "-"
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"


def _next_run(task: TaskView, now: datetime) -> Text:
    if task.status not in TaskStatus.WAITING or task.next_run_time is None:
        return Text("")
    if not task.enabled:
        return Text("disabled", style="yellow")
    away = (task.next_run_time - now).total_seconds()
    if away <= 0:
        return Text(f"due for {span(-away)}")
    clock = _clock(task.next_run_time, now)
    return Text(f"in {span(away)}, {clock}" if away < SOON else clock)


def _schedule(task: TaskView) -> str:
    done = f"ran {quantity(task.times_run, 'time')}"
    if task.times_failed:
        done += f", failed {quantity(task.times_failed, 'time')} in a row"
    words = in_words(
        period=task.period or 0,
        repeats=task.repeats,
        cronline=task.cronline,
        until=task.stop_time,
    )
    return f"{words}; {done}"


def _progress(progress: Any) -> str:
    """Format progress: ``3 of 10 (30 %) third picture``."""
    if not isinstance(progress, dict):
        return ""
    at, of = as_number(progress.get("at")), as_number(progress.get("of"))
    part = "" if at is None else plain_number(at)
    if at is not None and of:
        part += f" of {plain_number(of)} ({100 * at / of:.0f} %)"
    return f"{part} {progress.get('text') or ''}".strip()


def _no_run(task: TaskView) -> str:
    if task.times_run:
        return (
            "no run is stored: a run that returned and printed nothing is not kept "
            "(keep_empty_runs=True keeps it)"
        )
    return "no run yet"
