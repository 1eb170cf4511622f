"""Instants, and what the clocks on the walls of a zone say then."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from plugin_scheduler.system.clock import SYSTEM, TurnedClock, is_zone, naive, own_zone

NOON = datetime(2026, 7, 1, 12, tzinfo=timezone.utc).timestamp()


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_an_instant_is_another_time_in_each_zone(tokyo: None) -> None:
    assert SYSTEM.at(NOON, "UTC") == datetime(2026, 7, 1, 12)
    assert SYSTEM.at(NOON, "Europe/Berlin") == datetime(2026, 7, 1, 14)
    assert SYSTEM.at(NOON) == datetime(2026, 7, 1, 21)


def test_a_machine_knows_the_name_of_its_zone(tokyo: None) -> None:
    assert own_zone() == "Asia/Tokyo"


def test_a_zone_that_has_no_name_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "ABC-3")
    assert own_zone() is None


@pytest.mark.parametrize("name", ["", "Nowhere/Land", "/etc/passwd", None])
def test_nonsense_is_no_zone(name: str) -> None:
    assert not is_zone(name)


def test_an_aware_time_is_brought_to_the_zone_of_the_tables(tokyo: None) -> None:
    noon = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
    assert naive(noon, "Europe/Berlin") == datetime(2026, 7, 1, 14)
    assert naive(noon, None) == datetime(2026, 7, 1, 21)
    assert naive(datetime(2026, 7, 1, 12), "UTC") == datetime(2026, 7, 1, 12)


def test_a_turned_clock_means_the_same_in_every_zone() -> None:
    clock = TurnedClock(datetime(2026, 5, 1, 9))
    clock.turn(0.5)
    assert clock.now() == clock.now("Asia/Tokyo") == datetime(2026, 5, 1, 9, 0, 0, 500_000)
    assert os.environ.get("TZ") != "Asia/Tokyo"
