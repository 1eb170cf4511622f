"""Every exception can be put into words."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from plugin_scheduler.core.error_text import NO_TEXT, TRACEBACK_LIMIT, reason_of, traceback_of


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class BadNotes(Exception):
    @property
    def __notes__(self) -> Any:
        raise RuntimeError("no")


class BadName(Exception):
    __module__ = None  # type: ignore[assignment]


class Odd(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise RuntimeError(name)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as same:
        return same


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes came with Python 3.11")
def test_a_note_is_not_the_reason() -> None:
    error = ValueError("the real reason")
    error.add_note("see the wiki")
    assert reason_of(error) == "ValueError: the real reason"
    assert "see the wiki" in traceback_of(raised(error))


@pytest.mark.parametrize(
    "error",
    [
        SyntaxError("x", ("rules.dsl", 3, 5, b"if\n")),
        SyntaxError("x", ("rules.dsl", "3", 5, 7)),
        SyntaxError("x", (None, None, None, None)),
        Mute(),
        BadNotes("x"),
        BadName("x"),
        Odd("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\udce9"),
        KeyError("\x00"),
        Exception(),
        Exception("\n\n"),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_has_a_reason_and_a_traceback(error: BaseException) -> None:
    reason, text = reason_of(raised(error)), traceback_of(raised(error))
    assert type(error).__name__ in reason
    assert "\n" not in reason
    assert type(error).__name__ in text
    assert "in raised" in text
    assert (reason + text).encode().count(b"\x00") == 0


def test_what_cannot_be_shown_is_said_to_be_so() -> None:
    assert reason_of(Mute()).endswith(f"Mute: {NO_TEXT}")


def test_frames_of_some_files_are_left_out() -> None:
    error = raised(SyntaxError("x", ("rules.dsl", 3, 5, b"if\n")))
    assert __file__ not in traceback_of(error, [__file__])
    assert __file__ not in traceback_of(raised(ValueError()), [__file__])


def test_an_exception_with_an_endless_text_keeps_its_end() -> None:
    assert len(traceback_of(raised(ValueError("x" * 2 * TRACEBACK_LIMIT)))) == TRACEBACK_LIMIT
