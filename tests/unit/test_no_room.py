"""A machine without room for files: what needs one waits or fails alone."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

import pytest
from fake_runners import FakeRunner, FakeRunners
from makers import NINE, an_order

from plugin_scheduler.clock import TurnedClock
from plugin_scheduler.lane import NoRoom, Told, pack_report, whole
from plugin_scheduler.pool import NO_ROOM_AGAIN
from plugin_scheduler.porter import NO_ROOM_AGAIN as PORTER_AGAIN
from plugin_scheduler.porter import NO_ROOM_TRIES, Porters
from plugin_scheduler.private_files import complete_file, read_file
from plugin_scheduler.reasons import ReasonCode, WrittenReason, code_of
from plugin_scheduler.records import OUTCOMES, Outcome
from plugin_scheduler.runs import Result
from plugin_scheduler.settings import Settings
from plugin_scheduler.wire import pack_bytes

LARGE, SMALL = 81, 82
LARGE_ARGS = '["' + "x" * 100_000 + '"]'
LIMITS = {"files": (resource.RLIMIT_NOFILE, 0), "sizes": (resource.RLIMIT_FSIZE, 1000)}


@contextlib.contextmanager
def without_room(kind: str) -> Iterator[None]:
    """This process gets no more files, or none of that size."""
    limit, most = LIMITS[kind]
    before, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(limit, (before, hard))


@pytest.fixture
def runners() -> Iterator[FakeRunners]:
    with FakeRunners() as runners:
        yield runners


def at_work(runners: FakeRunners, kind: str) -> FakeRunner:
    """A runner that was given a small order though there was no room for a large one before it."""
    fake, _ = runners.join()
    with without_room(kind):
        runners.hand_out(LARGE, args=LARGE_ARGS)
        runners.hand_out(SMALL)
        runners.turn()
        fake.begin()
        fake.report(SMALL)
        runners.turn()
    assert runners.outcomes(SMALL) == [Outcome.COMPLETED]
    assert [order.run_id for order in runners.pool.orders()] == [LARGE]
    return fake


@pytest.mark.parametrize("kind", LIMITS)
def test_a_large_order_waits_for_room_and_small_ones_go_on(runners: FakeRunners, kind: str) -> None:
    fake = at_work(runners, kind)
    assert runners.pool.next_deadline() == runners.clock.monotonic() + NO_ROOM_AGAIN[0]
    runners.turn(NO_ROOM_AGAIN[0])
    sent = fake.begin()
    assert (sent.run_id, whole(sent).args) == (LARGE, LARGE_ARGS)
    fake.report(LARGE)
    runners.turn()
    assert runners.outcomes(LARGE) == [Outcome.COMPLETED]


@pytest.mark.parametrize("kind", LIMITS)
def test_a_large_order_for_which_there_is_never_room_fails_with_the_reason(
    runners: FakeRunners, kind: str
) -> None:
    at_work(runners, kind)
    with without_room(kind):
        for pause in NO_ROOM_AGAIN:
            assert runners.outcomes(LARGE) == []
            runners.turn(pause)
    assert runners.outcomes(LARGE) == [Outcome.FAILED]
    assert code_of(runners.results[-1].reason) == ReasonCode.NO_ROOM
    assert runners.pool.orders() == []


def test_an_order_that_waits_for_room_can_be_stopped_and_goes_back_with_the_worker(
    runners: FakeRunners,
) -> None:
    at_work(runners, "files")
    runners.pool.stop_run(LARGE, Outcome.STOPPED, "stopped on request")
    runners.turn()
    assert runners.outcomes(LARGE) == [Outcome.STOPPED]
    with without_room("files"):
        runners.hand_out(LARGE + 2, args=LARGE_ARGS)
    runners.pool.kill_all_runs(Outcome.INTERRUPTED, "the worker leaves")
    runners.turn()
    assert runners.outcomes(LARGE + 2) == [""]


def test_a_runner_without_room_gives_its_order_back_but_not_for_ever(runners: FakeRunners) -> None:
    fake, _ = runners.join()
    number = OUTCOMES.index(Outcome.INTERRUPTED)
    rest = {"reason": "no room", "reason_code": ReasonCode.NO_ROOM.value}
    for _ in NO_ROOM_AGAIN:
        runners.hand_out(LARGE, args=LARGE_ARGS)
        with without_room("files"):
            sent = fake.begin()
            with pytest.raises(NoRoom):
                whole(sent)
        told = Told(LARGE, number, runners.clock.monotonic(), 0.0, False, False, None, rest)
        fake.say(pack_bytes(pack_report(told)))
        runners.turn()
    given_back = [Outcome.INTERRUPTED] * (len(NO_ROOM_AGAIN) - 1)
    assert runners.outcomes(LARGE) == [*given_back, Outcome.FAILED]


@pytest.mark.parametrize("kind", LIMITS)
def test_no_runner_can_be_made_now_and_one_can_later(runners: FakeRunners, kind: str) -> None:
    nursery = runners.open_nursery()
    runners.pool.staff(Settings(), spawns=True)
    with without_room(kind):
        runners.turn()
        runners.turn()
    assert runners.pool.runners == []
    assert len(runners.failures) >= 1
    assert nursery.fileno() >= 0


def test_a_large_result_waits_for_room_and_fails_at_last() -> None:
    clock = TurnedClock(NINE)
    porters = Porters({"uri": "x" * 2000}, Settings(), "me", clock)
    before = len(os.listdir("/proc/self/fd"))
    file = complete_file("result", b"[1]")
    porters.carry(Result(an_order(), Outcome.COMPLETED, 0.5, "", result_file=file))
    with without_room("files"):
        for _ in range(NO_ROOM_TRIES - 1):
            assert porters.delivered() == []
            assert porters.delivered() == [], "not at once again"
            clock.turn(PORTER_AGAIN)
        assert porters.busy
        [delivery] = porters.delivered()
    assert delivery.instead is not None
    assert delivery.instead.outcome == Outcome.FAILED
    assert code_of(delivery.instead.reason) == ReasonCode.NO_ROOM
    assert not porters.busy
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_result_whose_file_could_not_be_taken_fails_with_the_reason(
    runners: FakeRunners,
) -> None:
    fake, _ = runners.join()
    runners.hand_out(LARGE)
    fake.begin()
    file = complete_file("result", b"[1]")
    told = Told(LARGE, 0, 0.0, 0.0, False, False, None, {}, in_file=True)
    fake.channel.send_frame(pack_bytes(pack_report(told)), file)
    assert read_file(file.fileno()) == b"[1]"
    with without_room("files"):
        runners.turn()
    assert runners.outcomes(LARGE) == [Outcome.FAILED]
    reason = runners.results[0].reason
    assert isinstance(reason, str) and code_of(reason) == ReasonCode.RESULT_LOST
    assert not isinstance(reason, WrittenReason)
