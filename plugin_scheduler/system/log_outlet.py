"""Write log lines to a file descriptor without blocking.

A pipe without a reader, a stopped terminal or a busy journal must not stop a worker's main loop.
Other processes may share the descriptor, so its flags are not changed. A pipe or a terminal is
opened again in non-blocking mode; a socket is written with MSG_DONTWAIT. Lines that cannot be
written are buffered up to a limit, then dropped and counted.
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

KEPT = 1 << 20  # bytes of buffered lines
AT_THE_END = 0.5  # seconds that an exiting process waits for the reader of its log
_ATOMIC = select.PIPE_BUF  # bytes that a writable pipe accepts in one write


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
        except Exception:  # the record's message and arguments do not match
            self.handleError(record)
            return
        if self._kept + len(line) > KEPT:
            self._dropped += 1
        else:
            self._keep(line)
        self.write_out()

    def write_out(self) -> None:
        """Write as many buffered lines as possible without blocking."""
        with contextlib.suppress(OSError):  # the reader is gone, or there is no room
            while self._lines:
                self._write_first()
                if self._dropped and not self._lines:
                    line = f"{self._dropped} log lines dropped: the output was not read in time\n"
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
        """Write all lines at process exit; wait `AT_THE_END` seconds for a slow reader."""
        self.write_out()
        if self._lines and _has_room(self._fd, AT_THE_END):
            self.write_out()

    def close(self) -> None:
        """Close the reopened descriptor; the given descriptor stays open."""
        if self._fd not in (-1, self._given):
            with contextlib.suppress(OSError):
                os.close(self._fd)
        self._fd = -1
        super().close()


def _writer(fd: int) -> tuple[int, Callable[[bytes], int]]:
    """Return a descriptor and a function that writes to it without blocking."""
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            return fd, lambda data: _send(fd, data)
        if stat.S_ISFIFO(mode) or os.isatty(fd):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            own = os.open(f"/proc/self/fd/{fd}", flags)
            return own, lambda data: os.write(own, data)
    except OSError:  # closed descriptor, or a system without /proc
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
    """Return True if the descriptor is writable; a regular file always is."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(within * 1000))
