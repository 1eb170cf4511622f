"""Large results: reported to the database by a process that is gone afterwards.

Fifty megabytes of JSON in a worker's memory would stay in its size for good, and stop its loop
while they are written. I own the porters. I call store, but only inside a porter's own process.
"""

from __future__ import annotations

import dataclasses
import signal
import subprocess
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from plugin_scheduler.clock import SYSTEM
from plugin_scheduler.errors import StoreUnavailable
from plugin_scheduler.private_files import read_file
from plugin_scheduler.processes import start_entry
from plugin_scheduler.reasons import Reason, ReasonCode
from plugin_scheduler.records import Order, Outcome, Report
from plugin_scheduler.runs import Result
from plugin_scheduler.settings import Settings

PATIENCE = 60.0  # seconds for one result
STORED, TOO_LATE, TRY_AGAIN = 0, 4, 5  # exit codes
TRIES = 3  # for a porter that was killed
_NOT_SENT = ("order", "result", "result_file")  # parts of a result that go another way


@dataclasses.dataclass(frozen=True)
class Delivery:
    """What became of a large result: stored, or too late; or the result to be reported instead."""

    result: Result
    was_in_time: bool
    instead: Result | None = None


class Porters:
    """The supervisor's side: results on their way."""

    def __init__(self, where: Mapping[str, Any], settings: Settings, worker_name: str) -> None:
        self._load = {"where": where, "settings": settings.as_dict(), "worker": worker_name}
        self._on_their_way: list[tuple[subprocess.Popen[bytes], Result]] = []
        self._killed: dict[int, int] = {}

    @property
    def busy(self) -> bool:
        return bool(self._on_their_way)

    def task_ids(self) -> list[int]:
        """Tasks whose results are on their way."""
        return [result.order.task.id for _, result in self._on_their_way]

    def carry(self, result: Result) -> None:
        """Start to report a result that is in a file; `delivered` tells when that is done."""
        assert result.result_file is not None
        order = result.order
        run = {"task": order.task.id, "run": order.run_id, "started": order.started.isoformat()}
        parts = {name: value for name, value in vars(result).items() if name not in _NOT_SENT}
        load = {**self._load, "order": run, "parts": parts}
        porter = start_entry("porter", [result.result_file.fileno()], load)
        self._on_their_way.append((porter, result))

    def delivered(self) -> list[Delivery]:
        """Results that were reported since the last call, or could not be."""
        here = [pair for pair in self._on_their_way if pair[0].poll() is not None]
        self._on_their_way = [pair for pair in self._on_their_way if pair not in here]
        return [
            _delivery(porter.returncode, result)
            for porter, result in here
            if not self._sent_again(porter.returncode, result)
        ]

    def _sent_again(self, code: int, result: Result) -> bool:
        """The database was away, or somebody killed the porter: neither is the result's fault."""
        run = result.order.run_id
        self._killed[run] = self._killed.get(run, 0) + (code < 0)
        again = code == TRY_AGAIN or (code < 0 and self._killed[run] < TRIES)
        if again:
            self.carry(result)
        else:
            del self._killed[run]
        return again


def _delivery(code: int, result: Result) -> Delivery:
    if result.result_file is not None:
        result.result_file.close()
    if code in (STORED, TOO_LATE):
        return Delivery(result, was_in_time=code == STORED)
    why = Reason(ReasonCode.REPORT_TOO_LARGE, error=f"exit status {code} of the process that tried")
    failed = dataclasses.replace(result, outcome=Outcome.FAILED, reason=why, result_file=None)
    return Delivery(result, was_in_time=True, instead=failed)


def carry(load: Mapping[str, Any], file: int) -> int:
    """A porter's work; its exit code. The result is in ``file``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # its worker waits for it
    text = read_file(file).decode()
    until = SYSTEM.monotonic() + PATIENCE
    while True:
        try:
            return _report(load, text)
        except StoreUnavailable:
            if SYSTEM.monotonic() > until:
                return TRY_AGAIN
            SYSTEM.sleep(0.1)


def _report(load: Mapping[str, Any], text: str) -> int:
    from plugin_scheduler.store import Store

    store = Store.open(load["where"], Settings.from_dict(load["settings"]), SYSTEM, prepares=False)
    with store.dialect.reading():
        tasks = store.tasks.read(store.db.scheduler_task.id == load["order"]["task"])
    if not tasks:
        return TOO_LATE
    started = datetime.fromisoformat(load["order"]["started"])
    report = Report(
        order=Order(tasks[0], load["order"]["run"], started),
        ended=store.dialect.now(),
        **{**load["parts"], "result": text},
    )
    try:
        [(_, move)] = store.tasks.report([report], load["worker"])
    except ValueError as error:  # larger than the database takes
        why = Reason(ReasonCode.REPORT_TOO_LARGE, error=error)
        failed = dataclasses.replace(report, outcome=Outcome.FAILED, result=None, reason=why)
        [(_, move)] = store.tasks.report([failed], load["worker"])
    return STORED if move else TOO_LATE
