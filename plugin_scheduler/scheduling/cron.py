"""Parse cron lines in web2py's grammar and compute their run times.

This module parses the five fields and the ``@`` forms, and creates the error messages. The library
cronsim does all calendar arithmetic. The clock is read only for the default of ``CronParser``:
whether a line is valid never depends on the current date.

The grammar is ``minute hour day-of-month month weekday``: ``*``, lists, ranges, steps (``*/5``,
``1-10/2``, and ``5/15`` from 5 to the end of the field), names of months and weekdays, weekday 7
for Sunday, ``L`` for the last day of the month. Names, ``L`` and ``@`` forms are case-insensitive.
When day of month and weekday are both restricted, a day that matches either is enough; only a bare
``*`` leaves a field unrestricted.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from cronsim import CronSim
from pydal.validators import ValidationError, Validator

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.system import clock

AT_FORMS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ORDER = Sentence("minute hour day-of-month month weekday")

_STEP = re.compile(r"\*/[0-9]+")
_PART = re.compile(r"(\*|[0-9a-z]{1,9})(?:-([0-9a-z]{1,9}))?(?:/([0-9]{1,9}))?", re.IGNORECASE)


@dataclass(frozen=True)
class _Field:
    """One of the five fields: its name in messages, its range and its value names."""

    name: Sentence
    low: int
    high: int
    names: tuple[str, ...] = ()
    last_day: bool = False

    def values(self, text: str) -> set[str]:
        """Return every value of the field's text, in the notation of cronsim."""
        found: set[str] = set()
        for part in text.split(","):
            is_last = self.last_day and part.lower() == "l"
            found.update(["L"] if is_last else self._span(part))
        return found

    def _span(self, part: str) -> list[str]:
        match = _PART.fullmatch(part)
        if match is None:
            what = "{field} '{text}' is not a number, a name, a range or a step"
            raise ValueError(Sentence(what, field=self.name, text=part))
        first, last, step = match.groups()
        if step is not None and int(step) == 0:
            what = "{field} '{text}' has a step of 0; the minimum is 1"
            raise ValueError(Sentence(what, field=self.name, text=part))
        start, end = self._ends(part, first, last, step)
        return [str(value) for value in range(start, end + 1, int(step or 1))]

    def _ends(self, part: str, first: str, last: str | None, step: str | None) -> tuple[int, int]:
        if first == "*" and last is None:
            return self.low, self.high
        start = self._number(first)
        if last is None:
            return start, start if step is None else self.high
        end = self._number(last)
        # A range of weekdays may end on Sunday: sat-sun is 6-7, not 6-0.
        if last.lower() == "sun" and start > 0:
            end = 7
        if end < start:
            what = "{field} '{text}' ends before it begins"
            raise ValueError(Sentence(what, field=self.name, text=part))
        return start, end

    def _number(self, token: str) -> int:
        if token.lower() in self.names:
            return self.low + self.names.index(token.lower())
        if not token.isdigit():
            what = "{field} '{text}' is not {allowed}"
            raise ValueError(Sentence(what, field=self.name, text=token, allowed=self._allowed()))
        if not self.low <= int(token) <= self.high:
            ends = {"low": self.low, "high": self.high}
            what = "{field} '{text}' is not between {low} and {high}"
            raise ValueError(Sentence(what, field=self.name, text=token, **ends))
        return int(token)

    def _allowed(self) -> Sentence:
        ends = {"low": self.low, "high": self.high}
        if self.names:
            what = "a number from {low} to {high} or a name from {first} to {last}"
            return Sentence(what, **ends, first=self.names[0], last=self.names[-1])
        if self.last_day:
            return Sentence("a number from {low} to {high} or L", **ends)
        return Sentence("a number from {low} to {high}", **ends)


_FIELDS = (
    _Field(Sentence("minute"), 0, 59),
    _Field(Sentence("hour"), 0, 23),
    _Field(Sentence("day of month"), 1, 31, last_day=True),
    _Field(Sentence("month"), 1, 12, _MONTHS),
    _Field(Sentence("weekday"), 0, 7, _WEEKDAYS),
)


def _split(cronline: str) -> list[str]:
    line = cronline.strip()
    if line.startswith("@"):
        if line.lower() not in AT_FORMS:
            what = "'{line}' is not one of {known}"
            raise ValueError(Sentence(what, line=line, known=list(AT_FORMS)))
        line = AT_FORMS[line.lower()]
    texts = line.split()
    if len(texts) == 6:
        raise ValueError(
            Sentence(
                "it has 6 fields and needs 5: {order} (there is no field for seconds)", order=_ORDER
            )
        )
    if len(texts) != 5:
        what = "it has {number} fields and needs 5: {order}"
        if len(texts) == 1:
            what = "it has 1 field and needs 5: {order}"
        raise ValueError(Sentence(what, number=len(texts), order=_ORDER))
    return texts


def _spell_out(field: _Field, text: str) -> str:
    """Convert a field to the notation of cronsim.

    Ranges and steps become plain lists for two reasons. First, cronsim treats any day field that
    begins with a star as unrestricted, web2py only a bare star. Second, cronsim reads ``5-5/2`` as
    ``5/2``. Steps of minute and hour are kept, because cronsim uses them to tell intervals from
    fixed times when the base is aware.
    """
    values = field.values(text)
    if "*" in text.split(","):
        return "*"
    if field.name in ("minute", "hour") and _STEP.fullmatch(text):
        return text
    return ",".join(sorted(values))


def _never_comes(days: str, months: str) -> bool:
    if days == "*" or "L" in days:
        return False
    # 2000 was a leap year, so a line for 29 February is valid in every year.
    every = range(1, 13) if months == "*" else map(int, months.split(","))
    return min(map(int, days.split(","))) > max(monthrange(2000, month)[1] for month in every)


def _normal_fields(texts: list[str]) -> list[str]:
    fields = list(map(_spell_out, _FIELDS, texts))
    if _never_comes(fields[2], fields[3]):
        if fields[4] == "*":
            what = "day of month '{day}' never occurs in month '{month}'"
            raise ValueError(Sentence(what, day=texts[2], month=texts[3]))
        # Only the weekday can match; older versions of cronsim refuse the pair.
        fields[2] = "*"
    return fields


@lru_cache(maxsize=512)
def _normal(cronline: str) -> str:
    try:
        return " ".join(_normal_fields(_split(cronline)))
    except ValueError as problem:
        what, why = "cron line '{line}': {why}", problem.args[0]
        raise ValueError(Sentence(what, line=cronline, why=why)) from None


def fields(cronline: str) -> list[str]:
    """Return the five fields as lists of numbers.

    Bare stars, and steps of minute and hour, are kept. Raises ``ValueError`` like ``CronParser``.

    >>> fields("*/5 8-10 * jan mon")
    ['*/5', '10,8,9', '*', '1', '1']
    """
    return _normal(cronline).split()


@lru_cache(maxsize=512)
def days_and_minutes(cronline: str) -> tuple[str, tuple[int, ...]]:
    """Split a line into a cron line for the midnights of its days, and its minutes of a day.

    This allows counting run times by days. Raises ``ValueError`` like ``CronParser``.

    >>> days_and_minutes("*/30 9 * * 1-5")
    ('0 0 * * 1,2,3,4,5', (540, 570))
    """
    minute, hour, *days = _normal(cronline).split()
    minutes = tuple(
        60 * h + m for h in _numbers(_FIELDS[1], hour) for m in _numbers(_FIELDS[0], minute)
    )
    return " ".join(["0 0", *days]), minutes


def _numbers(field: _Field, text: str) -> list[int]:
    return sorted({int(value) for value in field.values(text)})


class CronParser:
    """Iterate over the times of a cron line.

    Each time is a datetime without seconds, strictly after the previous one.

    Parameters:
    - ``cronline``: five fields, or an ``@`` form such as ``@daily``.
    - ``base``: the times are strictly after it; default: the current local time. A naive datetime
      gives naive times. An aware one gives aware times, which follow Debian's rules when DST begins
      and ends.

    Raises: ValueError with a message that names the invalid field and part.

    Source: web2py's class of this name. web2py's parser may refuse a correct line on the 29th to
    31st; this parser does not.

    >>> moments = CronParser("30 4 * 6 *", datetime(2026, 1, 31))
    >>> moments.next()
    datetime.datetime(2026, 6, 1, 4, 30)
    """

    def __init__(self, cronline: str, base: datetime | None = None) -> None:
        self.cronline = cronline
        self._moments = CronSim(_normal(cronline), base or clock.SYSTEM.now())

    def __iter__(self) -> Iterator[datetime]:
        return self

    def __next__(self) -> datetime:
        try:
            return next(self._moments)
        except OverflowError:
            what = "cron line '{line}' has no more times up to the year 9999"
            raise ValueError(Sentence(what, line=self.cronline)) from None

    next = __next__


def next_after(cronline: str, base: datetime) -> datetime:
    """Return the first time of ``cronline`` strictly after ``base`` (naive, without seconds).

    Raises ``ValueError`` like ``CronParser``.

    >>> next_after("0 0 29 2 *", datetime(2026, 3, 1))
    datetime.datetime(2028, 2, 29, 0, 0)
    """
    return CronParser(cronline, base).next()


def check(cronline: str) -> Sentence | None:
    """Return the error message for ``cronline``; None when the line is valid.

    >>> check("61 * * * *")
    "cron line '61 * * * *': minute '61' is not between 0 and 59"
    """
    try:
        _normal(cronline)
    except ValueError as problem:
        said: Sentence = problem.args[0]
        return said
    return None


class IS_CRONLINE(Validator):
    """Validate cron lines: for ``requires`` of a pydal field.

    Parameters:
    - ``error_message``: a text for every invalid line; default: a message that names the invalid
      field and part.

    Returns: when called with a value, ``(value, None)`` or ``(value, message)``.

    Source: web2py's validator of this name.

    >>> IS_CRONLINE()("@daily")
    ('@daily', None)
    """

    def __init__(self, error_message: str | None = None) -> None:
        self.error_message = error_message

    def validate(self, value: Any, record_id: object = None) -> Any:
        """Check one value.

        Returns: the value.

        Raises: pydal's ``ValidationError`` for an invalid cron line.
        """
        problem = check("" if value is None else str(value))
        if problem is not None:
            raise ValidationError(
                self.translator(self.error_message) if self.error_message else problem
            )
        return value
