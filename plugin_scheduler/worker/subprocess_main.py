"""Entry points of new interpreters; `processes.start_entry` starts them.

Processes that are not forked begin here: a forkserver, a runner, a process for a large result, or a
worker. Their parameters arrive as JSON on standard input.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from plugin_scheduler.execution.framing import Closed
from plugin_scheduler.system.processes import leave
from plugin_scheduler.system.signals import ignore_all


def forkserver_process(fd: int) -> int:
    """Load an app, and fork its runners."""
    from plugin_scheduler.execution import forkserver

    ignore_all()
    forkserver.serve(socket.socket(fileno=fd), _load(), None)
    return 0


def runner(*ends: int) -> int:
    """Load an app, and run its tasks."""
    from plugin_scheduler.execution import runner_main

    ignore_all()
    return runner_main.main(runner_main.Ends(*ends), _load(), None)


def large_result_process(file: int) -> int:
    """Write a large result to the database."""
    from plugin_scheduler.worker import large_results

    ignore_all()
    return large_results.carry(_load(), file)


def worker(lifeline: int) -> int:
    """Run one of several workers of a command."""
    from plugin_scheduler.worker import launcher

    return launcher.work(lifeline, *_load())


def _load() -> Any:
    """Read the parent's data, and close standard input."""
    load = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return load


ENTRIES: dict[str, Callable[..., int]] = {
    "forkserver": forkserver_process,
    "runner": runner,
    "large_result": large_result_process,
    "worker": worker,
}

if __name__ == "__main__":
    code = 1
    try:
        code = ENTRIES[sys.argv[1]](*(int(fd) for fd in sys.argv[2:]))
    except Closed:  # the parent has exited: its exit code gives the reason
        pass
    except BaseException:  # print the traceback; then this process ends in any case
        traceback.print_exc()
    leave(code)
