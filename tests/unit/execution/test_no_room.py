"""A machine without room for files: what needs one waits or fails alone."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_runners import FakeRunner, FakeRunners
from support.makers import NINE, an_order

from plugin_scheduler.core.reasons import ReasonCode, WrittenReason, code_of
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import OUTCOMES, Outcome
from plugin_scheduler.execution import mailbox, own_process, runner_main
from plugin_scheduler.execution.framing import BlockingChannel, Channel, pack_bytes
from plugin_scheduler.execution.live_run import Result
from plugin_scheduler.execution.mailbox import NoRoom, PackedReport, pack_report, whole
from plugin_scheduler.execution.runner_handle import HESITATING, News
from plugin_scheduler.execution.scoreboard import PAGE, blank_page
from plugin_scheduler.execution.waiting_orders import NO_ROOM_AGAIN
from plugin_scheduler.system.clock import SYSTEM, TurnedClock
from plugin_scheduler.system.private_files import complete_file, read_file
from plugin_scheduler.worker import launcher, startup
from plugin_scheduler.worker.large_results import NO_ROOM_AGAIN as LARGE_RESULT_AGAIN
from plugin_scheduler.worker.large_results import NO_ROOM_TRIES, LargeResults
from plugin_scheduler.worker.reporter import BOOT_TOLD_AGAIN, Reporter

LARGE, SMALL = 81, 82
LARGE_ARGS = '["' + "x" * 100_000 + '"]'
LIMITS = {"files": (resource.RLIMIT_NOFILE, 0), "sizes": (resource.RLIMIT_FSIZE, 1000)}


FULL = OSError(errno.ENOSPC, "No space left on device")


class Lacking:
    """Raises as often as it is told to, then does as the function in whose place it stands."""

    def __init__(self, times: int, error: Exception, function: Any) -> None:
        self.left, self._error, self._function = times, error, function

    def __call__(self, *given: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self._error
        return self._function(*given)


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
        told = PackedReport(LARGE, number, runners.clock.monotonic(), 0.0, False, False, None, rest)
        fake.say(pack_bytes(pack_report(told)))
        runners.turn()
    given_back = [Outcome.INTERRUPTED] * (len(NO_ROOM_AGAIN) - 1)
    assert runners.outcomes(LARGE) == [*given_back, Outcome.FAILED]


def test_a_runner_without_memory_for_an_order_has_no_room_for_it(
    runners: FakeRunners, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = runners.join()
    runners.hand_out(LARGE, args=LARGE_ARGS)
    sent = fake.begin()
    monkeypatch.setattr(mailbox, "read_file", Lacking(1, MemoryError(), None))
    with pytest.raises(NoRoom):
        whole(sent)


@pytest.mark.parametrize("kind", LIMITS)
def test_no_runner_can_be_made_now_and_one_can_later(runners: FakeRunners, kind: str) -> None:
    forkserver = runners.open_forkserver()
    runners.pool.staff(Settings(), spawns=True)
    with without_room(kind):
        runners.turn()
        runners.turn()
    assert runners.pool.runners == []
    assert len(runners.failures) >= 1
    assert forkserver.fileno() >= 0


def test_a_large_result_waits_for_room_and_fails_at_last() -> None:
    clock = TurnedClock(NINE)
    large_results = LargeResults({"uri": "x" * 2000}, Settings(), "me", clock)
    before = len(os.listdir("/proc/self/fd"))
    file = complete_file("result", b"[1]")
    large_results.carry(Result(an_order(), Outcome.COMPLETED, 0.5, "", result_file=file))
    with without_room("files"):
        for _ in range(NO_ROOM_TRIES - 1):
            assert large_results.delivered() == []
            assert large_results.delivered() == [], "not at once again"
            clock.turn(LARGE_RESULT_AGAIN)
        assert large_results.busy
        [delivery] = large_results.delivered()
    assert delivery.instead is not None
    assert delivery.instead.outcome == Outcome.FAILED
    assert code_of(delivery.instead.reason) == ReasonCode.NO_ROOM
    assert not large_results.busy
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_board_has_its_room_before_somebody_writes_to_it() -> None:
    """Else a full disk or memory would end its reader with SIGBUS."""
    page = blank_page()
    assert os.fstat(page).st_blocks * 512 >= PAGE == os.fstat(page).st_size
    os.close(page)


@pytest.mark.parametrize("error", [FULL, OSError(errno.ENOMEM, "no memory"), MemoryError()])
@pytest.mark.parametrize("call", ["os.posix_fallocate", "os.pipe", "socket.socketpair"])
def test_a_runner_for_whose_files_there_is_no_room_is_made_later(
    runners: FakeRunners, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception
) -> None:
    runners.open_forkserver()
    runners.pool.staff(Settings(), spawns=False)
    before = len(os.listdir("/proc/self/fd"))
    module, name = call.split(".")
    target = {"os": os, "socket": socket}[module]
    monkeypatch.setattr(target, name, Lacking(2, error, getattr(target, name)))
    runners.turn()
    runners.turn()
    assert (len(runners.failures), runners.pool.runners) == (2, [])
    assert len(os.listdir("/proc/self/fd")) == before
    runners.turn()
    assert runners.pool.runners == [], "not at once again"
    runners.turn(1.0)
    assert len(runners.pool.runners) == 1


def test_the_same_failure_to_make_runners_is_told_once_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, large_results = TurnedClock(NINE), SimpleNamespace(delivered=list)
    reporting = Reporter(None, large_results, "me", clock)  # type: ignore[arg-type]
    for _ in range(3):
        reporting.collect(News(boot_failures=["no room", "no room"]))
        reporting.collect(News(spawned=1))
    reporting.collect(News(boot_failures=["something else"]))
    assert (len(caplog.records), reporting.boot_errors) == (2, 7)
    clock.turn(BOOT_TOLD_AGAIN)
    reporting.collect(News(boot_failures=["no room"]))
    assert len(caplog.records) == 3


@pytest.mark.parametrize("error", [BlockingIOError(errno.EAGAIN, "again"), MemoryError()])
def test_a_run_with_a_process_of_its_own_waits_for_room_for_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(SYSTEM, "sleep", pauses.append)
    monkeypatch.setattr(os, "fork", Lacking(2, error, lambda: 4711))
    assert own_process._fork() == 4711
    assert pauses == list(own_process.FORK_AGAIN[:2])
    monkeypatch.setattr(os, "fork", Lacking(99, error, None))
    with pytest.raises(own_process.NoProcess):
        own_process._fork()
    assert sum(own_process.FORK_AGAIN) < HESITATING, "or the pool would take it for one that hangs"


def test_a_large_result_waits_for_room_for_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(SYSTEM, "sleep", pauses.append)
    monkeypatch.setattr(runner_main, "complete_file", Lacking(2, FULL, complete_file))
    large = "x" * (runner_main.RESULT_IN_FILE + 1)
    with contextlib.closing(runner_main._carried(large)["file"]) as file:
        assert read_file(file.fileno()) == large.encode()
    assert pauses == list(runner_main.ROOM_AGAIN[:2])
    monkeypatch.setattr(runner_main, "complete_file", Lacking(99, FULL, None))
    with pytest.raises(runner_main.NoRoomForResult, match="No space left"):
        runner_main._carried(large)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS])
def test_a_report_waits_for_room_in_its_channel(number: int) -> None:
    """A runner that took this for a worker that is gone would leave, and its run be lost."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        end: Any = SimpleNamespace(setblocking=lambda flag: None)
        end.sendmsg = Lacking(2, OSError(number, "no room"), theirs.sendmsg)
        result = complete_file("result", b"[1]")
        BlockingChannel(end).send_frame(pack_bytes(b"report"), result)
        reader = Channel(ours)
        assert reader.read() == [b"report"]
        file = reader.take_file()
        assert file is not None and read_file(file.fileno()) == b"[1]"
        result.close()
        file.close()


def test_a_worker_that_starts_waits_for_room_for_the_process_that_loads_the_app(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error of the set-up would end it for good, where several are watched."""
    pauses: list[float] = []
    pool: Any = SimpleNamespace(open=Lacking(2, BlockingIOError(errno.EAGAIN, "again"), list))
    startup.open_patiently(pool, pauses.append)
    assert (pauses, len(caplog.records)) == (list(startup.ROOM_AGAIN[:2]), 1)
    pool.open = Lacking(99, MemoryError(), None)
    with pytest.raises(startup.NoRoomForApp):
        startup.open_patiently(pool, pauses.append)
    assert pauses[2:] == list(startup.ROOM_AGAIN)


def test_a_worker_of_several_that_cannot_be_started_is_tried_again_and_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = TurnedClock(NINE)
    monkeypatch.setattr(launcher, "SYSTEM", clock)
    start = Lacking(2, BlockingIOError(errno.EAGAIN, "again"), lambda *given: "a process")
    monkeypatch.setattr(launcher, "start_entry", start)
    family = launcher._Children([({}, {})], None)  # type: ignore[arg-type]
    [member] = family._members
    for pause in (0.0, *launcher.PAUSES[:2]):
        assert member.process is None
        clock.turn(pause)
        family._start_those_due()
    assert (member.process, len(caplog.records)) == ("a process", 1)
    os.close(family._lifeline)
    os.close(family._end)


def test_a_result_whose_file_could_not_be_taken_fails_with_the_reason(
    runners: FakeRunners,
) -> None:
    fake, _ = runners.join()
    runners.hand_out(LARGE)
    fake.begin()
    file = complete_file("result", b"[1]")
    told = PackedReport(LARGE, 0, 0.0, 0.0, False, False, None, {}, in_file=True)
    fake.channel.send_frame(pack_bytes(pack_report(told)), file)
    assert read_file(file.fileno()) == b"[1]"
    with without_room("files"):
        runners.turn()
    assert runners.outcomes(LARGE) == [Outcome.FAILED]
    reason = runners.results[0].reason
    assert isinstance(reason, str) and code_of(reason) == ReasonCode.RESULT_LOST
    assert not isinstance(reason, WrittenReason)
