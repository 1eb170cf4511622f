"""Forkserver: a process that loads the app once, and forks runners from it.

Loading an app takes most of a second, forking a loaded one a few milliseconds. Only a process
without threads and without database connections can be forked safely. The forkserver reports the
death of runners, and is a dead man's switch: runners may go on until a given time, and if the
worker does not extend it, the forkserver kills them. Does not access the scheduler's tables.

`serve` runs in the forkserver's process; `Forkserver` is the pool's handle of it.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import inspect
import math
import os
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.database import bare_connections, sessions
from plugin_scheduler.execution import runner_main
from plugin_scheduler.execution.framing import BlockingChannel, Channel, Closed
from plugin_scheduler.loaders import LoadedApp, load
from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.system.processes import (
    end_child,
    end_group,
    forget_exit_handlers,
    start_entry,
)
from plugin_scheduler.system.signals import ignore_all

FDS = 5  # of a runner: those of `runner_main.Ends`
PATIENCE = 1.0  # seconds for a forkserver to exit by itself
_PID = struct.Struct("!I")
_TIME = struct.Struct("!d")


class Forkserver:
    """The pool's handle: requests runners, and receives reports of their deaths."""

    def __init__(self, end: socket.socket, pid: int) -> None:
        self._socket, self.pid = end, pid
        self._channel = Channel(end)

    @classmethod
    def start(cls, spec: Mapping[str, Any], world: LoadedApp | None = None) -> Forkserver:
        """Start a forkserver: a new interpreter that loads what ``spec`` describes.

        If ``world`` is given, fork this process instead: its functions exist only here. Raise
        OSError if the system has no room for another process.
        """
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as if_failed:
            if_failed.callback(ours.close)
            if world is None:
                pid = _start_interpreter(theirs, spec)
            else:
                pid = _fork_this_process(theirs, ours, spec, world)
            if_failed.pop_all()
        return cls(ours, pid)

    def fileno(self) -> int:
        return self._channel.fileno()

    def ask_to_spawn(self, ends: Sequence[int]) -> None:
        """Request a fork of a runner with these ends of its pipes; a "born" message returns its
        pid."""
        try:
            socket.send_fds(self._socket, [b"b"], ends)
        except OSError as error:
            raise Closed(str(error)) from error

    def watch(self, pid: int) -> None:
        """Let the forkserver kill a runner it did not fork when the worker is gone."""
        with contextlib.suppress(OSError):
            self._socket.send(b"w" + _PID.pack(pid))

    def unwatch(self, pid: int) -> None:
        """Report that a watched runner is gone: the system may reuse its pid."""
        with contextlib.suppress(OSError):
            self._socket.send(b"u" + _PID.pack(pid))

    def allow(self, until: float) -> None:
        """Let all runners, forked or watched, go on until this monotonic time.

        Monotonic time is the same for all processes of a machine, so a delay of the message does
        not matter.
        """
        with contextlib.suppress(OSError):  # resent with the next heartbeat
            self._socket.send(b"a" + _TIME.pack(until))

    def read(self) -> list[Any]:
        """Return the messages of the forkserver.

        They are ``["loaded", description, threads]``, ``["boot_failed", why]``, ``["away", why]``
        if the app's database is away, ``["born", pid]``, ``["unborn", why]``, ``["died", pid, wait
        status]``, and ``["lapsed", pids]`` before it kills these because their time is over. Raise
        Closed if the forkserver itself is gone.
        """
        return self._channel.read()

    def close(self, patience: float = PATIENCE) -> None:
        """Close the connection: the forkserver kills its runners and exits, or is killed."""
        self._channel.close()
        end_child(self.pid, patience)


def _start_interpreter(theirs: socket.socket, spec: Mapping[str, Any]) -> int:
    process = start_entry("forkserver", [theirs.fileno()], spec)
    process.returncode = 0  # `close` waits for it; Popen must not
    return process.pid


def _fork_this_process(
    theirs: socket.socket, ours: socket.socket, spec: Mapping[str, Any], world: LoadedApp
) -> int:
    world.disconnect()  # two processes must not share a connection
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        ours.close()
        os.setsid()
        _leave_standard_input()
        serve(theirs, spec, world)
        status = 0
    finally:
        os._exit(status)  # skip this program's exit handlers


def serve(end: socket.socket, spec: Mapping[str, Any], world: LoadedApp | None) -> None:
    """Run a forkserver until the worker is gone; then kill all runners."""
    wake = _hear_of_deaths(os.pipe())
    sessions.install()
    channel = BlockingChannel(end)
    if world is None:
        try:
            world = load(spec)
        except Exception as error:  # the worker decides what to do
            kind = "away" if isinstance(error, StoreUnavailable) else "boot_failed"
            channel.send([kind, json_codec.clean(str(error) or repr(error))[: runner_main.LONGEST]])
            return
    _hear_of_deaths(wake)  # the app may have replaced these handlers
    others = [thread.name for thread in threading.enumerate()][1:]
    channel.send(["loaded", world.describe(), others])
    world.disconnect()
    gc.collect()
    if any(map(inspect.iscoroutinefunction, world.catalog.functions().values())):
        import asyncio  # noqa: F401  (once for all runners)
    world.inherited = bare_connections.find()
    gc.freeze()  # keeps the garbage collector from copying shared pages in each runner
    _ForkserverLoop(end, channel, wake[0], spec, world).attend()


class _ForkserverLoop:
    """The loop of a forkserver."""

    def __init__(
        self,
        end: socket.socket,
        channel: BlockingChannel,
        wake: int,
        spec: Mapping[str, Any],
        world: LoadedApp,
    ) -> None:
        self._end, self._channel, self._wake = end, channel, wake
        self._spec, self._world = spec, world
        self._alive: set[int] = set()
        self._watched: set[int] = set()
        self._until = math.inf

    def attend(self) -> None:
        try:
            while True:
                ready = self._ready()
                if self._wake in ready:
                    os.read(self._wake, 4096)
                    self._report_deaths()
                if self._end.fileno() in ready:  # read first: it may extend the time
                    if not self._heed():
                        return
                elif self._time_left() == 0.0:
                    self._lapse()
        except Closed:
            return
        finally:
            self._end_all()

    def _ready(self) -> set[int]:
        """Return the descriptors that can be read; wait until the runners must be killed."""
        left, poll = self._time_left(), select.poll()  # `select` is limited to 1,024 files
        for source in (self._end.fileno(), self._wake):
            poll.register(source, select.POLLIN)
        return {fd for fd, _ in poll.poll(None if left is None else math.ceil(left * 1000))}

    def _time_left(self) -> float | None:
        """Return the seconds until the runners must be killed; None without a limit."""
        if self._until == math.inf:
            return None
        return max(0.0, self._until - SYSTEM.monotonic())

    def _heed(self) -> bool:
        """Execute a request of the worker; return False if the worker is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self._end, 1, FDS)
        except ConnectionError:
            return False
        if not data:
            return False
        if data == b"b":
            self._spawn_runner(fds)
        elif data == b"a":
            self._until = _TIME.unpack(self._receive(_TIME.size))[0]
        elif data == b"w":
            self._watched.add(_PID.unpack(self._receive(_PID.size))[0])
        else:
            self._watched.discard(_PID.unpack(self._receive(_PID.size))[0])
        return True

    def _receive(self, size: int) -> bytes:
        data = self._end.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise Closed
        return data

    def _spawn_runner(self, fds: list[int]) -> None:
        try:
            if len(fds) < FDS:
                raise OSError(errno.EMFILE, "no room for the files of a runner")
            pid = os.fork()
        except (OSError, MemoryError) as error:  # temporary; the other runners go on
            self._channel.send(["unborn", f"{type(error).__name__}: {error}"])
            for fd in fds:
                os.close(fd)
            return
        if not pid:
            self._be_a_runner(*fds)
        for fd in fds:
            os.close(fd)
        self._alive.add(pid)
        self._channel.send(["born", pid])

    def _be_a_runner(self, *ends: int) -> None:
        status = 1
        try:
            os.setsid()  # its own process group, so that its child processes can be killed with it
            forget_exit_handlers()
            for fd in (signal.set_wakeup_fd(-1), self._wake):  # a task could read what is meant
                os.close(fd)  # for the forkserver, which would then miss a death
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._end.close()
            status = runner_main.main(runner_main.Ends(*ends), self._spec, self._world)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)  # skip the forkserver's exit handlers

    def _report_deaths(self) -> None:
        while self._alive:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if pid in self._alive:
                self._alive.discard(pid)
                self._channel.send(["died", pid, status])

    def _lapse(self) -> None:
        """Kill all runners: the worker hangs or is cut off, so another worker may run the same
        tasks.

        Reports the runners first, so that the worker does not count these deaths as crashes.
        """
        self._until = math.inf
        if self._alive or self._watched:
            self._channel.send(["lapsed", sorted(self._alive | self._watched)])
            self._end_all()

    def _end_all(self) -> None:
        """Kill all runners: their tasks would also be run by another worker."""
        for pid in self._alive | self._watched:
            end_group(pid)


def _hear_of_deaths(pipe: tuple[int, int]) -> tuple[int, int]:
    """Make the first end of a pipe readable whenever a runner ends; may be called again."""
    for fd in pipe:
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    ignore_all()  # the forkserver exits when its worker does
    signal.set_wakeup_fd(pipe[1], warn_on_full_buffer=False)
    return pipe


def _leave_standard_input() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
