"""A database that does not answer: when to try again, what is said, and how long runs go on."""

from __future__ import annotations

import pytest
from support.makers import NINE

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Worker, WorkerStatus
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.failure_detector import FailureDetector
from plugin_scheduler.worker.lease_guard import MARGIN, LeaseGuard
from plugin_scheduler.worker.outages import PAUSES, SHORT, Outage, StartPatience

ERROR = StoreUnavailable("server closed the connection")
FOR_ALL = StoreUnavailable("connection refused", for_all=True)
SETTINGS = Settings(heartbeat=3)  # a lease of 11 s


def an_outage(settings: Settings = SETTINGS) -> tuple[Outage, TurnedClock, list[float]]:
    """And the times until which runs were allowed to go on."""
    clock, allowed = TurnedClock(NINE), []
    return Outage(settings, clock, allowed.append), clock, allowed


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


def test_while_all_is_well_everything_may_be_tried() -> None:
    outage, _, _ = an_outage()
    outage.over()
    assert outage.may_try()
    assert not outage.is_on


def test_pauses_grow_up_to_a_last_one_and_begin_anew_with_the_next_outage() -> None:
    outage, clock, _ = an_outage()
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
    outage, clock, _ = an_outage()
    for _ in range(3):
        outage.noticed(ERROR)
        clock.turn(SHORT / 4)
    outage.over()
    assert not outage.is_on
    assert said(caplog) == []


def test_a_long_outage_is_said_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage, clock, _ = an_outage()
    for _ in range(20):
        outage.noticed(ERROR)
        clock.turn(0.5)
    outage.over()
    outage.over()
    assert said(caplog) == [
        "the database does not answer, retrying: server closed the connection",
        "the database answers again after 10.0 s",
    ]


def test_the_next_outage_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    outage, clock, _ = an_outage()
    for _ in range(2):
        outage.noticed(ERROR)
        clock.turn(SHORT)
        outage.noticed(ERROR)
        outage.over()
    assert len(said(caplog)) == 4


# --- how long runs go on --------------------------------------------------------------------------


def test_a_beat_lets_runs_go_on_until_shortly_before_the_lease_ends() -> None:
    outage, clock, allowed = an_outage()
    sent = clock.monotonic()
    clock.turn(2)  # it took its time
    outage.beaten(sent)
    assert allowed == [sent + SETTINGS.lease - MARGIN]


def test_before_the_first_beat_and_in_an_outage_of_our_own_nothing_is_said() -> None:
    outage, clock, allowed = an_outage()
    outage.noticed(ERROR)
    assert allowed == []
    outage.beaten(clock.monotonic())
    for _ in range(20):
        clock.turn(1)
        outage.noticed(ERROR)
    assert len(allowed) == 1


@pytest.mark.parametrize("heartbeat", [0.05, 0.3, 1, 3, 30])
def test_in_an_outage_for_all_runs_go_on_from_try_to_try(heartbeat: float) -> None:
    outage, clock, allowed = an_outage(Settings(heartbeat=heartbeat))
    outage.beaten(clock.monotonic())
    clock.turn(heartbeat)
    call = 0.5  # seconds for a call to fail, as with a locked SQLite file
    end = clock.monotonic() + 60 + 10 * heartbeat
    while clock.monotonic() < end:
        clock.turn(call)
        assert clock.monotonic() < allowed[-1] - 0.2, "with some air for a busy machine"
        outage.noticed(FOR_ALL)
        clock.turn(outage.retry_at - clock.monotonic())


@pytest.mark.parametrize("heartbeat", [0.05, 0.3, 1, 3, 30])
def test_when_the_database_is_back_a_beat_comes_before_others_act(heartbeat: float) -> None:
    settings = Settings(heartbeat=heartbeat)
    outage, clock, allowed = an_outage(settings)
    outage.beaten(clock.monotonic())
    for _ in range(20):
        outage.noticed(FOR_ALL)
        clock.turn(60)
    outage.noticed(FOR_ALL)
    next_beat = outage.retry_at - clock.monotonic()
    for steps_heard in (0, 1):  # between two beats others may have listened once, or twice
        assert next_beat < first_act_of_others(settings, steps_heard)
    assert allowed[-1] - clock.monotonic() < first_act_of_others(settings, 0)


def first_act_of_others(settings: Settings, steps_heard: int) -> float:
    """Seconds that one who leads listens to a silent worker, whose lease is over, from the moment
    on at which the database is back, having heard so much of its silence before."""
    clock = TurnedClock(NINE)
    ear = FailureDetector(settings, clock, "me")
    silent = Worker(1, "silent", "", WorkerStatus.ACTIVE, False, ("main",), 100.0)
    ear.listen([silent])
    for _ in range(steps_heard):
        clock.turn(settings.heartbeat)
        ear.listen([silent])
    clock.turn(1000)
    ear.listen([silent])
    back = clock.monotonic()
    while not ear.dead([silent], now=1000.0):
        clock.turn(settings.heartbeat)
        ear.listen([silent])
    return clock.monotonic() - back


def a_permission() -> tuple[LeaseGuard, list[float]]:
    allowed: list[float] = []
    permission = LeaseGuard(SETTINGS, 0.0, allowed.append)
    permission.renewed(0.0)
    return permission, allowed


def test_what_others_heard_of_our_silence_before_an_outage_for_all_counts() -> None:
    regular, allowed = a_permission()
    for now in (3.0, 60.0):
        regular.failed(now, for_all=True)
    assert allowed[-1] == 60 + 5 - MARGIN
    cut_off, allowed = a_permission()
    for now in (3.0, 6.0, 9.0):
        cut_off.failed(now, for_all=False)
    cut_off.failed(9.1, for_all=True)
    cut_off.failed(60.0, for_all=True)
    assert allowed[-1] == pytest.approx(60 + 5 - (9.1 - 5) - MARGIN)


def test_time_in_which_the_database_answered_or_only_we_failed_is_time_that_others_heard() -> None:
    permission, allowed = a_permission()
    permission.failed(1.0, for_all=True)
    permission.answered()
    permission.failed(2.0, for_all=True)
    permission.failed(20.0, for_all=True)
    permission.failed(24.0, for_all=False)
    permission.failed(26.0, for_all=True)
    assert allowed[-1] == 26 + 5 - (2 + 6 - 5) - MARGIN
    permission.renewed(27.0)
    assert allowed[-1] == 27 + SETTINGS.lease - MARGIN


def test_a_permission_is_never_shortened() -> None:
    permission, allowed = a_permission()
    permission.failed(1.0, for_all=True)
    permission.renewed(0.5)
    permission.renewed(0.4)
    assert allowed == [SETTINGS.lease - MARGIN, 0.5 + SETTINGS.lease - MARGIN]


# --- at the start ---------------------------------------------------------------------------------


def test_a_worker_that_starts_waits_a_minute_for_its_database_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = TurnedClock(NINE)
    patience, began = StartPatience(0, clock, clock.turn), clock.monotonic()
    with pytest.raises(StoreUnavailable, match="did not answer within 60 s: it is locked"):
        while True:
            patience.wait(StoreUnavailable("it is locked"))
    assert 60 <= clock.monotonic() - began < 61
    (record,) = caplog.records
    assert "retrying for up to 60 s: it is locked" in record.getMessage()


def test_the_apps_own_limit_counts_once_it_is_known() -> None:
    clock = TurnedClock(NINE)
    patience = StartPatience(0, clock, clock.turn)
    patience.wait(StoreUnavailable())
    patience.limit_to(0.05)
    with pytest.raises(StoreUnavailable):
        patience.wait(StoreUnavailable())
