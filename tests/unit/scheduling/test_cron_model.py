"""Cron lines against an independent model: thousands of random ones, many moments of each."""

from __future__ import annotations

import calendar
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice

from plugin_scheduler.scheduling.cron import CronParser, check

# --- an independent model: a line is made together with what it means, never parsed ---------------

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAYS = "sun mon tue wed thu fri sat".split()
FIRST, LAST = date(2023, 12, 1), date(2034, 12, 31)


@dataclass
class Line:
    """The text of a cron line and the sets of values it stands for."""

    text: str
    minutes: set[int]
    hours: set[int]
    days: set[int]  # 99 is the last day of the month
    months: set[int]
    weekdays: set[int]  # 0-6, Sunday 0
    any_day: bool
    any_weekday: bool


def _almanac() -> list[tuple[datetime, int, set[int], int]]:
    rows = []
    day = FIRST
    while day <= LAST:
        last = calendar.monthrange(day.year, day.month)[1]
        numbers = {day.day} | ({99} if day.day == last else set())
        midnight = datetime(day.year, day.month, day.day)
        rows.append((midnight, day.month, numbers, day.isoweekday() % 7))
        day += timedelta(days=1)
    return rows


ALMANAC = _almanac()


def model(line: Line, base: datetime) -> Iterator[datetime]:
    """Walk the days, then the minutes of each day that fits."""
    for midnight, month, numbers, weekday in ALMANAC[(base.date() - FIRST).days :]:
        if month not in line.months:
            continue
        by_day, by_weekday = bool(numbers & line.days), weekday in line.weekdays
        if line.any_day or line.any_weekday:
            fits = by_day and by_weekday
        else:
            fits = by_day or by_weekday
        if not fits:
            continue
        for hour in sorted(line.hours):
            for minute in sorted(line.minutes):
                moment = midnight + timedelta(hours=hour, minutes=minute)
                if moment > base:
                    yield moment


def _cased(rng: random.Random, text: str) -> str:
    return rng.choice([text, text.upper(), text.capitalize()])


def _word(rng: random.Random, value: int, low: int, names: list[str]) -> str:
    if names and 0 <= value - low < len(names) and rng.random() < 0.4:
        return _cased(rng, names[value - low])
    return str(value)


def _part(rng: random.Random, low: int, high: int, names: list[str]) -> tuple[str, set[int]]:
    start = rng.randint(low, high)
    end = rng.randint(start, high)
    step = rng.randint(1, 20)
    first, last = _word(rng, start, low, names), _word(rng, end, low, names)
    kind = rng.choice(["one", "one", "range", "stepped range", "open step", "star step"])
    if kind == "one":
        return first, {start}
    if kind == "range":
        return f"{first}-{last}", set(range(start, end + 1))
    if kind == "stepped range":
        return f"{first}-{last}/{step}", set(range(start, end + 1, step))
    if kind == "open step":
        return f"{first}/{step}", set(range(start, high + 1, step))
    return f"*/{step}", set(range(low, high + 1, step))


def _field(
    rng: random.Random, low: int, high: int, names: list[str], stars: float
) -> tuple[str, set[int]]:
    if rng.random() < stars:
        return "*", set(range(low, high + 1))
    parts = [_part(rng, low, high, names) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    return ",".join(text for text, _ in parts), set().union(*(values for _, values in parts))


def _days(rng: random.Random) -> tuple[str, set[int]]:
    text, days = _field(rng, 1, 31, [], 0.5)
    if rng.random() < 0.2:
        last = rng.choice("lL")
        if text == "*" or rng.random() < 0.5:
            return last, {99}
        return f"{text},{last}", days | {99}
    return text, days


def random_line(rng: random.Random) -> Line:
    """A valid line; five in a hundred are @ forms."""
    if rng.random() < 0.05:
        return _at_line(rng)
    minute, minutes = _field(rng, 0, 59, [], 0.2)
    hour, hours = _field(rng, 0, 23, [], 0.3)
    day, days = _days(rng)
    month, months = _field(rng, 1, 12, MONTHS, 0.6)
    weekday, weekdays = _field(rng, 0, 7, DAYS, 0.5)
    return Line(
        text=rng.choice([" ", "  ", "\t"]).join([minute, hour, day, month, weekday]),
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays={weekday % 7 for weekday in weekdays},
        any_day=day == "*",
        any_weekday=weekday == "*",
    )


def _at_line(rng: random.Random) -> Line:
    form = rng.choice(["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"])
    every_day = form not in ("yearly", "annually", "monthly")
    return Line(
        text=_cased(rng, f"@{form}"),
        minutes={0},
        hours=set(range(24)) if form == "hourly" else {0},
        days=set(range(1, 32)) if every_day else {1},
        months={1} if form in ("yearly", "annually") else set(range(1, 13)),
        weekdays={0} if form == "weekly" else set(range(7)),
        any_day=every_day,
        any_weekday=form != "weekly",
    )


def happens(line: Line) -> bool:
    if not line.any_weekday:
        return True
    longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
    return 99 in line.days or any(min(line.days) <= longest.get(m, 31) for m in line.months)


BASES = [
    datetime(2024, 1, 31, 23, 59),
    datetime(2024, 2, 28, 23, 59, 59),
    datetime(2024, 2, 29),
    datetime(2025, 1, 29, 12, 30, 15, 250000),
    datetime(2025, 2, 28, 0, 0, 0, 1),
    datetime(2025, 4, 30, 4, 29),
    datetime(2025, 12, 31, 23, 58, 59, 999999),
    datetime(2026, 3, 29, 2, 30),
    datetime(2026, 8, 31, 6),
]


def test_two_thousand_random_lines_agree_with_a_walk_over_every_day_and_minute() -> None:
    rng = random.Random(20260131)
    compared = 0
    while compared < 2000:
        line = random_line(rng)
        if not happens(line):
            assert "never occurs" in (check(line.text) or ""), line.text
            continue
        compared += 1
        for _ in range(2):
            base = rng.choice(BASES) + timedelta(minutes=rng.choice([0, 0, rng.randint(0, 400000)]))
            wanted = list(islice(model(line, base), 20))
            assert list(islice(CronParser(line.text, base), len(wanted))) == wanted, line.text


def test_a_random_line_is_valid_on_every_base_instant() -> None:
    rng = random.Random(7)
    lines = [line for line in (random_line(rng) for _ in range(60)) if happens(line)]
    for line in lines:
        for base in BASES:
            wanted = list(islice(model(line, base), 3))
            assert list(islice(CronParser(line.text, base), len(wanted))) == wanted
