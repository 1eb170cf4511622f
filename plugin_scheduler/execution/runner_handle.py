"""One runner process, as its pool sees it: its pipes, its state, its orders and its run.

Holds the parent's ends of a runner's pipes, the orders without a report, and the news that the pool
collects. Does not decide when a run ends.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Outcome
from plugin_scheduler.execution.framing import Channel, Closed, Unreadable
from plugin_scheduler.execution.live_run import LiveRun, Result
from plugin_scheduler.execution.mailbox import Mailbox, unpack_order
from plugin_scheduler.execution.output_buffer import OutputBuffer, Stream
from plugin_scheduler.execution.scoreboard import Scoreboard, blank_page
from plugin_scheduler.system.processes import end_group, wait_status

LOADING = 120.0  # seconds for a runner to get ready
LEAVING = 10.0  # seconds for a runner to exit on request
HESITATING = 5.0  # seconds for an idle runner to begin an order
CLOCKS = 1.0  # seconds by which a run may seem to have begun in the future
LOOK = 0.05  # seconds until a runner with orders is checked for a long run
ENDED_BEFORE = Reason(ReasonCode.RUNNER_ENDED)
UNREADABLE = Reason(ReasonCode.RUNNER_UNREADABLE)
_READ = 1 << 18
_READS = 8  # reads that empty a pipe of any size, unless a process keeps writing
_READ_ALL = 1 << 24


@dataclass
class News:
    """Events in the pool since the last call of `Pool.news`."""

    results: list[Result] = field(default_factory=list)
    unbegun: list[Order] = field(default_factory=list)
    described: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)
    boot_failures: list[str] = field(default_factory=list)
    database_away: bool = False
    #: errors of reloads; None for a reload that succeeded
    reloads: list[str | None] = field(default_factory=list)
    #: runs after which a runner retires, and why; None if it has reached its maximum of runs
    retired: list[tuple[Order, str | None]] = field(default_factory=list)
    spawned: int = 0


@dataclass(eq=False)
class RunnerHandle:
    """The pool's data on one runner process."""

    channel: Channel
    lane: Mailbox
    output: int
    trace: int
    page: int
    stream: Stream
    board: Scoreboard
    orders: dict[int, Order] = field(default_factory=dict)
    printed: OutputBuffer | None = None
    outputs: dict[int, OutputBuffer] = field(default_factory=dict)
    pid: int | None = None
    ready: bool = False
    run: LiveRun | None = None
    status: int | None = None
    process: Any = None
    gone_since: float | None = None
    born_at: float = 0.0
    retiring_since: float | None = None
    free_since: float = 0.0
    last_answered: int = 0
    runs: int = 0
    home: Any = None  # the forkserver that reports its death
    outdated: bool = False  # the app was reloaded: no more orders after its current run
    fate: tuple[Outcome, str] | None = None  # outcome and reason of its run when it is killed

    def refresh_live_run(self, settings: Settings) -> LiveRun | None:
        """Update and return the run in execution.

        Later output belongs to that run: earlier output has been sorted by its marks.
        """
        order = self.at_work()
        if order is None:
            self.run = None
        elif self.run is None or self.run.order is not order:
            for data in self.waiting_output():
                self.sort_output(data, settings.output_limit)
            if self.at_work() is not order:
                return None  # the run is over; the next call handles later output
            self.printed = self.printed or OutputBuffer(settings.output_limit)
            self.run = LiveRun(order, settings, self._began(), self.printed)
        return self.run

    def _began(self) -> float:
        began = self.board.began
        return began if math.isfinite(began) else self.free_since

    def last_runs(self, settings: Settings) -> list[LiveRun]:
        """Return the runs that the runner died in, the first one with its output.

        There is usually one. Orders are begun in sequence, so if a report is missing, all orders
        before the newest were begun.
        """
        begun = self._begun()
        for order in begun:
            del self.orders[order.run_id]
        runs: list[LiveRun] = []
        for order in begun:
            output = OutputBuffer(settings.output_limit) if runs else self._last_output(settings)
            run = self.run
            if run is None or run.order is not order:
                run = LiveRun(order, settings, self._began(), output)
            if runs:
                run.end_as(Outcome.INTERRUPTED, ENDED_BEFORE, self.gone_since or 0.0)
            elif self.fate is not None:  # it began after the last check and before the kill
                run.end_as(*self.fate, self.gone_since or 0.0)
            runs.append(run)
        return runs

    def _begun(self) -> list[Order]:
        """Return the orders that the runner has taken out of its mailbox and begun."""
        taken = list(self.orders.values())
        order = self.at_work()
        if order is not None:
            return taken[: taken.index(order) + 1]
        # A task has written to a scoreboard that shows neither.
        return [] if self.board.run_id == self.last_answered else taken[:1]

    def _last_output(self, settings: Settings) -> OutputBuffer:
        output = self.printed or OutputBuffer(settings.output_limit)
        output.write(self.stream.rest())
        return output

    def given(self, order: Order, now: float) -> None:
        """Record an order that was put into the mailbox."""
        if not self.orders:
            self.free_since = now
        self.orders[order.run_id] = order

    def answered(self, order: Order, now: float) -> None:
        """Record a report; the runner begins the next order at once."""
        del self.orders[order.run_id]
        self.free_since, self.last_answered = now, order.run_id
        self.runs += 1

    def take_back(self) -> list[Order]:
        """Take back and return the orders that the runner has not begun."""
        taken = [unpack_order(packet) for packet in self.lane.take_back()]
        return [self.orders.pop(one.run_id) for one in taken if one.run_id in self.orders]

    def retire(self, now: float) -> list[Order]:
        """Record that the runner exits by itself; return the orders that it has not begun."""
        self.retiring_since = now
        return self.take_back()

    def waiting(self) -> list[Order]:
        """Return the orders that do not appear to have begun."""
        return [order for run_id, order in self.orders.items() if run_id != self.board.run_id]

    def next_look(self, now: float, kill_grace: float) -> float:
        """Return when a deadline or the next check of the run is due."""
        return min(self._next_look(now), self.last_moment(kill_grace))

    def _next_look(self, now: float) -> float:
        run = self.run
        if run is None or self.at_work() is not run.order:
            return now + LOOK
        if len(self.orders) > 1 and now <= run.began + LOOK:  # then no order may wait behind it
            return min(run.next_deadline(), run.began + LOOK + 0.001)
        return run.next_deadline()

    def is_stuck(self, now: float) -> bool:
        """Return True if the runner executes a long run: no order may wait behind it."""
        return self.at_work() is not None and now > self.board.began + LOOK

    @property
    def is_idle(self) -> bool:
        return self.takes_orders and not self.orders

    @property
    def takes_orders(self) -> bool:
        is_ending = self.run is not None and self.run.ending is not None
        leaves = self.retiring_since is not None or self.gone_since is not None or is_ending
        return self.ready and not (leaves or self.outdated)

    def has_runs_left(self, settings: Settings) -> bool:
        """Return False if the runner will retire before it reaches another order.

        With a process for each run it does not retire, unless it is a new interpreter.
        """
        if settings.runner_max_runs == 1 and self.process is None:
            return True
        return self.runs + len(self.orders) < settings.runner_max_runs

    def at_work(self) -> Order | None:
        """Return the order of the run in execution, according to the scoreboard."""
        return self.orders.get(self.board.run_id)

    def has_sane_board(self, now: float) -> bool:
        """Return False if the scoreboard holds impossible values: a task has written to it."""
        run_id = self.board.run_id
        if run_id in self.orders:
            return self.born_at <= self.board.began <= now + CLOCKS
        return run_id == self.last_answered

    def expects_report_of(self, run_id: int) -> bool:
        """Return True if the next report must be that of this run.

        Orders are begun and answered in sequence, and the scoreboard shows the run before its
        report.
        """
        return next(iter(self.orders), None) == run_id and self.board.run_id in self.orders

    def last_moment(self, kill_grace: float) -> float:
        """Return the latest end of the oldest order, whatever the scoreboard says."""
        for order in self.orders.values():
            return self.free_since + HESITATING + order.task.timeout + kill_grace
        return math.inf

    def is_overdue(self, now: float) -> bool:
        """Return True if the runner does not get ready, does not exit, or begins none of its
        orders."""
        if self.gone_since is not None:
            return False
        if self.orders and self.at_work() is None and now > self.free_since + HESITATING:
            return True
        if self.retiring_since is not None:
            return now > self.retiring_since + LEAVING
        return not self.ready and now > self.born_at + LOADING

    def end(self, now: float, outcome: Outcome | None = None, reason: str = "") -> None:
        """Kill the runner and all child processes; ``outcome`` applies to the run in execution."""
        self.gone_since = self.gone_since or now
        if outcome:
            self.fate = self.fate or (outcome, reason)
        if self.pid is not None and self.status is None:
            end_group(self.pid)

    def ask_status(self) -> None:
        """Poll the exit status of a spawned runner; the forkserver reports that of a forked one."""
        if self.process is not None and self.status is None:
            self.status = wait_status(self.process)

    def read_output(self) -> bytes | None:
        """Return new output: None if there is none now, empty at the end."""
        with self.board.reading():
            try:
                data = os.read(self.output, _READ)
            except BlockingIOError:
                return None
            except OSError:  # the pipe cannot be read
                return b""
            self.board.have_read(len(data))
        return data

    def waiting_output(self) -> Iterator[bytes]:
        """Yield the output that is in the pipe now, piece by piece."""
        for _ in range(_READS):
            data = self.read_output()
            if not data:
                return
            yield data

    def rest_of_output(self) -> bytes:
        """Return all remaining output in the pipe."""
        return _read_all(self.output)

    def sort_output(self, data: bytes, limit: int) -> None:
        """Assign output to the run whose mark follows it; a mark closes its run's output."""
        ended, rest = self.stream.split(data)
        for piece, run_id in ended:
            output, self.printed = self.printed or OutputBuffer(limit), None
            output.write(piece)
            if run_id in self.orders:
                self.outputs[run_id] = output
        if rest:
            self.printed = self.printed or OutputBuffer(limit)
            self.printed.write(rest)

    def output_of(self, run_id: int, limit: int) -> OutputBuffer:
        """Return the output of a run that has reported that its mark was sent."""
        for data in () if run_id in self.outputs else self.waiting_output():
            self.sort_output(data, limit)
            if run_id in self.outputs:
                break
        found = self.outputs.pop(run_id, None)
        if found is None:  # the mark is lost: the pipe's end was closed
            found, self.printed = self.printed or OutputBuffer(limit), None
        return found

    def has_left(self) -> bool:
        """Return True if the runner's end of the channel is closed; for idle runners only."""
        try:
            self.channel.read()
        except Closed:
            return True
        except Unreadable:
            return False
        return False

    def last_words(self) -> str:
        """Return the stack dump that the runner wrote when it was warned."""
        return _read_all(self.trace).decode("utf-8", "replace")

    def close_files(self, selector: selectors.BaseSelector) -> None:
        """Close the pipes."""
        for file in (self.channel, self.output):
            with contextlib.suppress(KeyError, ValueError):
                selector.unregister(file)
        self.channel.close()
        self.lane.close()
        self.board.close()
        for fd in (self.output, self.trace, self.page):
            os.close(fd)


@contextlib.contextmanager
def unborn_runner(nonce: str) -> Iterator[tuple[RunnerHandle, tuple[int, ...]]]:
    """Create a runner without a process, and the ends of its pipes for that process, in the order
    of `runner_main.Ends`."""
    with contextlib.ExitStack() as if_incomplete, contextlib.ExitStack() as theirs:
        ours, control_end = socket.socketpair()
        if_incomplete.callback(ours.close)
        theirs.callback(control_end.close)
        output, output_end = _pipe()
        if_incomplete.callback(os.close, output)
        theirs.callback(os.close, output_end)
        trace, trace_end = _pipe()
        if_incomplete.callback(os.close, trace)
        theirs.callback(os.close, trace_end)
        lane = Mailbox()
        if_incomplete.callback(lane.close)
        page = blank_page()
        if_incomplete.callback(os.close, page)
        board = Scoreboard(page)
        if_incomplete.pop_all()
        runner = RunnerHandle(Channel(ours), lane, output, trace, page, Stream(nonce), board)
        ends = (control_end.fileno(), lane.end.fileno(), output_end, trace_end, page)
        yield runner, ends


def _pipe() -> tuple[int, int]:
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    return readable, writable


def _read_all(fd: int) -> bytes:
    data = b""
    with contextlib.suppress(OSError):
        while len(data) < _READ_ALL and (piece := os.read(fd, _READ)):
            data += piece
    return data


def end_outdated(runners: Iterable[RunnerHandle], now: float) -> list[Any]:
    """Kill idle runners of an app that was reloaded; return the forkservers of all runners."""
    homes = []
    for runner in runners:
        if runner.outdated and not runner.orders and runner.gone_since is None:
            runner.ready = True  # otherwise its end would count as a failed start
            runner.end(now)
        homes.append(runner.home)
    return homes
