"""Start, signal and terminate processes, and describe how a process ended.

Contains the system calls and signals that the runner pool needs. Does not decide which process to
start or terminate.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import psutil

from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.system.private_files import complete_file
from plugin_scheduler.system.signals import held_back

#: Runs `plugin_scheduler.worker.subprocess_main`. The option -m is not used: it puts the current
#: folder first on sys.path, so that an email.py there would replace the standard module. The folder
#: of this package is searched last.
_START = (
    "import sys; sys.path[:] = [one for one in sys.path if one]; "
    f"sys.path.append({os.path.dirname(os.path.dirname(os.path.abspath(__file__)))!r}); "
    "from runpy import run_module; "
    "run_module('plugin_scheduler.worker.subprocess_main', run_name='__main__', alter_sys=True)"
)


def spawn_runner(spec: Mapping[str, Any], ends: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a runner as a new interpreter that loads the app; ``ends`` are its descriptors."""
    return start_entry("runner", ends, spec)


def start_entry(entry: str, fds: Sequence[int], load: Any) -> subprocess.Popen[bytes]:
    """Start an entry point of `subprocess_main` as a new interpreter in its own session.

    ``load`` is passed as JSON on standard input, because it may contain a database password, and
    all users can read the arguments of a process.
    """
    # A file and not a pipe: writing to it does not block.
    with contextlib.closing(complete_file("load", json.dumps(load).encode())) as file:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        with held_back():  # until the new process handles or ignores them
            return subprocess.Popen(
                [sys.executable, "-c", _START, entry, *map(str, fds)],
                stdin=file.fileno(),
                pass_fds=fds,
                start_new_session=True,
            )


def ask_to_leave() -> None:
    """Send SIGTERM to this process."""
    os.kill(os.getpid(), signal.SIGTERM)


def leave(code: int) -> NoReturn:
    """Exit at once, without waiting for threads of the app, which may never end."""
    with contextlib.suppress(Exception):  # a failing log handler of the app must not prevent it
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or no reader
            stream.flush()
    os._exit(code)


def end_child(pid: int, patience: float) -> None:
    """Wait for a child process that was asked to exit; kill its group after ``patience`` s."""
    until = SYSTEM.monotonic() + patience
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if SYSTEM.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            SYSTEM.sleep(0.005)


def warn_runner(pid: int) -> None:
    """Send SIGTERM to a runner: it raises an exception in the task, so that `finally` works."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def end_group(pid: int | None) -> None:
    """Kill a runner and all its descendants, also those that left its process group."""
    if pid is None:
        return
    family = []
    with contextlib.suppress(psutil.Error, OSError):  # for example, too many open files
        family = psutil.Process(pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.Error, OSError):
            process.kill()


def wait_status(process: subprocess.Popen[bytes]) -> int | None:
    """Return the wait status of a child process, as from `os.wait`; None while it runs."""
    code = process.poll()
    if code is None:
        return None
    return code << 8 if code >= 0 else -code


def ended_how(status: int | None) -> str:
    """Describe a wait status."""
    if status is None:
        return "exit status unknown"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return f"killed by signal {signal.Signals(number).name}"
        return f"killed by signal {number}"
    return f"exit status {os.WEXITSTATUS(status)}"


def forget_exit_handlers() -> None:
    """Discard the exit handlers that a forked process inherits: they belong to its parent.

    Handlers registered from now on are called by `run_exit_handlers`. `multiprocessing` does the
    same.
    """
    atexit._clear()
    inherited: Any = weakref.finalize
    for finalizer in list(inherited._registry):
        finalizer.atexit = False
    inherited._registered_with_atexit = False
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._finalizer_registry.clear()
        atexit.register(util._exit_function)


def run_exit_handlers() -> None:
    """Wait for threads, then call the `atexit` handlers, as an exiting interpreter does."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
