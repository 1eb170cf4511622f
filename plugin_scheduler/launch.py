"""One worker in this process, or several in processes of their own.

I own the launcher's children and pass signals on to them. I call boot. I never touch a database.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from plugin_scheduler.boot import run_worker
from plugin_scheduler.errors import ConfigError
from plugin_scheduler.log import logger, to_stderr
from plugin_scheduler.processes import start_entry

Spec = tuple[Mapping[str, Any], Mapping[str, Any]]


def launch(specs: Sequence[Spec]) -> int:
    """Run all workers until they have left; the first exit code that is not 0, or 0."""
    if len(specs) == 1:
        return run_worker(*specs[0])
    workers: list[subprocess.Popen[bytes]] = []
    with _PassedOn(workers):
        for spec in specs:
            workers.append(start_entry("worker", [], [logger.level, *spec]))
        codes = [worker.wait() for worker in workers]
    return next((code if code >= 0 else 128 - code for code in codes if code), 0)


class _PassedOn:
    """While it is open, SIGTERM and SIGINT go to every worker."""

    def __init__(self, workers: list[subprocess.Popen[bytes]]) -> None:
        self._workers = workers
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._pass_on)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, frame: Any) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(number)


def work(level: int, spec: Mapping[str, Any], overrides: Mapping[str, Any]) -> int:
    """One worker of several; the exit code."""
    to_stderr(level)
    try:
        return run_worker(spec, overrides)
    except ConfigError as error:
        logger.error("%s", error)
        return 2
