"""Convert the texts of a form to arguments of a function, and back.

Contains the error message for each text that does not fit its argument. A message never repeats
the value, which may be secret.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.signature import Argument, ArgumentKind
from plugin_scheduler.core.time_text import read_time

YES, NO = "true", "false"
_WHOLE = re.compile(r"[+-]?[0-9]+")
_LONGEST_NUMBER = 4000  # digits; Python refuses to read much longer ones


@dataclass
class FormReading:
    """Positional and named arguments, and the error message of each invalid argument."""

    pargs: list[Any] = field(default_factory=list)
    pvars: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


class _Wrong(Exception):
    """Raised for a text that does not fit its argument; carries the error message."""


def read(
    arguments: Sequence[Argument],
    given: Mapping[str, str],
    kept: Mapping[str, Any] | None = None,
) -> FormReading:
    """Convert the texts of a form.

    An empty text leaves the argument to the default of the function. ``kept`` has the values of
    hidden arguments, which are kept when their field is empty.

    >>> read(arguments_of(add), {"a": "3", "b": ""}).pvars
    {'a': 3}
    """
    reading, found = FormReading(), {}
    for one in arguments:
        text = given.get(one.name, "")
        try:
            if not text.strip() and one.name in (kept or {}):
                found[one.name] = (kept or {})[one.name]
            elif text.strip() or (text and one.kind in (ArgumentKind.TEXT, ArgumentKind.LONG_TEXT)):
                found[one.name] = value_of(one, text)
            elif one.required:
                found[one.name] = _of_nothing(one)
        except _Wrong as wrong:
            reading.errors[one.name] = wrong.args[0]
    _place(arguments, found, reading)
    return reading


def _of_nothing(one: Argument) -> Any:
    if one.nullable:
        return None
    if one.kind == ArgumentKind.CHOICE:
        raise _Wrong(Sentence("choose one"))
    raise _Wrong(Sentence("required by the function"))


def _place(arguments: Sequence[Argument], found: dict[str, Any], reading: FormReading) -> None:
    """Pass arguments by name where possible, and by position where required."""
    rest = next((one.name for one in arguments if one.gathers == "*"), "")
    more = found.pop(rest, None) or []
    by_place = [one for one in arguments if not (one.by_name_only or one.gathers)]
    if not more:
        by_place = _up_to_the_last([one for one in by_place if one.by_place_only], found)
    for one in by_place:
        if one.name in found:
            reading.pargs.append(found.pop(one.name))
        elif one.name not in reading.errors:
            _leave_to_default(one, reading)
    reading.pargs += more
    for one in arguments:
        if one.gathers == "**":
            _add_others(one, arguments, found, reading)
    reading.pvars.update(found)


def _up_to_the_last(some: list[Argument], found: Mapping[str, Any]) -> list[Argument]:
    given = [number for number, one in enumerate(some, 1) if one.name in found]
    return some[: max(given, default=0)]


def _leave_to_default(one: Argument, reading: FormReading) -> None:
    """Pass the default explicitly: arguments after this one are given by position."""
    try:
        value = one.default.value if isinstance(one.default, enum.Enum) else one.default
        reading.pargs.append(json.loads(json_codec.encode(value, one.name)))
    except BadTask:
        reading.errors[one.name] = Sentence("required, because arguments after it are given")


def _add_others(
    one: Argument, arguments: Sequence[Argument], found: dict[str, Any], reading: FormReading
) -> None:
    others = found.pop(one.name, None) or {}
    names = {each.name for each in arguments if not (each.gathers or each.by_place_only)}
    twice = sorted(names & others.keys())
    if twice:
        reading.errors[one.name] = Sentence("{names}: use its own field", names=twice)
    reading.pvars.update(others)


# -- parse one text ----------------------------------------------------------------------------


def value_of(one: Argument, text: str) -> Any:
    """Parse the text of an argument; return a JSON value."""
    if one.kind == ArgumentKind.CHOICE:
        return _choice(one, text)
    if one.kind in (ArgumentKind.TEXT, ArgumentKind.LONG_TEXT):
        return text.replace("\r\n", "\n")
    if one.nullable and text.strip() == "null":
        return None
    return _READERS[one.kind](text.strip())


def _choice(one: Argument, text: str) -> Any:
    for shown, value in one.choices:
        if text in (shown, _as_json(value)):
            return value
    shown = ", ".join(shown for shown, _ in one.choices)
    raise _Wrong(Sentence("must be one of {choices}", choices=shown))


def _int(text: str) -> int:
    if not _WHOLE.fullmatch(text) or len(text) > _LONGEST_NUMBER:
        raise _Wrong(Sentence("must be a whole number, such as 3"))
    return int(text)


def _float(text: str) -> float:
    if _WHOLE.fullmatch(text) and len(text) <= _LONGEST_NUMBER:
        return int(text)  # no digits are lost
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in text:
        raise _Wrong(Sentence("must be a number, such as 3.5"))
    return number


def _decimal(text: str) -> str:
    """Return text, which keeps every digit. Decimals queued by a program are stored alike."""
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        number = decimal.Decimal("NaN")
    if not number.is_finite() or "_" in text:
        raise _Wrong(Sentence("must be a number, such as 3.5"))
    return text


def _bool(text: str) -> bool:
    if text.lower() not in (YES, NO):
        raise _Wrong(Sentence("must be yes or no"))
    return text.lower() == YES


def _date(text: str) -> str:
    return _moment(
        datetime.date.fromisoformat, text, Sentence("must be a date, such as 2026-12-31")
    )


def _datetime(text: str) -> str:
    wrong = Sentence("must be a date with a time, such as 2026-12-31T23:00")
    return _moment(read_time, text, wrong)


def _time(text: str) -> str:
    return _moment(
        datetime.time.fromisoformat, text, Sentence("must be a time of day, such as 23:00")
    )


def _moment(read: Callable[[str], Any], text: str, wrong: Sentence) -> str:
    """Return text. Dates and times queued by a program are stored alike."""
    try:
        moment: str = read(text).isoformat()
        return moment
    except ValueError:
        raise _Wrong(wrong) from None


def _list(text: str) -> Any:
    wrong = Sentence("must be a JSON list, such as {example}", example='[1, "two"]')
    return _json_of(list, text, wrong)


def _dict(text: str) -> Any:
    wrong = Sentence("must be a JSON object, such as {example}", example='{"a": 1}')
    return _json_of(dict, text, wrong)


def _json_of(kind: type, text: str, wrong: Sentence) -> Any:
    try:
        found = json_codec.from_json(text)
    except ValueError:
        raise _Wrong(wrong) from None
    if not isinstance(found, kind):
        raise _Wrong(wrong)
    return found


def _any(text: str) -> Any:
    try:
        return json_codec.from_json(text)
    except ValueError:
        return text


_READERS: dict[str, Callable[[str], Any]] = {
    ArgumentKind.INT: _int,
    ArgumentKind.FLOAT: _float,
    ArgumentKind.DECIMAL: _decimal,
    ArgumentKind.BOOL: _bool,
    ArgumentKind.DATE: _date,
    ArgumentKind.DATETIME: _datetime,
    ArgumentKind.TIME: _time,
    ArgumentKind.LIST: _list,
    ArgumentKind.DICT: _dict,
    ArgumentKind.ANY: _any,
}


# -- convert to form texts ---------------------------------------------------------------------


def text_of(one: Argument, value: Any) -> str:
    """Return the text for a value; "" for None, which leaves the argument out.

    >>> any_kind = Argument("a", ArgumentKind.ANY)
    >>> text_of(any_kind, "3"), text_of(any_kind, "three")
    ('"3"', 'three')
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if one.kind == ArgumentKind.CHOICE:
        return next((shown for shown, each in one.choices if _same(each, value)), "")
    if value is None:
        means_more = one.has_default and one.default is not None and one.nullable
        return "null" if one.kind == ArgumentKind.ANY or means_more else ""
    if isinstance(value, str) and (one.kind != ArgumentKind.ANY or not _reads_otherwise(value)):
        return value
    try:
        text = _as_json(value)
    except BadTask:
        return ""
    return str(json.loads(text)) if text.startswith('"') and one.kind != ArgumentKind.ANY else text


def _reads_otherwise(text: str) -> bool:
    """Return True if the form would read this text as another value or as no value."""
    is_odd = text != text.strip() or "\r" in text or json_codec.clean(text) != text
    return not text or is_odd or bool(_any(text) != text)


def _same(one: Any, other: Any) -> bool:
    """Return True for the same type and value: 1, 1.0 and True are equal, but not the same."""
    return type(one) is type(other) and _as_json(one) == _as_json(other)


def _as_json(value: Any) -> str:
    return written(json.loads(json_codec.encode(value, "it")))


def written(value: Any, indent: int | None = None) -> str:
    """Return readable JSON: non-ASCII letters are escaped only if a page cannot hold the text."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if json_codec.clean(text) == text else json.dumps(value, indent=indent)


def texts(
    arguments: Sequence[Argument], pargs: Sequence[Any], pvars: Mapping[str, Any]
) -> dict[str, str] | None:
    """Return a task's arguments as form texts; None if the form would change the values."""
    found = named(arguments, pargs, pvars)
    if found is None:
        return None
    shown = {one.name: text_of(one, found[one.name]) for one in arguments if one.name in found}
    again = read(arguments, shown)
    same = named(arguments, again.pargs, again.pvars) or {}
    defaults = {one.name: one.default for one in arguments if one.has_default}
    if any(json_codec.clean(text) != text or "\r" in text for text in shown.values()):
        return None  # a browser would send another text back
    is_same = all(_same({**defaults, **same}.get(name), found[name]) for name in found)
    return shown if is_same and not again.errors.keys() & found.keys() else None


def named(
    arguments: Sequence[Argument], pargs: Sequence[Any], pvars: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return a task's arguments by field name; None if they do not fit the function's signature.

    The function may have changed, or may never have accepted them.
    """
    places = [one.name for one in arguments if not (one.by_name_only or one.gathers)]
    gathers = {one.gathers: one.name for one in arguments if one.gathers}
    by_name = {one.name for one in arguments if not (one.gathers or one.by_place_only)}
    found = dict(zip(places, pargs, strict=False))
    more = list(pargs[len(places) :])
    others = {name: value for name, value in pvars.items() if name not in by_name}
    if (more and "*" not in gathers) or (others and "**" not in gathers):
        return None
    if found.keys() & (pvars.keys() - others.keys()):
        return None
    found.update({name: value for name, value in pvars.items() if name in by_name})
    if more:
        found[gathers["*"]] = more
    if others:
        found[gathers["**"]] = others
    return found
