"""Silence counts only while this worker's own beats went through."""

from __future__ import annotations

from datetime import datetime

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Worker, WorkerStatus
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.failure_detector import FailureDetector

SETTINGS = Settings(heartbeat=3)  # a lease of 11 s


def a_worker(name: str = "other", lease_until: float = 100.0) -> Worker:
    return Worker(1, name, "", WorkerStatus.ACTIVE, False, ("main",), lease_until)


def listening() -> tuple[FailureDetector, TurnedClock]:
    clock = TurnedClock(datetime(2026, 1, 31))
    return FailureDetector(SETTINGS, clock, "me"), clock


def beats(
    ear: FailureDetector, clock: TurnedClock, count: int, worker: Worker, every: float = 3
) -> None:
    for _ in range(count):
        clock.turn(every)
        ear.listen([worker])


def test_a_worker_whose_lease_lapsed_while_it_was_listened_to_is_dead() -> None:
    ear, clock = listening()
    beats(ear, clock, 4, a_worker())
    assert ear.dead([a_worker()], now=99.0) == []
    assert ear.dead([a_worker()], now=100.0) == [a_worker()]


def test_nobody_is_dead_to_one_who_could_not_hear() -> None:
    ear, clock = listening()
    beats(ear, clock, 1, a_worker())
    beats(ear, clock, 1, a_worker(), every=60)  # a locked database, a suspended machine
    assert ear.dead([a_worker()], now=160.0) == []


def test_outages_that_come_again_and_again_do_not_keep_the_dead_alive() -> None:
    ear, clock = listening()
    for _ in range(3):
        beats(ear, clock, 1, a_worker(), every=60)
        beats(ear, clock, 1, a_worker())
    assert ear.dead([a_worker()], now=300.0) == [a_worker()]


def test_a_beat_makes_up_for_all_silence() -> None:
    ear, clock = listening()
    beats(ear, clock, 4, a_worker())
    again = a_worker(lease_until=200.0)
    beats(ear, clock, 1, again)
    assert ear.dead([again], now=201.0) == []


def test_nobody_buries_himself() -> None:
    ear, clock = listening()
    beats(ear, clock, 9, a_worker("me"))
    assert ear.dead([a_worker("me")], now=1000.0) == []


def test_an_owner_without_a_row_is_waited_for_as_long_as_a_lease() -> None:
    ear, clock = listening()
    assert ear.unknown({"ghost"}) == []
    beats(ear, clock, 3, a_worker())
    assert ear.unknown({"ghost"}) == []
    beats(ear, clock, 1, a_worker())
    assert ear.unknown({"ghost"}) == ["ghost"]
    assert ear.unknown(set()) == [] and ear.unknown({"ghost"}) == []


def test_silence_begins_anew_after_somebody_held_its_row_so_that_it_could_not_beat() -> None:
    ear, clock = listening()
    beats(ear, clock, 4, a_worker())
    for held in (["other"], ["other"], []):  # and for a part of the last step
        clock.turn(3)
        ear.listen([a_worker()], held)
        assert ear.dead([a_worker()], now=200.0) == []
    beats(ear, clock, 1, a_worker())
    assert ear.dead([a_worker()], now=200.0) == []
    beats(ear, clock, 1, a_worker())
    assert ear.dead([a_worker()], now=200.0) == [a_worker()]
