"""Who runs it? Birth, feeding, deadlines, ending and burial of the runners of one worker.

I own the runner processes, and I am the only one that kills. I call nursery, wire and capture. I
never touch the database: orders come from the supervisor, and reports go back to it as events.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plugin_scheduler.capture import Stream
from plugin_scheduler.clock import Clock
from plugin_scheduler.hosts import World
from plugin_scheduler.nursery import Nursery
from plugin_scheduler.processes import end_group, ended_how, spawn_runner, warn_runner
from plugin_scheduler.records import Order, Outcome
from plugin_scheduler.runs import LiveRun, Result
from plugin_scheduler.settings import Settings
from plugin_scheduler.wire import Channel, Closed

_READ = 1 << 18
_BOOT_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the next try


@dataclass
class Runner:
    """What the pool knows of one runner process."""

    channel: Channel
    output: int
    trace: int
    stream: Stream
    pid: int | None = None
    ready: bool = False
    run: LiveRun | None = None
    retiring: bool = False
    status: int | None = None
    process: Any = None
    gone_since: float | None = None
    mib: float = 0.0

    @property
    def idle(self) -> bool:
        return self.ready and self.run is None and not self.retiring and self.gone_since is None


@dataclass
class News:
    """What happened in the pool since it was asked last."""

    results: list[Result] = field(default_factory=list)
    described: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)
    boot_failures: list[str] = field(default_factory=list)


class Pool:
    """The runners of one worker."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        selector: selectors.BaseSelector,
        clock: Clock,
        world: World | None = None,
    ) -> None:
        self._nonce = secrets.token_hex(8)
        self._spec: dict[str, Any] = {**spec, "nonce": self._nonce}
        self._selector, self._clock, self._world = selector, clock, world
        self._nursery: Nursery | None = None
        self._unborn: list[Runner] = []
        self._news = News()
        self._failures = 0
        self._next_birth = 0.0
        self._spawns = False
        self._wanted = 0
        self.runners: list[Runner] = []
        self.deaths = 0
        self.configure(Settings())

    # -- birth --------------------

    def configure(self, settings: Settings, spawns: bool = False) -> None:
        """The options that the app gave; they are known only once it was loaded.

        With ``spawns`` each runner is a new interpreter: where threads would be forked, or where
        somebody asked for it.
        """
        self._settings, self._spawns = settings, spawns

    def open(self) -> None:
        """Start to load the app."""
        self._open_nursery()

    @property
    def is_loading(self) -> bool:
        """False when the nursery is gone."""
        return self._nursery is not None

    def staff(self, count: int) -> None:
        """Keep ``count`` runners alive from now on."""
        self._wanted = count
        if self._spawns:
            self._close_nursery()

    def _open_nursery(self) -> None:
        self._nursery = Nursery(self._spec, self._world)
        self._selector.register(self._nursery, selectors.EVENT_READ, self._hear_nursery)

    def _hear_nursery(self) -> None:
        assert self._nursery is not None
        try:
            messages = self._nursery.read()
        except Closed:
            self._lose_nursery()
            return
        for message in messages:
            self._on_nursery(message)

    def _on_nursery(self, message: list[Any]) -> None:
        kind = message[0]
        if kind == "loaded":
            self._failures = 0
            self._news.described.append((message[1], message[2]))
        elif kind == "boot_failed":
            self._fail_boot(message[1])
        elif kind == "born":
            self._unborn.pop(0).pid = message[1]
        elif kind == "died":
            for runner in self.runners:
                if runner.pid == message[1]:
                    runner.status = message[2]

    def _lose_nursery(self) -> None:
        """Without it no death is reported any more, so its runners have to be ended."""
        self._close_nursery()
        self._unborn.clear()
        for runner in self.runners:
            self._end(runner)
        if not self._news.boot_failures:
            self._delay_birth()

    def _fail_boot(self, why: str) -> None:
        self._news.boot_failures.append(why)
        self._delay_birth()

    def _delay_birth(self) -> None:
        """Try again later and later: an app that cannot be loaded must not cause a storm."""
        pause = _BOOT_PAUSES[min(self._failures, len(_BOOT_PAUSES) - 1)]
        self._failures += 1
        self._next_birth = self._clock.monotonic() + pause

    def _replace_missing(self) -> None:
        living = sum(1 for runner in self.runners if runner.gone_since is None)
        if living >= self._wanted or self._clock.monotonic() < self._next_birth:
            return
        if self._nursery is None and not self._spawns:
            self._open_nursery()
        for _ in range(self._wanted - living):
            self._add_runner()

    def _add_runner(self) -> None:
        ours, theirs = socket.socketpair()
        output, output_end = _pipe()
        trace, trace_end = _pipe()
        runner = Runner(Channel(ours), output, trace, Stream(self._nonce))
        ends = (theirs.fileno(), output_end, trace_end)
        try:
            if self._spawns or self._nursery is None:
                runner.process = spawn_runner(self._spec, *ends)
                runner.pid = runner.process.pid
            else:
                self._nursery.ask_for_birth(*ends)
                self._unborn.append(runner)
        except Closed:
            self._close_files(runner)
            return
        finally:
            theirs.close()
            os.close(output_end)
            os.close(trace_end)
        self.runners.append(runner)
        self._selector.register(
            runner.channel, selectors.EVENT_READ, lambda: self._hear_runner(runner)
        )
        self._selector.register(output, selectors.EVENT_READ, lambda: self._read_output(runner))

    # -- work --------------------

    def idle(self) -> int:
        """How many runners could start a run now."""
        return sum(1 for runner in self.runners if runner.idle)

    def live_runs(self) -> list[LiveRun]:
        """Runs that are at work now."""
        return [runner.run for runner in self.runners if runner.run is not None]

    def hand_out(self, order: Order) -> bool:
        """Give an order to an idle runner; False when there is none after all."""
        for runner in self.runners:
            if not runner.idle:
                continue
            task = order.task
            run = LiveRun(order, self._settings, self._clock.monotonic())
            message = ["run", order.run_id, task.id, task.uuid]
            message += [task.function_name, task.args, task.vars]
            try:
                runner.channel.send(message)
            except Closed:
                runner.gone_since = runner.gone_since or self._clock.monotonic()
                continue
            runner.run = run
            self._watch_writing(runner)
            return True
        return False

    def _hear_runner(self, runner: Runner) -> None:
        try:
            messages = runner.channel.read()
            if runner.channel.pending:
                runner.channel.flush()
                self._watch_writing(runner)
        except Closed:
            self._selector.unregister(runner.channel)
            runner.gone_since = runner.gone_since or self._clock.monotonic()
            return
        for message in messages:
            self._on_runner(runner, message)

    def _watch_writing(self, runner: Runner) -> None:
        """A large order is sent as the runner makes room for it."""
        events = selectors.EVENT_READ
        if runner.channel.pending:
            events |= selectors.EVENT_WRITE
        with contextlib.suppress(KeyError):
            key = self._selector.get_key(runner.channel)
            if key.events != events:
                self._selector.modify(runner.channel, events, key.data)

    def _on_runner(self, runner: Runner, message: list[Any]) -> None:
        kind = message[0]
        if kind == "ready":
            runner.ready, self._failures = True, 0
        elif kind == "loaded":
            self._news.described.append((message[1], []))
        elif kind == "boot_failed":
            self._fail_boot(message[1])
        elif runner.run is not None and message[1] == runner.run.order.run_id:
            if kind == "progress":
                runner.run.progressed(message[2])
            elif kind == "report":
                runner.run.reported(message[2], message[3])
                runner.retiring = bool(message[3].get("retire"))
                runner.mib = message[3].get("mib", 0.0)
                self._settle(runner)

    def _read_output(self, runner: Runner) -> None:
        try:
            data = os.read(runner.output, _READ)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(runner.output)
            return
        self._sort_output(runner, data)

    def _sort_output(self, runner: Runner, data: bytes) -> None:
        """Bytes belong to the run whose mark follows them; a mark closes its run's output."""
        ended, rest = runner.stream.split(data)
        for piece, run_id in ended:
            if runner.run is not None and runner.run.order.run_id == run_id:
                runner.run.output.write(piece)
                runner.run.output_complete = True
                self._settle(runner)
        if runner.run is not None and not runner.run.output_complete:
            runner.run.output.write(rest)

    def _settle(self, runner: Runner) -> None:
        """A run is over when both its report and the last of its output are here."""
        run = runner.run
        if run is None or not run.is_complete:
            return
        runner.run = None
        self._news.results.append(run.result())
        if run.ending:  # what it started may still be there, and its state is anybody's guess
            self._end(runner)
        elif runner.retiring:
            with contextlib.suppress(Closed):
                runner.channel.send(["exit"])

    # -- deadlines and ends --------------------

    def next_deadline(self) -> float | None:
        """The monotonic time at which `enforce` has something to do."""
        times = [run.next_deadline() for run in self.live_runs()]
        known = [time for time in times if time is not None]
        if any(runner.gone_since is not None for runner in self.runners):
            known.append(self._clock.monotonic() + 0.02)
        if self._wanted > sum(1 for runner in self.runners if runner.gone_since is None):
            known.append(self._next_birth)
        return min(known) if known else None

    def enforce(self) -> None:
        """Warn runs whose time is up, end those that did not listen, bury the dead, fill gaps."""
        now = self._clock.monotonic()
        for runner in list(self.runners):
            run = runner.run
            if run is not None and run.is_overdue(now):
                self._warn(runner, Outcome.TIMEOUT, f"took longer than {run.order.task.timeout} s")
            if run is not None and run.grace_is_over(now):
                self._end(runner)
            self._bury_if_dead(runner, now)
        self._replace_missing()

    def stop_run(self, run_id: int, outcome: str, reason: str) -> None:
        """End a run: its function sees an exception first, then its processes are killed."""
        for runner in self.runners:
            if runner.run is not None and runner.run.order.run_id == run_id:
                self._warn(runner, outcome, reason)

    def kill_all_runs(self, outcome: str, reason: str) -> None:
        """End every run now."""
        for runner in self.runners:
            if runner.run is not None:
                runner.run.end_as(outcome, reason, self._clock.monotonic())
                self._end(runner)

    def _warn(self, runner: Runner, outcome: str, reason: str) -> None:
        run = runner.run
        if run is None or run.ending:
            return
        run.end_as(outcome, reason, self._clock.monotonic())
        try:
            runner.channel.send(["end", run.order.run_id])
        except Closed:
            return
        if runner.pid is not None:
            warn_runner(runner.pid)

    def _end(self, runner: Runner) -> None:
        runner.gone_since = runner.gone_since or self._clock.monotonic()
        if runner.pid is not None and runner.status is None:
            end_group(runner.pid)

    def _bury_if_dead(self, runner: Runner, now: float) -> None:
        if runner.process is not None and runner.status is None:
            code = runner.process.poll()
            runner.status = None if code is None else (code << 8 if code >= 0 else -code)
        if runner.gone_since is None:
            return
        if runner.status is None and self._nursery is not None and now < runner.gone_since + 1.0:
            return  # its exit status is on its way
        self._drain(runner)
        run, runner.run = runner.run, None
        if run is not None:
            self.deaths += 1
            end_group(runner.pid)
            trace = _read_all(runner.trace).decode("utf-8", "replace")
            self._news.results.append(run.died(ended_how(runner.status), trace, now))
        if not runner.ready:
            self._delay_birth()
        self._close_files(runner)
        self.runners.remove(runner)

    def _drain(self, runner: Runner) -> None:
        """A killed run keeps what it printed, and a report that was already sent."""
        with contextlib.suppress(Closed):
            for message in runner.channel.read():
                self._on_runner(runner, message)
        self._sort_output(runner, _read_all(runner.output))

    def _close_files(self, runner: Runner) -> None:
        for file in (runner.channel, runner.output):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(file)
        runner.channel.close()
        os.close(runner.output)
        os.close(runner.trace)

    def news(self) -> News:
        """What happened since the last call."""
        news, self._news = self._news, News()
        return news

    def close(self) -> None:
        """End every process of this worker, and wait until they are gone."""
        self._wanted = 0
        for runner in list(self.runners):
            if runner.pid is not None and runner.status is None:
                end_group(runner.pid)
            if runner.process is not None:
                runner.process.wait()
            self._close_files(runner)
        self.runners.clear()
        self._close_nursery()

    def _close_nursery(self) -> None:
        if self._nursery is not None:
            self._selector.unregister(self._nursery)
            self._nursery.close()
            self._nursery = None


def _pipe() -> tuple[int, int]:
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    return readable, writable


def _read_all(fd: int) -> bytes:
    data = b""
    with contextlib.suppress(OSError):
        while piece := os.read(fd, _READ):
            data += piece
    return data
