"""What happens inside a runner process: order in, report out, again and again.

I own the only place where user code runs. I call the world, wire and capture's mark. I never see
the scheduler's own tables, and never decide what becomes of a task.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from plugin_scheduler import capture, values
from plugin_scheduler.current import current_task
from plugin_scheduler.hosts import World, load
from plugin_scheduler.records import Outcome
from plugin_scheduler.settings import Settings
from plugin_scheduler.wire import BlockingChannel, Closed

RESULT_IN_FILE = 1 << 20  # characters; a larger result goes through a file, not through the worker
TRACEBACK_LIMIT = 1 << 16  # characters
PROGRESS_EVERY = 0.2  # seconds
MEMORY_EVERY = 20  # runs
SIGNAL = signal.SIGTERM


class Ended(BaseException):
    """The run's time is up, or somebody stopped it; raised inside the task, so `finally` works.

    Not an Exception: a task that catches those must not survive by accident.
    """


class Runner:
    """One process, one run at a time."""

    def __init__(
        self, channel: BlockingChannel, world: World, nonce: str, settings: Settings
    ) -> None:
        self._channel, self._world = channel, world
        self._nonce, self._settings = nonce, settings
        self._runs = 0
        self._mib = 0.0
        self._run_id: int | None = None
        self._told = 0.0
        self._progress: dict[str, Any] | None = None

    def serve(self) -> None:
        """Until told to go, or until nobody is there to tell."""
        self._channel.send(["ready", os.getpid()])
        try:
            while (message := self._channel.receive())[0] == "run":
                self._run(*message[1:])
        except Closed:
            return

    def _run(
        self, run_id: int, task_id: int, uuid: str, name: str, args: str | None, kwargs: str | None
    ) -> None:
        current_task.enter(task_id, uuid, run_id, self._tell)
        self._progress, self._told = None, 0.0
        self._listen(run_id)
        began = time.monotonic()
        try:
            outcome, payload = self._attempt(name, args, kwargs)
        except Ended as ended:  # it came while the report was being made
            outcome, payload = Outcome.STOPPED, {"traceback": _traceback(ended)}
        finally:
            self._run_id = None
        payload["seconds"] = time.monotonic() - began
        payload["progress"] = self._progress
        current_task.leave()
        self._report(run_id, outcome, payload)

    def _attempt(
        self, name: str, args: str | None, kwargs: str | None
    ) -> tuple[str, dict[str, Any]]:
        try:
            function = self._world.catalog.find(name)
            _give_w2p_task(function)
            value = function(*(values.decode(args) or []), **(values.decode(kwargs) or {}))
            result = values.encode(value, "the result")
            payload = _spooled(result)
            if self._settings.autocommit:
                self._world.commit()
            else:
                self._world.rollback()  # what the task has not committed itself; frees its locks
        except Ended as ended:
            self._world.rollback()
            return Outcome.STOPPED, {"traceback": _traceback(ended)}
        except BaseException as error:  # user code may raise anything, sys.exit() included
            self._world.rollback()
            return Outcome.FAILED, {"traceback": _traceback(error), "reason": _reason(error)}
        return Outcome.COMPLETED, payload

    def _report(self, run_id: int, outcome: str, payload: dict[str, Any]) -> None:
        """The mark goes out before the report: who has the report has all of the output."""
        sys.stdout.flush()
        sys.stderr.flush()
        _write_all(1, capture.mark(self._nonce, run_id))
        self._runs += 1
        payload["retire"] = self._should_retire()
        payload["mib"] = self._mib
        self._channel.send(["report", run_id, outcome, payload])

    def _should_retire(self) -> bool:
        if self._runs % MEMORY_EVERY == 1:
            self._mib = psutil.Process().memory_info().rss / (1 << 20)
        too_large = 0 < self._settings.runner_max_mib < self._mib
        return too_large or self._runs >= self._settings.runner_max_runs

    def _tell(self, at: float, of: float | None, text: str) -> None:
        self._progress = {"at": at, "of": of, "text": text}
        now = time.monotonic()
        if now - self._told >= PROGRESS_EVERY:
            self._told = now
            self._channel.send(["progress", current_task.run_id, self._progress])

    def _listen(self, run_id: int) -> None:
        """Be ready to be ended: the last task may have put a handler of its own in our place."""
        self._run_id = run_id
        if signal.getsignal(SIGNAL) != self._on_signal:
            signal.signal(SIGNAL, self._on_signal)
            faulthandler.register(SIGNAL, file=self.trace_fd, all_threads=False, chain=True)

    trace_fd = 2

    def _on_signal(self, signum: int, frame: Any) -> None:
        """End the run if it is really meant: service managers signal every process of a unit."""
        if self._run_id is not None and self._channel.holds(["end", self._run_id]):
            self._run_id = None  # once is enough
            raise Ended("this run was told to end")


def main(
    control: int, output: int, trace: int, spec: Mapping[str, Any], world: World | None
) -> int:
    """Be a runner: ``world`` is given in a forked process, and loaded here in a spawned one."""
    channel = BlockingChannel(socket.socket(fileno=control))
    for fd in (control, trace):
        os.set_inheritable(fd, False)  # what a task leaves behind must not keep them open
    os.set_blocking(trace, False)  # a dump must never wait for somebody to read the last one
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    _log_to_stderr()
    if world is None:
        world = _load_and_describe(channel, spec)
        if world is None:
            return 1
    settings = world.home.settings.but(**spec.get("overrides", {}))
    runner = Runner(channel, world, spec["nonce"], settings)
    runner.trace_fd = trace
    try:
        runner.serve()
    finally:
        world.disconnect()
    return 0


def _load_and_describe(channel: BlockingChannel, spec: Mapping[str, Any]) -> World | None:
    try:
        world = load(spec)
        channel.send(["loaded", world.describe()])
    except Exception as error:  # told to the supervisor, who decides what to do about it
        channel.send(["boot_failed", str(error) or repr(error)])
        return None
    return world


def _log_to_stderr() -> None:
    """Capture `logging` too: without any handler its messages below WARNING would be lost."""
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )


def _give_w2p_task(function: Callable[..., Any]) -> None:
    """web2py's global, put where the function looks for globals."""
    plain = function
    while hasattr(plain, "__wrapped__"):
        plain = plain.__wrapped__
    namespace = getattr(plain, "__globals__", None)
    if namespace is not None:
        namespace["W2P_TASK"] = current_task


def _spooled(result: str) -> dict[str, Any]:
    if len(result) <= RESULT_IN_FILE:
        return {"result": result}
    with tempfile.NamedTemporaryFile(
        "w", prefix="scheduler-result-", suffix=".json", delete=False, encoding="utf-8"
    ) as file:
        file.write(result)
    return {"result_file": file.name}


def _traceback(error: BaseException) -> str:
    """The user's part of it: our own frames say nothing about what went wrong."""
    whole = traceback.TracebackException.from_exception(error)
    whole.stack = traceback.StackSummary.from_list(
        [frame for frame in whole.stack if frame.filename != __file__]
    )
    return "".join(whole.format()).replace("\x00", "\ufffd")[-TRACEBACK_LIMIT:]


def _reason(error: BaseException) -> str:
    lines = traceback.format_exception_only(type(error), error)[-1].strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
