"""Cron lines in words: the common ones are said as a person would, a strange one not at all."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.scheduling.cron import AT_FORMS, CronParser
from plugin_scheduler.scheduling.cron_description import in_words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0,15,30,45 * * * *", "every 15 minutes"),
        ("*/5 8-18 * * *", "every 5 minutes from 08:00 to 18:59"),
        ("* 9 * * *", "every minute from 09:00 to 09:59"),
        ("0 * * * *", "every hour at minute 0"),
        ("5,35 * * * *", "every hour at minutes 5, 35"),
        ("30 */2 * * *", "every 2 hours at minute 30"),
        ("0 8-18 * * *", "every hour from 08:00 to 18:00"),
        ("0 3 * * *", "at 03:00 every day"),
        ("5 3,15 * * *", "at 03:05, 15:05 every day"),
        ("0 9 * * mon-fri", "at 09:00 on weekdays"),
        ("0 9 * * sat,sun", "at 09:00 at weekends"),
        ("0 9 * * 7", "at 09:00 on Sunday"),
        ("0 9 * * 1,3", "at 09:00 on Monday, Wednesday"),
        ("0 9 * * 1-7", "at 09:00 every day"),
        ("0 9 L * *", "at 09:00 on the last day of the month"),
        ("0 9 1 * *", "at 09:00 on day 1 of the month"),
        ("0 9 1,15 * *", "at 09:00 on days 1, 15 of the month"),
        ("0 0 13 * 5", "at 00:00 on day 13 of the month or on Friday"),
        ("0 9 * jan,jul *", "at 09:00 every day in January, July"),
        ("*/10 * 1 12 *", "every 10 minutes on day 1 of the month in December"),
        ("@daily", "at 00:00 every day"),
    ],
)
def test_a_line_is_said_as_a_person_would(line: str, words: str) -> None:
    assert in_words(line) == words


@pytest.mark.parametrize("form", AT_FORMS)
def test_every_at_form_has_words(form: str) -> None:
    assert in_words(form)


@pytest.mark.parametrize(
    "line",
    [
        "*/7 * * * *",  # the last gap of an hour is shorter
        "1,2,3,5,8,13,21 * * * *",
        "*/5 1,3,5 * * *",
        "0 9 1-20 * *",
        "0 9 1,L * *",
        "0 9 * 1-11 *",
        "0 1,2,3,5,8,13,21 * * *",
    ],
)
def test_a_strange_line_has_none(line: str) -> None:
    assert CronParser(line) and in_words(line) is None


@pytest.mark.parametrize("line", ["", "61 * * * *", "no cron line", "{0} * * * *"])
def test_a_wrong_line_has_none(line: str) -> None:
    assert in_words(line) is None


@pytest.mark.parametrize(
    ("line", "minutes"), [("*/20 * * * *", 20), ("0,30 * * * *", 30), ("*/1 * * * *", 1)]
)
def test_what_is_called_every_so_many_minutes_comes_that_often(line: str, minutes: int) -> None:
    words = in_words(line)
    assert isinstance(words, Sentence) and words.values["count"] == minutes
    moments = CronParser(line, datetime(2026, 1, 31, 22, 0))
    times = [moments.next() for _ in range(200)]
    gaps = {later - one for one, later in pairwise(times)}
    assert gaps == {timedelta(minutes=minutes)}
