"""Turn signals into entries that the worker's main loop reads.

A signal is recorded when it arrives and handled in the main loop. The previous handlers are
restored when the worker ends. Imports the standard library only: the command sets up signals
before it imports modules that take long to load.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from plugin_scheduler.system.socket_state import has_news

#: Always handled by the worker, whatever handler the program has set.
LEAVING = (signal.SIGTERM, signal.SIGINT)
#: Handled by the worker only if the program kept the default action, which kills the process.
OTHERS = (
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGIO,
)
HEEDED = (*LEAVING, *OTHERS)

#: Meanings of a signal for a worker.
DRAIN, KILL, RELOAD, STATE, NOTHING = "drain", "kill", "reload", "state", "nothing"


class ToldToLeave(Exception):
    """Raised when a termination signal arrives before the main loop runs."""

    def __init__(self, number: int, kills: bool) -> None:
        super().__init__(f"{name_of(number)} during startup")
        self.exit_code = 128 + number if kills else 0


class Signals:
    """A context manager in which signals become entries to read."""

    def __init__(self, *more: int) -> None:
        """``more`` are signals to read in addition to `HEEDED`."""
        self._heeded = (*HEEDED, *more)
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        self._before: dict[int, Any] = {}
        self._wakeup = -1
        #: Determined now: after a hangup there is no terminal any more.
        self._has_terminal = has_terminal()

    def fileno(self) -> int:
        return self._readable

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._wakeup = signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
            for number in self._heeded:
                if number in LEAVING or signal.getsignal(number) == signal.SIG_DFL:
                    self._before[number] = signal.signal(number, _note)
            release()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup)
        os.close(self._readable)
        os.close(self._writable)

    def meaning(self, number: int) -> str:
        """Return the meaning of a signal.

        SIGHUP drains a worker that has a terminal, and reloads a worker that has none.
        """
        if number == signal.SIGHUP:
            return DRAIN if self._has_terminal else RELOAD
        return _MEANINGS.get(number, NOTHING)

    def wait(self, seconds: float) -> None:
        """Wait until a signal can be read, at most ``seconds``."""
        has_news(self, seconds)

    def pause(self, seconds: float) -> None:
        """Wait like `wait`, before the main loop runs; raise like `check`."""
        if has_news(self, seconds):
            self.check()

    def check(self) -> None:
        """Raise `ToldToLeave` if a termination signal arrived before the main loop runs."""
        for number in self.read():
            meaning = self.meaning(number)
            if meaning in (DRAIN, KILL):
                raise ToldToLeave(number, meaning == KILL)

    def read(self) -> list[int]:
        """Return the signals that arrived since the last call, in order."""
        try:
            data = os.read(self._readable, 4096)
        except BlockingIOError:
            return []
        return [number for number in data if number in self._before]


_MEANINGS: dict[int, str] = {
    signal.SIGTERM: DRAIN,
    signal.SIGINT: KILL,
    signal.SIGQUIT: KILL,
    signal.SIGUSR1: STATE,
}


def _note(signum: int, frame: Any) -> None:
    """Do nothing: Python's C handler has already written the number to the wake-up pipe."""


def name_of(number: int) -> str:
    """Return the name of a signal, such as ``SIGTERM``; Ctrl+C for SIGINT."""
    if number == signal.SIGINT:
        return "Ctrl+C"
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def has_terminal() -> bool:
    """Return True if this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


# -- before the handlers are set ------------------------------------------------------------------

HELD_BACK = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1}


def release() -> None:
    """Unblock the signals, now that they are handled.

    The command blocks them until then, because pydal swallows a KeyboardInterrupt while it tries
    drivers.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Block the signals while a process is started: it inherits the mask and calls `release`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_all() -> None:
    """Ignore signals in the processes below a worker.

    A terminal or a service manager sends signals to a whole group; these processes must survive
    them. A handler is set instead of SIG_IGN, which programs started by a task would inherit.
    """
    for number in (*HELD_BACK, signal.SIGUSR2):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _note)
    release()
