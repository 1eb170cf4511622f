"""Signals as bytes: they are noted where they arrive, and heeded in the worker's loop.

I own the handlers while a worker runs, and put back what was there before. I call lines.
"""

from __future__ import annotations

import os
import signal
import threading
from types import TracebackType
from typing import Any

from plugin_scheduler.errors import ConfigError
from plugin_scheduler.lines import has_news

HEEDED = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """A context in which SIGTERM and SIGINT become entries to read."""

    def __init__(self) -> None:
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        self._before: dict[int, Any] = {}
        self._wakeup = -1

    def fileno(self) -> int:
        return self._readable

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._wakeup = signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
            for number in HEEDED:
                self._before[number] = signal.signal(number, _note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup)
        os.close(self._readable)
        os.close(self._writable)

    def pause(self, seconds: float) -> None:
        """Wait for so long; ConfigError where a signal came instead, before there is a loop."""
        if has_news(self, seconds):
            raise ConfigError("it was told to leave before it had begun")

    def read(self) -> list[int]:
        """Signals that came since the last call, in their order."""
        try:
            data = os.read(self._readable, 4096)
        except BlockingIOError:
            return []
        return [number for number in data if number in HEEDED]


def _note(signum: int, frame: Any) -> None:
    """Python's C handler has written the number to the wake-up pipe already."""
