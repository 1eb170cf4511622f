"""Large results: carried into the database by a process that is gone afterwards.

Fifty megabytes of JSON in a worker's memory would stay in its size for good, and stop its loop
while they are written. I own the porters. I call store, but only inside a porter's own process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from plugin_scheduler.clock import SYSTEM, Clock
from plugin_scheduler.errors import StoreUnavailable
from plugin_scheduler.processes import start_entry
from plugin_scheduler.records import Outcome
from plugin_scheduler.runs import Result
from plugin_scheduler.settings import Settings

PATIENCE = 60.0  # seconds for one result


class Porters:
    """The supervisor's side: results on their way."""

    def __init__(self, where: Mapping[str, Any], clock: Clock) -> None:
        self._where, self._clock = where, clock
        self._on_their_way: list[tuple[subprocess.Popen[bytes], Result]] = []

    @property
    def busy(self) -> bool:
        return bool(self._on_their_way)

    def task_ids(self) -> list[int]:
        """Tasks whose results are on their way."""
        return [result.order.task.id for _, result in self._on_their_way]

    def carry(self, result: Result) -> None:
        """Start to store the file of a result; `arrived` gives the result back when that is done."""
        load = {"where": self._where, "run": result.order.run_id, "file": result.result_file}
        porter = start_entry("porter", [], load)
        self._on_their_way.append((porter, result))

    def arrived(self) -> list[Result]:
        """Results whose files are stored, or could not be: those FAILED, and say why."""
        here = [(porter, result) for porter, result in self._on_their_way if _ended(porter)]
        self._on_their_way = [pair for pair in self._on_their_way if pair not in here]
        return [_delivered(porter.returncode, result) for porter, result in here]


def _ended(porter: subprocess.Popen[bytes]) -> bool:
    return porter.poll() is not None


def _delivered(code: int, result: Result) -> Result:
    with contextlib.suppress(OSError):
        os.unlink(str(result.result_file))
    if code == 0:
        return result
    why = f"its result is too large for the database (porter's exit status {code})"
    return dataclasses.replace(result, outcome=Outcome.FAILED, reason=why, result_file=None)


def carry(load: Mapping[str, Any]) -> None:
    """A porter's work."""
    from plugin_scheduler.store import Store

    with open(load["file"], encoding="utf-8") as file:
        text = file.read()
    until = time.monotonic() + PATIENCE
    while True:
        try:
            store = Store.open(load["where"], Settings(), SYSTEM)
            store.tasks.save_result(load["run"], text)
            return
        except StoreUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
