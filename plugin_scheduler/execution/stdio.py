"""A runner's standard output and error: where they lead, and how a run's output is closed.

Uses file descriptors 1 and 2 of a runner. Tasks may redirect or close them; they are restored
before the next run, and the mark behind a run's output is always sent.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from typing import Any, TextIO

from plugin_scheduler.execution.scoreboard import Scoreboard

_INT = struct.Struct("i")
_NOUGHT = bytes(_INT.size)
#: Of Python's output, whatever the environment says, so that no print raises an exception.
ENCODING, ERRORS = "utf-8", "backslashreplace"


class Stdio:
    """The path from a task's output to the worker."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._written: int | None = 0
        self._stdout, self._stderr = sys.stdout, sys.stderr

    def put_back(self) -> None:
        """Connect 1 and 2 to the worker again, whatever the last task did to them."""
        os.dup2(self._output, 1)
        os.dup2(self._output, 2)
        self._stdout = sys.stdout = _usable(self._stdout, 1)
        self._stderr = sys.stderr = _usable(self._stderr, 2)

    def flush(self) -> None:
        """Write the contents of the buffers."""
        _flush(self._stdout)
        _flush(self._stderr)
        if sys.stdout is not self._stdout or sys.stderr is not self._stderr:
            _flush(sys.stdout)
            _flush(sys.stderr)

    def has_output(self, board: Scoreboard) -> bool:
        """Return True if any process has written since the last mark, or if this is unknown."""
        written = self._count(board)
        return written is None or written != self._written

    def _count(self, board: Scoreboard) -> int | None:
        """Return the number of bytes written so far: those read, and those that wait in the pipe.
        None if the other end was reading at the same time."""
        read = board.output_read
        waiting: int = _INT.unpack(fcntl.ioctl(self._output, termios.FIONREAD, _NOUGHT))[0]
        return None if read is None or read != board.output_read else read + waiting

    def note_written(self, board: Scoreboard) -> None:
        """Assign all output so far to no run."""
        self._written = self._count(board)

    def send(self, mark: bytes, board: Scoreboard) -> None:
        """Send the mark that closes a run's output."""
        self._write(mark)
        self._written = self._count(board)

    def _write(self, mark: bytes) -> None:
        while mark:
            mark = mark[os.write(self._output, mark) :]


# Both are called for each run: `contextlib.suppress` would take longer than its body.


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):  # closed or replaced by the task
        return


def _usable(stream: TextIO, fd: int) -> Any:
    try:
        if not stream.closed and stream.fileno() == fd:
            if stream.encoding != ENCODING or stream.errors != ERRORS:
                stream.reconfigure(encoding=ENCODING, errors=ERRORS)  # type: ignore[attr-defined]
            return stream
    except (OSError, ValueError, AttributeError):
        pass
    return open(fd, "w", encoding=ENCODING, errors=ERRORS, closefd=False)
