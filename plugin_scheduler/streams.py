"""A runner's standard output and error: where they lead, and how a run's output is closed.

I own the file descriptors 1 and 2 of a runner. I call nobody. Tasks may redirect or close them;
the next run finds them in order, and the mark behind a run's output always goes out.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO


class Streams:
    """The way from a task's prints to the supervisor."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._stdout, self._stderr = sys.stdout, sys.stderr

    def put_back(self) -> None:
        """Whatever the last task did to them: 1 and 2 lead to the supervisor again."""
        os.dup2(self._output, 1)
        os.dup2(self._output, 2)
        self._stdout = sys.stdout = _usable(self._stdout, 1)
        self._stderr = sys.stderr = _usable(self._stderr, 2)

    def finish(self, mark: bytes) -> None:
        """Send what is still in buffers, then the mark that closes the run's output."""
        for stream in (sys.stdout, sys.stderr, self._stdout, self._stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed by the task
                stream.flush()
        while mark:
            mark = mark[os.write(self._output, mark) :]


def _usable(stream: TextIO, fd: int) -> Any:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if not stream.closed and stream.fileno() == fd:
            return stream
    return open(fd, "w", encoding="utf-8", errors="replace", closefd=False)
