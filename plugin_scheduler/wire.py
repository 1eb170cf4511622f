"""Framing on a pipe: whole messages in, whole messages out.

I own the frame: four bytes of length, then a JSON array, or bytes that begin unlike one. I call
nobody. I never know what a message means.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")
_CHUNK = 1 << 18


class Closed(Exception):
    """The other end is gone."""


def pack(message: Any) -> bytes:
    """One frame, of a list."""
    return pack_bytes(json.dumps(message, separators=(",", ":")).encode())


def pack_bytes(body: bytes) -> bytes:
    """One frame, of bytes that do not begin with a bracket."""
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Turns bytes as they come into messages as they were sent."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """All messages that are whole now.

        >>> Unpacker().feed(pack(["hello", 1]) + pack(["half"])[:3])
        [['hello', 1]]
        """
        self._buffer += data
        messages, start = [], 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[start + _LENGTH.size : end])
            messages.append(json.loads(body) if body[:1] == b"[" else body)
            start = end
        del self._buffer[:start]
        return messages


class Channel:
    """The supervisor's end: never blocks; what cannot be sent at once is kept for `flush`."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._unpacker = Unpacker()
        self._unsent = bytearray()

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
            self._unsent.clear()
            raise Closed from error

    def read(self) -> list[Any]:
        """All messages that are here now; raises Closed at the end of the stream."""
        messages: list[Any] = []
        try:
            while True:
                data = self._end.recv(_CHUNK)
                if not data:
                    break
                messages += self._unpacker.feed(data)
        except BlockingIOError:
            return messages
        except (OSError, ValueError):  # gone; or what came is no message of ours
            pass
        if messages:
            return messages  # the end of the stream is met again at the next call
        raise Closed

    def close(self) -> None:
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

    def send_frame(self, frame: bytes) -> None:
        """The same, of what was packed already."""
        try:
            self._end.sendall(frame)
        except OSError as error:
            raise Closed from error

    def abandon(self) -> None:
        """Close this process's copy of the end, and be of no use any more."""
        with contextlib.suppress(OSError):
            os.close(self._end.detach())

    def holds(self, message: Any) -> bool:
        """True when ``message`` has arrived; all others that came are forgotten. Does not wait, so
        that a signal handler may ask."""
        came = []
        with contextlib.suppress(OSError):  # nothing more now, or nobody there
            while data := self._end.recv(_CHUNK, socket.MSG_DONTWAIT):
                came += self._unpacker.feed(data)
        return message in came
