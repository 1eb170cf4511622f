"""A worker's folder for arguments and results that are too large to pass along.

I own its making and removal, and which orders go through it; folders of workers that died are
removed by the next that starts. I call lane and portalocker. I never read what is in there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import IO, Any

import portalocker

from plugin_scheduler.lane import Sent, pack_order
from plugin_scheduler.records import Order

LARGE = 1 << 15  # bytes; the arguments of a larger order go through a file
PREFIX = "plugin-scheduler-"
_LOCK = "alive"  # a file that is locked as long as the worker lives
_NOW = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING


class Spool:
    """A folder that only this user can read."""

    def __init__(self) -> None:
        _sweep()
        self.folder, self._lock = self._made()

    def _made(self) -> tuple[str, IO[Any] | None]:
        """Another worker that starts now may sweep it away before it is locked: then once more."""
        for _ in range(10):
            folder = tempfile.mkdtemp(prefix=PREFIX)
            lock = _locked(folder)
            if lock is not None and os.path.exists(os.path.join(folder, _LOCK)):
                return folder, lock
        return folder, None

    def packet(self, order: Order) -> bytes:
        """An order as it goes through a lane."""
        task = order.task
        sent = Sent(order.run_id, task.id, task.uuid, task.function_name, task.args, task.vars)
        packet = pack_order(sent)
        if len(packet) <= LARGE:
            return packet
        return pack_order(sent._replace(args=None, vars=None, file=self.keep(packet)))

    def keep(self, data: bytes) -> str:
        """Put something there for somebody who takes it away; its path."""
        os.makedirs(self.folder, 0o700, exist_ok=True)  # people clean temporary folders
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            file.write(data)
        return file.name

    def remove(self) -> None:
        """Remove it with all that was not fetched."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def _locked(folder: str) -> IO[Any] | None:
    """The lock of a folder; None where somebody has it, or the folder is another user's.

    Not by process number: containers that share a temporary folder do not share those.
    """
    with contextlib.suppress(OSError, portalocker.LockException):
        file = open(os.path.join(folder, _LOCK), "a")
        try:
            portalocker.lock(file, _NOW)
        except portalocker.LockException:
            file.close()
            raise
        return file
    return None


def _sweep() -> None:
    place = tempfile.gettempdir()
    for name in os.listdir(place):
        folder = os.path.join(place, name)
        if not name.startswith(PREFIX) or not os.path.exists(os.path.join(folder, _LOCK)):
            continue
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()
