"""In which zone are the times of the tables? Workers must agree, and say so where they differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.home import Connect, add_worker, connections, scheduler_on

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.store import Store
from plugin_scheduler.system import clock
from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.worker import time_zones

HOUR = timedelta(hours=1)
Live = Callable[[str], None]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    with connections(tmp_path) as one:
        yield one


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """This machine is somewhere else."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def store_with(connect: Connect, *zones_of_others: str | None) -> Store:
    """A store, and others that are at work already, the oldest first."""
    db = connect()
    scheduler_on(db)
    for number, zone in enumerate(zones_of_others):
        lease = SYSTEM.epoch() + 60
        add_worker(db, f"w{number}", [], lease_until=lease, worker_stats={"time_zone": zone})
    db.commit()
    return Store(db, Settings(), SYSTEM)


def offset(store: Store) -> timedelta:
    """How far the store's times are from UTC."""
    off = store.dialect.now() - SYSTEM.now("UTC")
    return timedelta(minutes=round(off / timedelta(minutes=1)))


def test_the_first_worker_keeps_the_zone_of_its_machine(connect: Connect, in_zone: Live) -> None:
    in_zone("Asia/Tokyo")
    store = store_with(connect)
    assert time_zones.agree(store, Settings(), "me") is None
    assert store.dialect.zone == "Asia/Tokyo" and offset(store) == 9 * HOUR


def test_a_worker_elsewhere_keeps_the_zone_of_the_oldest_and_complains(
    connect: Connect, in_zone: Live, caplog: pytest.LogCaptureFixture
) -> None:
    in_zone("Asia/Tokyo")
    store = store_with(connect, "UTC", "Asia/Kolkata")
    said = time_zones.agree(store, Settings(), "me")
    assert said and "Asia/Tokyo" in said and "UTC" in said and "time_zone" in said
    assert offset(store) == 0 * HOUR
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_zone_that_was_set_is_kept_and_others_are_complained_of(
    connect: Connect, in_zone: Live
) -> None:
    in_zone("Asia/Tokyo")
    store = store_with(connect, "UTC")
    said = time_zones.agree(store, Settings(time_zone="Asia/Kolkata"), "me")
    assert said and "Asia/Kolkata" in said and "UTC" in said
    assert offset(store) == 5.5 * HOUR


def test_utc_times_are_nobodys_trouble(connect: Connect, in_zone: Live) -> None:
    in_zone("Asia/Tokyo")
    store = store_with(connect, "UTC")
    assert time_zones.agree(store, Settings(utc_time=True), "me") is None
    assert offset(store) == 0 * HOUR


def test_two_names_of_the_same_time_are_no_trouble(connect: Connect, in_zone: Live) -> None:
    in_zone("Europe/Paris")
    assert time_zones.agree(store_with(connect, "Europe/Berlin"), Settings(), "me") is None


def test_zones_that_agree_only_for_half_a_year_are_trouble_already(
    connect: Connect, in_zone: Live
) -> None:
    """Lagos has Berlin's time in winter, and London's in summer."""
    in_zone("Africa/Lagos")
    for other in ("Europe/Berlin", "Europe/London"):
        store = store_with(connect, other)
        assert time_zones.agree(store, Settings(), "me")
        assert store.dialect.zone == other
        store.db(store.db.scheduler_worker).delete()
        store.db.commit()


def test_a_machine_whose_zone_has_no_name_keeps_that_of_the_others_too(
    connect: Connect, in_zone: Live
) -> None:
    in_zone("ABC-3")
    store = store_with(connect, "UTC")
    assert time_zones.agree(store, Settings(), "me")
    assert offset(store) == 0 * HOUR


def test_a_machine_whose_zone_has_no_name_may_be_the_only_one(
    connect: Connect, in_zone: Live
) -> None:
    in_zone("ABC-3")
    store = store_with(connect)
    assert time_zones.agree(store, Settings(), "me") is None
    assert offset(store) == 3 * HOUR


@pytest.mark.parametrize("nonsense", [None, "Nowhere/Land", 7, ["UTC"]])
def test_a_row_with_nonsense_for_a_zone_is_passed_over(
    connect: Connect, in_zone: Live, nonsense: object
) -> None:
    in_zone("Asia/Tokyo")
    store = store_with(connect, nonsense, "UTC")  # type: ignore[arg-type]
    assert time_zones.agree(store, Settings(), "me")
    assert store.dialect.zone == "UTC"


def test_the_dead_have_no_say(connect: Connect, in_zone: Live) -> None:
    in_zone("Asia/Tokyo")
    store = store_with(connect, "UTC")
    store.db(store.db.scheduler_worker).update(lease_until=SYSTEM.epoch() - 1)
    assert time_zones.agree(store, Settings(), "me") is None
    assert clock.own_zone() == store.dialect.zone == "Asia/Tokyo"
