"""Describe common cron lines in words.

A line that is too complex for a short sentence gets no description.
"""

from __future__ import annotations

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.scheduling import cron

MOST = 6  # values in one list

WEEKDAYS = (
    Sentence("Sunday"),
    Sentence("Monday"),
    Sentence("Tuesday"),
    Sentence("Wednesday"),
    Sentence("Thursday"),
    Sentence("Friday"),
    Sentence("Saturday"),
)
MONTHS = (
    Sentence("January"),
    Sentence("February"),
    Sentence("March"),
    Sentence("April"),
    Sentence("May"),
    Sentence("June"),
    Sentence("July"),
    Sentence("August"),
    Sentence("September"),
    Sentence("October"),
    Sentence("November"),
    Sentence("December"),
)
Values = list[int]


def in_words(cronline: str) -> Sentence | None:
    """Describe a cron line; None for an invalid line, or one that needs a long sentence.

    >>> in_words("0 3 * * mon-fri")
    'at 03:00 on weekdays'
    """
    try:
        minute, hour, day, month, weekday = cron.fields(cronline)
    except ValueError:
        return None
    words = _time(_values(minute, 60), _values(hour, 24))
    days = _days(day, weekday)
    if words is None or days is None:
        return None
    if days:
        words = Sentence("{time} {days}", time=words, days=days)
    elif words.template == "at {times}":
        words = Sentence("{time} every day", time=words)
    return words if month == "*" else _in_months(words, _values(month, 12))


def _values(text: str, size: int) -> Values:
    """Return all values of a field."""
    if text == "*":
        return list(range(size))
    if text.startswith("*/"):
        return list(range(0, size, int(text[2:])))
    return sorted(map(int, text.split(",")))


def _step(values: Values, size: int) -> int | None:
    """Return the step of evenly spaced values, such as 5 for 0, 5, 10, ...; else None.

    The step must divide the size of the field, so that the values stay even across its end.
    """
    step = values[1] - values[0] if len(values) > 1 else 0
    even = step and size % step == 0 and values == list(range(0, size, step))
    return step if even else None


def _is_unbroken(values: Values) -> bool:
    return values[-1] - values[0] == len(values) - 1


def _time(minutes: Values, hours: Values) -> Sentence | None:
    every = _step(minutes, 60)
    if every:
        return _all_along(every, hours)
    if len(hours) == 24:
        return _each_hour(minutes)
    if len(minutes) == 1 and (step := _step(hours, 24)):
        return Sentence("every {count} hours at minute {minute}", count=step, minute=minutes[0])
    if len(minutes) * len(hours) <= MOST:
        clock = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
        return Sentence("at {times}", times=clock)
    if len(minutes) == 1 and _is_unbroken(hours):
        first, last = (f"{hour:02}:{minutes[0]:02}" for hour in (hours[0], hours[-1]))
        return Sentence("every hour from {first} to {last}", first=first, last=last)
    return None


def _all_along(step: int, hours: Values) -> Sentence | None:
    often = every_minutes(step)
    if len(hours) == 24:
        return often
    if not _is_unbroken(hours):
        return None
    first, last = f"{hours[0]:02}:00", f"{hours[-1]:02}:59"
    return Sentence("{often} from {first} to {last}", often=often, first=first, last=last)


def every_minutes(count: int) -> Sentence:
    """Describe a period in minutes, such as ``every 5 minutes``."""
    return Sentence("every minute" if count == 1 else "every {count} minutes", count=count)


def _each_hour(minutes: Values) -> Sentence | None:
    if len(minutes) > MOST:
        return None
    if len(minutes) == 1:
        return Sentence("every hour at minute {minute}", minute=minutes[0])
    return Sentence("every hour at minutes {minutes}", minutes=list(map(str, minutes)))


def _days(day: str, weekday: str) -> Sentence | str | None:
    """Describe the days; "" for every day, None if the description would be too long."""
    parts = [
        words
        for text, words in ((day, _month_days(day)), (weekday, _week_days(weekday)))
        if text != "*"
    ]
    if None in parts:
        return None
    if len(parts) == 2:
        return Sentence("{one} or {other}", one=parts[0], other=parts[1])
    return parts[0] if parts else ""


def _month_days(text: str) -> Sentence | None:
    days = text.split(",")
    if days == ["L"]:
        return Sentence("on the last day of the month")
    if "L" in days or text == "*" or len(days) > MOST:
        return None
    numbers = list(map(str, sorted(map(int, days))))
    if len(numbers) == 1:
        return Sentence("on day {days} of the month", days=numbers)
    return Sentence("on days {days} of the month", days=numbers)


def _week_days(text: str) -> Sentence | None:
    if text == "*":
        return None
    days = sorted({int(day) % 7 for day in text.split(",")})
    if days == [1, 2, 3, 4, 5]:
        return Sentence("on weekdays")
    if days == [0, 6]:
        return Sentence("at weekends")
    if len(days) == 7:
        return Sentence("every day")
    return Sentence("on {days}", days=[WEEKDAYS[day] for day in days])


def _in_months(words: Sentence, months: Values) -> Sentence | None:
    if len(months) > MOST:
        return None
    names = [MONTHS[month - 1] for month in months]
    return Sentence("{when} in {months}", when=words, months=names)
