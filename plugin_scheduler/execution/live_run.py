"""A run in execution, as the worker sees it: output, progress, deadline; and its `Result`.

Does not access processes or the database.
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

LARGEST = 1 << 30  # bytes of a result; no database accepts more


@dataclass(frozen=True)
class Result:
    """The result of a run, without the time of its end, which the database sets."""

    order: Order
    outcome: Outcome
    seconds: float
    output: str
    result: str | None = None
    result_file: PrivateFile | None = None  #: the result, if it is large
    traceback: str | None = None
    reason: str | None = None
    progress: dict[str, Any] | None = None


class LiveRun:
    """One run that is, or was, seen in execution."""

    def __init__(
        self, order: Order, settings: Settings, began: float, output: OutputBuffer
    ) -> None:
        self.order, self.began, self.output = order, began, output
        self.progress: dict[str, Any] | None = None
        self.progress_is_new = False
        self.is_refused = False  # the database rejects its interim output and progress
        self.output_saved = self.progress_saved = began
        self.ending: Outcome | None = None
        self.reason: str | None = None
        self._ending_since = 0.0
        self._kill_grace = settings.kill_grace

    def about(self) -> dict[str, Any]:
        """Return what the worker's row says about the run."""
        return {
            "run": self.order.run_id,
            "task": self.order.task.id,
            "function": self.order.task.function_name,
            "since": self.order.started.isoformat(" ", "seconds"),
        }

    def progressed(self, progress: dict[str, Any]) -> None:
        """Store the progress that the function reported."""
        self.progress, self.progress_is_new = progress, True

    # -- deadlines --------------------

    @property
    def deadline(self) -> float:
        return self.began + self.order.task.timeout

    def is_overdue(self, now: float) -> bool:
        return not self.ending and now >= self.deadline

    def end_as(self, outcome: Outcome, reason: str, now: float) -> None:
        """End the run with this outcome and reason; later calls have no effect."""
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
        """Return the result of a run whose process is gone: it was killed, or it ended."""
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
    """Return the result of a run that reported, by itself or after a warning.

    ``run`` is given if the run was seen in execution.
    """
    outcome, reason = OUTCOMES[told.outcome], _reason_told(told)
    if told.in_file and (trouble := _trouble_with(file)):
        outcome, reason, file = Outcome.FAILED, trouble, None
    if outcome != Outcome.COMPLETED and run is not None and run.ending:
        # A run that was ended counts as ended, whatever exception it raised. A run that completed
        # just before the signal counts as completed.
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
    """Return the reason why a result cannot be read from that file."""
    if file is None or not is_private(file.fileno()):
        return Reason(ReasonCode.RESULT_LOST)
    size = os.fstat(file.fileno()).st_size
    if size > LARGEST:  # it may be a sparse file, which costs its writer nothing
        return Reason(ReasonCode.REPORT_TOO_LARGE, error=f"{size} bytes")
    return None


def _reason_told(told: PackedReport) -> str | None:
    """Return the reason that a runner gave, with its code if it gave one."""
    reason = told.rest.get("reason")
    return None if reason is None else WrittenReason(reason, told.rest.get("reason_code"))


def last_dump(trace: str) -> str:
    """Return the newest stack dump that faulthandler wrote, newest call first."""
    head = "Current thread"
    at = trace.rfind(head)
    return f"Position when killed; {trace[at:].strip()}" if at >= 0 else trace.strip()
