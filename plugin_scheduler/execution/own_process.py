"""Give each run a process of its own: a runner forks a child for each order.

Forking a runner takes a few milliseconds, and needs no new pipes and no message to the worker: the
child uses the pipes of its parent. The parent never runs user code. If the child dies before it has
reported, the parent dies in the same way, so that the worker sees the death of a runner.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
from collections.abc import Callable

from plugin_scheduler.system.processes import run_exit_handlers
from plugin_scheduler.system.shortage import until_room

LEAVING = 4  # seconds for a child to exit after its report
#: Seconds between attempts to fork. Their sum is shorter than the time that the pool waits for a
#: runner to begin an order (`runner_handle.HESITATING`).
FORK_AGAIN = (0.05, 0.1, 0.2, 0.5, 1.0, 1.5)
NO_PROCESS = 71  # exit code of a runner that could not fork; EX_OSERR


class NoProcess(OSError):
    """The system has no room for another process."""


class OwnProcess:
    """The children of one runner, one at a time."""

    def __init__(self) -> None:
        self._reported = mmap.mmap(-1, 1)  # shared with the child
        self._pid: int | None = None

    def run(self, prepare: Callable[[], None], work: Callable[[], None]) -> None:
        """Run ``work``, which reports, in a child, and wait for the child to exit. The child calls
        ``prepare`` first."""
        self._reported[0] = 0
        pid = _fork()
        if not pid:
            self._be_the_child(prepare, work)
        self._pid = pid
        try:
            _, status = os.waitpid(pid, 0)
        finally:
            self._pid = None
        if not self._reported[0]:
            _die_like(status)

    def warn(self) -> bool:
        """Pass a signal on to the child; return False if there is no child."""
        if self._pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        return True

    def _be_the_child(self, prepare: Callable[[], None], work: Callable[[], None]) -> None:
        status = 1
        try:
            self._pid = None
            prepare()
            work()
            self._reported[0] = 1
            _print_nowhere()  # later output would appear in the next run's output
            # Give atexit handlers and threads a limited time.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
            signal.setitimer(signal.ITIMER_REAL, LEAVING)
            run_exit_handlers()
            sys.stdout.flush()
            sys.stderr.flush()
            status = 0
        finally:
            os._exit(status)


def _fork() -> int:
    """Fork, with retries while the system has no room for a process. Raise NoProcess after the
    last."""
    try:
        return until_room(os.fork, FORK_AGAIN)
    except (OSError, MemoryError) as error:
        raise NoProcess(f"{type(error).__name__}: {error}") from error


def _print_nowhere() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)


def _die_like(status: int) -> None:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))
