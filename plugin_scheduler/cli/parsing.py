"""Parse words of the command line into arguments and column values.

Invalid words raise click's exceptions. Does not access the database.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.spelling import did_you_mean
from plugin_scheduler.core.time_text import read_time

_PAIR = re.compile(r"[A-Za-z_]\w*=")
_DISTANCE = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:  # older versions of click have no type parameter there
    _Choice = click.Choice


class Word(_Choice):
    """A choice of words; the message for a misspelled word names the nearest one."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = did_you_mean(str(value), map(str, self.choices))
            self.fail(f"{error.message.rstrip('.')}{near}", param, ctx)


def arguments(words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and named arguments of words.

    >>> arguments(["3", "ann", "to=[1, 2]"])
    ([3, 'ann'], {'to': [1, 2]})
    """
    pargs = [_value(word) for word in words if not _PAIR.match(word)]
    pairs = [word.partition("=") for word in words if _PAIR.match(word)]
    return pargs, {name: _value(text) for name, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return json_codec.from_json(text)
    except ValueError:
        return text


def check_texts(given: Mapping[str, Any]) -> None:
    """Raise ConfigError for words that are not valid UTF-8: no database can contain them."""
    for name, value in given.items():
        for word in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(word, str) and json_codec.flaw_of(word) is not None:
                raise ConfigError(
                    f"{name}: {word!r} is not valid UTF-8; check the terminal's encoding"
                )


def column(table: Any, pair: str) -> tuple[str, Any]:
    """Parse ``column=value`` with the type of the column; validation reports wrong values."""
    name, equals, text = pair.partition("=")
    if not equals:
        raise click.BadParameter(f"{pair!r} is not of the form COLUMN=VALUE", param_hint="--set")
    kind = str(table[name].type) if name in table.fields else "string"
    if kind == "boolean":
        if text.lower() not in _YES_NO:
            raise click.BadParameter(f"{pair!r}: must be true or false", param_hint="--set")
        return name, _YES_NO[text.lower()]
    readers: dict[str, Callable[[str], Any]] = {"integer": int, "datetime": read_time}
    with contextlib.suppress(ValueError):
        return name, readers.get(kind, str)(text)
    return name, text


def moment(text: str, now: datetime) -> datetime:
    """Return a time in the zone of the tables, from a time or a span before ``now``.

    >>> moment("90m", datetime(2026, 1, 31, 12, 0))
    datetime.datetime(2026, 1, 31, 10, 30)
    """
    found = _DISTANCE.fullmatch(text.strip())
    with contextlib.suppress(ValueError, OverflowError):
        if found:
            return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        written = read_time(text)
        if written.tzinfo is None:
            return written
    raise click.BadParameter(f"{text!r} is not a time; write 12h, 90m, 7d or 2026-12-31T23:00")
