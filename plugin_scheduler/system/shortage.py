"""Retry what fails because the system has no room for a file or a process at the moment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from plugin_scheduler.system.clock import SYSTEM

Answer = TypeVar("Answer")


def until_room(make: Callable[[], Answer], pauses: Iterable[float]) -> Answer:
    """Call ``make``, and again after each of the ``pauses`` (seconds) while there is no room.

    Return the answer of the first call that succeeds. Raise OSError or MemoryError of the last one.

    >>> until_room(os.fork, (0.1, 0.5))
    """
    for pause in pauses:
        with contextlib.suppress(OSError, MemoryError):
            return make()
        SYSTEM.sleep(pause)
    return make()
