"""The process side of a forkserver's connection, without a process."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

import pytest

from plugin_scheduler.execution.forkserver import FDS, Forkserver
from plugin_scheduler.execution.framing import pack
from support.fake_runners import NO_PROCESS

_MORE = {b"w": struct.Struct("!I"), b"u": struct.Struct("!I"), b"a": struct.Struct("!d")}
_NAMES = {b"b": "spawn", b"w": "watch", b"u": "unwatch", b"a": "allow"}


class FakeForkserver:
    """Receives the requests of a `Forkserver`, and sends what the test says."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.ends: list[list[int]] = []  # the descriptors of each runner that was requested

    def requests(self) -> list[tuple[str, Any]]:
        """Return the requests that have arrived since the last call."""
        self._end.setblocking(False)
        found: list[tuple[str, Any]] = []
        while True:
            try:
                kind, fds, _, _ = socket.recv_fds(self._end, 1, FDS)
            except BlockingIOError:
                return found
            if not kind:
                return found
            if kind == b"b":
                self.ends.append(fds)
                found.append((_NAMES[kind], len(fds)))
            else:
                size = _MORE[kind].size
                found.append((_NAMES[kind], _MORE[kind].unpack(self._end.recv(size))[0]))

    def runners_requested(self) -> int:
        """Return how many runners were requested since the last call."""
        return sum(name == "spawn" for name, _ in self.requests())

    def say(self, *message: Any) -> None:
        self._end.setblocking(True)
        self._end.sendall(pack(list(message)))

    def say_bytes(self, data: bytes) -> None:
        self._end.setblocking(True)
        self._end.sendall(data)

    def leave(self) -> None:
        """Close the connection, as a process that ends."""
        self._end.close()

    def close(self) -> None:
        for fds in self.ends:
            for fd in fds:
                socket.close(fd)
        self.ends.clear()
        self._end.close()


class FakeForkservers:
    """Takes the place of `Forkserver.start`; ``errors`` are raised by the next starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[FakeForkserver] = []
        self.worlds: list[Any] = []
        self.errors: list[Exception] = []
        monkeypatch.setattr(Forkserver, "start", self._start)

    def _start(self, spec: Any, world: Any = None) -> Forkserver:
        if self.errors:
            raise self.errors.pop(0)
        ours, theirs = socket.socketpair()
        self.started.append(FakeForkserver(theirs))
        self.worlds.append(world)
        return Forkserver(ours, NO_PROCESS + len(self.started))

    @property
    def newest(self) -> FakeForkserver:
        return self.started[-1]

    def close(self) -> None:
        for one in self.started:
            one.close()


def described(*tasks: str) -> dict[str, Sequence[str]]:
    """Return the description of an app with these tasks."""
    return {"tasks": list(tasks)}
