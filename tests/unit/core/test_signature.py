"""What a form asks for is what the function takes."""

from __future__ import annotations

import datetime
import enum
import functools
import pathlib
import typing
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pytest

from plugin_scheduler.core.signature import Argument, ArgumentKind, arguments_of, summary_of

if TYPE_CHECKING:
    from nowhere import Strange  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1


class Point(typing.TypedDict):
    x: int


def kinds(function: Any) -> dict[str, str]:
    return {one.name: one.kind for one in arguments_of(function)}


def only(function: Any) -> Argument:
    [one] = arguments_of(function)
    return one


def test_plain_hints_tell_the_kind() -> None:
    def f(
        a: int,
        b: float,
        c: bool,
        d: str,
        e: datetime.date,
        f: datetime.datetime,
        g: datetime.time,
        h: list[int],
        i: dict[str, int],
        j: Decimal,
        k: pathlib.Path,
        m: Sequence[str],
        n: Point,
        o: Any,
        p: bytes,
    ) -> None: ...

    assert kinds(f) == {
        **{"a": "int", "b": "float", "c": "bool", "d": "text", "e": "date", "f": "datetime"},
        **{"g": "time", "h": "list", "i": "dict", "j": "decimal", "k": "text", "m": "list"},
        **{"n": "dict", "o": "any", "p": "text"},
    }


def test_without_a_hint_the_default_tells_the_kind() -> None:
    def f(a, b=1, c=1.5, d=True, e="x", f=None, g=(), h={}, i="a\nb"):  # type: ignore[no-untyped-def]  # noqa: B006
        ...

    assert list(kinds(f).values()) == [
        *("any", "int", "float", "bool", "text", "any", "list", "dict", "long text")
    ]


def test_what_may_be_none_is_known_by_its_hint_or_its_default() -> None:
    def f(a: int | None, b: Optional[str] = "x", c: int = None, d: int = 1) -> None: ...  # type: ignore[assignment]  # noqa: RUF013, UP045

    assert [(one.kind, one.nullable, one.required) for one in arguments_of(f)] == [
        (ArgumentKind.INT, True, True),
        (ArgumentKind.TEXT, True, False),
        (ArgumentKind.INT, True, False),
        (ArgumentKind.INT, False, False),
    ]


def test_of_several_kinds_it_is_the_one_that_takes_all_or_any() -> None:
    def f(a: int | float, b: int | str, c: str | pathlib.Path) -> None: ...

    assert list(kinds(f).values()) == ["float", "any", "text"]


def test_literals_and_enums_are_choices() -> None:
    def f(a: Literal["x", 2], b: Colour = Colour.RED, c: Size | None = None) -> None: ...

    one, two, three = arguments_of(f)
    assert one.choices == (("x", "x"), ("2", 2)) and one.kind == ArgumentKind.CHOICE
    assert two.choices == (("red", "red"), ("blue", "blue")) and two.default is Colour.RED
    assert three.choices == (("SMALL (1)", 1),) and three.nullable


def test_a_note_and_a_type_of_ones_own_are_looked_through() -> None:
    Id = typing.NewType("Id", int)

    def f(a: Annotated[int, "how many"]) -> None: ...

    assert (only(f).kind, only(f).help) == (ArgumentKind.INT, "how many")
    f.__annotations__ = {"a": Id}
    assert only(f).kind == ArgumentKind.INT


def test_a_hint_that_cannot_be_resolved_spoils_no_other() -> None:
    def f(a: Strange, b: int, c: Strange | None, d: list[Strange], e: "int") -> None: ...  # noqa: UP037

    assert list(kinds(f).values()) == ["any", "int", "any", "list", "int"]


def test_where_a_hint_makes_no_sense_the_default_tells_the_kind() -> None:
    def f(a: 1 / 0, b: nothing.at_all = 3) -> None: ...  # type: ignore  # noqa: F821

    assert list(kinds(f).values()) == ["any", "int"]


def test_how_an_argument_can_be_given_is_told() -> None:
    def f(a: int, /, b: int, *rest: int, c: int, **others: int) -> None: ...

    a, b, rest, c, others = arguments_of(f)
    assert a.by_place_only and not b.by_place_only and c.by_name_only
    assert (rest.gathers, rest.kind, rest.required) == ("*", ArgumentKind.LIST, False)
    assert (others.gathers, others.kind, others.required) == ("**", ArgumentKind.DICT, False)


def test_names_tell_of_long_texts() -> None:
    def f(to: str, body: str) -> None: ...

    assert kinds(f) == {"to": ArgumentKind.TEXT, "body": ArgumentKind.LONG_TEXT}


GOOGLE = """Send a mail
    to somebody.

    More of it.

    Args:
        to: who
          gets it
        copies (int): how many
    """
NUMPY = """Send a mail to somebody.

    Parameters
    ----------
    to : str
        who gets it
    copies : int
        how many
    """
REST = """Send a mail to somebody.

    :param to: who gets it
    :param int copies: how many
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST])
def test_the_help_is_in_the_docstring_in_each_usual_style(docstring: str) -> None:
    def f(to: str, copies: int = 1) -> None: ...

    f.__doc__ = docstring
    assert [one.help for one in arguments_of(f)] == ["who gets it", "how many"]
    assert summary_of(f) == "Send a mail to somebody."


def test_a_docstring_of_no_style_and_none_at_all_spoil_nothing() -> None:
    def f(a: int) -> None:
        """:param"""

    def g(a: int) -> None: ...

    assert (only(f).help, only(g).help, summary_of(g)) == ("", "", "")


def test_partials_wrapped_and_builtin_functions_can_be_asked() -> None:
    def f(a: int, b: int) -> None: ...

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> None: ...

    assert kinds(wrapped) == {"a": "int", "b": "int"}
    assert kinds(functools.partial(f, 1)) == {"b": "int"}
    assert arguments_of(dict) == []
