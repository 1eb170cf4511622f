"""A claim that fails again and again is told once, and tried less and less often."""

from __future__ import annotations

from datetime import datetime

import pytest

from plugin_scheduler.core.errors import Locked
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.claim_health import LONGEST, PAUSES, ClaimHealth

NOON = datetime(2026, 1, 31, 12, 0)


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock(NOON)


def test_pauses_grow_and_end_with_the_first_success(clock: TurnedClock) -> None:
    health, pauses = ClaimHealth(clock), []
    for _ in range(len(PAUSES) + 2):
        assert health.may_try()
        health.failed(ValueError("ids are used up"))
        assert not health.may_try()
        pauses.append(round(health.retry_at - clock.monotonic(), 6))
        clock.turn(pauses[-1])
    assert pauses == [*PAUSES, PAUSES[-1], PAUSES[-1]]
    health.succeeded()
    health.failed(ValueError("again"))
    assert health.retry_at - clock.monotonic() == pytest.approx(PAUSES[0])


def test_the_log_tells_each_cause_once_and_the_end(
    clock: TurnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "plugin_scheduler")
    health = ClaimHealth(clock)
    for message in ("one", "one", "other", "other"):
        health.failed(ValueError(message))
    clock.turn(5)
    health.succeeded()
    health.succeeded()
    told = [record.getMessage() for record in caplog.records]
    assert ["one" in told[0], "other" in told[1], "5.0 s" in told[2], len(told)] == [
        True,
        True,
        True,
        3,
    ]


def test_a_lock_that_passes_soon_is_not_told_and_has_no_pause(
    clock: TurnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    health = ClaimHealth(clock)
    health.failed(Locked("held"), passing=True)
    assert health.may_try() and not caplog.records
    assert health.about(NOON)["last_claim_error"]["in_a_row"] == 1
    clock.turn(60)
    health.failed(Locked("held"), passing=True)
    assert len(caplog.records) == 1


def test_the_workers_row_has_the_error_since_when_and_how_often(clock: TurnedClock) -> None:
    health = ClaimHealth(clock)
    assert health.about(NOON) == {"last_claim_error": None, "last_claim_at": None}
    health.succeeded()
    clock.turn(10)
    health.failed(ValueError("x\n" * 1000))
    clock.turn(5)
    health.failed(ValueError("x\n" * 1000))
    told = health.about(NOON)
    assert told["last_claim_at"] == "2026-01-31 11:59:45"
    error = told["last_claim_error"]
    assert (error["since"], error["at"], error["in_a_row"]) == (
        "2026-01-31 11:59:55",
        "2026-01-31 12:00:00",
        2,
    )
    assert len(error["error"]) == LONGEST and "\n" not in error["error"]
