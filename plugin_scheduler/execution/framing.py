"""Send and receive whole messages over a pipe or a socket.

A frame is a length of four bytes, then a JSON array, or bytes that do not begin with a bracket.
Files can be sent with a frame. The module does not know what a message means. A reader validates
all input: any process that holds the descriptor of the other end may have written to it.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.system.private_files import PrivateFile

_LENGTH = struct.Struct("!I")
_CHUNK = 1 << 18
_READS = 4  # reads per call, so that a fast writer cannot block the reader
MOST = 1 << 23  # maximum bytes of a frame
_FILES = 16  # received files that wait for their report
_ROOM_FOR_FILES = socket.CMSG_SPACE(4 * struct.calcsize("i"))
#: Close received descriptors on exec: child programs do not inherit them.
CLOSED_IN_CHILDREN = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
#: Errors of a system that has no memory or no descriptors for a message at the moment.
NO_ROOM = (errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)
SEND_AGAIN = 0.02  # seconds


class Closed(Exception):
    """The other end is closed."""


class Unreadable(ValueError):
    """The input is not a message. ``before`` holds the messages received before it."""

    def __init__(self, why: str, before: Sequence[Any] = ()) -> None:
        super().__init__(why)
        self.before = list(before)


def attached(file: PrivateFile) -> list[tuple[int, int, bytes]]:
    """Return the ancillary data with which `socket.sendmsg` sends a file."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))]


def files_of(attachments: Iterable[tuple[int, int, bytes]]) -> list[PrivateFile]:
    """Return the files that `socket.recvmsg` received."""
    files: list[PrivateFile] = []
    for level, kind, data in attachments:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers = array.array("i", data[: len(data) // 4 * 4])
            files += map(PrivateFile, numbers)
    if not CLOSED_IN_CHILDREN:
        for file in files:
            os.set_inheritable(file.fileno(), False)
    return files


def pack(message: Any) -> bytes:
    """Return one frame with a list as its body."""
    return pack_bytes(json.dumps(message, separators=(",", ":")).encode())


def pack_bytes(body: bytes) -> bytes:
    """Return one frame with bytes that do not begin with a bracket."""
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Split a stream of bytes into the messages that were sent."""

    def __init__(self, most: int = MOST) -> None:
        self._buffer, self._most = bytearray(), most
        self._broken = ""

    def feed(self, data: bytes) -> list[Any]:
        """Return all messages that are complete.

        Raise Unreadable at invalid input, and at each later call: the start of the next frame is
        unknown.

        >>> Unpacker().feed(pack(["hello", 1]) + pack(["half"])[:3])
        [['hello', 1]]
        """
        messages: list[Any] = []
        if not self._broken:
            self._buffer += data
            try:
                self._unpack(messages)
            except ValueError as error:
                self._broken = str(error)
        if self._broken:
            self._buffer.clear()
            raise Unreadable(self._broken, messages)
        return messages

    def _unpack(self, messages: list[Any]) -> None:
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > self._most:
                raise ValueError(f"frame too long: {length} bytes")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[start + _LENGTH.size : end])
            messages.append(strict_json(body) if body[:1] == b"[" else body)
            start = end
        del self._buffer[:start]


def strict_json(body: bytes) -> Any:
    """Decode JSON. Raise ValueError also for NaN (not standard JSON) and for deep nesting."""
    try:
        return _DECODER.decode(body.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not valid JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


class Channel:
    """The worker's end: never blocks; `flush` sends later what cannot be sent at once."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._unpacker = Unpacker()
        self._unsent = bytearray()
        self._files: deque[PrivateFile] = deque()

    def fileno(self) -> int:
        return self._end.fileno()

    @property
    def pending(self) -> bool:
        """True while bytes wait for room at the other end."""
        return bool(self._unsent)

    def send(self, message: Any) -> None:
        """Send a message; raise Closed when the other end is closed."""
        self._unsent += pack(message)
        self.flush()

    def flush(self) -> None:
        """Send as much as the other end has room for."""
        try:
            while self._unsent:
                del self._unsent[: self._end.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in NO_ROOM:
                return
            self._unsent.clear()
            raise Closed from error

    def read(self) -> list[Any]:
        """Return all messages that have arrived. Raise Closed at the end of the stream, and
        Unreadable at input that is not a message."""
        messages: list[Any] = []
        try:
            for _ in range(_READS):
                data, files, _, _ = self._end.recvmsg(_CHUNK, _ROOM_FOR_FILES, CLOSED_IN_CHILDREN)
                if files:
                    self._keep(files_of(files))
                if not data:
                    break
                messages += self._unpacker.feed(data)
            else:
                return messages
        except BlockingIOError:
            return messages
        except Unreadable as error:
            raise Unreadable(str(error), messages + error.before) from error
        except OSError:  # closed
            pass
        if messages:
            return messages  # the next call meets the end of the stream again
        raise Closed

    def _keep(self, files: list[PrivateFile]) -> None:
        self._files += files
        if len(self._files) > _FILES:
            self._files.clear()
            raise Unreadable("more files than reports")

    def take_file(self) -> PrivateFile | None:
        """Return the oldest file not yet taken; None if there was no room for it."""
        return self._files.popleft() if self._files else None

    def close(self) -> None:
        self._files.clear()
        with contextlib.suppress(OSError):
            self._end.close()


class BlockingChannel:
    """The runner's end: blocks until the message is sent."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._end = end
        self._unpacker = Unpacker()

    def send(self, message: Any) -> None:
        """Send one message; raise Closed when the worker's end is closed."""
        self.send_frame(pack(message))

    def send_frame(self, frame: bytes, file: PrivateFile | None = None) -> None:
        """Send a packed message, with a file if one is given."""
        attachments = attached(file) if file is not None else []
        while frame:
            try:
                # Most reports come without a file, and `send` is faster.
                sent = (
                    self._end.sendmsg([frame], attachments)
                    if attachments
                    else self._end.send(frame)
                )
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise Closed from error
                SYSTEM.sleep(SEND_AGAIN)
            else:
                frame, attachments = frame[sent:], []

    def abandon(self) -> None:
        """Close this process's copy of the end. The channel cannot be used afterwards."""
        with contextlib.suppress(OSError):
            os.close(self._end.detach())

    def holds(self, message: Any) -> bool:
        """Return True if ``message`` has arrived; discard all other messages.

        Does not block, so that a signal handler can call it.
        """
        came = []
        with contextlib.suppress(OSError, Unreadable):  # no more data, or the other end is closed
            while data := self._end.recv(_CHUNK, socket.MSG_DONTWAIT):
                came += self._unpacker.feed(data)
        return message in came
