"""A pool whose runners are this process: real pipes, and no process at their other ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from typing import Any

from plugin_scheduler.core.types import OUTCOMES, Order, Outcome
from plugin_scheduler.execution.forkserver import Forkserver
from plugin_scheduler.execution.framing import BlockingChannel, pack_bytes
from plugin_scheduler.execution.live_run import Result
from plugin_scheduler.execution.mailbox import MailboxEnd, PackedOrder, PackedReport, pack_report
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.execution.runner_handle import RunnerHandle, unborn_runner
from plugin_scheduler.execution.scoreboard import Scoreboard
from plugin_scheduler.system.clock import TurnedClock
from support.makers import NINE, an_order

NO_PROCESS = 1 << 30  # larger than any process's number


class FakeRunner:
    """The ends that a runner's process would hold."""

    def __init__(self, clock: TurnedClock, ends: tuple[int, ...]) -> None:
        control, lane, self.output, self.trace, self.page = map(os.dup, ends)
        self._clock, self.socket = clock, socket.socket(fileno=control)
        self.channel, self.lane = BlockingChannel(self.socket), MailboxEnd(lane, 0.05)
        self.board = Scoreboard(self.page)

    def begin(self) -> PackedOrder:
        order = self.lane.receive()
        assert order is not None
        self.board.begin(order.run_id, self._clock.monotonic())
        return order

    def report(self, run_id: int, **parts: Any) -> None:
        number = OUTCOMES.index(Outcome.COMPLETED)
        told = PackedReport(run_id, number, self._clock.monotonic(), 0.0, False, False, "[1]", {})
        self.say(pack_bytes(pack_report(told._replace(**parts))))

    def say(self, data: bytes) -> None:
        """Bytes as they are, as far as there is room for them."""
        self.socket.setblocking(False)
        with contextlib.suppress(OSError):  # the pool has hung up, or does not read any more
            while data:
                data = data[self.socket.send(data) :]
        self.socket.setblocking(True)

    def close(self) -> None:
        self.channel.abandon()
        self.lane.abandon()
        self.board.close()
        for fd in (self.output, self.trace, self.page):
            os.close(fd)


class FakeRunners:
    """The pool, and what it told."""

    def __init__(self) -> None:
        self.clock, self.selector = TurnedClock(NINE), selectors.DefaultSelector()
        self.pool = Pool({}, self.selector, self.clock)
        self.fakes: list[FakeRunner] = []
        self.forkservers: list[socket.socket] = []
        self.results: list[Result] = []
        self.unbegun: list[Order] = []
        self.failures: list[str] = []
        self.retired: list[tuple[Order, str | None]] = []

    def __enter__(self) -> FakeRunners:
        return self

    def __exit__(self, *_: object) -> None:
        for fake in self.fakes:
            fake.close()
        for forkserver in self.forkservers:
            forkserver.close()
        self.pool.close()
        self.selector.close()

    def open_forkserver(self) -> socket.socket:
        """The end that a forkserver would hold."""
        ours, theirs = socket.socketpair()
        spawned = self.pool._spawner
        spawned._forkserver = Forkserver(ours, NO_PROCESS)
        self.selector.register(spawned._forkserver, selectors.EVENT_READ, spawned._read_forkserver)
        self.forkservers.append(theirs)
        return theirs

    def join(self, is_ready: bool = True) -> tuple[FakeRunner, RunnerHandle]:
        """One more runner."""
        with unborn_runner("nonce") as (runner, ends):
            fake = FakeRunner(self.clock, ends)
            self.pool._welcome(runner)
        self.fakes.append(fake)
        if is_ready:
            fake.channel.send(["ready", os.getpid()])
            self.turn()
            assert runner.ready
        return fake, runner

    def hand_out(self, run_id: int, **columns: Any) -> Order:
        order = an_order(**{"id": run_id, "run_id": run_id, **columns})
        assert self.pool.hand_out(order)
        return order

    def turn(self, seconds: float = 0.0) -> None:
        """What a worker's loop does."""
        self.clock.turn(seconds)
        for key, _ in self.selector.select(0):
            key.data()
        deadline = self.pool.next_deadline()
        assert deadline is None or deadline == deadline, "a time"
        self.pool.live_runs()
        self.pool.enforce()
        news = self.pool.news()
        self.results += news.results
        self.unbegun += news.unbegun
        self.failures += news.boot_failures
        self.retired += news.retired

    def outcomes(self, run_id: int) -> list[str]:
        """What was told of a run; an empty outcome where it goes back."""
        ended = [one.outcome for one in self.results if one.order.run_id == run_id]
        return ended + ["" for order in self.unbegun if order.run_id == run_id]
