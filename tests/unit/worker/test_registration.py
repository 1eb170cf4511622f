"""Registration: the name of a worker is unique, and its row and its time zone are as agreed."""

from __future__ import annotations

import os
import socket
from typing import Any, cast

import pytest
from support.fake_store import FIRST_ID, FakeStore, a_worker
from support.makers import NINE, a_task

from plugin_scheduler.core.errors import NameTaken
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.system.signals import ToldToLeave
from plugin_scheduler.worker import registration
from plugin_scheduler.worker.registration import (
    Registered,
    Registration,
    describe_me,
    identify,
)

SETTINGS = Settings()
DESCRIPTION = {"application_name": "shop", "tasks": ["pay", "send_mail"], "db": {"uri": "none"}}


class Bench:
    """A worker that starts, and perhaps an earlier worker of the same name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = TurnedClock(NINE)
        monkeypatch.setattr(registration, "SYSTEM", self.clock)
        self.store = FakeStore(self.clock)
        self.pauses: list[float] = []
        self.lease: float | None = None
        self.beats_at: list[float] = []  # when the earlier worker sends heartbeats, from the start
        self.is_held_until = 0.0
        self.began = self.clock.monotonic()
        self.store.answers["workers.lease_of"] = lambda name: self.lease
        self.store.answers["workers.all"] = lambda: [
            a_worker(self.clock, worker_name="other", lease_until=0.0),
            a_worker(self.clock, worker_name="mine", lease_until=self.lease or 0.0),
        ]
        self.store.answers["workers.held"] = self._held

    def _held(self, workers: Any) -> set[str]:
        held = {"other"} | ({"mine"} if self.waited < self.is_held_until else set())
        return held & {worker.worker_name for worker in workers}

    @property
    def waited(self) -> float:
        return self.clock.monotonic() - self.began

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        assert len(self.pauses) < 1000, "it waits without end"
        self.clock.turn(seconds)
        if self.beats_at and self.waited >= self.beats_at[0]:
            self.beats_at.pop(0)
            self.lease = self.clock.epoch() + SETTINGS.lease

    def register(self) -> Registered:
        me = Registration("mine", "shop", (), {})
        return me.register(cast(Any, self.store), SETTINGS, {"slots": 1}, self.pause)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_a_new_name_is_registered_at_once(bench: Bench) -> None:
    assert bench.register() == Registered(FIRST_ID, given_back=None)
    assert bench.pauses == []
    [call] = bench.store.named("workers.register")
    assert call.arguments == {"name": "mine", "stats": {"slots": 1}}
    assert bench.store.named("maintenance.requeue_lost") == []


def test_a_dead_worker_of_the_same_name_is_replaced_and_its_tasks_are_given_back(
    bench: Bench,
) -> None:
    bench.lease = bench.clock.epoch() - 1000
    bench.store.answers["maintenance.requeue_lost"] = [a_task(), a_task(id=18)]
    assert bench.register() == Registered(FIRST_ID, given_back=2)
    names = [call.name for call in bench.store.calls[-2:]]
    assert names == ["maintenance.requeue_lost", "workers.register"]


def test_a_lease_that_is_over_is_not_enough_a_heartbeat_is_awaited_besides(bench: Bench) -> None:
    bench.lease = bench.clock.epoch() - 1000
    bench.register()
    assert bench.waited == pytest.approx(SETTINGS.silence, abs=0.3)


def test_the_end_of_a_lease_is_awaited(bench: Bench) -> None:
    bench.lease = bench.clock.epoch() + SETTINGS.lease
    bench.register()
    assert SETTINGS.lease > SETTINGS.silence
    assert bench.waited == pytest.approx(SETTINGS.lease, abs=0.3)


@pytest.mark.parametrize("left", [-1000.0, 1.0, SETTINGS.lease])
def test_a_worker_that_sends_a_heartbeat_keeps_its_name(bench: Bench, left: float) -> None:
    bench.lease = bench.clock.epoch() + left
    bench.beats_at = [SETTINGS.heartbeat]
    with pytest.raises(NameTaken, match="mine"):
        bench.register()
    assert bench.waited == pytest.approx(SETTINGS.heartbeat, abs=0.3)
    assert bench.store.named("maintenance.requeue_lost") == []
    assert bench.store.named("workers.register") == []


def test_a_row_that_disappears_during_the_wait_frees_the_name(bench: Bench) -> None:
    bench.lease = bench.clock.epoch() + 1000

    def leave(seconds: float) -> None:
        bench.lease = None

    bench.pause = leave  # type: ignore[method-assign]
    assert bench.register() == Registered(FIRST_ID, given_back=0)


def test_a_worker_whose_row_is_held_cannot_send_a_heartbeat_so_the_wait_begins_again(
    bench: Bench,
) -> None:
    bench.lease = bench.clock.epoch() - 1000
    bench.is_held_until = 20.0
    bench.register()
    assert bench.waited == pytest.approx(20.0 + SETTINGS.silence, abs=0.5)


def test_a_signal_ends_the_wait(bench: Bench) -> None:
    bench.lease = bench.clock.epoch() + 1000

    def told(seconds: float) -> None:
        raise ToldToLeave(15, kills=False)

    bench.pause = told  # type: ignore[method-assign]
    with pytest.raises(ToldToLeave):
        bench.register()
    assert bench.store.named("workers.register") == []


def test_a_worker_is_named_by_its_operator_or_by_host_process_and_a_random_part() -> None:
    assert identify("web1", DESCRIPTION).name == "web1"
    one, other = identify(None, DESCRIPTION), identify("", DESCRIPTION)
    place = f"{socket.gethostname()}#{os.getpid()}#"
    assert one.name.startswith(place) and other.name.startswith(place)
    assert len(one.name) > len(place) and one.name != other.name


def test_an_identity_has_what_the_app_describes_and_a_token_of_its_own() -> None:
    me = identify("web1", DESCRIPTION)
    assert (me.application, me.tasks, me.where) == ("shop", ("pay", "send_mail"), {"uri": "none"})
    assert me.token != identify("web1", DESCRIPTION).token


def test_the_row_names_host_process_token_and_app() -> None:
    me = identify("web1", DESCRIPTION)
    row = describe_me(me)
    assert (row["host"], row["pid"]) == (socket.gethostname(), os.getpid())
    assert (row["token"], row["application"]) == (me.token, "shop")
