"""The words for what goes wrong, and for what is logged."""

from __future__ import annotations

import ast
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from plugin_scheduler.core import errors, log_events

PACKAGE = Path(log_events.__file__).parents[1]
KEY = re.compile(r"%\((\w+)\)")


class Told(NamedTuple):
    """One call of `tell`: the facts that it surely gives, and those that it may give."""

    place: str
    event: str
    sure: set[str]
    maybe: set[str]


def _texts(node: ast.AST | None) -> Iterator[str]:
    """The strings that an expression can be: itself, or one of a choice."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)


def _assigned(name: str, function: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            yield node.value


def _facts(call: ast.Call, function: ast.AST) -> tuple[set[str], set[str]]:
    sure = {keyword.arg for keyword in call.keywords if keyword.arg}
    maybe: set[str] = set()
    for spread in (ast.unparse(keyword.value) for keyword in call.keywords if not keyword.arg):
        for value in _assigned(spread, function):
            assert isinstance(value, ast.Dict), ast.unparse(value)
            sure |= {text for key in value.keys for text in _texts(key)}
        for node in ast.walk(function):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == spread:
                maybe |= set(_texts(node.slice))
    return sure, maybe


def _calls(path: Path, function: ast.FunctionDef) -> Iterator[Told]:
    for call in ast.walk(function):
        if not (
            isinstance(call, ast.Call)
            and ast.unparse(call.func) in (("log_event", "log_events.log_event"))
        ):
            continue
        place, first = f"{path.name}:{call.lineno}", call.args[0]
        values = _assigned(first.id, function) if isinstance(first, ast.Name) else [first]
        events = {text for value in values for text in _texts(value)}
        assert events, f"{place}: which event?"
        for event in sorted(events):
            yield Told(place, event, *_facts(call, function))


TOLD = [
    told
    for path in sorted(PACKAGE.rglob("*.py"))
    for function in ast.walk(ast.parse(path.read_text()))
    if isinstance(function, ast.FunctionDef)
    for told in _calls(path, function)
]


@pytest.mark.parametrize("told", TOLD, ids=lambda told: f"{told.place}:{told.event}")
def test_every_call_gives_exactly_the_facts_of_its_sentence(told: Told) -> None:
    needed = set(KEY.findall(log_events.EVENTS[told.event][1]))
    assert told.sure <= needed <= told.sure | told.maybe


def test_every_event_is_told_somewhere() -> None:
    assert set(log_events.EVENTS) == {told.event for told in TOLD}


@pytest.mark.parametrize("event", log_events.EVENTS)
def test_every_event_becomes_a_sentence_at_its_level(
    event: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    level, sentence = log_events.EVENTS[event]
    log_events.log_event(event, **{key: 7 for key in KEY.findall(sentence)})
    (record,) = caplog.records
    assert (record.levelno, record.name) == (level, "plugin_scheduler")
    assert record.getMessage() == sentence % {key: 7 for key in KEY.findall(sentence)}


def test_a_percent_sign_in_a_fact_spoils_no_sentence(caplog: pytest.LogCaptureFixture) -> None:
    log_events.log_event("boot_failed", why="100% wrong %(x)s")
    assert caplog.records[0].getMessage().endswith("100% wrong %(x)s")


def test_a_name_forges_no_line_of_the_log_in_any_handler(caplog: pytest.LogCaptureFixture) -> None:
    name = "17 pay\r\n2026-01-01 00:00:00,000 INFO \x1b[2K\x85\u2028\u202epaid"
    log_events.log_event("boot_failed", why=ValueError(name))
    (record,) = caplog.records
    assert len(record.getMessage().splitlines()) == 1
    assert not set("\r\n\x1b\x85\u2028\u202e") & set(record.getMessage())


def test_an_exception_with_a_line_feed_forges_no_line_of_the_commands_log() -> None:
    readable, writable = os.pipe()
    handler = log_events.stderr_handler(writable)
    try:
        raise ValueError("x\n2026-01-01 00:00:00,000 INFO all is well\x1b[1A")
    except ValueError:
        info = sys.exc_info()
    handler.handle(logging.LogRecord("n", logging.ERROR, "p", 1, "told", (), info))
    first, *rest = os.read(readable, 9999).decode().splitlines()
    handler.close()
    for fd in (readable, writable):
        os.close(fd)
    assert first.endswith("ERROR told")
    assert rest and all(line.startswith("    ") and "\x1b" not in line for line in rest)


def test_an_error_of_the_loop_comes_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("ours")
    except ValueError:
        log_events.log_event("loop_error")
    assert "ValueError: ours" in caplog.text


def test_what_nobody_listens_to_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="plugin_scheduler")
    log_events.log_event(
        "lead_won"
    )  # its sentence is not even made, or the missing fact would show
    assert not caplog.records


def test_the_command_configures_its_own_logger_and_nobody_elses(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = log_events.logger
    for name in ("handlers", "level", "propagate"):
        value = getattr(logger, name)
        monkeypatch.setattr(logger, name, value[:] if isinstance(value, list) else value)
    root = list(logging.getLogger().handlers)
    log_events.to_stderr(logging.INFO)
    log_events.log_event("lead_won", worker="web1#4711")
    assert capfd.readouterr().err.endswith(" INFO worker web1#4711 is now the leader\n")
    assert logging.getLogger().handlers == root


# --- errors ---------------------------------------------------------------------------------------


def test_every_error_is_a_scheduler_error_and_says_who_must_act() -> None:
    tree = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert issubclass(kind, errors.SchedulerError)
            assert name in tree and kind.__doc__


def test_a_ring_of_tasks_is_told_as_a_sentence_and_kept_as_a_path() -> None:
    ring = errors.DependencyCycle((3, 5, 3))
    assert str(ring) == "task 3 waits for task 5 waits for task 3"
    assert ring.path == [3, 5, 3]
