"""Write log lines to a file descriptor without ever waiting for its reader.

A pipe that is not read, a stopped terminal or a busy journal must not stop a worker's loop. The
descriptor itself may be shared with other processes, so its flags stay as they are: a pipe or a
terminal is opened anew, without blocking, and a socket is asked not to wait. Lines that find no
room are kept up to a limit, then dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import stat
from collections import deque
from collections.abc import Callable

KEPT = 1 << 20  # bytes of lines that wait for room
AT_THE_END = 0.5  # seconds that a process which ends leaves to its log's reader
_ATOMIC = select.PIPE_BUF  # bytes that a pipe which has room takes at once


class OutletHandler(logging.Handler):
    """A logging handler for the standard error of the command."""

    def __init__(self, fd: int = 2) -> None:
        super().__init__()
        self._given = fd
        self._fd, self._write = _writer(fd)
        self._lines: deque[bytes] = deque()
        self._kept = self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:  # a record of another program that does not fit together
            self.handleError(record)
            return
        if self._kept + len(line) > KEPT:
            self._dropped += 1
        else:
            self._keep(line)
        self.write_out()

    def write_out(self) -> None:
        """Write what there is room for now."""
        with contextlib.suppress(OSError):  # no reader any more; or no room, which is no matter
            while self._lines:
                self._write_first()
                if self._dropped and not self._lines:
                    line = f"{self._dropped} log lines dropped: nothing read them in time\n"
                    self._dropped = 0
                    self._keep(line.encode())

    def _keep(self, line: bytes) -> None:
        self._lines.append(line)
        self._kept += len(line)

    def _write_first(self) -> None:
        line = self._lines[0]
        count = self._write(line)
        self._kept -= count
        if count == len(line):
            self._lines.popleft()
        else:
            self._lines[0] = line[count:]

    def flush(self) -> None:
        """At the end of the process: leave a reader that is only slow some time."""
        self.write_out()
        if self._lines and _has_room(self._fd, AT_THE_END):
            self.write_out()

    def close(self) -> None:
        """Close what was opened anew; the descriptor that was given stays open."""
        if self._fd not in (-1, self._given):
            with contextlib.suppress(OSError):
                os.close(self._fd)
        self._fd = -1
        super().close()


def _writer(fd: int) -> tuple[int, Callable[[bytes], int]]:
    """A descriptor, and how to write to it without waiting."""
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            return fd, lambda data: _send(fd, data)
        if stat.S_ISFIFO(mode) or os.isatty(fd):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            own = os.open(f"/proc/self/fd/{fd}", flags)
            return own, lambda data: os.write(own, data)
    except OSError:  # closed, or a system without /proc
        pass
    return fd, lambda data: _write_if_room(fd, data)


def _send(fd: int, data: bytes) -> int:
    with socket.socket(fileno=os.dup(fd)) as end:
        return end.send(data, socket.MSG_DONTWAIT)


def _write_if_room(fd: int, data: bytes) -> int:
    if not _has_room(fd, 0.0):
        raise BlockingIOError
    return os.write(fd, data[:_ATOMIC])


def _has_room(fd: int, within: float) -> bool:
    """(A file always has.)"""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(within * 1000))
