"""The command line: `scheduler.py -K app` starts workers; options, help texts and exit codes.

Only the package `cli` prints.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from plugin_scheduler.cli.parsing import check_texts
from plugin_scheduler.core import log_events
from plugin_scheduler.core.errors import ConfigError, SchedulerError, StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.spelling import did_you_mean
from plugin_scheduler.core.visible_text import visible
from plugin_scheduler.loaders import module, py4web
from plugin_scheduler.system.processes import leave
from plugin_scheduler.worker.launcher import launch
from plugin_scheduler.worker.shutdown import EXIT_NO_DATABASE

USER_ERROR = 2
#: Options of a worker that win over the app's settings.
OVERRIDES = (
    "slots",
    "runner_max_runs",
    "worker_name",
    "heartbeat",
    "max_empty_runs",
    "grace",
    "db_outage_limit",
    "unknown_function_wait",
)
_GROUP = re.compile(r"[^\s,:|]+")

EPILOG = """
\b
Examples:
  scheduler.py -K shop                    start a worker for the app apps/shop
  scheduler.py -K shop -n 4               start a worker that runs four tasks at a time
  scheduler.py -K shop:mail:reports       start a worker for the groups mail and reports
  scheduler.py -K shop,shop               start two workers, as -K shop -K shop
  scheduler.py -u sqlite://s.sqlite -f data -t tasks.py
                                          start a worker without a framework
  scheduler.py status -K shop             show tasks, workers and warnings

\b
Ctrl+C or SIGQUIT stops a worker at once: running tasks are interrupted and given back. SIGTERM, or
the end of the terminal (not under nohup), lets running tasks finish within --grace. SIGHUP without
a terminal reloads the app. SIGUSR1 writes the worker's state to the log.

\b
Exit codes: 0 stopped on request, or idle (-E), 1 stopped, but results could not be stored,
2 wrong usage or setup, or the worker's name is taken, 75 no database for --db-outage-limit (at the
start: for a minute), 129 end of the terminal, with tasks that were interrupted after --grace,
130 Ctrl+C, 131 SIGQUIT, 143 SIGTERM, with tasks that were interrupted after --grace.
With several workers, a worker that dies is restarted.

\b
Each option can also be set in the environment: SCHEDULER_SLOTS=4, SCHEDULER_APPS="shop blog".
"""


class _LazyGroup(click.Group):
    """The command with its sub-commands, which are imported only when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from plugin_scheduler.cli.admin import COMMANDS

        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from plugin_scheduler.cli.admin import COMMANDS

        return COMMANDS.get(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does; the message for an unknown word names the nearest sub-command."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = did_you_mean(args[0], self.list_commands(ctx))
            ctx.fail(f"no such command {args[0]!r}{near}")
        return super().resolve_command(ctx, args)


@click.command(
    cls=_LazyGroup,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": "SCHEDULER",
    },
)
@click.option(
    "-K",
    "apps",
    multiple=True,
    metavar="APP[:GROUP...]",
    help="App, and groups, to run tasks of; can be repeated.",
)
@click.option("--apps-folder", default="apps", show_default=True, help="Folder of the py4web apps.")
@click.option("-u", "--uri", help="Database URI, to run tasks without a framework.")
@click.option(
    "-f", "--folder", default=".", show_default=True, help="Folder of the database, with -u."
)
@click.option(
    "-t", "--tasks", help="Python file with a dict `tasks`, or with public functions, with -u."
)
@click.option("-g", "--groups", help="Groups to run tasks of, with -u.  [default: main]")
@click.option("-U", "--utc-time", is_flag=True, help="Times of tasks are UTC, with -u.")
@click.option("-n", "--slots", type=int, help="Tasks that run at the same time.  [default: 1]")
@click.option(
    "--runner-max-runs",
    type=int,
    help="Replace a runner after so many runs; 1 = a process for each run.  [default: 10000]",
)
@click.option("-w", "--worker-name", help="Name of the worker.  [default: host#pid#random]")
@click.option("-b", "--heartbeat", type=float, help="Seconds between heartbeats.  [default: 3]")
@click.option("-E", "--max-empty-runs", type=int, help="Exit after so many idle heartbeats.")
@click.option(
    "--grace",
    type=float,
    help="Seconds that running tasks have to finish at SIGTERM.  [default: 30]",
)
@click.option(
    "--db-outage-limit",
    type=float,
    help="Exit with code 75 when the database is away for so many seconds.  [default: never]",
)
@click.option(
    "--unknown-function-wait",
    type=float,
    help="Seconds that a due task waits for a worker that knows its function.  [default: 3600]",
)
@click.option(
    "-L",
    "--logger-level",
    default="INFO",
    show_default=True,
    help="Log level: a number, or DEBUG, INFO, WARNING, ERROR, CRITICAL.",
)
@click.version_option(package_name="plugin_scheduler", allow_from_autoenv=False)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Run background tasks of py4web apps, or of any program that uses pydal.

    A worker claims due tasks in the app's database and runs them in separate processes. Start as
    many workers as you need, on every machine that can reach the database.
    """
    if ctx.invoked_subcommand is not None:
        return
    log_events.to_stderr(_level(options["logger_level"]))
    specs = worker_specs(options)
    if not specs:
        raise ConfigError("no app given: use -K APP, or -u URI and -t FILE; see --help")
    ctx.exit(launch(specs))


def worker_specs(options: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return for each worker the app to load, and the settings that override the app's."""
    overrides = {name: options[name] for name in OVERRIDES if options.get(name) is not None}
    check_texts({name: options.get(name) for name in ("apps", "uri", "groups", "worker_name")})
    Settings().replace(**overrides)  # reports invalid values before a worker starts
    if options.get("uri") and options["apps"]:
        raise ConfigError("-K and -u cannot be combined: an app has its own database")
    if options.get("uri"):
        return [(_file_spec(options), overrides)]
    for letter, name in (("-t", "tasks"), ("-g", "groups"), ("-U", "utc_time")):
        if options["apps"] and options.get(name):
            raise ConfigError(
                f"{letter} can be used with -u only; an app sets this in Scheduler(...)"
            )
    folder = os.path.abspath(options["apps_folder"])
    asked = [parse_app(text) for value in options["apps"] for text in value.split(",")]
    specs = []
    for number, (app, groups) in enumerate(asked, 1):
        py4web.check(app, folder)
        mine = {**overrides, **({"group_names": groups} if groups else {})}
        if len(asked) > 1 and "worker_name" in mine:
            mine["worker_name"] += f"-{number}"
        specs.append(({"kind": "py4web", "app": app, "folder": folder}, mine))
    return specs


def parse_app(text: str) -> tuple[str, list[str]]:
    """Parse ``app:group1:group2`` into an app and its groups.

    >>> parse_app("shop:mail")
    ('shop', ['mail'])
    """
    app, *groups = text.strip().split(":")
    if not py4web.is_app_name(app):
        raise ConfigError(
            f"-K {text!r}: {app!r} is not an app name; write app or app:group1:group2"
        )
    for group in groups:
        if not _GROUP.fullmatch(group):
            what = f"-K {text!r}: {group!r} is not a group name; write app:group1:group2"
            raise ConfigError(what)
    return app, groups


def _file_spec(options: dict[str, Any]) -> dict[str, Any]:
    if not options.get("tasks"):
        raise ConfigError("-u needs -t FILE: a Python file with the tasks to run")
    groups = [name for name in re.split(r"[,\s]+", options["groups"] or "main") if name]
    settings = Settings(group_names=tuple(groups) or ("main",), utc_time=options["utc_time"])
    folder = os.path.abspath(options["folder"])
    module.check(options["uri"], folder, os.path.abspath(options["tasks"]))
    return {
        "kind": "file",
        "uri": options["uri"],
        "folder": folder,
        "tasks": os.path.abspath(options["tasks"]),
        "settings": settings.as_dict(),
    }


def _level(text: str) -> int:
    level = logging.getLevelName(text.upper()) if not text.isdigit() else int(text)
    if not isinstance(level, int):
        names = "DEBUG, INFO, WARNING, ERROR, CRITICAL"
        raise ConfigError(f"-L {text!r}: must be a number from 0 to 100, or one of {names}")
    return level


def run() -> NoReturn:
    """Run the command as a process; end the process even if threads of an app still run."""
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # a bug: print the traceback, and end the process
        traceback.print_exc()
        code = 1
    leave(code)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    try:
        code = command.main(args=args, prog_name="scheduler.py", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return USER_ERROR
    except click.Abort:
        return 130
    except SchedulerError as error:
        print(f"Error: {visible(str(error))}", file=sys.stderr)
        return EXIT_NO_DATABASE if isinstance(error, StoreUnavailable) else USER_ERROR
    return code if isinstance(code, int) else 0
