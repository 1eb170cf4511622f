"""The sub-commands that show and change tasks: options, exit codes and JSON output.

Uses the scheduler's API for changes and the queries for display. Does not read standard input.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from plugin_scheduler.cli.context import Desk, opened
from plugin_scheduler.cli.parsing import Word, arguments, check_texts, column, moment
from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask, ConfigError, NotFound, StoreUnavailable
from plugin_scheduler.core.spelling import nearest
from plugin_scheduler.core.time_text import read_time
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries import Filter
from plugin_scheduler.queries.views import TaskView, plain, quantity
from plugin_scheduler.queries.warnings import exit_code
from plugin_scheduler.store.audit_log import AuditLog
from plugin_scheduler.system.signals import release

if TYPE_CHECKING:
    from plugin_scheduler.cli.render import Screen

COMMANDS: dict[str, click.Command] = {}

NOT_COMPLETED, USER_ERROR, WAIT_OVER = 1, 2, 3
PATIENCE = 5.0  # seconds for a list


@dataclass(frozen=True)
class Answer:
    """The output of a sub-command: a document for scripts, and a function that displays it."""

    document: Any
    show: Callable[[Screen], None]
    exit_code: int = 0


# -- common options ----------------------------------------------------------------------------

_WHERE = (
    click.option("-K", "app", metavar="APP", help="App of the tasks."),
    click.option("--apps-folder", help="Folder of the py4web apps.  [default: apps]"),
    click.option("-u", "--uri", help="Database URI, for tasks without a framework."),
    click.option("-f", "--folder", help="Folder of the database, with -u.  [default: .]"),
    click.option(
        "-t", "--tasks", "file", metavar="FILE", help="Python file with the tasks, with -u."
    ),
    click.option("-U", "--utc-time", is_flag=True, help="Times of tasks are UTC, with -u."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
)
_WAIT = click.option(
    "--wait",
    type=float,
    is_flag=False,
    flag_value=-1.0,
    metavar="[SECONDS]",
    help="Wait until the task has ended, at most so long.  [without a number: no limit]",
)


def _where(ctx: click.Context, given: dict[str, Any]) -> dict[str, Any]:
    """Return the common options, also from before the name of the sub-command."""
    outer = ctx.parent.params if ctx.parent else {}
    apps = outer.get("apps") or (None,)
    return {
        "app": given.pop("app") or apps[0],
        "apps_folder": given.pop("apps_folder") or outer.get("apps_folder") or "apps",
        "uri": given.pop("uri") or outer.get("uri"),
        "folder": given.pop("folder") or outer.get("folder") or ".",
        "file": given.pop("file") or outer.get("tasks"),
        "utc_time": given.pop("utc_time") or outer.get("utc_time") or False,
    }


# -- common code of the sub-commands -----------------------------------------------------------


def sub_command(
    *options: Any,
    example: str,
    takes_old_tables: bool = False,
    checks: bool = False,
) -> Callable[[Callable[..., Answer]], click.Command]:
    """Make a sub-command of a function, which receives a Desk and its own options.

    With ``takes_old_tables``, an app is opened without changes to its tables, and the Desk lists
    what they lack. With ``checks``, an unreachable database is a finding (exit code 2).
    """

    def make(body: Callable[..., Answer]) -> click.Command:
        @click.pass_context
        def call(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
            release()
            where = {**_where(ctx, given), "takes_old_tables": takes_old_tables}
            check_texts({**given, "-K": where["app"], "-u": where["uri"]})
            # What an app prints is not part of the output.
            try:
                with contextlib.redirect_stdout(sys.stderr), opened(where) as desk:
                    answer = body(desk, **given)
            except StoreUnavailable as error:
                if not checks:
                    raise
                raise ConfigError(str(error)) from error
            _give(answer, as_json)
            ctx.exit(answer.exit_code)

        for option in reversed((*options, *_WHERE)):
            call = option(call)
        name = body.__name__
        epilog = "\b\nExamples:\n" + "\n".join(
            f"  scheduler.py {line}" for line in example.split("\n")
        )
        short = (body.__doc__ or "").partition("\n")[0]
        made = click.command(name, help=body.__doc__, short_help=short, epilog=epilog)(call)
        COMMANDS[name] = made
        return made

    return make


def _give(answer: Answer, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(json_codec.document(answer.document), indent=2, allow_nan=False))
        return
    from plugin_scheduler.cli.render import Screen

    answer.show(Screen())


# -- display -----------------------------------------------------------------------------------


@sub_command(checks=True, example="status -K shop\nstatus -u sqlite://s.sqlite -f data --json")
def status(desk: Desk) -> Answer:
    """Show the number of tasks, the running tasks, the workers, and warnings.

    Exit codes: 0 no problems, 1 warnings, 2 tasks cannot run (for example, no worker serves a
    group), or the database cannot be used.
    """
    overview = desk.queries.overview()
    warnings = [one.sentence for one in overview.warnings]
    findings = [
        {"code": one.code, "severity": one.severity, "sentence": one.sentence}
        for one in overview.warnings
    ]
    document = {**plain(overview), "warnings": warnings, "findings": findings}
    code = exit_code(one.severity for one in overview.warnings)
    return Answer(document, lambda screen: screen.overview(overview), code)


@sub_command(
    click.option(
        "--status",
        "statuses",
        multiple=True,
        type=Word(TaskStatus.ALL, case_sensitive=False),
        help="Only tasks with this status; can be repeated.",
    ),
    click.option("--group", help="Only tasks of this group."),
    click.option("--function", help="Only tasks that run this function."),
    click.option("--text", help="Only tasks with this text in name, function, uuid or arguments."),
    click.option(
        "--limit",
        type=click.IntRange(1),
        default=20,
        show_default=True,
        help="Maximum number of tasks.",
    ),
    example="tasks -K shop --status FAILED --status TIMEOUT\ntasks -K shop --text ann --limit 100",
)
def tasks(desk: Desk, statuses: Sequence[str], **parts: Any) -> Answer:
    """List tasks, newest first."""
    wanted = Filter(status=statuses, **parts)
    page, total = desk.queries.tasks(wanted, PATIENCE), desk.queries.count(wanted, PATIENCE)
    now = desk.queries.now()
    counted = {"total": total.number, "total_is_more": total.more}
    document = {
        **counted,
        "looked_to": page.looked_to,
        "unreadable": list(page.notes),
        "tasks": list(map(plain, page.items)),
    }
    hints = [] if page.items else list(_meant(desk, wanted))
    return Answer(document, lambda screen: screen.tasks(page, total, now, hints))


def _meant(desk: Desk, wanted: Filter) -> Iterator[str]:
    """Yield hints for words of a filter that match nothing, but are similar to known words."""
    if wanted.function and (known := desk.scheduler.catalog.names()):
        near = nearest(wanted.function, known)
        if near and near != wanted.function:
            yield f"did you mean --function {near}?"
    if wanted.group:
        groups = {group for status in TaskStatus.ALL for group in desk.queries.groups_with(status)}
        near = nearest(wanted.group, groups)
        if near and near != wanted.group:
            yield f"did you mean --group {near}?"


@sub_command(
    click.argument("ref", metavar="ID|UUID"),
    _WAIT,
    example="run 17 -K shop\nrun 17 -K shop --wait 60 && echo completed",
)
def run(desk: Desk, ref: str, wait: float | None) -> Answer:
    """Show a task and its latest run: times, result, traceback, output, progress.

    Exit codes with --wait: 0 completed, 1 ended otherwise, 3 not ended yet. A repeating task ends
    with its last repeat.
    """
    return _told(desk, desk.wait(ref, wait), waited=wait is not None)


@sub_command(click.argument("ref", metavar="ID|UUID"), example="explain 17 -K shop")
def explain(desk: Desk, ref: str) -> Answer:
    """Explain why a task does not run: each condition, and whether it is met.

    For a task that runs or has ended, show since when, and how.
    """
    seen = desk.queries.explain(desk.named(ref))
    return Answer(plain(seen), lambda screen: screen.explanation(seen))


@sub_command(
    click.option(
        "--since",
        metavar="TIME",
        help="Only entries since then: 12h, 90m, 7d, or a time such as 2026-12-31T23:00.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(1),
        default=50,
        show_default=True,
        help="Maximum number of entries.",
    ),
    example="history -K shop --since 12h\nhistory -K shop --since 2026-12-31T22:00 --json",
)
def history(desk: Desk, since: str | None, limit: int) -> Answer:
    """Show what users did, and when workers started, stopped and died; newest first."""
    now = desk.queries.now()
    journal = AuditLog(desk.scheduler.db, desk.scheduler.now, desk.queries.application)
    notes = journal.latest(limit + 1, since=moment(since, now) if since else None)
    document = {
        "more": len(notes) > limit,
        "history": [{**plain(note), "event": note.event} for note in notes[:limit]],
    }
    return Answer(document, lambda screen: screen.history(notes[:limit], len(notes) > limit, now))


def _told(desk: Desk, task: TaskView, waited: bool, **more: Any) -> Answer:
    latest, obstacles = desk.queries.latest_run(task.id), desk.queries.obstacles(task)
    now, code = desk.queries.now(), 0
    if waited and task.status != TaskStatus.COMPLETED:
        code = NOT_COMPLETED if task.status in TaskStatus.ENDED else WAIT_OVER
    document = {
        **more,
        "task": plain(task),
        "run": plain(latest) if latest else None,
        "waits_because": obstacles,
    }
    return Answer(document, lambda screen: screen.task(task, latest, obstacles, now), code)


# -- changes -----------------------------------------------------------------------------------


@sub_command(
    click.argument("function"),
    click.argument("args", nargs=-1),
    click.option(
        "--set",
        "columns",
        multiple=True,
        metavar="COLUMN=VALUE",
        help="Set a column of the task: period=60, repeats=0, timeout=600, group_name=mail, "
        "start_time=2026-12-31T23:00, 'cronline=0 3 * * *'.",
    ),
    _WAIT,
    example="queue add 3 4 -K shop --wait\n"
    "queue send_mail to=ann@example.com 'copies=[\"bob@example.com\"]' -K shop\n"
    "queue clean_up -K shop --set 'cronline=0 3 * * *' --set repeats=0\n"
    "queue add -K shop -- -3 4             (negative numbers follow --)",
)
def queue(
    desk: Desk, function: str, args: Sequence[str], columns: Sequence[str], wait: float | None
) -> Answer:
    """Queue a task: FUNCTION with its ARGS.

    An ARG that is valid JSON is passed as that value, any other ARG as text. name=value passes a
    named argument. Exit code 2 if the task is not valid, with one line for each invalid column.
    """
    pargs, pvars = arguments(args)
    table = desk.scheduler.db.scheduler_task
    settings = dict(column(table, pair) for pair in columns)
    made = desk.scheduler.queue_task(function, pargs, pvars, **settings)
    facts = {"id": made.id, "uuid": made.uuid, "errors": made.errors}
    if made.errors:
        errors = [f"{name}: {sentence}" for name, sentence in made.errors.items()]
        return Answer(facts, lambda screen: screen.complain(errors), USER_ERROR)
    _note(desk, "queue", made.id, desk.scheduler.application_name)
    desk.scheduler.db.commit()
    if wait is not None:
        return _told(desk, desk.wait(made.uuid, wait), waited=True, **facts)
    task = desk.named(made.uuid)
    obstacles = desk.queries.obstacles(task)
    return Answer(
        {**facts, "waits_because": obstacles}, lambda screen: screen.queued(task, obstacles)
    )


_REFS = click.argument("refs", metavar="ID|UUID...", nargs=-1, required=True)


@sub_command(_REFS, example="stop 17 18 -K shop")
def stop(desk: Desk, refs: Sequence[str]) -> Answer:
    """Stop tasks: waiting tasks at once, running tasks within seconds.

    Exit code 2 if a task does not exist or has already ended; the other tasks are stopped.
    """

    def one(task: TaskView) -> str:
        if not task.can_stop:
            raise BadTask(f"task {task.id} {task.name} has already ended: {task.status}")
        if not desk.scheduler.stop_task(task.id):
            raise BadTask(f"task {task.id} {task.name} could not be stopped: it has just ended")
        runs = task.status == TaskStatus.RUNNING
        return "asked to stop; its worker ends it within seconds" if runs else "stopped"

    return _each(desk, refs, "stop", one)


@sub_command(
    _REFS,
    click.option(
        "--stop-time",
        type=read_time,
        metavar="TIME",
        help="A new stop_time; needed if the old one has passed.",
    ),
    example="requeue 17 -K shop\nrequeue 17 -K shop --stop-time 2026-12-31T23:00",
)
def requeue(desk: Desk, refs: Sequence[str], stop_time: datetime | None) -> Answer:
    """Run ended tasks again now, and the tasks that were skipped because of them.

    Exit code 2 if a task does not exist or has not ended; the other tasks are queued.
    """

    def one(task: TaskView) -> str:
        if not task.can_requeue:
            raise BadTask(f"task {task.id} {task.name} has not ended: {task.status}")
        others = desk.scheduler.requeue(task.id, stop_time) - 1
        return "queued again" + (
            f", with {quantity(others, 'task')} skipped because of it" if others > 0 else ""
        )

    return _each(desk, refs, "requeue", one)


def _each(desk: Desk, refs: Sequence[str], did: str, one: Callable[[TaskView], str]) -> Answer:
    """Change each task and commit; an error is reported, and the other tasks are changed."""
    outcomes: list[dict[str, Any]] = []
    for ref in refs:
        try:
            task = desk.named(ref)
            said = one(task)
            _note(desk, did, task.id, task.application)
            desk.scheduler.db.commit()
            outcomes.append(
                {"ref": ref, "id": task.id, "name": task.name, "did": said, "error": None}
            )
        except (BadTask, NotFound) as error:
            outcomes.append(
                {"ref": ref, "id": None, "name": None, "did": None, "error": str(error)}
            )
    failed = any(outcome["error"] for outcome in outcomes)
    return Answer(outcomes, lambda screen: screen.outcomes(outcomes), USER_ERROR if failed else 0)


def _note(desk: Desk, did: str, task_id: int, application: str) -> None:
    """Record the user's action in the history."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # the user has no name, as in many containers
        user = "unknown"
    who = f"{user}@{platform.node()} (terminal)"
    AuditLog(desk.scheduler.db, desk.scheduler.now, application).note(who, did, task_id)
