"""Report large results in a separate process that exits afterwards.

Fifty megabytes of JSON would enlarge the worker's memory permanently, and block its main loop
during the write. Only the separate process accesses the store.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Outcome, Report
from plugin_scheduler.execution.live_run import Result
from plugin_scheduler.system.clock import SYSTEM, Clock
from plugin_scheduler.system.private_files import read_file
from plugin_scheduler.system.processes import start_entry

PATIENCE = 60.0  # seconds for one result
STORED, TOO_LATE, TRY_AGAIN = 0, 4, 5  # exit codes
TRIES = 3  # for a process that was killed
AT_ONCE = 4  # processes
TOO_LONG = 10 * PATIENCE  # seconds after which a process is killed because it hangs
NO_ROOM_AGAIN, NO_ROOM_TRIES = 1.0, 30  # seconds between starts, and their number
_NOT_SENT = ("order", "result", "result_file")  # parts of a result that are passed in another way


@dataclasses.dataclass(frozen=True)
class Delivery:
    """The outcome for a large result: stored, or too late, or the result to report instead."""

    result: Result
    was_in_time: bool
    instead: Result | None = None


@dataclasses.dataclass(eq=False)
class Parcel:
    """A result that is being reported by ``process``, or that waits for a process."""

    result: Result
    killed: int = 0
    refused: int = 0  # times that the system had no room for a process
    not_before: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    since: float = 0.0


class LargeResults:
    """The worker's side: the results that are being reported."""

    def __init__(
        self, where: Mapping[str, Any], settings: Settings, worker_name: str, clock: Clock = SYSTEM
    ) -> None:
        self._load = {"where": where, "settings": settings.as_dict(), "worker": worker_name}
        self._clock = clock
        self._parcels: list[Parcel] = []

    @property
    def busy(self) -> bool:
        return bool(self._parcels)

    def task_ids(self) -> list[int]:
        """Return the tasks whose results are being reported."""
        return [parcel.result.order.task.id for parcel in self._parcels]

    def carry(self, result: Result) -> None:
        """Report a result that is in a file; `delivered` returns it when that is done."""
        self._parcels.append(Parcel(result))

    def delivered(self) -> list[Delivery]:
        """Return the results that were reported since the last call, or that could not be reported.

        Starts processes for those that wait, a few at a time.
        """
        done = [delivery for parcel in self._parcels if (delivery := self._look_at(parcel))]
        gone = {id(delivery.result) for delivery in done}
        self._parcels = [parcel for parcel in self._parcels if id(parcel.result) not in gone]
        return done

    def _look_at(self, parcel: Parcel) -> Delivery | None:
        now = self._clock.monotonic()
        if parcel.process is None:
            return self._start(parcel, now)
        code = parcel.process.poll()
        if code is None:
            if now > parcel.since + TOO_LONG:
                parcel.process.kill()
            return None
        parcel.process = None
        parcel.killed += code < 0
        if code == TRY_AGAIN or (code < 0 and parcel.killed < TRIES):
            return self._start(parcel, now)  # the database was away, or the process was killed
        return _delivery(code, parcel.result)

    def _start(self, parcel: Parcel, now: float) -> Delivery | None:
        at_work = sum(one.process is not None for one in self._parcels)
        if now < parcel.not_before or at_work >= AT_ONCE:
            return None
        try:
            parcel.process, parcel.since = self._process(parcel.result), now
        except (OSError, MemoryError) as error:  # no room for files or processes now
            parcel.refused += 1
            parcel.not_before = now + NO_ROOM_AGAIN
            if parcel.refused >= NO_ROOM_TRIES:
                why = Reason(ReasonCode.NO_ROOM, error=f"{type(error).__name__}: {error}")
                return _failed(parcel.result, why)
        return None

    def _process(self, result: Result) -> subprocess.Popen[bytes]:
        assert result.result_file is not None
        order = result.order
        run = {"task": order.task.id, "run": order.run_id, "started": order.started.isoformat()}
        parts = {name: value for name, value in vars(result).items() if name not in _NOT_SENT}
        load = {**self._load, "order": run, "parts": parts}
        return start_entry("large_result", [result.result_file.fileno()], load)


def _delivery(code: int, result: Result) -> Delivery:
    if code in (STORED, TOO_LATE):
        if result.result_file is not None:
            result.result_file.close()
        return Delivery(result, was_in_time=code == STORED)
    why = Reason(
        ReasonCode.REPORT_TOO_LARGE, error=f"exit status {code} of the large-result process"
    )
    return _failed(result, why)


def _failed(result: Result, why: Reason) -> Delivery:
    if result.result_file is not None:
        result.result_file.close()
    failed = dataclasses.replace(result, outcome=Outcome.FAILED, reason=why, result_file=None)
    return Delivery(result, was_in_time=True, instead=failed)


def carry(load: Mapping[str, Any], file: int) -> int:
    """Report the result in ``file``; return the exit code of the process."""
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
    except ValueError as error:  # larger than the database accepts
        why = Reason(ReasonCode.REPORT_TOO_LARGE, error=error)
        failed = dataclasses.replace(report, outcome=Outcome.FAILED, result=None, reason=why)
        [(_, move)] = store.tasks.report([failed], load["worker"])
    return STORED if move else TOO_LATE
