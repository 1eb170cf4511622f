"""What may happen next? The state machine of a task, and nothing else.

I own the table of moves and `decide`. I call recurrence and the words. I never touch a database,
a clock or a process: every answer follows from (task, outcome, times), so that all of it can be
tested, and drawn, without running anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.types import OnFailure, Outcome, Task, TaskStatus
from plugin_scheduler.scheduling import recurrence


@dataclass(frozen=True)
class Rule:
    """One legal change of status: from where, to where, by whom, under which guard."""

    name: str
    sources: tuple[str, ...]
    target: str
    who: str
    guard: str
    also: str = ""


_S = TaskStatus
MOVES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "start",
            (_S.QUEUED,),
            _S.RUNNING,
            "worker",
            "due, enabled, before stop_time, not waiting",
            "assigned_worker_name, run row, last_run_time",
        ),
        Rule("hand_back", _S.HELD, _S.QUEUED, "worker", "owner, never begun", "clears the owner"),
        Rule("finish", (_S.RUNNING,), _S.COMPLETED, "worker", "owner and run", "result, unblocks"),
        Rule("repeat", (_S.RUNNING,), _S.QUEUED, "worker", "owner and run", "next_run_time"),
        Rule("retry", (_S.RUNNING,), _S.QUEUED, "worker", "owner and run", "times_failed + 1"),
        Rule("carry_on", (_S.RUNNING,), _S.QUEUED, "worker", "owner and run", "next occurrence"),
        Rule("fail", (_S.RUNNING,), _S.FAILED, "worker, ticker", "owner and run", "traceback"),
        Rule(
            "time_out", (_S.RUNNING,), _S.TIMEOUT, "worker", "owner and run", "where it was stuck"
        ),
        Rule("stop_run", (_S.RUNNING,), _S.STOPPED, "worker", "owner and run", "enabled = False"),
        Rule("interrupt", (_S.RUNNING,), _S.QUEUED, "worker", "owner and run", "closes the run"),
        Rule("outlive", (_S.RUNNING,), _S.EXPIRED, "worker", "owner and run", "next is too late"),
        Rule("stop", _S.WAITING, _S.STOPPED, "api", "status", "enabled = False"),
        Rule("skip", _S.WAITING, _S.STOPPED, "ticker", "what it waits for ended", "reason"),
        Rule("expire", _S.WAITING, _S.EXPIRED, "ticker", "stop_time passed"),
        Rule("fan_out", (_S.QUEUED,), _S.QUEUED, "ticker", "broadcast is due", "one copy a worker"),
        Rule("fan_out_last", (_S.QUEUED,), _S.COMPLETED, "ticker", "broadcast is due", "copies"),
        Rule(
            "requeue", _S.HELD, _S.QUEUED, "ticker", "lease of the owner lapsed", "closes the run"
        ),
        Rule("give_up", (_S.QUEUED,), _S.FAILED, "worker", "no worker has known its function"),
        Rule("condemn", (*_S.WAITING, _S.RUNNING), _S.FAILED, "worker", "its row cannot be read"),
        Rule("requeue_ended", _S.ENDED, _S.QUEUED, "api", "a person asked", "enabled = True"),
    )
}


@dataclass(frozen=True)
class Move:
    """A move that was decided: its rule and the columns it changes besides the status."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @property
    def rule(self) -> Rule:
        return MOVES[self.name]

    @property
    def target(self) -> str:
        return self.rule.target

    @property
    def unblocks(self) -> bool:
        """True when tasks that wait for this one may go on: it completed, for good or for now."""
        return self.name in ("finish", "repeat", "outlive")


def decide(
    task: Task,
    outcome: str,
    *,
    started: datetime,
    max_losses: int = 3,
    reason: str | None = None,
    stop_requested: bool = False,
) -> Move:
    """What follows for ``task`` when a run that began at ``started`` ended with ``outcome``.

    web2py's book: a success repeats until ``repeats`` is used up, a failure is retried
    ``retry_failed`` times in a row, and the next run counts from the START of this one. A run that
    ended by itself while somebody asked to stop it is the task's last all the same.
    """
    move = _decide(task, outcome, started, max_losses, reason)
    if stop_requested and move.target == TaskStatus.QUEUED:
        return Move(
            "stop_run", {**move.changes, "enabled": False}, Reason(ReasonCode.STOP_REQUESTED)
        )
    return move


def _decide(
    task: Task, outcome: str, started: datetime, max_losses: int, reason: str | None
) -> Move:
    if outcome == Outcome.STOPPED:
        return Move("stop_run", {"enabled": False}, reason or Reason(ReasonCode.STOP_REQUESTED))
    if outcome == Outcome.INTERRUPTED:
        return Move("interrupt", {"assigned_worker_name": ""}, reason)
    if outcome == Outcome.LOST:
        return _after_loss(task, max_losses, reason)
    try:
        if outcome == Outcome.COMPLETED:
            return _after_success(task, started)
        return _after_failure(task, outcome, started, reason)
    except (ValueError, OverflowError) as error:  # a row edited by hand; it must not stop a worker
        return Move("fail", {"times_failed": task.times_failed + 1}, _no_next_time(error))


def is_the_last(task: Task) -> bool:
    """True where a success ends the task, whatever else is in its row."""
    return task.repeats == 1 and task.times_run == 0


def _no_next_time(error: Exception) -> Reason:
    return Reason(ReasonCode.NO_NEXT_TIME, error=error)


def _after_success(task: Task, started: datetime) -> Move:
    changes: dict[str, Any] = {
        "times_run": task.times_run + 1,
        "times_failed": 0,
        "times_lost": 0,
        "reason": None,
    }
    if not recurrence.runs_again(times_run=task.times_run + 1, repeats=task.repeats):
        return Move("finish", changes)
    changes["next_run_time"] = following = recurrence.next_after(task, started)
    if task.stop_time is not None and following > task.stop_time:
        return Move("outlive", changes, Reason(ReasonCode.NEXT_TOO_LATE))
    changes["assigned_worker_name"] = ""
    return Move("repeat", changes)


def _after_failure(task: Task, outcome: str, started: datetime, reason: str | None) -> Move:
    failures = task.times_failed + 1
    changes = {"times_failed": failures, "next_run_time": recurrence.next_after(task, started)}
    again = {**changes, "assigned_worker_name": ""}
    if recurrence.may_retry(times_failed=task.times_failed, retry_failed=task.retry_failed):
        return Move("retry", again, reason)
    repeats = recurrence.runs_again(times_run=task.times_run + 1, repeats=task.repeats)
    if task.on_failure == OnFailure.CONTINUE and repeats:
        # The failed occurrence is used up; otherwise a finite task that always fails never ends.
        again.update(times_failed=0, times_run=task.times_run + 1)
        return Move("carry_on", again, reason)
    name = "time_out" if outcome == Outcome.TIMEOUT else "fail"
    return Move(name, changes, reason)


def _after_loss(task: Task, max_losses: int, reason: str | None) -> Move:
    """A run that died with its worker counts, so that a task that kills workers comes to rest."""
    losses = task.times_lost + 1
    changes: dict[str, Any] = {"times_lost": losses}
    if task.only_worker:
        reason = Reason(ReasonCode.WORKER_DIED, worker=task.only_worker)
        return Move("fail", changes, reason)
    if losses >= max_losses:
        return Move("fail", changes, Reason(ReasonCode.WORKER_DIED_OFTEN, times=losses))
    return Move("requeue", {**changes, "assigned_worker_name": ""}, reason)


def after_fan_out(task: Task, now: datetime) -> Move:
    """What follows for a broadcast task once its copies are queued: it repeats, or it is done."""
    changes: dict[str, Any] = {
        "times_run": task.times_run + 1,
        "last_run_time": now,
        "reason": None,
    }
    if not recurrence.runs_again(times_run=task.times_run + 1, repeats=task.repeats):
        return Move("fan_out_last", changes)
    try:
        return Move("fan_out", {**changes, "next_run_time": recurrence.next_after(task, now)})
    except (ValueError, OverflowError) as error:
        return Move("skip", {**changes, "enabled": False, "reason": _no_next_time(error)})
