"""A runner's standard output and error: where they lead, and how a run's output is closed.

I own the file descriptors 1 and 2 of a runner. I call nobody. Tasks may redirect or close them;
the next run finds them in order, and the mark behind a run's output always goes out.
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
#: Of what Python prints, whatever the environment says: so that no print ever raises.
ENCODING, ERRORS = "utf-8", "backslashreplace"


class Stdio:
    """The way from a task's prints to the supervisor."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._written: int | None = 0
        self._stdout, self._stderr = sys.stdout, sys.stderr

    def put_back(self) -> None:
        """Whatever the last task did to them: 1 and 2 lead to the supervisor again."""
        os.dup2(self._output, 1)
        os.dup2(self._output, 2)
        self._stdout = sys.stdout = _usable(self._stdout, 1)
        self._stderr = sys.stderr = _usable(self._stderr, 2)

    def flush(self) -> None:
        """Send what is still in buffers."""
        _flush(self._stdout)
        _flush(self._stderr)
        if sys.stdout is not self._stdout or sys.stderr is not self._stderr:
            _flush(sys.stdout)
            _flush(sys.stderr)

    def has_output(self, board: Scoreboard) -> bool:
        """Was anything written since the last mark, by whomever? True where nobody can tell."""
        written = self._count(board)
        return written is None or written != self._written

    def _count(self, board: Scoreboard) -> int | None:
        """All bytes that ever went in: those that were read, and those that wait to be. None where
        the other end was reading just now."""
        read = board.output_read
        waiting: int = _INT.unpack(fcntl.ioctl(self._output, termios.FIONREAD, _NOUGHT))[0]
        return None if read is None or read != board.output_read else read + waiting

    def note_written(self, board: Scoreboard) -> None:
        """What was written so far is no run's."""
        self._written = self._count(board)

    def send(self, mark: bytes, board: Scoreboard) -> None:
        """The mark that closes a run's output."""
        self._write(mark)
        self._written = self._count(board)

    def _write(self, mark: bytes) -> None:
        while mark:
            mark = mark[os.write(self._output, mark) :]


# Both are called for each run: `contextlib.suppress` would take longer than what it is around.


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):  # closed by the task, or replaced
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
