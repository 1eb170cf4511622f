"""The sub-commands: what a person or a script asks and orders at a terminal.

I own their options, exit codes and the JSON they answer with. I call desk to find the scheduler,
api for what changes something, browse for what is only looked at, and display for its looks. I
never read standard input, and never change a task but through api.
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
from plugin_scheduler.queries.views import TaskView, plain
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
    """What a sub-command found: as a document for scripts, and how to show it to a person."""

    document: Any
    show: Callable[[Screen], None]
    exit_code: int = 0


# -- where to look -----------------------------------------------------------------------------

_WHERE = (
    click.option("-K", "app", metavar="APP", help="App to look at."),
    click.option("--apps-folder", help="Folder of the py4web apps.  [default: apps]"),
    click.option("-u", "--uri", help="Database address, to work without a framework."),
    click.option("-f", "--folder", help="Folder of its files, with -u.  [default: .]"),
    click.option(
        "-t", "--tasks", "file", metavar="FILE", help="Python file of the tasks, with -u."
    ),
    click.option("-U", "--utc-time", is_flag=True, help="Times of tasks are UTC, with -u."),
    click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document."),
)
_WAIT = click.option(
    "--wait",
    type=float,
    is_flag=False,
    flag_value=-1.0,
    metavar="[SECONDS]",
    help="Wait until the task has ended, at most so long.  [without a number: as long as it takes]",
)


def _where(ctx: click.Context, given: dict[str, Any]) -> dict[str, Any]:
    """The options that say where to look; those before the sub-command's name count, too."""
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


# -- what all sub-commands share ---------------------------------------------------------------


def sub_command(
    *options: Any,
    example: str,
    takes_old_tables: bool = False,
    checks: bool = False,
) -> Callable[[Callable[..., Answer]], click.Command]:
    """Make a sub-command of a function that is given a Desk and its own options. One that
    ``takes_old_tables`` is told what they lack, and opens an app without changing them. For one
    that ``checks``, a database that is away is an error that it found (2)."""

    def make(body: Callable[..., Answer]) -> click.Command:
        @click.pass_context
        def call(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
            release()
            where = {**_where(ctx, given), "takes_old_tables": takes_old_tables}
            check_texts({**given, "-K": where["app"], "-u": where["uri"]})
            # What an app prints while it is loaded or asked is not part of the answer.
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


# -- to look -----------------------------------------------------------------------------------


@sub_command(checks=True, example="status -K shop\nstatus -u sqlite://s.sqlite -f data --json")
def status(desk: Desk) -> Answer:
    """How things stand: counts of tasks, what runs now, the workers, and warnings.

    Exit code 0 where all is well, 1 where something should be looked at, 2 where work is not done
    (no worker serves a group, say) or the database cannot be asked.
    """
    overview = desk.browser.overview()
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
        help="Only tasks that stand there; may be given several times.",
    ),
    click.option("--group", help="Only tasks of this group."),
    click.option("--function", help="Only tasks that run this function."),
    click.option("--text", help="Only tasks with this in name, function, uuid or arguments."),
    click.option(
        "--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many."
    ),
    example="tasks -K shop --status FAILED --status TIMEOUT\ntasks -K shop --text ann --limit 100",
)
def tasks(desk: Desk, statuses: Sequence[str], **parts: Any) -> Answer:
    """List tasks, the newest first."""
    wanted = Filter(status=statuses, **parts)
    page, total = desk.browser.tasks(wanted, PATIENCE), desk.browser.count(wanted, PATIENCE)
    now = desk.browser.now()
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
    """Words of a filter that nothing has, where one is near that something has."""
    if wanted.function and (known := desk.scheduler.catalog.names()):
        near = nearest(wanted.function, known)
        if near and near != wanted.function:
            yield f"did you mean --function {near}?"
    if wanted.group:
        groups = {group for status in TaskStatus.ALL for group in desk.browser.groups_with(status)}
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

    With --wait the exit code tells how it went: 0 completed, 1 ended otherwise, 3 not ended yet. A
    task that repeats has ended when its last repetition has.
    """
    return _told(desk, desk.wait(ref, wait), waited=wait is not None)


@sub_command(click.argument("ref", metavar="ID|UUID"), example="explain 17 -K shop")
def explain(desk: Desk, ref: str) -> Answer:
    """Why a task does not run: each condition that must be met, and what hinders it.

    Of one that runs or has ended it says since when, and how.
    """
    seen = desk.browser.explain(desk.named(ref))
    return Answer(plain(seen), lambda screen: screen.explanation(seen))


@sub_command(
    click.option(
        "--since",
        metavar="TIME",
        help="Not what is older: 12h, 90m, 7d, or a time like 2026-12-31T23:00.",
    ),
    click.option(
        "--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many."
    ),
    example="history -K shop --since 12h\nhistory -K shop --since 2026-12-31T22:00 --json",
)
def history(desk: Desk, since: str | None, limit: int) -> Answer:
    """What people did, and when workers started, left and died; the newest first."""
    now = desk.browser.now()
    journal = AuditLog(desk.scheduler.db, desk.scheduler.now, desk.browser.application)
    notes = journal.latest(limit + 1, since=moment(since, now) if since else None)
    document = {
        "more": len(notes) > limit,
        "history": [{**plain(note), "event": note.event} for note in notes[:limit]],
    }
    return Answer(document, lambda screen: screen.history(notes[:limit], len(notes) > limit, now))


def _told(desk: Desk, task: TaskView, waited: bool, **more: Any) -> Answer:
    latest, obstacles = desk.browser.latest_run(task.id), desk.browser.obstacles(task)
    now, code = desk.browser.now(), 0
    if waited and task.status != TaskStatus.COMPLETED:
        code = NOT_COMPLETED if task.status in TaskStatus.ENDED else WAIT_OVER
    document = {
        **more,
        "task": plain(task),
        "run": plain(latest) if latest else None,
        "waits_because": obstacles,
    }
    return Answer(document, lambda screen: screen.task(task, latest, obstacles, now), code)


# -- to order ----------------------------------------------------------------------------------


@sub_command(
    click.argument("function"),
    click.argument("args", nargs=-1),
    click.option(
        "--set",
        "columns",
        multiple=True,
        metavar="COLUMN=VALUE",
        help="Any column of the task: period=60, repeats=0, timeout=600, group_name=mail, "
        "start_time=2026-12-31T23:00, 'cronline=0 3 * * *'.",
    ),
    _WAIT,
    example="queue add 3 4 -K shop --wait\n"
    "queue send_mail to=ann@example.com 'copies=[\"bob@example.com\"]' -K shop\n"
    "queue clean_up -K shop --set 'cronline=0 3 * * *' --set repeats=0\n"
    "queue add -K shop -- -3 4             (numbers below zero come after --)",
)
def queue(
    desk: Desk, function: str, args: Sequence[str], columns: Sequence[str], wait: float | None
) -> Answer:
    """Queue a task: FUNCTION with its ARGS.

    An ARG is JSON where it can be read as JSON, and text otherwise; name=value is passed by name.
    Exit code 2 where something is wrong with it, with a line for each column.
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
    obstacles = desk.browser.obstacles(task)
    return Answer(
        {**facts, "waits_because": obstacles}, lambda screen: screen.queued(task, obstacles)
    )


_REFS = click.argument("refs", metavar="ID|UUID...", nargs=-1, required=True)


@sub_command(_REFS, example="stop 17 18 -K shop")
def stop(desk: Desk, refs: Sequence[str]) -> Answer:
    """Stop tasks: one that waits at once, one that runs within seconds.

    Exit code 2 when one is not there or has ended already; the others are stopped all the same.
    """

    def one(task: TaskView) -> str:
        if not task.can_stop:
            raise BadTask(f"task {task.id} {task.name} has already ended: {task.status}")
        if not desk.scheduler.stop_task(task.id):
            raise BadTask(f"task {task.id} {task.name} could not be stopped: it ended just now")
        runs = task.status == TaskStatus.RUNNING
        return "told to stop; its worker ends it within seconds" if runs else "stopped"

    return _each(desk, refs, "stop", one)


@sub_command(
    _REFS,
    click.option("--stop-time", type=read_time, metavar="TIME", help="A new stop_time."),
    example="requeue 17 -K shop\nrequeue 17 -K shop --stop-time 2026-12-31T23:00",
)
def requeue(desk: Desk, refs: Sequence[str], stop_time: datetime | None) -> Answer:
    """Run ended tasks again now, and those that were skipped because of them.

    Exit code 2 when one is not there or has not ended; the others are queued all the same.
    """

    def one(task: TaskView) -> str:
        if not task.can_requeue:
            raise BadTask(f"task {task.id} {task.name} has not ended: {task.status}")
        others = desk.scheduler.requeue(task.id, stop_time) - 1
        return "queued again" + (f", and {others} that waited for it" if others > 0 else "")

    return _each(desk, refs, "requeue", one)


def _each(desk: Desk, refs: Sequence[str], did: str, one: Callable[[TaskView], str]) -> Answer:
    """Do something to each task, and commit it; what cannot be done is told and spoils no other."""
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
    """For those who ask later who did it."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # nobody that the system knows by name, as in many containers
        user = "somebody"
    who = f"{user}@{platform.node()} (terminal)"
    AuditLog(desk.scheduler.db, desk.scheduler.now, application).note(who, did, task_id)
