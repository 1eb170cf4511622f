"""Framing on a pipe: whole messages in, whole messages out.

I own the frame: four bytes of length, then a JSON array, or bytes that begin unlike one; files may
come with it. I call private_files. I never know what a message means. A reader believes nothing:
whoever has the descriptor of the other end may have written to it.
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
_READS = 4  # reads at a time: whoever goes on writing must not keep the reader
MOST = 1 << 23  # bytes of a frame
_FILES = 16  # files that wait for their report
_ROOM_FOR_FILES = socket.CMSG_SPACE(4 * struct.calcsize("i"))
#: Of descriptors that arrive: programs that this process starts do not get them.
CLOSED_IN_CHILDREN = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
#: What a system says that has no memory, or no room for descriptors, for a message at the moment.
NO_ROOM = (errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)
SEND_AGAIN = 0.02  # seconds


class Closed(Exception):
    """The other end is gone."""


class Unreadable(ValueError):
    """What came is no message; ``before`` are the messages that came before it."""

    def __init__(self, why: str, before: Sequence[Any] = ()) -> None:
        super().__init__(why)
        self.before = list(before)


def attached(file: PrivateFile) -> list[tuple[int, int, bytes]]:
    """What `socket.sendmsg` takes to send a file along."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))]


def files_of(attachments: Iterable[tuple[int, int, bytes]]) -> list[PrivateFile]:
    """The files that `socket.recvmsg` got."""
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
    """One frame, of a list."""
    return pack_bytes(json.dumps(message, separators=(",", ":")).encode())


def pack_bytes(body: bytes) -> bytes:
    """One frame, of bytes that do not begin with a bracket."""
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Turns bytes as they come into messages as they were sent."""

    def __init__(self, most: int = MOST) -> None:
        self._buffer, self._most = bytearray(), most
        self._broken = ""

    def feed(self, data: bytes) -> list[Any]:
        """All messages that are whole now. Unreadable at what is no frame, and ever after: where
        the next one begins is unknown.

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
                raise ValueError(f"a frame of {length} bytes")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[start + _LENGTH.size : end])
            messages.append(strict_json(body) if body[:1] == b"[" else body)
            start = end
        del self._buffer[:start]


def strict_json(body: bytes) -> Any:
    """The value; ValueError also for what is no JSON to others (NaN), and for endless nesting."""
    try:
        return _DECODER.decode(body.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


class Channel:
    """The supervisor's end: never blocks; what cannot be sent at once is kept for `flush`."""

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
        """True while bytes wait for the other end to make room."""
        return bool(self._unsent)

    def send(self, message: Any) -> None:
        """Hand over a message; raises Closed when nobody is there any more."""
        self._unsent += pack(message)
        self.flush()

    def flush(self) -> None:
        """Send what the other end has room for."""
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
        """All messages that are here now; Closed at the end of the stream, Unreadable where
        something else than messages came."""
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
        except OSError:  # gone
            pass
        if messages:
            return messages  # the end of the stream is met again at the next call
        raise Closed

    def _keep(self, files: list[PrivateFile]) -> None:
        self._files += files
        if len(self._files) > _FILES:
            self._files.clear()
            raise Unreadable("more files than reports")

    def take_file(self) -> PrivateFile | None:
        """The oldest file that came and was not taken; None where there was no room for it."""
        return self._files.popleft() if self._files else None

    def close(self) -> None:
        self._files.clear()
        with contextlib.suppress(OSError):
            self._end.close()


class BlockingChannel:
    """The runner's end: waits until what it says is on its way."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._end = end
        self._unpacker = Unpacker()

    def send(self, message: Any) -> None:
        """Send one message; raises Closed when the supervisor is gone."""
        self.send_frame(pack(message))

    def send_frame(self, frame: bytes, file: PrivateFile | None = None) -> None:
        """The same, of what was packed already, and with a file."""
        attachments = attached(file) if file is not None else []
        while frame:
            try:
                frame = frame[self._end.sendmsg([frame], attachments) :]
                attachments = []
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise Closed from error
                SYSTEM.sleep(SEND_AGAIN)

    def abandon(self) -> None:
        """Close this process's copy of the end, and be of no use any more."""
        with contextlib.suppress(OSError):
            os.close(self._end.detach())

    def holds(self, message: Any) -> bool:
        """True when ``message`` has arrived; all others that came are forgotten. Does not wait, so
        that a signal handler may ask."""
        came = []
        with contextlib.suppress(OSError, Unreadable):  # nothing more now, or nobody there
            while data := self._end.recv(_CHUNK, socket.MSG_DONTWAIT):
                came += self._unpacker.feed(data)
        return message in came
