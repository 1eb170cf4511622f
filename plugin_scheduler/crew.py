"""One runner process, as its pool knows it: its pipes, its state, its run.

I own the parent's ends of a runner's pipes, and the news that the pool gathers. I call wire,
capture, runs and processes. I never decide when something ends.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from plugin_scheduler.capture import Stream
from plugin_scheduler.processes import end_group, wait_status
from plugin_scheduler.runs import LiveRun, Result
from plugin_scheduler.wire import Channel, Closed

LOADING = 120.0  # seconds for a runner to get ready
LEAVING = 10.0  # seconds for a runner to leave when told to
_READ = 1 << 18
_READ_ALL = 1 << 24


@dataclass
class News:
    """What happened in the pool since it was asked last."""

    results: list[Result] = field(default_factory=list)
    described: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)
    boot_failures: list[str] = field(default_factory=list)
    births: int = 0


@dataclass(eq=False)
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
    born_at: float = 0.0
    retiring_since: float | None = None

    @property
    def is_idle(self) -> bool:
        return self.ready and self.run is None and not self.retiring and self.gone_since is None

    def retire(self, now: float) -> None:
        """Have it leave by itself."""
        self.retiring_since = now
        with contextlib.suppress(Closed):
            self.channel.send(["exit"])

    def is_overdue(self, now: float) -> bool:
        """It does not get ready, or does not leave."""
        if self.gone_since is not None:
            return False
        if self.retiring_since is not None:
            return now > self.retiring_since + LEAVING
        return not self.ready and now > self.born_at + LOADING

    def end(self, now: float) -> None:
        """Kill it, with all that it started."""
        self.gone_since = self.gone_since or now
        if self.pid is not None and self.status is None:
            end_group(self.pid)

    def ask_status(self) -> None:
        """A spawned one is asked how it ended; of a forked one the nursery tells."""
        if self.process is not None and self.status is None:
            self.status = wait_status(self.process)

    def read_output(self) -> bytes | None:
        """What it printed; None when nothing is there now, empty at the end."""
        try:
            return os.read(self.output, _READ)
        except BlockingIOError:
            return None

    def rest_of_output(self) -> bytes:
        """All that is still in its pipe."""
        return _read_all(self.output)

    def last_words(self) -> str:
        """Where it was stuck, as written down by itself when it was told to end."""
        return _read_all(self.trace).decode("utf-8", "replace")

    def close_files(self, selector: selectors.BaseSelector) -> None:
        """Let go of its pipes."""
        for file in (self.channel, self.output):
            with contextlib.suppress(KeyError, ValueError):
                selector.unregister(file)
        self.channel.close()
        os.close(self.output)
        os.close(self.trace)


@contextlib.contextmanager
def unborn_runner(nonce: str) -> Iterator[tuple[Runner, tuple[int, int, int]]]:
    """A runner without a process yet, and the ends of its pipes that its process will get."""
    with contextlib.ExitStack() as if_incomplete, contextlib.ExitStack() as theirs:
        ours, control_end = socket.socketpair()
        if_incomplete.callback(ours.close)
        theirs.callback(control_end.close)
        output, output_end = _pipe()
        if_incomplete.callback(os.close, output)
        theirs.callback(os.close, output_end)
        trace, trace_end = _pipe()
        theirs.callback(os.close, trace_end)
        if_incomplete.pop_all()
        runner = Runner(Channel(ours), output, trace, Stream(nonce))
        yield runner, (control_end.fileno(), output_end, trace_end)


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
