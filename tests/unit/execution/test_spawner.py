"""Spawner: pauses after failed starts, forkservers that end, and the reload of the app."""

from __future__ import annotations

import errno
import os
import selectors
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_forkserver import FakeForkserver, FakeForkservers, described
from support.makers import NINE

from plugin_scheduler.execution import spawner as spawner_module
from plugin_scheduler.execution.forkserver import FDS, Forkserver
from plugin_scheduler.execution.framing import pack_bytes
from plugin_scheduler.execution.own_process import NO_PROCESS as NO_PROCESS_CODE
from plugin_scheduler.execution.runner_handle import RunnerHandle
from plugin_scheduler.execution.spawner import _PAUSES as PAUSES
from plugin_scheduler.execution.spawner import Spawner
from plugin_scheduler.system.clock import TurnedClock

FULL = OSError(errno.EAGAIN, "no process")


class Bench:
    """A spawner with forkservers that are no processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world: Any = None) -> None:
        self.clock, self.selector = TurnedClock(NINE), selectors.DefaultSelector()
        self.forkservers = FakeForkservers(monkeypatch)
        self.spawner = Spawner({"nonce": "n"}, self.selector, self.clock, world)
        self.runners: list[RunnerHandle] = []
        self.deaths: list[tuple[int, int]] = []
        self.lost: list[Forkserver] = []
        self.lapsed: list[list[int]] = []
        self.reloads = 0
        self.spawner.on_death = lambda pid, status: self.deaths.append((pid, status))
        self.spawner.on_lost_forkserver = self.lost.append
        self.spawner.on_lapse = self.lapsed.append
        self.spawner.on_reload = self._note_reload

    def _note_reload(self) -> None:
        self.reloads += 1

    @property
    def forkserver(self) -> FakeForkserver:
        return self.forkservers.newest

    def make(self) -> RunnerHandle | None:
        runner = self.spawner.make_runner()
        if runner is not None:
            self.runners.append(runner)
        return runner

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.turn(seconds)
        for key, _ in self.selector.select(0):
            key.data()

    def say(self, *message: Any) -> None:
        """Let the newest forkserver send a message."""
        self.forkserver.say(*message)
        self.turn()

    @property
    def pause(self) -> float:
        return max(0.0, self.spawner.next_at - self.clock.monotonic())

    def close(self) -> None:
        for runner in self.runners:
            runner.close_files(self.selector)
        self.spawner.close_forkserver(0.0)
        self.forkservers.close()
        self.selector.close()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(monkeypatch)
    yield bench
    bench.close()


# --- requests -------------------------------------------------------------------------------------


def test_the_first_runner_starts_the_forkserver_and_the_next_one_uses_it(bench: Bench) -> None:
    assert not bench.spawner.has_forkserver
    first, second = bench.make(), bench.make()
    assert first is not None and second is not None
    assert first.home is second.home
    assert len(bench.forkservers.started) == 1
    requests = [one for one in bench.forkserver.requests() if one[0] == "spawn"]
    assert requests == [("spawn", FDS), ("spawn", FDS)]


def test_process_ids_arrive_in_the_order_of_the_requests(bench: Bench) -> None:
    runners = [bench.make() for _ in range(3)]
    bench.forkserver.say("born", 11)
    bench.forkserver.say("unborn", "no process")
    bench.say("born", 13)
    assert [runner and runner.pid for runner in runners] == [11, None, 13]
    assert bench.spawner.news.boot_failures == ["no process"]


def test_a_death_is_passed_on(bench: Bench) -> None:
    bench.make()
    bench.say("died", 11, 9)
    assert bench.deaths == [(11, 9)]


def test_runners_with_a_lapsed_lease_are_passed_on(bench: Bench) -> None:
    bench.make()
    bench.say("lapsed", [11, 12])
    assert bench.lapsed == [[11, 12]]


def test_a_new_interpreter_is_watched_by_the_forkserver_until_it_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = SimpleNamespace(pid=4711)
    given: list[int] = []

    def spawn(spec: Any, ends: Any) -> Any:
        given.append(len(ends))
        return process

    monkeypatch.setattr(spawner_module, "spawn_runner", spawn)
    bench.spawner.spawns = True
    runner = bench.make()
    assert runner is not None
    assert (runner.pid, runner.process, given) == (4711, process, [FDS])
    assert [one for one in bench.forkserver.requests() if one[0] != "allow"] == [("watch", 4711)]
    bench.spawner.unwatch(4711)
    assert bench.forkserver.requests() == [("unwatch", 4711)]


# --- no room --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [FULL, MemoryError()])
def test_without_room_for_a_forkserver_the_next_try_follows_after_a_pause(
    bench: Bench, error: Exception
) -> None:
    bench.forkservers.errors = [error, error]
    assert bench.make() is None
    assert bench.make() is None
    assert len(bench.spawner.news.boot_failures) == 2
    assert not bench.spawner.may_be_now() and bench.pause == PAUSES[1]
    bench.clock.turn(PAUSES[1])
    assert bench.spawner.may_be_now()
    assert bench.make() is not None


@pytest.mark.parametrize("error", [FULL, MemoryError()])
def test_without_room_for_a_new_interpreter_no_file_stays_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bench.spawner.open_forkserver()
    before = len(os.listdir("/proc/self/fd"))

    def spawn(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(spawner_module, "spawn_runner", spawn)
    bench.spawner.spawns = True
    assert bench.make() is None
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(bench.spawner.news.boot_failures) == 1


def test_a_forkserver_that_cannot_be_asked_is_a_failed_start(bench: Bench) -> None:
    bench.spawner.open_forkserver()
    bench.forkserver.leave()
    assert bench.make() is None
    assert len(bench.spawner.news.boot_failures) == 1
    bench.turn()
    assert not bench.spawner.has_forkserver


# --- failed starts --------------------------------------------------------------------------------


def test_the_pauses_after_failed_starts_grow_up_to_a_last_one(bench: Bench) -> None:
    pauses = []
    for _ in range(len(PAUSES) + 1):
        bench.spawner.failed("why")
        pauses.append(bench.pause)
        bench.clock.turn(bench.pause)
    assert pauses == [*PAUSES, PAUSES[-1]]


def test_several_starts_that_fail_together_count_once(bench: Bench) -> None:
    bench.spawner.failed("one")
    bench.spawner.failed("two")
    bench.spawner.failed("three")
    assert bench.pause == PAUSES[1]
    assert bench.spawner.news.boot_failures == ["one", "two", "three"]


@pytest.mark.parametrize("sign", ["a runner is ready", "the app is loaded"])
def test_after_a_success_the_pauses_begin_again(bench: Bench, sign: str) -> None:
    bench.spawner.open_forkserver()
    for _ in range(4):
        bench.spawner.failed()
        bench.clock.turn(bench.pause)
    if sign == "a runner is ready":
        bench.spawner.succeeded()
        assert bench.spawner.news.spawned == 1
    else:
        bench.say("loaded", described("pay"), ["thread"])
        assert bench.spawner.news.described == [(described("pay"), ["thread"])]
    bench.spawner.failed()
    assert bench.pause == PAUSES[0]


@pytest.mark.parametrize(("kind", "away"), [("boot_failed", False), ("away", True)])
def test_an_app_that_cannot_be_loaded_is_a_failed_start_and_its_database_may_be_away(
    bench: Bench, kind: str, away: bool
) -> None:
    bench.spawner.open_forkserver()
    bench.say(kind, "why")
    assert bench.spawner.news.boot_failures == ["why"]
    assert bench.spawner.news.database_away == away
    assert bench.spawner._failures == 1


@pytest.mark.parametrize(
    ("ready", "begun", "status", "failures", "told"),
    [
        (False, False, 9, 1, []),
        (True, False, 9, 0, []),
        (True, False, 1 << 8, 0, []),
        (True, True, NO_PROCESS_CODE << 8, 0, []),
        (True, False, None, 0, []),
        (True, False, NO_PROCESS_CODE << 8, 1, ["last words"]),
    ],
)
def test_the_end_of_a_runner_is_a_failed_start_if_it_could_not_work(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    ready: bool,
    begun: bool,
    status: int | None,
    failures: int,
    told: list[str],
) -> None:
    runner = bench.make()
    assert runner is not None
    runner.ready, runner.status = ready, status
    monkeypatch.setattr(runner, "last_words", lambda: "last words")
    bench.spawner.ended(runner, begun)
    assert (bench.spawner._failures, bench.spawner.news.boot_failures) == (failures, told)


# --- a forkserver that ends -----------------------------------------------------------------------


def test_a_forkserver_that_died_is_replaced_after_a_pause_that_grows(bench: Bench) -> None:
    pauses = []
    for number in range(1, 5):
        assert bench.make() is not None
        assert len(bench.forkservers.started) == number
        bench.forkserver.leave()
        bench.turn()
        assert not bench.spawner.has_forkserver
        pauses.append(bench.pause)
        bench.clock.turn(bench.pause)
    assert pauses == list(PAUSES[:4])
    assert len(bench.lost) == 4


def test_a_forkserver_that_said_why_it_ends_is_counted_once(bench: Bench) -> None:
    bench.spawner.open_forkserver()
    bench.forkserver.say("boot_failed", "why")
    bench.forkserver.leave()
    bench.turn()
    bench.turn()
    assert not bench.spawner.has_forkserver
    assert (bench.spawner._failures, bench.pause) == (1, PAUSES[0])


NONSENSE = [
    pytest.param(b"\xff\xff\xff\xff" + b"x" * 100, id="no frame"),
    pytest.param(pack_bytes(b"[1, 2]"), id="no message"),
    pytest.param(pack_bytes(b'["born", 11]'), id="a process that was not requested"),
]


@pytest.mark.parametrize("data", NONSENSE)
def test_a_forkserver_that_is_not_understood_is_dropped_and_its_runners_are_lost(
    bench: Bench, data: bytes
) -> None:
    bench.spawner.open_forkserver()
    home = bench.spawner._forkserver
    bench.forkserver.say_bytes(data)
    bench.turn()
    assert bench.lost == [home] and not bench.spawner.has_forkserver
    assert list(bench.selector.get_map()) == []


def test_runners_that_a_lost_forkserver_has_yet_to_fork_are_forgotten(bench: Bench) -> None:
    bench.make()
    bench.forkserver.leave()
    bench.turn()
    runner = bench.make()
    bench.say("born", 12)
    assert runner is not None and runner.pid == 12


# --- lease ----------------------------------------------------------------------------------------


def test_the_time_of_the_runs_is_sent_to_this_and_to_later_forkservers(bench: Bench) -> None:
    bench.spawner.allow(1233.5)
    bench.spawner.open_forkserver()
    assert bench.forkserver.requests() == [("allow", 1233.5)]
    bench.spawner.allow(1234.5)
    assert bench.forkserver.requests() == [("allow", 1234.5)]
    bench.spawner.reload()
    assert bench.forkserver.requests() == [("allow", 1234.5)]
    bench.spawner.allow(1235.5)
    assert [one.requests() for one in bench.forkservers.started] == [[("allow", 1235.5)]] * 2


# --- reload ---------------------------------------------------------------------------------------


def test_an_app_is_loaded_again_beside_the_present_one(bench: Bench) -> None:
    old = bench.make()
    assert bench.spawner.reload()
    assert len(bench.forkservers.started) == 2
    new = bench.make()
    assert old is not None and new is not None and new.home is old.home, "until it is loaded"
    bench.say("loaded", described("pay", "ship"), [])
    assert bench.spawner.news.reloads == [None]
    assert bench.spawner.news.described == [(described("pay", "ship"), [])]
    assert (bench.reloads, bench.spawner.is_reloaded, bench.spawner.spawns) == (1, True, False)
    newer = bench.make()
    assert newer is not None and newer.home is not old.home
    assert bench.forkserver.runners_requested() == 1
    bench.say("born", 12)
    assert newer.pid == 12


def test_a_second_reload_is_refused_until_the_first_one_has_ended(bench: Bench) -> None:
    bench.spawner.open_forkserver()
    assert bench.spawner.reload()
    assert not bench.spawner.reload()
    bench.say("loaded", described(), [])
    assert bench.spawner.reload()


def test_without_a_forkserver_there_is_nothing_to_reload(bench: Bench) -> None:
    assert not bench.spawner.reload()


def test_functions_that_exist_in_this_process_only_cannot_be_reloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = object()
    bench = Bench(monkeypatch, world)
    bench.spawner.open_forkserver()
    assert bench.forkservers.worlds == [world]
    assert not bench.spawner.reload()
    bench.close()


def test_a_reload_without_room_is_told_and_can_be_tried_again(bench: Bench) -> None:
    bench.spawner.open_forkserver()
    bench.forkservers.errors = [FULL]
    assert bench.spawner.reload()
    [why] = bench.spawner.news.reloads
    assert why is not None and "no process" in why
    assert bench.spawner.reload()


@pytest.mark.parametrize("how", ["it says why", "it dies", "it is not understood"])
def test_an_app_that_cannot_be_loaded_again_leaves_the_present_one_as_it_is(
    bench: Bench, how: str
) -> None:
    runner = bench.make()
    bench.spawner.reload()
    if how == "it says why":
        bench.forkserver.say("boot_failed", "why")
    elif how == "it dies":
        bench.forkserver.leave()
    else:
        bench.forkserver.say_bytes(pack_bytes(b"[1]"))
    bench.turn()
    [why] = bench.spawner.news.reloads
    assert why is not None and (how != "it says why" or why == "why")
    assert (bench.reloads, bench.spawner.is_reloaded, bench.lost) == (0, False, [])
    assert bench.spawner.has_forkserver and bench.spawner._failures == 0
    bench.forkservers.started[0].say("born", 11)
    bench.turn()
    assert runner is not None and runner.pid == 11


def test_an_app_that_starts_threads_since_the_reload_is_not_forked_any_more(bench: Bench) -> None:
    bench.spawner.open_forkserver()
    bench.spawner.reload()
    bench.say("loaded", described(), ["a thread"])
    assert bench.spawner.spawns
    bench.spawner.reload()
    bench.say("loaded", described(), [])
    assert bench.spawner.spawns, "it may have been the operator's choice"


def reloaded(bench: Bench) -> RunnerHandle:
    """Reload the app while a runner is requested from the old forkserver; return the runner."""
    runner = bench.make()
    assert runner is not None
    bench.spawner.reload()
    bench.say("loaded", described(), [])
    return runner


def test_the_old_forkserver_goes_on_to_report_its_runners(bench: Bench) -> None:
    runner = reloaded(bench)
    old = bench.forkservers.started[0]
    old.say("born", 11)
    old.say("died", 11, 9)
    old.say("lapsed", [11])
    bench.turn()
    assert (runner.pid, bench.deaths, bench.lapsed) == (11, [(11, 9)], [[11]])


def test_the_old_forkserver_is_closed_when_it_has_no_runners(bench: Bench) -> None:
    runner = reloaded(bench)
    bench.spawner.close_empty([runner.home])
    assert bench.spawner.is_reloaded
    bench.spawner.close_empty([])
    assert not bench.spawner.is_reloaded
    assert runner.home.fileno() == -1


@pytest.mark.parametrize("how", ["it dies", "it is not understood", "too many processes"])
def test_an_old_forkserver_that_is_gone_has_lost_its_runners_and_the_new_one_goes_on(
    bench: Bench, how: str
) -> None:
    runner = reloaded(bench)
    old = bench.forkservers.started[0]
    if how == "it dies":
        old.leave()
    elif how == "it is not understood":
        old.say_bytes(pack_bytes(b"[1]"))
    else:
        old.say("born", 11)
        old.say("born", 12)
    bench.turn()
    assert bench.lost == [runner.home]
    assert (bench.spawner.is_reloaded, bench.spawner._failures) == (False, 0)
    newer = bench.make()
    assert newer is not None and newer.home is not runner.home


def test_the_process_id_of_the_present_forkserver_is_known(bench: Bench) -> None:
    assert bench.spawner.forkserver_pid is None
    bench.spawner.open_forkserver()
    present = bench.spawner._all()[0]
    assert bench.spawner.forkserver_pid == present.pid


def test_at_the_end_every_forkserver_is_closed(bench: Bench) -> None:
    reloaded(bench)
    bench.spawner.reload()
    handles = bench.spawner._all()
    assert len(handles) == 3
    bench.spawner.close_forkserver(0.0)
    assert [one.fileno() for one in handles] == [-1] * 3
    assert list(bench.selector.get_map()) == []
