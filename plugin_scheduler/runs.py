"""A run at work, as the supervisor sees it: what it printed, how far it is, when it must end.

I own the gathering of one run's parts into a `Result`. I call capture and the words. I never touch
a process or the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plugin_scheduler.capture import Output
from plugin_scheduler.records import Order, Outcome
from plugin_scheduler.settings import Settings

MARK_PATIENCE = 2.0  # seconds from a run's report to the mark that went out before it


@dataclass(frozen=True)
class Result:
    """What became of a run, without the instant of its end: that is the database's to say."""

    order: Order
    outcome: str
    seconds: float
    output: str
    result: str | None = None
    result_file: str | None = None
    traceback: str | None = None
    reason: str | None = None
    progress: dict[str, Any] | None = None


class LiveRun:
    """One run between its order and its result."""

    def __init__(self, order: Order, settings: Settings, began: float) -> None:
        self.order, self.began = order, began
        self.output = Output(settings.output_limit)
        self.output_complete = False
        self.progress: dict[str, Any] | None = None
        self.progress_is_new = False
        self.saved = began
        self.ending: str | None = None
        self._reason: str | None = None
        self._ending_since = 0.0
        self._kill_grace = settings.kill_grace
        self._reported_at = began
        self._report: tuple[str, dict[str, Any]] | None = None

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

    def reported(self, outcome: str, payload: dict[str, Any], now: float) -> None:
        """The runner told how it ended."""
        self._report = (outcome, payload)
        self._reported_at = now

    def lacks_its_mark(self, now: float) -> bool:
        """It is over, but the end of its output does not come: somebody closed the pipe's end."""
        if self._report is None or self.output_complete:
            return False
        return now >= self._reported_at + MARK_PATIENCE

    @property
    def has_reported(self) -> bool:
        return self._report is not None

    @property
    def is_complete(self) -> bool:
        return self._report is not None and self.output_complete

    # -- deadlines --------------------

    @property
    def deadline(self) -> float:
        return self.began + self.order.task.timeout

    def is_overdue(self, now: float) -> bool:
        return not self.ending and self._report is None and now >= self.deadline

    def end_as(self, outcome: str, reason: str, now: float) -> None:
        """From now on it is being ended, for that reason; the first reason counts."""
        if not self.ending:
            self.ending, self._reason, self._ending_since = outcome, reason, now

    def grace_is_over(self, now: float) -> bool:
        return self.ending is not None and now >= self._ending_since + self._kill_grace

    def next_deadline(self) -> float | None:
        if self._report is not None:
            return self._reported_at + MARK_PATIENCE
        if self.ending is not None:
            return self._ending_since + self._kill_grace
        return self.deadline

    # -- ends --------------------

    def result(self) -> Result:
        """It ended by itself, or listened when it was told to end."""
        assert self._report is not None
        outcome, payload = self._report
        reason = payload.get("reason")
        if outcome != Outcome.COMPLETED and self.ending:
            # Whatever it raised on its way out: it was ended, and by whom is what counts. One that
            # completed just before the signal came did its work, and that is what counts then.
            outcome, reason = self.ending, self._reason
        return Result(
            order=self.order,
            outcome=outcome,
            seconds=float(payload.get("seconds", 0.0)),
            output=self.output.text(),
            result=payload.get("result"),
            result_file=payload.get("result_file"),
            traceback=payload.get("traceback"),
            reason=reason,
            progress=payload.get("progress") or self.progress,
        )

    def died(self, how: str, trace: str, now: float) -> Result:
        """Its process is gone: killed by us because it did not listen, or by itself."""
        if self._report is not None:  # it had reported; only the end of its output is missing
            return self.result()
        reason = self._reason or f"its runner died: {how}"
        return Result(
            order=self.order,
            outcome=self.ending or Outcome.DIED,
            seconds=now - self.began,
            output=self.output.text(),
            traceback=last_dump(trace) or None,
            reason=reason,
            progress=self.progress,
        )


def last_dump(trace: str) -> str:
    """The newest of the stack dumps that faulthandler wrote, newest call first."""
    head = "Current thread"
    at = trace.rfind(head)
    return f"It was stuck here; {trace[at:].strip()}" if at >= 0 else trace.strip()
