"""A run at work, as the supervisor sees it: what it printed, how far it is, when it must end.

I own the gathering of one run's parts into a `Result`. I call capture and the words. I never touch
a process or the database.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from plugin_scheduler.core.reasons import Reason, ReasonCode, WrittenReason
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import OUTCOMES, Order, Outcome
from plugin_scheduler.execution.mailbox import PackedReport
from plugin_scheduler.execution.output_buffer import OutputBuffer
from plugin_scheduler.system.private_files import PrivateFile, is_private

LARGEST = 1 << 30  # bytes of a result; no database takes more


@dataclass(frozen=True)
class Result:
    """What became of a run, without the instant of its end: that is the database's to say."""

    order: Order
    outcome: str
    seconds: float
    output: str
    result: str | None = None
    result_file: PrivateFile | None = None  #: where the result is instead, when it is large
    traceback: str | None = None
    reason: str | None = None
    progress: dict[str, Any] | None = None


class LiveRun:
    """One run that is at work, or that was seen to be."""

    def __init__(
        self, order: Order, settings: Settings, began: float, output: OutputBuffer
    ) -> None:
        self.order, self.began, self.output = order, began, output
        self.progress: dict[str, Any] | None = None
        self.progress_is_new = False
        self.is_refused = False  # the database takes nothing of it while it is at work
        self.output_saved = self.progress_saved = began
        self.ending: str | None = None
        self.reason: str | None = None
        self._ending_since = 0.0
        self._kill_grace = settings.kill_grace

    def about(self) -> dict[str, Any]:
        """What the worker's row says of it."""
        return {
            "run": self.order.run_id,
            "task": self.order.task.id,
            "function": self.order.task.function_name,
            "since": self.order.started.isoformat(" ", "seconds"),
        }

    def progressed(self, progress: dict[str, Any]) -> None:
        """The function told how far it is."""
        self.progress, self.progress_is_new = progress, True

    # -- deadlines --------------------

    @property
    def deadline(self) -> float:
        return self.began + self.order.task.timeout

    def is_overdue(self, now: float) -> bool:
        return not self.ending and now >= self.deadline

    def end_as(self, outcome: str, reason: str, now: float) -> None:
        """From now on it is being ended, for that reason; the first reason counts."""
        if not self.ending:
            self.ending, self.reason, self._ending_since = outcome, reason, now

    def grace_is_over(self, now: float) -> bool:
        return self.ending is not None and now >= self._ending_since + self._kill_grace

    def next_deadline(self) -> float:
        if self.ending is not None:
            return self._ending_since + self._kill_grace
        return self.deadline

    # -- ends --------------------

    def died(self, how: str, trace: str, now: float) -> Result:
        """Its process is gone: killed by us because it did not listen, or by itself."""
        return Result(
            order=self.order,
            outcome=self.ending or Outcome.DIED,
            seconds=max(0.0, now - self.began),
            output=self.output.text(),
            traceback=last_dump(trace) or None,
            reason=self.reason or Reason(ReasonCode.RUNNER_DIED, how=how),
            progress=self.progress,
        )


def result_of(
    order: Order,
    told: PackedReport,
    output: str,
    run: LiveRun | None,
    file: PrivateFile | None = None,
) -> Result:
    """It ended by itself, or listened when it was told to; ``run`` where it was seen at work."""
    outcome, reason = OUTCOMES[told.outcome], _reason_told(told)
    if told.in_file and (trouble := _trouble_with(file)):
        outcome, reason, file = Outcome.FAILED, trouble, None
    if outcome != Outcome.COMPLETED and run is not None and run.ending:
        # Whatever it raised on its way out: it was ended, and by whom is what counts. One that
        # completed just before the signal came did its work, and that is what counts then.
        outcome, reason = run.ending, run.reason
    return Result(
        order=order,
        outcome=outcome,
        seconds=told.seconds,
        output=output,
        result=told.result,
        result_file=file,
        traceback=told.rest.get("traceback"),
        reason=reason,
        progress=told.rest.get("progress") or (run.progress if run else None),
    )


def _trouble_with(file: PrivateFile | None) -> Reason | None:
    """Why a result cannot be read from that file."""
    if file is None or not is_private(file.fileno()):
        return Reason(ReasonCode.RESULT_LOST)
    size = os.fstat(file.fileno()).st_size
    if size > LARGEST:  # it may be a file with holes, which costs its writer nothing
        return Reason(ReasonCode.REPORT_TOO_LARGE, error=f"{size} bytes")
    return None


def _reason_told(told: PackedReport) -> str | None:
    """The reason that a runner gave; its code where there is such a code."""
    reason = told.rest.get("reason")
    return None if reason is None else WrittenReason(reason, told.rest.get("reason_code"))


def last_dump(trace: str) -> str:
    """The newest of the stack dumps that faulthandler wrote, newest call first."""
    head = "Current thread"
    at = trace.rfind(head)
    return f"It was stuck here; {trace[at:].strip()}" if at >= 0 else trace.strip()
