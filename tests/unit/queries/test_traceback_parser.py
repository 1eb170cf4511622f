"""Which line is to blame, in every kind of text that a run may leave behind."""

from __future__ import annotations

import faulthandler
import json
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable

import pytest

from plugin_scheduler.execution.live_run import last_dump
from plugin_scheduler.queries.traceback_parser import ParsedTraceback, blame


class Unlucky(Exception):
    """Something of the app's own."""


def text_of(function: Callable[[], object]) -> str:
    try:
        function()
    except BaseException:
        return traceback.format_exc()
    raise AssertionError("it went well")


def divide() -> float:
    return 1 / int("0")


def read() -> object:
    return json.loads("{")


def wrapped() -> None:
    try:
        divide()
    except ZeroDivisionError as error:
        raise Unlucky("the sum: is\nodd") from error


def deep(n: int = 0) -> int:
    return deep(n + 1)


def where(found: ParsedTraceback) -> tuple[str, str, str]:
    return found.kind, found.function, found.code


def test_the_line_that_raised_is_blamed_with_the_error_and_its_message() -> None:
    found = blame(text_of(divide))
    assert where(found) == ("ZeroDivisionError", "divide", 'return 1 / int("0")')
    assert found.message == "division by zero" and found.file == __file__
    assert found.place == f"{__file__}:{divide.__code__.co_firstlineno + 1}"


def test_of_calls_into_a_library_the_apps_own_line_is_blamed() -> None:
    found = blame(text_of(read))
    assert where(found) == ("json.decoder.JSONDecodeError", "read", 'return json.loads("{")')
    assert [frame.own for frame in found.frames] == [True, True, False, False, False]
    assert found.message.startswith("Expecting property name")


def test_of_a_chain_the_error_that_came_out_is_told_with_all_its_lines() -> None:
    found = blame(text_of(wrapped))
    assert (found.kind.rpartition(".")[2], found.message) == ("Unlucky", "the sum: is\nodd")
    assert found.function == "wrapped"


def test_endless_recursion_is_blamed_on_the_line_that_recurs() -> None:
    found = blame(text_of(deep))
    assert where(found) == ("RecursionError", "deep", "return deep(n + 1)")


def test_a_syntax_error_is_blamed_on_the_line_that_cannot_be_read() -> None:
    found = blame(text_of(lambda: compile("a = 1\na b", "/srv/shop/tasks.py", "exec")))
    assert (found.kind, found.place) == ("SyntaxError", "/srv/shop/tasks.py:2")
    assert found.code == "a b"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no groups of errors yet")
def test_of_a_group_the_line_that_raised_the_group_is_blamed() -> None:
    def both() -> None:
        raise __builtins__["ExceptionGroup"]("both", [ValueError("a"), KeyError("b")])

    found = blame(text_of(both))
    assert (found.kind, found.message) == ("ExceptionGroup", "both (2 sub-exceptions)")
    assert found.function == "both" and found.code.startswith("raise __builtins__")


def test_a_dump_of_a_run_that_was_stuck_tells_where() -> None:
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=False)
        file.seek(0)
        dump = file.read().replace("Stack (", "Current thread 0x0000007f (")
    found = blame(last_dump(dump))
    name = test_a_dump_of_a_run_that_was_stuck_tells_where.__name__
    assert (found.message, found.function) == ("Position when killed", name)
    assert found.file == __file__ and found.frames[-1].function == name


def test_a_crash_of_the_interpreter_is_told_as_such() -> None:
    text = """
        Fatal Python error: Segmentation fault

        Current thread 0x7f (most recent call first):
          File "/usr/lib/python3.11/ctypes/__init__.py", line 5 in string_at
          File "/srv/tasks.py", line 9 in crash

        Extension modules: x
        """
    found = blame(textwrap.dedent(text))
    assert (found.kind, found.message) == ("Fatal Python error", "Segmentation fault")
    assert (found.place, found.function) == ("/srv/tasks.py:9", "crash")


def test_a_traceback_whose_beginning_was_cut_off_is_read_from_its_end() -> None:
    lines = text_of(read).splitlines(keepends=True)
    cut = "".join(lines[4:])
    own = '  File "/srv/tasks.py", line 1, in work\n    here()\n'
    assert where(blame("thing()\n" + own + cut)) == (
        where(blame(text_of(read)))[0],
        "work",
        "here()",
    )


def test_our_own_code_and_what_was_installed_is_not_the_apps() -> None:
    files = (
        "/srv/tasks.py",
        "/usr/lib/python3.11/json/decoder.py",
        "/srv/venv/lib/python3.12/site-packages/requests/api.py",
        "/usr/lib/python3/dist-packages/plugin_scheduler/core/json_codec.py",
        "C:\\Python\\Lib\\site-packages\\x.py",
        "<frozen runpy>",
    )
    frames = "".join(f'  File "{file}", line {n}, in f\n' for n, file in enumerate(files, 1))
    found = blame(f"Traceback (most recent call last):\n{frames}OSError\n")
    assert (found.kind, found.message, found.place) == ("OSError", "", "/srv/tasks.py:1")
    assert [frame.file for frame in found.frames if frame.own] == ["/srv/tasks.py"]


def test_without_a_line_of_the_app_the_innermost_one_is_told() -> None:
    text = """
        Traceback (most recent call last):
          File "/usr/lib/python3.11/a.py", line 1, in a
          File "/usr/lib/python3.11/b.py", line 2, in b
        TypeError: work() missing 1 required positional argument: 'x'
        """
    found = blame(textwrap.dedent(text))
    assert found.place == "/usr/lib/python3.11/b.py:2"
    assert found.message == "work() missing 1 required positional argument: 'x'"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, ""),
        ("", ""),
        ("\n  no such function: f\nmore", "no such function: f"),
        ("\x1b[31m<script>", "\x1b[31m<script>"),
    ],
)
def test_of_a_text_that_is_no_traceback_the_first_line_is_the_message(
    text: str | None, message: str
) -> None:
    assert blame(text) == ParsedTraceback(message=message)


def test_an_error_alone_without_frames_is_understood() -> None:
    found = blame("Traceback (most recent call last):\nTypeError: f() takes 0 arguments")
    assert (found.kind, found.message, found.place) == ("TypeError", "f() takes 0 arguments", "")


def test_a_message_that_looks_like_frames_does_not_hide_the_line() -> None:
    def lie() -> None:
        raise ValueError('odd\n  File "/srv/other.py", line 3, in other\n    code\nthe end')

    found = blame(text_of(lie))
    assert found.function == "lie" and found.message.endswith("the end")
