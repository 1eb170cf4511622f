"""The runner process: receives orders, runs tasks, sends reports.

This is the only place where user code runs. Does not access the scheduler's own tables, and does
not decide what happens to a task.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import psutil

from plugin_scheduler.core import json_codec
from plugin_scheduler.core.current_task import current_task
from plugin_scheduler.core.error_text import reason_of, traceback_of
from plugin_scheduler.core.errors import CommitFailed, NotFound
from plugin_scheduler.core.reasons import Reason, ReasonCode, short
from plugin_scheduler.core.registry import unwrapped
from plugin_scheduler.core.types import OUTCOMES, Outcome
from plugin_scheduler.database import sessions
from plugin_scheduler.execution import output_buffer, run_boundary, task_call
from plugin_scheduler.execution.frame_checks import LONGEST_REASON
from plugin_scheduler.execution.framing import BlockingChannel, Closed, pack_bytes
from plugin_scheduler.execution.mailbox import (
    MailboxEnd,
    NoRoom,
    PackedOrder,
    PackedReport,
    pack_report,
    whole,
)
from plugin_scheduler.execution.own_process import NO_PROCESS, NoProcess, OwnProcess
from plugin_scheduler.execution.process_state import handler_of
from plugin_scheduler.execution.run_boundary import RunBoundary
from plugin_scheduler.execution.scoreboard import Scoreboard
from plugin_scheduler.execution.stdio import Stdio
from plugin_scheduler.execution.task_call import call, cancel_running
from plugin_scheduler.loaders import LoadedApp, load
from plugin_scheduler.system.private_files import complete_file
from plugin_scheduler.system.processes import run_exit_handlers
from plugin_scheduler.system.shortage import until_room

RESULT_IN_FILE = 1 << 20  # characters; a larger result is sent in a file, not through the worker
PROGRESS_EVERY = 0.2  # seconds
LONGEST = 10_000  # characters of an error that prevents the app from loading
MEMORY_EVERY = 0.5  # seconds
ROOM_AGAIN = (0.1, 0.3, 1.0)  # seconds between attempts to create a result's file
IDLE = 5.0  # seconds without work after which connections to servers are closed
SIGNAL = signal.SIGTERM
HIDDEN = (__file__, *(str(one.__file__) for one in (run_boundary, sessions, task_call)))  # frames


class RunEnded(BaseException):
    """The run timed out or was stopped. Raised inside the task, so that `finally` blocks run.

    Not a subclass of Exception: a task that catches Exception must not survive by accident.
    """


class UnknownFunction(Exception):
    """The app that this runner loaded does not have the function."""


class NoRoomForResult(OSError):
    """The system has no room for the file of a large result."""


class Runner:
    """A process that executes one run at a time."""

    def __init__(
        self,
        channel: BlockingChannel,
        ends: Ends,
        world: LoadedApp,
        spec: Mapping[str, Any],
        streams: Stdio,
        is_forked: bool,
    ) -> None:
        self._channel, self._world, self._streams = channel, world, streams
        self._boundary = RunBoundary(world.inherited, world.translators())
        self._lane, self._board = MailboxEnd(ends.lane, IDLE), Scoreboard(ends.board)
        self._board.keep_others_out(ends.board)
        self._trace_fd = ends.trace
        self._nonce = spec["nonce"]
        self._settings = world.home.settings.replace(**spec.get("overrides", {}))
        # A new interpreter may have threads of the app, so it retires instead.
        forks = self._settings.runner_max_runs == 1 and is_forked
        self._own_process = OwnProcess() if forks else None
        self._starts_own = False
        self._functions: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._runs = 0
        self._mib, self._measured = 0.0, 0.0
        self._run_id: int | None = None
        self._retires = self._is_child = False
        self._reasons: list[str] = []
        self._lacks: list[str] = []
        self._told = 0.0
        self._progress: dict[str, Any] | None = None

    def serve(self) -> None:
        """Execute orders until the runner retires or the worker closes the mailbox."""
        self._listen(None)
        self._channel.send(["ready", os.getpid()])
        try:
            while not self._retires:
                order = self._lane.receive()
                if order is None:  # idle runners must not use up a server's connections
                    self._boundary.sessions.close_idle_connections()
                elif self._own_process is not None:
                    self._run_in_child(self._own_process, order)
                else:
                    self._run(order)
        except Closed:
            return

    def _run_in_child(self, own_process: OwnProcess, order: PackedOrder) -> None:
        """Run an order in a child process. Its state ends with the child, so it needs no reset."""
        self._streams.note_written(self._board)
        self._starts_own = True
        own_process.run(self._become_the_child, partial(self._run, order))
        self._starts_own = False

    def _become_the_child(self) -> None:
        self._starts_own, self._is_child = False, True

    def _run(self, order: PackedOrder) -> None:
        run_id, began = order.run_id, time.monotonic()
        self._board.begin(run_id, began)
        current_task.enter(order.task_id, order.uuid, run_id, self._tell)
        self._progress, self._told = None, 0.0
        self._streams.put_back()
        self._listen(run_id)
        try:
            outcome, payload = self._attempt(order)
        except RunEnded as ended:  # it was raised while the report was made
            self._boundary.rollback()
            outcome, payload = Outcome.STOPPED, {"traceback": traceback_of(ended, HIDDEN)}
        finally:
            self._run_id = None
        seconds = time.monotonic() - began
        if not self._is_child:
            self._reasons = self._end() + self._lacks
        if self._progress:
            payload["progress"] = self._progress
        current_task.leave()
        self._report(run_id, outcome, began, seconds, payload)

    def _end(self) -> list[str]:
        """Reset the process; return the reasons why it must not have another run."""
        try:
            return self._boundary.end()
        except Exception as error:  # a task can break anything; the next one gets a fresh process
            return [f"it could not be reset: {reason_of(error)}"]

    def _attempt(self, order: PackedOrder) -> tuple[Outcome, dict[str, Any]]:
        try:
            self._boundary.begin()
            order = whole(order)
            function = self._find(order.function)
            args, kwargs = json_codec.decode(order.args) or [], json_codec.decode(order.vars) or {}
            value = call(function, args, kwargs)
            result = json_codec.encode(value, "the result")
            payload = _carried(result)
            # From here on the run cannot be ended: committed work would be reported as undone.
            self._run_id = None
            if self._settings.autocommit:
                self._boundary.commit()
            else:
                self._boundary.rollback()  # drop uncommitted work, and release its locks
        except RunEnded as ended:
            self._boundary.rollback()
            return Outcome.STOPPED, {"traceback": traceback_of(ended, HIDDEN)}
        except UnknownFunction as error:  # another worker or a newer runner may know the function
            return Outcome.INTERRUPTED, {
                "reason": str(Reason(ReasonCode.UNKNOWN_FUNCTION, function=error)),
                "reason_code": ReasonCode.UNKNOWN_FUNCTION.value,
            }
        except NoRoomForResult as error:
            self._boundary.rollback()
            reason = Reason(ReasonCode.NO_ROOM, error=error)
            return Outcome.FAILED, {"reason": str(reason), "reason_code": reason.code}
        except NoRoom as error:  # earlier tasks used the room: a fresh process has room
            self._lacks.append(f"no room for a file: {reason_of(error)}")
            reason = Reason(ReasonCode.NO_ROOM, error=error)
            return Outcome.INTERRUPTED, {"reason": str(reason), "reason_code": reason.code}
        except BaseException as error:  # user code may raise anything, sys.exit() included
            is_commit = self._run_id is None or isinstance(error, CommitFailed)
            self._boundary.rollback()
            return Outcome.FAILED, _failure(error, is_commit)
        return Outcome.COMPLETED, payload

    def _find(self, name: str) -> Any:
        """Find a function, once for each name: a search of the app takes longer than a quick task.

        web2py's global is set in the globals of the function.
        """
        found = self._functions.get(name)
        if found is None:
            try:
                function = self._world.find(name)
            except NotFound:
                raise UnknownFunction(name) from None
            found = self._functions[name] = function, _globals_of(function)
        function, namespace = found
        namespace["W2P_TASK"] = current_task
        return function

    def _report(
        self, run_id: int, outcome: Outcome, began: float, seconds: float, payload: dict[str, Any]
    ) -> None:
        """Send the mark before the report, so that all output has arrived when the report arrives.
        Most runs print nothing, and need no mark."""
        self._streams.flush()
        marked = self._streams.has_output(self._board)
        if marked:
            self._streams.send(output_buffer.mark(self._nonce, run_id), self._board)
        self._runs += 1
        why = None if self._is_child else self._why_retire()
        self._retires = why is not None
        if why:
            payload["retires"] = json_codec.clean(why)[:LONGEST_REASON]
        result, file = payload.pop("result", None), payload.pop("file", None)
        ended = OUTCOMES.index(outcome), began, seconds, marked, self._retires
        told = PackedReport(run_id, *ended, result, payload, in_file=file is not None)
        self._channel.send_frame(pack_bytes(pack_report(told)), file)

    def _why_retire(self) -> str | None:
        """Return why this process must not have another run: empty if it has reached its maximum of
        runs, None if it may have another."""
        reasons = self._reasons or self._too_large()
        if reasons:
            return "; ".join(reasons)
        return "" if self._runs >= self._settings.runner_max_runs else None

    def _too_large(self) -> list[str]:
        now = time.monotonic()
        if now >= self._measured + MEMORY_EVERY:
            try:
                self._mib, self._measured = psutil.Process().memory_info().rss / (1 << 20), now
            except (OSError, MemoryError) as error:  # a task has left no room for the next one
                return [f"its memory cannot be measured: {reason_of(error)}"]
        most = self._settings.runner_max_mib
        if not 0 < most < self._mib:
            return []
        return [f"it uses {self._mib:.0f} MiB of memory, runner_max_mib is {most}"]

    def _tell(self, at: float | None, of: float | None, text: str) -> None:
        if at is None:
            at = self._progress["at"] if self._progress else 0
        self._progress = {"at": at, "of": of, "text": json_codec.clean(text)}
        now = time.monotonic()
        if now - self._told >= PROGRESS_EVERY:
            self._told = now
            self._send_whole(["progress", current_task.run_id, self._progress])

    def _send_whole(self, message: list[Any]) -> None:
        """Send a message without interruption: half a message makes all later ones unreadable."""
        run_id, self._run_id = self._run_id, None
        self._channel.send(message)
        if run_id is not None:
            self._run_id = run_id
            self._on_signal(SIGNAL, None)

    def _listen(self, run_id: int | None) -> None:
        """Install the signal handler; the last task may have replaced it."""
        self._run_id = run_id
        if handler_of(SIGNAL) != self._on_signal:
            signal.signal(SIGNAL, self._on_signal)
            faulthandler.unregister(SIGNAL)  # otherwise it would not put itself in front again
            faulthandler.register(SIGNAL, file=self._trace_fd, all_threads=False, chain=True)

    def mind_forks(self) -> None:
        """Make processes that a task forks ordinary processes, which SIGTERM ends.

        They must not hold the channel open or send through it. SIGTERM is blocked until the child
        is ready: Python loses signals that reach a new child too early.
        """
        os.register_at_fork(
            before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, {SIGNAL}),
            after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, {SIGNAL}),
            after_in_child=self._forget_in_child,
        )

    def _forget_in_child(self) -> None:
        """Reset the child only once: a grandchild may have other files under the old numbers."""
        if self._starts_own:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {SIGNAL})
            return
        trace_fd, self._trace_fd = self._trace_fd, -1
        try:
            if trace_fd >= 0:
                faulthandler.unregister(SIGNAL)
                signal.signal(SIGNAL, signal.SIG_DFL)
                current_task.leave()
                self._run_id = None
                self._channel.abandon()
                self._lane.abandon()
                os.close(trace_fd)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {SIGNAL})

    def _on_signal(self, signum: int, frame: Any) -> None:
        """End the run if the worker requested it: service managers signal all of a unit."""
        if self._own_process is not None and self._own_process.warn():
            return
        if self._run_id is not None and self._channel.holds(["end", self._run_id]):
            self._run_id = None  # only once
            if not cancel_running():
                raise RunEnded("the worker ended this run")


class _StandardError(logging.StreamHandler[Any]):
    """Write to the current standard error: a task may have closed the previous one."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


@dataclasses.dataclass(frozen=True)
class Ends:
    """A runner's descriptors: reports and warnings, orders, output, stack dumps, scoreboard."""

    control: int
    lane: int
    output: int
    trace: int
    board: int

    def keep_to_ourselves(self) -> None:
        """Close the descriptors on exec, so that child processes do not hold them open."""
        for fd in dataclasses.astuple(self):
            os.set_inheritable(fd, False)
        os.set_blocking(self.trace, False)  # a dump must never wait for a reader


def main(ends: Ends, spec: Mapping[str, Any], world: LoadedApp | None) -> int:
    """Run a runner: ``world`` is given in a forked process, and loaded here in a spawned one."""
    channel = BlockingChannel(socket.socket(fileno=ends.control))
    ends.keep_to_ourselves()
    streams = Stdio(ends.output)
    streams.put_back()
    _log_to_stderr()
    sessions.install()
    is_forked = world is not None
    if world is None:
        world = _load_and_describe(channel, spec)
        if world is None:
            return 1
    runner = Runner(channel, ends, world, spec, streams, is_forked)
    runner.mind_forks()
    try:
        runner.serve()
    except NoProcess as error:  # the order was not begun: another runner gets it
        os.write(ends.trace, str(error).encode())
        return NO_PROCESS
    finally:
        world.disconnect()
    run_exit_handlers()
    return 0


def _load_and_describe(channel: BlockingChannel, spec: Mapping[str, Any]) -> LoadedApp | None:
    try:
        world = load(spec)
        channel.send(["loaded", world.describe()])
    except Exception as error:  # the worker decides what to do
        channel.send(["boot_failed", json_codec.clean(str(error) or repr(error))[:LONGEST]])
        return None
    return world


def _log_to_stderr() -> None:
    """Capture `logging`, too: without a handler its messages below WARNING would be lost."""
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=logging.INFO,
            format="%(levelname)s %(name)s: %(message)s",
            handlers=[_StandardError()],
        )


def _carried(result: str) -> dict[str, Any]:
    """Return the result, in a file if it is large, so that it does not pass through the worker."""
    if len(result) <= RESULT_IN_FILE:
        return {"result": result}
    data = result.encode()
    try:
        file = until_room(partial(complete_file, "result", data), ROOM_AGAIN)
    except (OSError, MemoryError) as error:
        raise NoRoomForResult(f"{type(error).__name__}: {error}") from error
    return {"file": file}


def _globals_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the globals of the innermost function; an unused dict for a callable without any."""
    namespace = getattr(unwrapped(function), "__globals__", None)
    return namespace if isinstance(namespace, dict) else {}


def _failure(error: BaseException, is_commit: bool) -> dict[str, Any]:
    code = ReasonCode.COMMIT_FAILED if is_commit else ReasonCode.RAISED
    reason = short(str(Reason(code, error=reason_of(error))))
    return {"traceback": traceback_of(error, HIDDEN), "reason": reason, "reason_code": code.value}
