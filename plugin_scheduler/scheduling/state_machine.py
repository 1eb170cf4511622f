"""The state machine of a task: the table of moves, and the decision after each run.

Does not access the database, a clock or a process. Every result depends only on the task, the
outcome and the given times, so that the machine can be tested and drawn without running tasks.
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
    """A legal change of status: source and target states, actor, guard and side effects."""

    name: str
    sources: tuple[TaskStatus, ...]
    target: TaskStatus
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
            "due, enabled, before stop_time, no open dependency",
            "assigned_worker_name, run row, last_run_time",
        ),
        Rule("hand_back", _S.HELD, _S.QUEUED, "worker", "owner, not started", "clears the owner"),
        Rule(
            "finish",
            (_S.RUNNING,),
            _S.COMPLETED,
            "worker",
            "owner and run",
            "result; tasks that wait for it may run",
        ),
        Rule("repeat", (_S.RUNNING,), _S.QUEUED, "worker", "owner and run", "next_run_time"),
        Rule("retry", (_S.RUNNING,), _S.QUEUED, "worker", "owner and run", "times_failed + 1"),
        Rule(
            "carry_on",
            (_S.RUNNING,),
            _S.QUEUED,
            "worker",
            "owner and run",
            "next_run_time of the next repeat",
        ),
        Rule("fail", (_S.RUNNING,), _S.FAILED, "worker, leader", "owner and run", "traceback"),
        Rule(
            "time_out",
            (_S.RUNNING,),
            _S.TIMEOUT,
            "worker",
            "owner and run",
            "traceback of the timeout",
        ),
        Rule("stop_run", (_S.RUNNING,), _S.STOPPED, "worker", "owner and run", "enabled = False"),
        Rule("interrupt", (_S.RUNNING,), _S.QUEUED, "worker", "owner and run", "closes the run"),
        Rule(
            "outlive",
            (_S.RUNNING,),
            _S.EXPIRED,
            "worker",
            "owner and run",
            "next run would be after stop_time",
        ),
        Rule("stop", _S.WAITING, _S.STOPPED, "api", "status", "enabled = False"),
        Rule(
            "skip",
            _S.WAITING,
            _S.STOPPED,
            "leader",
            "a task that it waits for ended without success",
            "reason",
        ),
        Rule("expire", _S.WAITING, _S.EXPIRED, "leader", "stop_time passed"),
        Rule(
            "fan_out",
            (_S.QUEUED,),
            _S.QUEUED,
            "leader",
            "broadcast is due",
            "one copy for each worker",
        ),
        Rule("fan_out_last", (_S.QUEUED,), _S.COMPLETED, "leader", "broadcast is due", "copies"),
        Rule(
            "requeue",
            _S.HELD,
            _S.QUEUED,
            "leader",
            "lease of the owner has expired",
            "closes the run",
        ),
        Rule(
            "give_up",
            (_S.QUEUED,),
            _S.FAILED,
            "worker",
            "no worker has known its function for too long",
        ),
        Rule("condemn", (*_S.WAITING, _S.RUNNING), _S.FAILED, "worker", "its row cannot be read"),
        Rule("requeue_ended", _S.ENDED, _S.QUEUED, "api", "requested", "enabled = True"),
    )
}


@dataclass(frozen=True)
class Move:
    """The result of a decision: a rule, and the columns that change besides the status."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @property
    def rule(self) -> Rule:
        return MOVES[self.name]

    @property
    def target(self) -> TaskStatus:
        return self.rule.target

    @property
    def unblocks(self) -> bool:
        """True if tasks that wait for this one may run: the run completed."""
        return self.name in ("finish", "repeat", "outlive")


def decide(
    task: Task,
    outcome: Outcome,
    *,
    started: datetime,
    max_losses: int = 3,
    reason: str | None = None,
    stop_requested: bool = False,
) -> Move:
    """Decide the move of ``task`` after a run that started at ``started`` ended with ``outcome``.

    As in web2py, a task repeats after success until ``repeats`` is reached, a failure is retried
    ``retry_failed`` times in a row, and the period counts from the START of the run. After a stop
    request, a run that ended by itself is also the last run of the task.
    """
    move = _decide(task, outcome, started, max_losses, reason)
    if stop_requested and move.target == TaskStatus.QUEUED:
        return Move(
            "stop_run", {**move.changes, "enabled": False}, Reason(ReasonCode.STOP_REQUESTED)
        )
    return move


def _decide(
    task: Task, outcome: Outcome, started: datetime, max_losses: int, reason: str | None
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
    except (ValueError, OverflowError) as error:  # an invalid row must not stop a worker
        return Move("fail", {"times_failed": task.times_failed + 1}, _no_next_time(error))


def is_the_last(task: Task) -> bool:
    """Return True if a success ends the task, whatever the other columns contain."""
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


def _after_failure(task: Task, outcome: Outcome, started: datetime, reason: str | None) -> Move:
    failures = task.times_failed + 1
    changes = {"times_failed": failures, "next_run_time": recurrence.next_after(task, started)}
    again = {**changes, "assigned_worker_name": ""}
    if recurrence.may_retry(times_failed=task.times_failed, retry_failed=task.retry_failed):
        return Move("retry", again, reason)
    repeats = recurrence.runs_again(times_run=task.times_run + 1, repeats=task.repeats)
    if task.on_failure == OnFailure.CONTINUE and repeats:
        # The failed occurrence counts; otherwise a finite task that always fails never ends.
        again.update(times_failed=0, times_run=task.times_run + 1)
        return Move("carry_on", again, reason)
    name = "time_out" if outcome == Outcome.TIMEOUT else "fail"
    return Move(name, changes, reason)


def _after_loss(task: Task, max_losses: int, reason: str | None) -> Move:
    """Decide the move after a worker died.

    The loss is counted, so that a task that kills its workers fails in the end.
    """
    losses = task.times_lost + 1
    changes: dict[str, Any] = {"times_lost": losses}
    if task.only_worker:
        reason = Reason(ReasonCode.WORKER_DIED, worker=task.only_worker)
        return Move("fail", changes, reason)
    if losses >= max_losses:
        return Move("fail", changes, Reason(ReasonCode.WORKER_DIED_OFTEN, times=losses))
    return Move("requeue", {**changes, "assigned_worker_name": ""}, reason)


def after_fan_out(task: Task, now: datetime) -> Move:
    """Decide the move of a broadcast task after its copies are queued: repeat or complete."""
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
