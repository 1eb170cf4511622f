"""Processes: start one, warn one, end one with all it started, and say how it ended.

I own the system calls and signals that the pool needs. I call psutil. I never decide whom.
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

#: Runs `plugin_scheduler.worker.subprocess_main`. Not by -m, which has Python look for every module
#: in the current folder first: an email.py there would be run in place of Python's own. Where this
#: package was found is searched last.
_START = (
    "import sys; sys.path[:] = [one for one in sys.path if one]; "
    f"sys.path.append({os.path.dirname(os.path.dirname(os.path.abspath(__file__)))!r}); "
    "from runpy import run_module; "
    "run_module('plugin_scheduler.worker.subprocess_main', run_name='__main__', alter_sys=True)"
)


def spawn_runner(spec: Mapping[str, Any], ends: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a runner as a new interpreter that loads the app by itself; ``ends`` are its files."""
    return start_entry("runner", ends, spec)


def start_entry(entry: str, fds: Sequence[int], load: Any) -> subprocess.Popen[bytes]:
    """Start one of `entry`'s as a new interpreter in a session of its own.

    ``load`` reaches it as JSON on standard input: it may hold a database's password, and the
    arguments of a process are there for everybody to read.
    """
    # Not a pipe: nobody waits until it is read.
    with contextlib.closing(complete_file("load", json.dumps(load).encode())) as file:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        with held_back():  # until the new process heeds or ignores them
            return subprocess.Popen(
                [sys.executable, "-c", _START, entry, *map(str, fds)],
                stdin=file.fileno(),
                pass_fds=fds,
                start_new_session=True,
            )


def ask_to_leave() -> None:
    """Have this process leave as if a person had sent SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)


def leave(code: int) -> NoReturn:
    """End this process now: threads that an app has started would be waited for, for ever."""
    with contextlib.suppress(Exception):  # a handler of the app; nothing else is to be lost
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none reads it
            stream.flush()
    os._exit(code)


def end_child(pid: int, patience: float) -> None:
    """Wait for a child of ours that was told to leave; kill its group when it does not."""
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
    """Have the run end itself: an exception inside the function, so that `finally` works."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def end_group(pid: int | None) -> None:
    """Kill a runner and everything it started, also what left its process group."""
    if pid is None:
        return
    family = []
    with contextlib.suppress(psutil.Error, OSError):  # too many open files, say
        family = psutil.Process(pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.Error, OSError):
            process.kill()


def wait_status(process: subprocess.Popen[bytes]) -> int | None:
    """How a child of ours ended, as `os.wait` would tell it; None while it runs."""
    code = process.poll()
    if code is None:
        return None
    return code << 8 if code >= 0 else -code


def ended_how(status: int | None) -> str:
    """A wait status in words."""
    if status is None:
        return "it is gone, nobody knows how"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return f"killed by signal {signal.Signals(number).name}"
        return f"killed by signal {number}"
    return f"exit status {os.WEXITSTATUS(status)}"


def forget_exit_handlers() -> None:
    """In a forked process: what its parent wanted done at its end is the parent's to do. What is
    registered from now on is for `run_exit_handlers`; `multiprocessing` does the same."""
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
    """End as an interpreter ends: wait for threads, then do what was registered with `atexit`."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
