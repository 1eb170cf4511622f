"""A database that does not answer: when to try again, and what is said."""

from __future__ import annotations

import pytest
from makers import NINE

from plugin_scheduler.clock import TurnedClock
from plugin_scheduler.errors import StoreUnavailable
from plugin_scheduler.outage import PAUSES, SHORT, Outage

ERROR = StoreUnavailable("server closed the connection")


def an_outage() -> tuple[Outage, TurnedClock]:
    clock = TurnedClock(NINE)
    return Outage(clock), clock


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


def test_while_all_is_well_everything_may_be_tried() -> None:
    outage, _ = an_outage()
    outage.over()
    assert outage.may_try()
    assert not outage.is_on


def test_pauses_grow_up_to_a_last_one_and_begin_anew_with_the_next_outage() -> None:
    outage, clock = an_outage()
    for pause in (*PAUSES, PAUSES[-1], PAUSES[-1]):
        outage.noticed(ERROR)
        assert outage.retry_at - clock.monotonic() == pytest.approx(pause)
        assert not outage.may_try()
        clock.turn(pause)
        assert outage.may_try()
    outage.over()
    outage.noticed(ERROR)
    assert outage.retry_at - clock.monotonic() == pytest.approx(PAUSES[0])


def test_a_locked_file_is_nobodys_business(caplog: pytest.LogCaptureFixture) -> None:
    outage, clock = an_outage()
    for _ in range(3):
        outage.noticed(ERROR)
        clock.turn(SHORT / 4)
    outage.over()
    assert not outage.is_on
    assert said(caplog) == []


def test_a_long_outage_is_said_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage, clock = an_outage()
    for _ in range(20):
        outage.noticed(ERROR)
        clock.turn(0.5)
    outage.over()
    outage.over()
    assert said(caplog) == [
        "database does not answer, will go on trying: server closed the connection",
        "database answers again after 10.0 s",
    ]


def test_the_next_outage_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    outage, clock = an_outage()
    for _ in range(2):
        outage.noticed(ERROR)
        clock.turn(SHORT)
        outage.noticed(ERROR)
        outage.over()
    assert len(said(caplog)) == 4
