"""A cable between a worker and its database, that can be cut or pulled out."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

from support.kit import eventually


class Cable:
    """Between a worker and its database, as a proxy of its own. When it is cut, nobody is told;
    when it is pulled out, it says goodbye, and nobody is there any more."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._plug = socket.create_server(("127.0.0.1", 0))
        self.port = self._plug.getsockname()[1]
        self._other_end: dict[socket.socket, socket.socket] = {}
        self._whole, self._closing, self._used = threading.Event(), False, time.monotonic()
        self._whole.set()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Between two transactions, or the server would keep the locks of an open one."""
        eventually(lambda: time.monotonic() - self._used > 0.05)
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def pull_out(self) -> None:
        self._closing = True
        self._whole.set()
        self._thread.join()
        for end in (self._plug, *self._other_end):
            end.close()
        self._other_end.clear()

    def close(self) -> None:
        if not self._closing:
            self.pull_out()

    def _carry(self) -> None:
        while not self._closing:
            self._whole.wait()
            for end in select.select([self._plug, *self._other_end], [], [], 0.01)[0]:
                if self._whole.is_set():
                    self._used = time.monotonic()
                    self._connect() if end is self._plug else self._pass_on(end)

    def _connect(self) -> None:
        ours, theirs = self._plug.accept()[0], socket.create_connection(self._target)
        self._other_end |= {ours: theirs, theirs: ours}

    def _pass_on(self, end: socket.socket) -> None:
        if end not in self._other_end:
            return  # closed just now, with its other end
        other = self._other_end[end]
        with contextlib.suppress(OSError):
            if data := end.recv(1 << 16):
                other.sendall(data)
                return
        for one in (end, other):
            del self._other_end[one]
            one.close()
