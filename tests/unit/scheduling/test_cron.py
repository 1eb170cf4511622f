"""Cron lines: web2py's grammar, the sentences for what is wrong, and the validator."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from pydal import DAL, Field

from plugin_scheduler.scheduling.cron import AT_FORMS, IS_CRONLINE, CronParser, check, next_after
from plugin_scheduler.system import clock

# --- behaviour, one sentence each --------------------------------------------------------------


def test_a_line_for_june_is_valid_on_the_31st_of_january() -> None:
    assert next_after("30 4 * 6 *", datetime(2026, 1, 31)) == datetime(2026, 6, 1, 4, 30)


def test_a_line_for_the_29th_of_february_waits_for_a_leap_year() -> None:
    assert next_after("0 0 29 2 *", datetime(2026, 3, 1)) == datetime(2028, 2, 29)


def test_a_line_for_the_29th_of_february_waits_over_a_century_without_a_leap_year() -> None:
    assert next_after("0 0 29 2 *", datetime(2096, 3, 1)) == datetime(2104, 2, 29)


def test_the_last_day_of_the_month_follows_the_length_of_the_month() -> None:
    moments = islice(CronParser("0 0 L * *", datetime(2028, 1, 15)), 4)
    assert [(m.month, m.day) for m in moments] == [(1, 31), (2, 29), (3, 31), (4, 30)]


def test_the_last_day_may_stand_in_a_list() -> None:
    moments = islice(CronParser("0 0 15,l * *", datetime(2026, 2, 1)), 4)
    assert [(m.month, m.day) for m in moments] == [(2, 15), (2, 28), (3, 15), (3, 31)]


def test_weekday_7_and_0_and_sun_are_all_sunday() -> None:
    base = datetime(2026, 5, 1)
    sunday = datetime(2026, 5, 3)
    assert [next_after(f"0 0 * * {day}", base) for day in ("7", "0", "sun", "SUN")] == [sunday] * 4


def test_a_week_may_end_on_sunday_by_name() -> None:
    moments = islice(CronParser("0 0 * * fri-sun", datetime(2026, 5, 4)), 4)
    assert [m.strftime("%a") for m in moments] == ["Fri", "Sat", "Sun", "Fri"]


def test_a_step_without_an_end_goes_on_to_the_end_of_the_field() -> None:
    moments = islice(CronParser("5/15 * * * *", datetime(2026, 5, 1)), 5)
    assert [m.minute for m in moments] == [5, 20, 35, 50, 5]


def test_a_stepped_range_of_one_value_is_that_value() -> None:
    moments = islice(CronParser("5-5/2 * * * *", datetime(2026, 5, 1)), 2)
    assert [(m.hour, m.minute) for m in moments] == [(0, 5), (1, 5)]


def test_day_of_month_and_weekday_both_given_mean_either() -> None:
    moments = islice(CronParser("0 0 13 * fri", datetime(2026, 5, 1)), 4)
    assert [m.day for m in moments] == [8, 13, 15, 22]


def test_a_step_in_day_of_month_counts_as_given_as_in_web2py() -> None:
    moments = islice(CronParser("0 0 */10 * mon", datetime(2026, 5, 1)), 4)
    assert [m.day for m in moments] == [4, 11, 18, 21]


def test_a_star_in_a_list_leaves_the_field_open() -> None:
    assert next_after("*,5 * * * *", datetime(2026, 5, 1)) == datetime(2026, 5, 1, 0, 1)


@pytest.mark.parametrize("form", AT_FORMS)
def test_an_at_form_means_its_five_fields_in_any_case(form: str) -> None:
    base = datetime(2026, 5, 1, 12, 30)
    assert next_after(f" {form.upper()} ", base) == next_after(AT_FORMS[form], base)


def test_the_next_moment_is_strictly_after_a_matching_base() -> None:
    assert next_after("0 9 * * *", datetime(2026, 5, 1, 9)) == datetime(2026, 5, 2, 9)


def test_seconds_of_the_base_are_dropped_from_the_moments() -> None:
    base = datetime(2026, 5, 1, 9, 0, 59, 999999)
    assert next_after("* * * * *", base) == datetime(2026, 5, 1, 9, 1)


def test_a_parser_can_be_looped_over_and_asked_for_the_next_moment() -> None:
    moments = CronParser("0 * * * *", datetime(2026, 5, 1))
    assert iter(moments) is moments
    assert [moments.next().hour, next(moments).hour, moments.next().hour] == [1, 2, 3]


def test_without_a_base_a_parser_counts_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "SYSTEM", clock.TurnedClock(datetime(2026, 5, 1, 9, 30)))
    assert CronParser("@hourly").next() == datetime(2026, 5, 1, 10)


def test_a_line_that_runs_out_of_years_says_so() -> None:
    with pytest.raises(ValueError, match="has no more times up to the year 9999"):
        next_after("@yearly", datetime(9999, 6, 1))


def test_an_aware_base_runs_a_fixed_time_once_when_an_hour_is_missing_or_comes_twice() -> None:
    rome = ZoneInfo("Europe/Rome")
    gap = islice(CronParser("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=rome)), 2)
    assert [m.strftime("%d %H:%M") for m in gap] == ["29 03:00", "30 02:30"]
    fold = islice(CronParser("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=rome)), 2)
    assert [m.strftime("%d %H:%M") for m in fold] == ["25 02:30", "26 02:30"]


def test_an_aware_base_keeps_an_interval_going_through_an_hour_that_comes_twice() -> None:
    rome = ZoneInfo("Europe/Rome")
    moments = CronParser("*/15 2 * * *", datetime(2026, 10, 25, 1, 59, tzinfo=rome))
    assert [m.day for m in islice(moments, 9)] == [25] * 8 + [26]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("61 * * * *", "minute '61' is not between 0 and 59"),
        ("* 24 * * *", "hour '24' is not between 0 and 23"),
        ("* * 0 * *", "day of month '0' is not between 1 and 31"),
        ("* * 1,32 * *", "day of month '32' is not between 1 and 31"),
        ("* * * 13 *", "month '13' is not between 1 and 12"),
        ("* * * * 8", "weekday '8' is not between 0 and 7"),
        ("* * * 1-13 *", "month '13' is not between 1 and 12"),
        ("x * * * *", "minute 'x' is not a number from 0 to 59"),
        ("* * x * *", "day of month 'x' is not a number from 1 to 31 or L"),
        ("* * * may,foo *", "month 'foo' is not a number from 1 to 12 or a name from jan to dec"),
        ("* * * * may", "weekday 'may' is not a number from 0 to 7 or a name from sun to sat"),
        ("* L * * *", "hour 'L' is not a number from 0 to 23"),
        ("* * L-3 * *", "day of month 'L' is not a number from 1 to 31 or L"),
        ("10-5 * * * *", "minute '10-5' ends before it begins"),
        ("*/0 * * * *", "minute '*/0' has a step of 0; the minimum is 1"),
        ("*-5 * * * *", "minute '*' is not a number from 0 to 59"),
        ("*5 * * * *", "minute '*5' is not a number, a name, a range or a step"),
        ("1,,2 * * * *", "minute '' is not a number, a name, a range or a step"),
        ("-1 * * * *", "minute '-1' is not a number, a name, a range or a step"),
        ("* */-1 * * *", "hour '*/-1' is not a number, a name, a range or a step"),
        ("0 0 31 2 *", "day of month '31' never occurs in month '2'"),
        ("0 0 31 apr,jun *", "day of month '31' never occurs in month 'apr,jun'"),
        ("", "it has 0 fields and needs 5: minute hour day-of-month month weekday"),
        ("5", "it has 1 field and needs 5: minute hour day-of-month month weekday"),
        ("* * * *", "it has 4 fields and needs 5: minute hour day-of-month month weekday"),
        (
            "0 * * * * *",
            "it has 6 fields and needs 5: minute hour day-of-month month weekday "
            "(there is no field for seconds)",
        ),
        (
            "@reboot",
            "'@reboot' is not one of "
            "@yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly",
        ),
    ],
)
def test_an_invalid_line_is_refused_with_a_sentence_that_names_the_part(
    line: str, problem: str
) -> None:
    assert check(line) == f"cron line '{line}': {problem}"
    with pytest.raises(ValueError) as caught:
        CronParser(line, datetime(2026, 5, 1))
    assert str(caught.value) == check(line)


@pytest.mark.parametrize(
    "line", ["٣ * * * *", "* * * * mon#2", "* * LW * *", "* * * * 5L", "9" * 50]
)
def test_what_web2py_does_not_know_is_refused(line: str) -> None:
    assert check(line) is not None


def test_a_day_that_no_month_has_is_no_fault_when_a_weekday_can_stand_in() -> None:
    assert next_after("0 0 31 2 mon", datetime(2026, 1, 1)) == datetime(2026, 2, 2)


def test_a_valid_line_has_nothing_wrong() -> None:
    assert check("*/5 8-18 1,15,L JAN-mar/2 mon-fri") is None


# --- the validator -----------------------------------------------------------------------------


def test_the_validator_gives_the_value_back_and_no_error() -> None:
    assert IS_CRONLINE()("*/5 * * * *") == ("*/5 * * * *", None)
    assert IS_CRONLINE()("@daily", record_id=7) == ("@daily", None)


@pytest.mark.parametrize("value", ["61 * * * *", "", None, 5])
def test_the_validator_says_what_is_wrong(value: object) -> None:
    same, error = IS_CRONLINE()(value)
    assert same == value
    assert error == check("" if value is None else str(value))


def test_the_validator_says_what_it_was_told_to_say() -> None:
    assert IS_CRONLINE(error_message="no cron line")("x") == ("x", "no cron line")


def test_the_validator_guards_a_pydal_field() -> None:
    db = DAL("sqlite:memory")
    db.define_table("thing", Field("cronline", requires=IS_CRONLINE()))
    assert db.thing.validate_and_insert(cronline="0 6 * * 1")["errors"] in ({}, None)
    refused = db.thing.validate_and_insert(cronline="61 * * * *")
    assert "minute '61'" in refused["errors"]["cronline"]
    db.close()
