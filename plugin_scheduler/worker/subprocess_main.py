"""What a new interpreter of ours does; `processes.start_entry` starts it.

The way in to processes that are not forked: a nursery, a runner, a porter or a worker. What they
need to know comes as JSON on standard input.
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


def nursery(fd: int) -> int:
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


def porter(file: int) -> int:
    """Carry a large result into the database."""
    from plugin_scheduler.worker import large_results

    ignore_all()
    return large_results.carry(_load(), file)


def worker(lifeline: int) -> int:
    """Be one of several workers of a command."""
    from plugin_scheduler.worker import launcher

    return launcher.work(lifeline, *_load())


def _load() -> Any:
    """What the parent sent; then nothing can be read from standard input any more."""
    load = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return load


ENTRIES: dict[str, Callable[..., int]] = {
    "nursery": nursery,
    "runner": runner,
    "porter": porter,
    "worker": worker,
}

if __name__ == "__main__":
    code = 1
    try:
        code = ENTRIES[sys.argv[1]](*(int(fd) for fd in sys.argv[2:]))
    except Closed:  # the process that started this one has left: its exit says why
        pass
    except BaseException:  # told as Python tells it; then this process ends, come what may
        traceback.print_exc()
    leave(code)
