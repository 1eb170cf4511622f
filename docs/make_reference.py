"""Write docs/reference from the code: `python docs/make_reference.py`, or only `--check` it.

Names, signatures, options, columns, moves and events are read from the modules, so that the
reference always describes the present code.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from plugin_scheduler.models import TABLES, define_tables
from pydal import DAL

import plugin_scheduler
from plugin_scheduler import controllers
from plugin_scheduler.cli.main import command
from plugin_scheduler.core import log_events, types
from plugin_scheduler.core.reasons import TEMPLATES
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.scheduling import state_machine

FOLDER = Path(__file__).resolve().parent / "reference"
HEAD = "<!-- Made from the code by make_reference.py: change the code, then `make reference`. -->"
WIDTH = 100
LABEL = re.compile(r"^(Parameters|Returns|Raises|Source):")
COMMENT = re.compile(r"^ +([A-Z_]+) = .*#: (.+)$", re.MULTILINE)


# -- Markdown ----------------------------------------------------------------------------------


def page(title: str, *parts: str) -> str:
    """Return a page."""
    return "\n\n".join([f"# {title}", HEAD, *(part for part in parts if part)]) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a Markdown table."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0])]
    lines += [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code(text: Any) -> str:
    """Return text as code; an empty text stays empty."""
    return f"`{text}`" if text not in ("", None) else ""


def item(text: str) -> str:
    """Return an entry of a list, wrapped."""
    return textwrap.fill(
        text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )


def fenced(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"


def prose(docstring: str | None) -> str:
    """Return a docstring as Markdown: inline code, bold labels, blocks of examples."""
    parts = re.split(r"\n\s*\n", inspect.cleandoc(docstring or ""))
    return "\n\n".join(map(paragraph, parts))


def paragraph(part: str) -> str:
    if part.startswith(">>>"):
        return fenced(re.sub(" +# ", "  # ", part), "pycon")
    part = LABEL.sub(r"**\1:**", part.replace("``", "`"))
    return part.replace("**Parameters:**\n", "**Parameters:**\n\n")


# -- api.md ------------------------------------------------------------------------------------


def api_page() -> str:
    """Return the page of all names in ``plugin_scheduler.__all__``."""
    public = {name: getattr(plugin_scheduler, name) for name in plugin_scheduler.__all__}
    kinds: dict[str, list[str]] = {"Classes": [], "Functions and objects": [], "Errors": []}
    for name, value in public.items():
        if inspect.isclass(value) and issubclass(value, Exception):
            kinds["Errors"].append(error_entry(name, value))
        elif inspect.isclass(value):
            kinds["Classes"].append(class_entry(name, value))
        elif not isinstance(value, (str, tuple)):
            kinds["Functions and objects"].append(object_entry(name, value))
    parts = [
        "All names can be imported from `plugin_scheduler`. The API does not commit, except where\n"
        "this page says so: a change takes effect with the caller's commit."
    ]
    for kind, entries in kinds.items():
        parts += [f"## {kind}", *entries]
    return page("The Python API", *parts, "## Constants", words_of(public))


def class_entry(name: str, cls: type) -> str:
    parts = [f"### {name}", fenced(signature(name, cls), "text"), prose(cls.__doc__)]
    names = [name for name, value in members(cls).items() if isinstance(value, property)]
    if names:
        parts.append(textwrap.fill(f"Read-only attributes: {', '.join(map(code, names))}.", WIDTH))
    for method, value in members(cls).items():
        if not method.startswith("_") and inspect.isfunction(value) and value.__doc__:
            called = f"{name}.{method}"
            parts += [f"#### {called}", fenced(signature(called, value), "text")]
            parts.append(prose(value.__doc__))
    return "\n\n".join(parts)


def members(cls: type) -> dict[str, Any]:
    """Return the members of the class and of its base classes in this package."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("plugin_scheduler"):
            found = {**found, **{k: v for k, v in vars(base).items() if k not in found}}
    return found


def error_entry(name: str, cls: type) -> str:
    bases = " and ".join(code(base.__name__) for base in cls.__bases__)
    return f"### {name}\n\n{prose(cls.__doc__)}\n\nA subclass of {bases}."


def object_entry(name: str, value: Any) -> str:
    if inspect.isfunction(value):
        return "\n\n".join(
            [f"### {name}", fenced(signature(name, value), "text"), prose(value.__doc__)]
        )
    return f"### {name}\n\n{prose(type(value).__doc__)}"


def words_of(public: Mapping[str, Any]) -> str:
    """Return the table of the status words, and of the tuples of them."""
    rows = []
    for name, value in public.items():
        if isinstance(value, tuple):
            rows.append((code(name), ", ".join(map(code, value))))
        elif name != "__version__" and isinstance(value, str):
            rows.append((code(name), code(repr(value))))
    rows.append((code("__version__"), "the version of the package, as text"))
    return table(("name", "value"), rows)


def signature(name: str, called: Callable[..., Any]) -> str:
    """Return a signature without quotes around types; a long one has a line per parameter."""
    found = inspect.signature(called)
    result = found.return_annotation
    arrow = "" if inspect.isclass(called) or result is found.empty else f" -> {result}"
    parts = list(parameters(found))
    line = f"{name}({', '.join(parts)}){arrow}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){arrow}"])


def parameters(found: inspect.Signature) -> Iterator[str]:
    kinds, starred = inspect.Parameter, False
    for parameter in found.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is kinds.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        stars = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        kind = "" if parameter.annotation is kinds.empty else f": {parameter.annotation}"
        default = "" if parameter.default is kinds.empty else f" = {parameter.default!r}"
        yield f"{stars}{parameter.name}{kind}{default}"


# -- settings.md -------------------------------------------------------------------------------


def settings_page() -> str:
    """Return the page of all settings, with default, unit and option of the command."""
    options = {parameter.name: parameter for parameter in command.params}
    rows = []
    for option in fields(Settings):
        facts = option.metadata
        least = "" if facts["least"] is None else f"{facts['least']:g}"
        flag = options.get(option.name)
        flags = flags_of(flag) if flag else ""
        default = code(repr(option.default))
        rows.append((code(option.name), default, facts["unit"], least, flags, facts["help"]))
    return page(
        "Settings",
        "Each setting is a keyword argument of `Scheduler(db, ...)`. An option of the command\n"
        "takes precedence. Creating the scheduler raises `ConfigError` for a value that is not\n"
        "valid.",
        table(("setting", "default", "unit", "minimum", "option", "meaning"), rows),
        f"A worker counts as dead after three heartbeats and two seconds of silence: "
        f"{Settings().lease:g} s by default.",
    )


def flags_of(option: click.Parameter) -> str:
    """Return the name of an option, with a remark if it requires -u."""
    alone = ", with `-u`" if "with -u" in (getattr(option, "help", "") or "") else ""
    return code(option.opts[0]) + alone


# -- command.md --------------------------------------------------------------------------------


def command_page() -> str:
    """Return the page with the help of the command and of each sub-command."""
    from plugin_scheduler.cli import admin

    parts = [command_entry("scheduler.py", command)]
    for name, sub_command in admin.COMMANDS.items():
        parts.append(command_entry(f"scheduler.py {name}", sub_command))
    told = "`scheduler.py` and `python -m plugin_scheduler` are the same; `-h` shows this help."
    return page("The command line", told, *parts)


def command_entry(name: str, command: click.Command) -> str:
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    more = ["[COMMAND] [ARGS]..."] if isinstance(command, click.Group) else []
    usage = " ".join([name, "[OPTIONS]", *map(metavar_of_argument, arguments), *more])
    options = [option_line(one) for one in command.params if isinstance(one, click.Option)]
    examples = inspect.cleandoc(command.epilog or "").replace("\b\n", "").replace("\b", "")
    return "\n\n".join(
        [
            f"## {name}",
            fenced(usage, "text"),
            prose(command.help),
            "\n".join(options),
            fenced(examples.strip(), "text"),
        ]
    )


def metavar_of_argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    if argument.nargs == -1 and not argument.metavar:
        name = f"[{name}]..."
    return name


def option_line(option: click.Option) -> str:
    names = ", ".join(map(code, option.opts))
    given = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    default = f" [default: {option.default}]" if option.show_default is True else ""
    return item(f"{names}{given}: {' '.join((option.help or '').split())}{default}")


# -- tables.md ---------------------------------------------------------------------------------


def tables_page() -> str:
    """Return the page of all columns."""
    db = DAL("sqlite:memory", migrate=False)
    define_tables(db, now=now, migrate=False, application_name="the app's name")
    parts = []
    for name in TABLES:
        rows = [column_row(field) for field in db[name] if field.name != "id"]
        parts += [f"## {name}", table(("column", "type", "default", "by hand", "comment"), rows)]
    db.close()
    return page(
        "Tables",
        "`Scheduler(db)` adds these tables to the app's database. Each also has an `id`. The\n"
        "first columns are web2py's, in its order. Only columns with a yes under *by hand* are\n"
        "for users; the scheduler writes the others, and forms do not offer them.",
        *parts,
    )


def now() -> None:
    """The default of a column that has the current time."""


def column_row(field: Any) -> tuple[str, ...]:
    by_hand = "yes" if field.writable else ""
    return code(field.name), field.type, default_of(field), by_hand, field.comment or ""


def default_of(field: Any) -> str:
    if callable(field.default):
        return {"now": "now", "new_uuid": "a new one"}[field.default.__name__]
    return code(repr(field.default)) if field.default is not None else ""


# -- states.md ---------------------------------------------------------------------------------


def states_page() -> str:
    """Return the page of the statuses, moves and reasons."""
    rows = [
        (code(rule.name), sources(rule), rule.target, rule.who, rule.guard, rule.also)
        for rule in state_machine.MOVES.values()
    ]
    return page(
        "States and moves",
        "![The life of a task](../pictures/life-of-a-task.svg)",
        "## Statuses of a task",
        meanings(types.TaskStatus),
        "## Moves",
        "A task changes its status only by one of these moves. A move is written only if its\n"
        "guard holds at that moment.",
        table(("move", "from", "to", "who", "guard", "also"), rows),
        "## Statuses and outcomes of a run",
        ", ".join(map(code, types.RunStatus.ALL)),
        "The column `outcome` says more than the status, which has web2py's values. It is NULL\n"
        "while the run is running, and in rows of older versions: pages then show the status.",
        outcomes(),
        "## Reasons",
        "Each reason has a code (`reason_code`), which programs can compare. The column is NULL\n"
        "if there is no reason, and in rows of older versions.",
        table(("code", "reason"), ((code(one.value), said) for one, said in TEMPLATES.items())),
        "## Statuses of a worker",
        meanings(types.WorkerStatus),
    )


def sources(rule: state_machine.Rule) -> str:
    if rule.sources == types.TaskStatus.ENDED:
        return "any that has ended"
    return ", ".join(rule.sources)


def meanings(words: type) -> str:
    """Return the table of the constants of a class and the comments beside them."""
    found = COMMENT.findall(inspect.getsource(words))
    return table(("status", "meaning"), ((code(word), text) for word, text in found))


def outcomes() -> str:
    comments = dict(COMMENT.findall(inspect.getsource(types.Outcome)))
    pairs = types.Outcome.RUN_STATUS.items()
    rows = [(code(name), code(status), comments.get(name, "")) for name, status in pairs]
    return table(("outcome", "status of the run", "meaning"), rows)


# -- log-events.md -----------------------------------------------------------------------------


def log_page() -> str:
    """Return the page of all log events, with level and sentence."""
    lines = [
        item(f"**{name}** ({logging.getLevelName(level)}): `{sentence}`")
        for name, (level, sentence) in log_events.EVENTS.items()
    ]
    told = f"The logger `{log_events.logger.name}` writes one line for each event."
    return page("Log events", told, "\n".join(lines))


# -- json-api.md -------------------------------------------------------------------------------


class Listing:
    """A stand-in for a site, which records the routes of the pages."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, ...]] = []

    def page(self, path: str, template: str, role: str = "view") -> Callable[..., Any]:
        return self._note("GET", path, role, is_data=False)

    def data(self, path: str, role: str = "view") -> Callable[..., Any]:
        return self._note("GET", path, role, is_data=True)

    def text(self, path: str, role: str = "view") -> Callable[..., Any]:
        return self._note("GET", path, role, is_data=False)

    def change(self, path: str, role: str = "act") -> Callable[..., Any]:
        return self._note("POST", path, role, is_data=True)

    def _note(self, method: str, path: str, role: str, is_data: bool) -> Callable[..., Any]:
        def note(action: Callable[..., Any]) -> Callable[..., Any]:
            if is_data:
                told = " ".join(inspect.cleandoc(action.__doc__ or "").split())
                self.rows.append((code(f"{method} {path}"), role, told.replace("``", "`")))
            return action

        return note


def json_page() -> str:
    """Return the page of the requests that scripts can send."""
    listing: Any = Listing()
    for one in controllers.PAGES:
        one.mount(listing)
    return page(
        "The JSON API of the pages",
        "Paths are below the address of the pages, `/<app>/scheduler`. The pages use the same\n"
        "API, with the same access rights: a request needs the cookies of a login. Send the\n"
        "header `Accept: application/json`.",
        "Times are ISO 8601 with an offset. A list has pages: pass the cursor of a response to\n"
        "get the next page. Ids are numbers. JavaScript reads numbers up to 2^53 exactly, which\n"
        "is enough for 47,000 years at 6,000 runs per second.",
        table(
            ("request", "role", "result"), sorted(listing.rows, key=lambda row: row[0].split()[1])
        ),
        "## Changes",
        "A POST takes a form or a JSON object. It needs the header `X-Scheduler-Token` (or the\n"
        'field `_token`) with the value of `<meta name="token">` in the pages, and an `Origin` or\n'
        "`Referer` of the same host. The response has `message`, a sentence, and the fields that\n"
        "the table names. If nothing was done, it has `error` and a status of 400 or more:",
        table(
            ("status", "meaning"),
            (
                ("400", "the request is not valid; the sentence names the fault"),
                ("403", "no login, a role without this right, or a wrong token or origin"),
                ("404", "the task, run or worker does not exist"),
                ("409", "the data changed meanwhile; read them again"),
                ("503", "the database cannot be used now"),
            ),
        ),
    )


# -- all of them -------------------------------------------------------------------------------

PAGES: Mapping[str, Callable[[], str]] = {
    "api.md": api_page,
    "settings.md": settings_page,
    "command.md": command_page,
    "tables.md": tables_page,
    "states.md": states_page,
    "log-events.md": log_page,
    "json-api.md": json_page,
}


def stale() -> list[str]:
    """Return the names of pages that differ from the present code."""
    return [
        name
        for name, make in PAGES.items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text("utf-8") != make()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write or check the pages; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="only report pages that are out of date"
    )
    if not parser.parse_args(arguments).check:
        FOLDER.mkdir(exist_ok=True)
        for name, make in PAGES.items():
            (FOLDER / name).write_text(make(), "utf-8")
        return 0
    names = stale()
    if names:
        print(f"out of date: {', '.join(names)}; run: make reference", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
