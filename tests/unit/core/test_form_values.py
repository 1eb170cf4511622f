"""Texts of a form mean what people mean by them, and nothing else."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin_scheduler.core.form_values import named, read, text_of, texts, written
from plugin_scheduler.core.signature import Argument, ArgumentKind, arguments_of


def mail(
    to: str, copies: int = 1, /, urgent: bool = False, *rest: str, at: str = "", **more: Any
) -> None: ...


MAIL = arguments_of(mail)


def error(kind: str, text: str, **more: Any) -> str:
    reading = read([Argument("a", kind, **more)], {"a": text})
    assert not reading.pargs and not reading.pvars
    return str(reading.errors["a"])


def value(kind: str, text: str, **more: Any) -> Any:
    reading = read([Argument("a", kind, **more)], {"a": text})
    assert not reading.errors
    return reading.pvars["a"]


@pytest.mark.parametrize(
    ("kind", "text", "meant"),
    [
        (ArgumentKind.INT, " -3 ", -3),
        (ArgumentKind.INT, "9" * 30, int("9" * 30)),
        (ArgumentKind.FLOAT, "1e3", 1000.0),
        (ArgumentKind.FLOAT, "3", 3),
        (ArgumentKind.DECIMAL, "0.10", "0.10"),
        (ArgumentKind.BOOL, "true", True),
        (ArgumentKind.BOOL, "false", False),
        (ArgumentKind.TEXT, " a ", " a "),
        (ArgumentKind.LONG_TEXT, "a\r\nb", "a\nb"),
        (ArgumentKind.DATE, "2026-12-31", "2026-12-31"),
        (ArgumentKind.DATETIME, "2026-12-31T23:00", "2026-12-31T23:00:00"),
        (ArgumentKind.DATETIME, "2026-12-31T23:00Z", "2026-12-31T23:00:00+00:00"),
        (ArgumentKind.TIME, "23:00", "23:00:00"),
        (ArgumentKind.LIST, "[1, null]", [1, None]),
        (ArgumentKind.DICT, '{"a": {}}', {"a": {}}),
        (ArgumentKind.ANY, "3", 3),
        (ArgumentKind.ANY, '"3"', "3"),
        (ArgumentKind.ANY, "three", "three"),
        (ArgumentKind.ANY, "NaN", "NaN"),
    ],
)
def test_a_text_means_a_value(kind: str, text: str, meant: Any) -> None:
    found = value(kind, text)
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        (ArgumentKind.INT, "3.0", "must be a whole number, such as 3"),
        (ArgumentKind.INT, "1_000", "must be a whole number, such as 3"),
        (ArgumentKind.INT, "9" * 5000, "must be a whole number, such as 3"),
        (ArgumentKind.FLOAT, "nan", "must be a number, such as 3.5"),
        (ArgumentKind.DECIMAL, "Infinity", "must be a number, such as 3.5"),
        (ArgumentKind.BOOL, "maybe", "must be yes or no"),
        (ArgumentKind.DATE, "31.12.2026", "must be a date, such as 2026-12-31"),
        (ArgumentKind.DATETIME, "noon", "must be a date with a time, such as 2026-12-31T23:00"),
        (ArgumentKind.TIME, "25:00", "must be a time of day, such as 23:00"),
        (ArgumentKind.LIST, "1, 2", 'must be a JSON list, such as [1, "two"]'),
        (ArgumentKind.LIST, "[NaN]", 'must be a JSON list, such as [1, "two"]'),
        (ArgumentKind.LIST, "[" * 100_000, 'must be a JSON list, such as [1, "two"]'),
        (ArgumentKind.DICT, "[]", 'must be a JSON object, such as {"a": 1}'),
        (ArgumentKind.INT, "", "required by the function"),
    ],
)
def test_what_is_wrong_is_told_with_an_example(kind: str, text: str, sentence: str) -> None:
    assert error(kind, text) == sentence


@pytest.mark.parametrize("kind", [*(one for one in dir(ArgumentKind) if one.isupper())])
def test_no_sentence_repeats_what_was_typed_which_may_be_a_secret(kind: str) -> None:
    one = Argument("a", getattr(ArgumentKind, kind), choices=(("x", 1),))
    reading = read([one], {"a": "hunter2"})
    assert bool(reading.errors) is (kind not in ("ANY", "TEXT", "LONG_TEXT"))
    assert "hunter2" not in repr(reading.errors)


def test_choices_are_given_by_what_is_shown_or_what_is_meant() -> None:
    def f(a: Literal["x", 2, None]) -> None: ...

    [one] = arguments_of(f)
    assert value(one.kind, "2", choices=one.choices) == 2
    assert value(one.kind, '"x"', choices=one.choices) == "x"
    assert error(one.kind, "y", choices=one.choices) == "must be one of x, 2, None"
    assert error(one.kind, "", choices=one.choices) == "choose one"


def test_an_empty_text_leaves_it_to_the_default_and_to_none_where_there_is_no_default() -> None:
    def f(a: int = 5, b: int | None = 5, c: str = "x", *, d: int | None) -> None: ...

    reading = read(arguments_of(f), {"a": "", "b": "null", "c": ""})
    assert (reading.pargs, reading.pvars, reading.errors) == ([], {"b": None, "d": None}, {})


def test_only_what_must_be_given_by_place_is() -> None:
    reading = read(MAIL, {"to": "ann", "urgent": "true", "at": "noon", "more": '{"x": 1}'})
    assert reading.pargs == ["ann"]
    assert reading.pvars == {"urgent": True, "at": "noon", "x": 1}


def test_what_comes_before_more_arguments_by_place_is_given_by_place_too() -> None:
    reading = read(MAIL, {"to": "ann", "rest": '["x", "y"]', "at": "noon"})
    assert reading.pargs == ["ann", 1, False, "x", "y"] and reading.pvars == {"at": "noon"}

    def f(a: object = object(), *rest: int) -> None: ...

    reading = read(arguments_of(f), {"rest": "[1]"})
    assert reading.errors == {"a": "required, because arguments after it are given"}


def test_an_argument_with_a_field_is_not_given_once_more() -> None:
    reading = read(MAIL, {"to": "ann", "more": '{"urgent": true, "to": 1}'})
    assert reading.errors == {"more": "urgent: use its own field"}


def test_every_wrong_argument_is_told_at_once() -> None:
    reading = read(MAIL, {"copies": "x", "urgent": "x"})
    assert list(reading.errors) == ["to", "copies", "urgent"]


def test_a_field_left_empty_keeps_what_it_hides() -> None:
    kept = {"to": "hunter2", "at": "hunter3"}
    reading = read(MAIL, {"to": "", "at": "noon"}, kept)
    assert (reading.pargs, reading.pvars) == (["hunter2"], {"at": "noon"})


def test_a_tasks_arguments_come_back_into_the_form() -> None:
    assert texts(MAIL, ["ann", 2, True, "x"], {"at": "noon", "y": [1]}) == {
        "to": "ann",
        "copies": "2",
        "urgent": "true",
        "rest": '["x"]',
        "at": "noon",
        "more": '{"y": [1]}',
    }


def test_what_a_form_would_change_is_not_put_into_it() -> None:
    def f(a: str, b: int = 1) -> None: ...

    arguments = arguments_of(f)
    assert texts(arguments, ["x", 2], {}) == {"a": "x", "b": "2"}
    for pargs in ([3], ["x", "2"], ["x", 2.0], ["x", True], ["x", 2, 3], [None], [""]):
        assert texts(arguments, pargs, {}) is None, pargs
    for pvars in ({"a": "x", "c": 1}, {"a": "x", "b": None}):
        assert texts(arguments, [], pvars) is None, pvars
    assert texts(arguments, ["x"], {"a": "y"}) is None


def test_what_no_browser_sends_back_is_not_put_into_a_form() -> None:
    for text in ("caf\udce9", "a\rb", "a\x00b"):
        assert texts(MAIL, [text], {}) is None
    assert texts(MAIL, ["a\nb"], {}) == {"to": "a\nb"}
    assert written("é") == '"é"' and written("caf\udce9\u00e9") == '"caf\\udce9\\u00e9"'


def test_what_a_task_lacks_is_left_empty() -> None:
    assert texts(MAIL, [], {"at": "noon"}) == {"at": "noon"}


def test_defaults_are_shown_as_they_would_be_typed() -> None:
    moment = datetime.datetime(2026, 12, 31, 23)
    assert text_of(Argument("a", ArgumentKind.DATETIME), moment) == "2026-12-31T23:00:00"
    assert text_of(Argument("a", ArgumentKind.DECIMAL), Decimal("0.10")) == "0.10"
    assert text_of(Argument("a", ArgumentKind.ANY), object()) == ""
    assert text_of(Argument("a", ArgumentKind.LIST), ["é"]) == '["é"]'


on_any_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
BY_KIND = {
    ArgumentKind.INT: st.integers(),
    ArgumentKind.FLOAT: st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    ArgumentKind.BOOL: st.booleans(),
    ArgumentKind.TEXT: st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1),
    ArgumentKind.DATE: st.dates().map(str),
    ArgumentKind.DATETIME: st.datetimes().map(datetime.datetime.isoformat),
    ArgumentKind.TIME: st.times().map(datetime.time.isoformat),
    ArgumentKind.LIST: st.lists(JSON, max_size=3),
    ArgumentKind.DICT: st.dictionaries(st.text(), JSON, max_size=3),
    ArgumentKind.ANY: JSON,
}


@st.composite
def filled(draw: st.DrawFn) -> tuple[list[Argument], list[Any], dict[str, Any]]:
    """Arguments of all sorts, and how a task may have been given them."""
    chosen = draw(st.lists(st.sampled_from(sorted(BY_KIND)), max_size=5))
    arguments = [Argument(f"a{number}", kind) for number, kind in enumerate(chosen)]
    found = [json.loads(json.dumps(draw(BY_KIND[one.kind]))) for one in arguments]
    places = draw(st.integers(0, len(found)))
    pvars = {one.name: value for one, value in zip(arguments, found, strict=True)}
    names = list(pvars)[places:]
    return arguments, found[:places], {name: pvars[name] for name in names}


@on_any_machine
@given(filled())
def test_whatever_a_task_was_given_the_form_gives_it_again(
    task: tuple[list[Argument], list[Any], dict[str, Any]],
) -> None:
    arguments, pargs, pvars = task
    shown = texts(arguments, pargs, pvars)
    assert shown is not None
    again = read(arguments, shown)
    assert not again.errors
    assert repr(named(arguments, again.pargs, again.pvars)) == repr(named(arguments, pargs, pvars))


@on_any_machine
@given(st.sampled_from([*sorted(BY_KIND), ArgumentKind.DECIMAL]), st.text())
def test_no_text_is_too_strange_to_be_answered(kind: str, text: str) -> None:
    reading = read([Argument("a", kind)], {"a": text})
    assert bool(reading.errors) != bool(reading.pvars)
    json.dumps(reading.pvars, allow_nan=False)
