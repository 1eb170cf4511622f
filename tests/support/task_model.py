"""A model of the life of tasks on a page: what each step must make of a task.

Written from web2py's manual and the table of moves, without the engine's code, so that the engine
can be compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass

PERIOD, MAX_LOSSES = 60, 2


@dataclass
class Modelled:
    """One task; times are seconds since the beginning of the story."""

    repeats: int
    retry_failed: int
    on_failure: str
    due: int
    stop_time: int | None
    status: str = "QUEUED"
    enabled: bool = True
    owner: str = ""
    times_run: int = 0
    times_failed: int = 0
    times_lost: int = 0
    started: int = 0
    stop_requested: bool = False

    def is_claimable(self, now: int) -> bool:
        in_time = self.stop_time is None or self.stop_time > now
        return self.status == "QUEUED" and self.enabled and self.due <= now and in_time

    def claim(self, owner: str, now: int) -> None:
        self.status, self.owner, self.started, self.stop_requested = "RUNNING", owner, now, False

    def end(self, outcome: str) -> None:
        """Its run ended with a report."""
        if outcome == "STOPPED":
            self._stop()
        elif outcome == "INTERRUPTED":
            self._give_back()
        elif outcome == "COMPLETED":
            self._succeed()
        else:
            self._fail(outcome)
        if self.stop_requested and self.status == "QUEUED":
            self._stop()

    def _succeed(self) -> None:
        self.times_run, self.times_failed, self.times_lost = self.times_run + 1, 0, 0
        if not self._repeats_on():
            self.status = "COMPLETED"
        elif self.stop_time is not None and self.started + PERIOD > self.stop_time:
            self.status = "EXPIRED"
        else:
            self._again()

    def _fail(self, outcome: str) -> None:
        self.times_failed += 1
        if self.retry_failed == -1 or self.times_failed <= self.retry_failed:
            self._again()
        elif self.on_failure == "continue" and (
            self.repeats == 0 or self.times_run + 1 < self.repeats
        ):
            self.times_failed, self.times_run = 0, self.times_run + 1
            self._again()
        else:
            self.status = "TIMEOUT" if outcome == "TIMEOUT" else "FAILED"

    def lose(self) -> None:
        """Its worker died."""
        self.times_lost += 1
        if self.times_lost >= MAX_LOSSES:
            self.status = "FAILED"
        elif self.stop_requested:
            self._stop()
        else:
            self._give_back()

    def stop(self) -> None:
        """A person asks to stop it."""
        if self.status == "QUEUED":
            self._stop()
        elif self.status == "RUNNING":
            self.stop_requested = True

    def requeue(self, now: int) -> None:
        """A person asks to run it again."""
        self.status, self.enabled, self.owner, self.due = "QUEUED", True, "", now
        self.times_failed = self.times_lost = 0

    def _repeats_on(self) -> bool:
        return self.repeats == 0 or self.times_run < self.repeats

    def _again(self) -> None:
        self._give_back()
        self.due = self.started + PERIOD

    def _give_back(self) -> None:
        self.status, self.owner = "QUEUED", ""

    def _stop(self) -> None:
        self.status, self.enabled = "STOPPED", False

    @property
    def has_ended(self) -> bool:
        return self.status not in ("QUEUED", "RUNNING")
