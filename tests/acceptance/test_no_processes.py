"""A machine on which no process can be made, or none that has files: work waits and is kept."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from support.kit import KILL9, Lab, eventually

TASKS = """
import errno
real_fork = os.fork

def fork():
    if os.path.exists({flag!r}):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return real_fork()

os.fork = fork

def who():
    return [os.getpid(), os.getppid()]
"""


def limit_files(forkserver: int) -> Callable[[], None]:
    """Take from a process the room for more files; what gives it back."""
    before = resource.prlimit(forkserver, resource.RLIMIT_NOFILE)
    most = len(os.listdir(f"/proc/{forkserver}/fd"))
    resource.prlimit(forkserver, resource.RLIMIT_NOFILE, (most, before[1]))
    return lambda: resource.prlimit(forkserver, resource.RLIMIT_NOFILE, before) and None


@pytest.mark.parametrize("lack", ["processes", "files", "processes of runs"])
def test_a_worker_without_room_for_processes_says_so_once_and_goes_on_when_there_is(
    lab: Lab, tmp_path: Path, lack: str
) -> None:
    flag = tmp_path / "no-processes"
    lab.write_tasks(TASKS.format(flag=str(flag)))
    options = ["--runner-max-runs", "1"] if lack == "processes of runs" else []
    worker = lab.start_worker(*options)
    first = lab.queue("who")
    lab.becomes(first, "COMPLETED")
    runner, forkserver = json.loads(lab.runs(first)[0].run_result)
    if lack == "files":
        release = limit_files(forkserver)
    else:
        flag.touch()
        release = flag.unlink
    if lack != "processes of runs":
        os.kill(runner, KILL9)
    second = lab.queue("who")
    eventually(lambda: (lab.worker_row().worker_stats or {}).get("boot_errors", 0) >= 2, 20)
    assert worker.log.count("could not start") == 1, worker.log
    assert not lab.runs(second) or lab.task(second).times_failed == 0
    release()
    row = lab.becomes(second, "COMPLETED", within=30)
    assert (row.times_failed, worker.process.poll()) == (0, None)
    assert "Traceback" not in worker.log
