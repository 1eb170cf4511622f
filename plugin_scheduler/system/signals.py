"""Turn signals into entries that the worker's loop reads.

A signal is noted where it arrives and heeded in the loop. Handlers that were there before come back
when the worker ends. Standard library only: the command takes hold of signals before it imports
anything that takes time.
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

#: Kept for the worker whatever a program does with them.
LEAVING = (signal.SIGTERM, signal.SIGINT)
#: Kept for the worker where the program left the system's default, which is to kill the process.
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

#: What a signal means to a worker.
DRAIN, KILL, RELOAD, STATE, NOTHING = "drain", "kill", "reload", "state", "nothing"


class ToldToLeave(Exception):
    """A signal to leave came before the worker had a loop."""

    def __init__(self, number: int, kills: bool) -> None:
        super().__init__(f"{name_of(number)} before it had begun")
        self.exit_code = 128 + number if kills else 0


class Signals:
    """A context in which signals become entries to read."""

    def __init__(self, *more: int) -> None:
        """``more`` are signals to read besides those that a worker heeds."""
        self._heeded = (*HEEDED, *more)
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        self._before: dict[int, Any] = {}
        self._wakeup = -1
        #: Asked now: after a hangup there is none any more.
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
        """SIGHUP means leave where a terminal is hung up, and reload where there is none."""
        if number == signal.SIGHUP:
            return DRAIN if self._has_terminal else RELOAD
        return _MEANINGS.get(number, NOTHING)

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until there is something to read."""
        has_news(self, seconds)

    def pause(self, seconds: float) -> None:
        """Wait for so long; ToldToLeave where a signal says so, before there is a loop."""
        if has_news(self, seconds):
            self.check()

    def check(self) -> None:
        """ToldToLeave where a signal to leave has come before there is a loop."""
        for number in self.read():
            meaning = self.meaning(number)
            if meaning in (DRAIN, KILL):
                raise ToldToLeave(number, meaning == KILL)

    def read(self) -> list[int]:
        """Signals that came since the last call, in their order."""
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
    """Python's C handler has written the number to the wake-up pipe already."""


def name_of(number: int) -> str:
    """``SIGTERM``; Ctrl+C for SIGINT, which is how people send it."""
    if number == signal.SIGINT:
        return "Ctrl+C"
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def has_terminal() -> bool:
    """True for a process with a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


# -- before there are handlers --------------------------------------------------------------------

HELD_BACK = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1}


def release() -> None:
    """Have those arrive that waited, now that they are heeded. The command holds them back until
    then: pydal swallows a KeyboardInterrupt while it tries drivers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Have a new process begin with its signals held back; it releases them by itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_all() -> None:
    """Have the processes below a worker outlive what a terminal or a service manager sends to
    all of a group. A handler and not SIG_IGN, which programs that a task starts would inherit."""
    for number in (*HELD_BACK, signal.SIGUSR2):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _note)
    release()
