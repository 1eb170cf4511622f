"""Forkserver: forks, deaths and the end of the lease, in its own loop but without processes."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support.makers import NINE

from plugin_scheduler.core.errors import ConfigError, StoreUnavailable
from plugin_scheduler.execution import forkserver
from plugin_scheduler.execution.forkserver import FDS, PATIENCE, Forkserver
from plugin_scheduler.execution.framing import BlockingChannel, Closed
from plugin_scheduler.system.clock import TurnedClock

FIRST_PID = 11


class Bench:
    """The loop of a forkserver, and the worker's handle at the other end of its connection.

    ``forks`` are the process ids that the next forks give, or the errors that they raise.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = TurnedClock(NINE)
        ours, self.theirs = socket.socketpair()
        self.worker = Forkserver(ours, FIRST_PID - 1)
        self.wake, self.wakes = os.pipe()
        os.set_blocking(self.wake, False)
        self.forks: list[int | Exception] = []
        self.deaths: list[tuple[int, int]] = []
        self.killed: list[int] = []
        monkeypatch.setattr(forkserver, "SYSTEM", self.clock)
        monkeypatch.setattr(forkserver, "end_group", self.killed.append)
        monkeypatch.setattr(os, "fork", self._fork)
        monkeypatch.setattr(os, "waitpid", self._waitpid)
        monkeypatch.setattr(forkserver, "end_child", lambda pid, patience: None)
        spec: Any = {}
        self.loop = forkserver._ForkserverLoop(
            self.theirs,
            BlockingChannel(self.theirs),
            self.wake,
            spec,
            SimpleNamespace(),  # type: ignore[arg-type]
        )
        self.files = [os.open(os.devnull, os.O_RDONLY) for _ in range(FDS)]

    def _fork(self) -> int:
        answer = self.forks.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _waitpid(self, pid: int, options: int) -> tuple[int, int]:
        return self.deaths.pop(0) if self.deaths else (0, 0)

    def ask_to_spawn(self, answer: int | Exception) -> None:
        self.forks.append(answer)
        self.worker.ask_to_spawn(self.files)

    def die(self, pid: int, status: int = 9) -> None:
        """Let a child process end, and wake up the loop as the signal does."""
        self.deaths.append((pid, status))
        os.write(self.wakes, b"\x11")

    def attend(self) -> list[Any]:
        """Run the loop until it has read all requests and the worker is gone; return what the
        worker hears. Keeps the worker's end open for reading."""
        end = self.worker._socket
        end.shutdown(socket.SHUT_WR)
        self.loop.attend()
        self.theirs.close()
        heard: list[Any] = []
        try:
            while True:
                heard += self.worker.read()
        except Closed:
            return heard

    def close(self) -> None:
        self.worker.close()
        self.theirs.close()
        for fd in (self.wake, self.wakes, *self.files):
            os.close(fd)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(monkeypatch)
    yield bench
    bench.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- forks and deaths -----------------------------------------------------------------------------


def test_each_fork_is_reported_and_its_files_are_closed_here(bench: Bench) -> None:
    before = open_files()
    bench.ask_to_spawn(11)
    bench.ask_to_spawn(12)
    assert bench.attend() == [["born", 11], ["born", 12]]
    assert open_files() == before - 1, "only the connection is closed"


@pytest.mark.parametrize("error", [OSError(errno.EAGAIN, "no process"), MemoryError()])
def test_a_fork_that_fails_is_reported_and_the_next_one_is_tried(
    bench: Bench, error: Exception
) -> None:
    before = open_files()
    bench.ask_to_spawn(error)
    bench.ask_to_spawn(12)
    failed, born = bench.attend()
    assert (failed[0], born) == ("unborn", ["born", 12])
    assert failed[1].startswith(type(error).__name__)
    assert open_files() == before - 1


def test_a_request_whose_files_did_not_all_arrive_is_not_carried_out(bench: Bench) -> None:
    before = open_files()
    bench.worker.ask_to_spawn(bench.files[1:])
    [[kind, why]] = bench.attend()
    assert kind == "unborn" and "no room" in why
    assert open_files() == before - 1


def test_a_death_is_reported_once_and_only_of_runners_that_were_forked_here(bench: Bench) -> None:
    bench.ask_to_spawn(11)
    bench.loop._heed()
    bench.die(99)
    bench.die(11)
    bench.die(11)
    assert bench.attend() == [["born", 11], ["died", 11, 9]]


def test_a_wake_up_without_a_death_changes_nothing(bench: Bench) -> None:
    bench.ask_to_spawn(11)
    bench.loop._heed()
    os.write(bench.wakes, b"\x11")
    assert bench.attend() == [["born", 11]]


# --- the worker is gone ---------------------------------------------------------------------------


def test_when_the_worker_is_gone_all_its_runners_are_killed(bench: Bench) -> None:
    bench.ask_to_spawn(11)
    bench.worker.watch(21)
    bench.worker.watch(22)
    bench.worker.unwatch(22)
    bench.attend()
    assert sorted(bench.killed) == [11, 21]


def test_a_runner_that_died_is_not_killed_again(bench: Bench) -> None:
    bench.ask_to_spawn(11)
    bench.ask_to_spawn(12)
    bench.loop._heed()
    bench.loop._heed()
    bench.die(11)
    bench.attend()
    assert bench.killed == [12]


@pytest.mark.parametrize("request_", [b"a", b"w\0\0", b"u"])
def test_a_worker_that_ends_in_the_middle_of_a_request_is_gone(
    bench: Bench, request_: bytes
) -> None:
    bench.ask_to_spawn(11)
    bench.worker._socket.send(request_)
    bench.attend()
    assert bench.killed == [11]


def test_a_worker_that_reads_no_more_is_gone(bench: Bench) -> None:
    bench.ask_to_spawn(11)
    bench.worker._socket.close()
    bench.loop.attend()
    assert bench.killed == [11]


# --- the end of the lease -------------------------------------------------------------------------


def allowed(bench: Bench, seconds: float) -> None:
    """Let runs go on for that time from now on."""
    bench.worker.allow(bench.clock.monotonic() + seconds)
    bench.loop._heed()


def test_without_a_time_runs_may_go_on_for_ever(bench: Bench) -> None:
    assert bench.loop._time_left() is None


def test_the_time_that_is_left_is_known_and_never_negative(bench: Bench) -> None:
    allowed(bench, 5.0)
    assert bench.loop._time_left() == pytest.approx(5.0)
    bench.clock.turn(6.0)
    assert bench.loop._time_left() == 0.0


def test_when_the_time_is_over_the_worker_is_told_and_then_all_runners_are_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.ask_to_spawn(12)
    bench.worker.watch(11)
    bench.loop._heed()
    bench.loop._heed()
    allowed(bench, 5.0)
    bench.clock.turn(5.0)
    heard_before: list[Any] = []

    def end_group(pid: int) -> None:
        heard_before.append(bench.worker.read())
        bench.killed.append(pid)
        bench.worker._socket.shutdown(socket.SHUT_WR)  # so that the loop ends

    monkeypatch.setattr(forkserver, "end_group", end_group)
    bench.loop.attend()
    assert heard_before[0] == [["born", 12], ["lapsed", [11, 12]]]
    assert set(bench.killed) == {11, 12}
    assert bench.loop._time_left() is None, "runners that are forked from now on have a new time"


def test_a_time_that_is_over_without_runners_is_not_told(bench: Bench) -> None:
    allowed(bench, 5.0)
    bench.clock.turn(5.0)
    bench.loop._lapse()
    assert bench.attend() == []


def test_an_extension_that_has_arrived_counts_even_if_it_is_read_late(bench: Bench) -> None:
    bench.ask_to_spawn(11)
    bench.loop._heed()
    allowed(bench, 5.0)
    bench.worker.allow(bench.clock.monotonic() + 1000)
    bench.clock.turn(6.0)
    assert bench.attend() == [["born", 11]]


# --- start and end --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "heard"),
    [
        (ConfigError("no such app"), ["boot_failed", "no such app"]),
        (ValueError(), ["boot_failed", "ValueError()"]),
        (StoreUnavailable("refused"), ["away", "refused"]),
    ],
)
def test_a_forkserver_that_cannot_load_the_app_says_why_and_ends(
    monkeypatch: pytest.MonkeyPatch, error: Exception, heard: list[str]
) -> None:
    def load(spec: Any) -> None:
        raise error

    monkeypatch.setattr(forkserver, "_hear_of_deaths", lambda pipe: pipe)
    monkeypatch.setattr(os, "pipe", lambda: (-1, -1))
    monkeypatch.setattr(forkserver.sessions, "install", lambda: None)
    monkeypatch.setattr(forkserver, "load", load)
    ours, theirs = socket.socketpair()
    handle = Forkserver(ours, FIRST_PID)
    with ours, theirs:
        forkserver.serve(theirs, {}, None)
        assert handle.read() == [heard]


@pytest.mark.parametrize("world", [None, SimpleNamespace(disconnect=lambda: None)])
@pytest.mark.parametrize("error", [OSError(errno.EAGAIN, "no process"), MemoryError()])
def test_a_forkserver_that_cannot_be_started_leaves_no_file_open(
    monkeypatch: pytest.MonkeyPatch, world: Any, error: Exception
) -> None:
    def start(*_: Any) -> int:
        raise error

    monkeypatch.setattr(forkserver, "start_entry", start)
    monkeypatch.setattr(os, "fork", start)
    before = open_files()
    with pytest.raises(type(error)):
        Forkserver.start({}, world)
    assert open_files() == before


def test_an_app_of_this_process_is_disconnected_before_the_process_is_forked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def fork() -> int:
        done.append("fork")
        return FIRST_PID

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(forkserver, "end_child", lambda pid, patience: done.append(f"end {pid}"))
    world: Any = SimpleNamespace(disconnect=lambda: done.append("disconnect"))
    handle = Forkserver.start({}, world)
    handle.close()
    assert done == ["disconnect", "fork", f"end {FIRST_PID}"]


def test_a_new_interpreter_gets_one_end_of_the_connection_and_the_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []

    def start(entry: str, fds: list[int], load: Any) -> Any:
        given.extend([entry, len(fds), load])
        return SimpleNamespace(pid=FIRST_PID)

    monkeypatch.setattr(forkserver, "start_entry", start)
    monkeypatch.setattr(forkserver, "end_child", lambda pid, patience: None)
    handle = Forkserver.start({"kind": "file"})
    assert (handle.pid, given) == (FIRST_PID, ["forkserver", 1, {"kind": "file"}])
    handle.close()


def test_the_end_of_a_forkserver_is_awaited_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[tuple[int, float]] = []
    monkeypatch.setattr(
        forkserver, "end_child", lambda pid, patience: ended.append((pid, patience))
    )
    for patience in ({}, {"patience": 0.0}):
        ours, theirs = socket.socketpair()
        with theirs:
            Forkserver(ours, FIRST_PID).close(**patience)
            assert theirs.recv(1) == b""
    assert ended == [(FIRST_PID, PATIENCE), (FIRST_PID, 0.0)]


def test_a_request_to_a_forkserver_that_is_gone_is_told_and_other_messages_are_dropped() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    handle = Forkserver(ours, FIRST_PID)
    file = os.open(os.devnull, os.O_RDONLY)
    with ours:
        with pytest.raises(Closed):
            handle.ask_to_spawn([file])
        for send in (handle.watch, handle.unwatch, handle.allow):
            send(12)
    os.close(file)


def test_requests_have_the_same_form_at_both_ends() -> None:
    ours, theirs = socket.socketpair()
    handle = Forkserver(ours, FIRST_PID)
    with ours, theirs:
        handle.watch(11)
        handle.unwatch(12)
        handle.allow(1.5)
        sent = theirs.recv(100)
    assert sent == struct.pack("!cIcIcd", b"w", 11, b"u", 12, b"a", 1.5)
