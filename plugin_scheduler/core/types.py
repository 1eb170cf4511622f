"""Common types: the status words, and the immutable records that packages exchange.

Contains data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, NamedTuple


class StringEnum(str, Enum):
    """Base of the enums whose values are stored: a member behaves as its value in texts, JSON and
    SQL. Rows hold plain text, which people may edit, so it is compared and not converted."""

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]


class TaskStatus(StringEnum):
    """The values of ``scheduler_task.status``, as in web2py."""

    QUEUED = "QUEUED"  #: waits for its scheduled time and for a worker
    ASSIGNED = "ASSIGNED"  #: claimed by a worker, not started yet
    RUNNING = "RUNNING"  #: a runner executes it now
    COMPLETED = "COMPLETED"  #: its last run succeeded; it does not run again
    FAILED = "FAILED"  #: raised an exception, or its process or worker died; no retries left
    TIMEOUT = "TIMEOUT"  #: took longer than its timeout; no retries left
    STOPPED = "STOPPED"  #: stopped on request, or skipped after a task that it waits for
    EXPIRED = "EXPIRED"  #: its stop_time passed before it could start

    ALL: ClassVar[tuple[TaskStatus, ...]]
    WAITING: ClassVar[tuple[TaskStatus, ...]]
    HELD: ClassVar[tuple[TaskStatus, ...]]
    ENDED: ClassVar[tuple[TaskStatus, ...]]
    ENDED_BADLY: ClassVar[tuple[TaskStatus, ...]]


TaskStatus.ALL = tuple(TaskStatus)
TaskStatus.WAITING = (TaskStatus.QUEUED, TaskStatus.ASSIGNED)
TaskStatus.HELD = (TaskStatus.ASSIGNED, TaskStatus.RUNNING)
TaskStatus.ENDED = (
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.TIMEOUT,
    TaskStatus.STOPPED,
    TaskStatus.EXPIRED,
)
TaskStatus.ENDED_BADLY = (
    TaskStatus.FAILED,
    TaskStatus.TIMEOUT,
    TaskStatus.STOPPED,
    TaskStatus.EXPIRED,
)


class RunStatus(StringEnum):
    """The values of ``scheduler_run.status``, as in web2py: the state of one run."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    STOPPED = "STOPPED"

    ALL: ClassVar[tuple[RunStatus, ...]]


RunStatus.ALL = tuple(RunStatus)


class WorkerStatus(StringEnum):
    """The values of ``scheduler_worker.status``, as in web2py: states of a worker and commands.

    Both are in one column, so that a database administrator can send commands.
    """

    ACTIVE = "ACTIVE"  #: state: claims and runs tasks
    DISABLED = "DISABLED"  #: state: paused; finishes its running tasks and claims no others
    TERMINATE = "TERMINATE"  #: command: finish the running tasks, then exit
    KILL = "KILL"  #: command: interrupt the running tasks, give them back, and exit
    PICK = "PICK"  #: command: look for due tasks now, then be ACTIVE
    STOP_TASK = "STOP_TASK"  #: command: stop the running tasks of this worker, then be ACTIVE

    ALL: ClassVar[tuple[WorkerStatus, ...]]
    LEAVING: ClassVar[tuple[WorkerStatus, ...]]
    MOMENTARY: ClassVar[tuple[WorkerStatus, ...]]


WorkerStatus.ALL = (
    WorkerStatus.ACTIVE,
    WorkerStatus.PICK,
    WorkerStatus.DISABLED,
    WorkerStatus.TERMINATE,
    WorkerStatus.KILL,
    WorkerStatus.STOP_TASK,
)
WorkerStatus.LEAVING = (WorkerStatus.TERMINATE, WorkerStatus.KILL)
WorkerStatus.MOMENTARY = (WorkerStatus.PICK, WorkerStatus.STOP_TASK)


class Outcome(StringEnum):
    """The values of ``scheduler_run.outcome``: how a run ended. Its status is web2py's word."""

    COMPLETED = "COMPLETED"  #: the function returned, and its changes are committed
    FAILED = "FAILED"  #: the function raised an exception, or its result could not be stored
    TIMEOUT = "TIMEOUT"  #: the run took longer than the task's timeout
    STOPPED = "STOPPED"  #: the run was stopped on request
    DIED = "DIED"  #: the runner process died during the run
    LOST = "LOST"  #: the worker died; the leader closed the run
    INTERRUPTED = "INTERRUPTED"  #: the worker exited, or could not renew its lease

    RUN_STATUS: ClassVar[Mapping[str, RunStatus]]
    FAILURES: ClassVar[tuple[Outcome, ...]]  #: ends that were not requested


Outcome.RUN_STATUS = {
    Outcome.COMPLETED: RunStatus.COMPLETED,
    Outcome.FAILED: RunStatus.FAILED,
    Outcome.TIMEOUT: RunStatus.TIMEOUT,
    Outcome.STOPPED: RunStatus.STOPPED,
    Outcome.DIED: RunStatus.STOPPED,
    Outcome.LOST: RunStatus.STOPPED,
    Outcome.INTERRUPTED: RunStatus.STOPPED,
}
Outcome.FAILURES = (Outcome.FAILED, Outcome.TIMEOUT, Outcome.DIED, Outcome.LOST)


def outcome_of(status: str | None, outcome: str | None) -> str | None:
    """Return how a run ended; None while it runs.

    The status counts for rows of older versions, which have no outcome, and for rows whose status
    was edited by hand and contradicts the outcome.
    """
    if status not in Outcome.RUN_STATUS:
        return None
    return outcome if outcome and Outcome.RUN_STATUS.get(outcome) == status else status


#: The outcomes by number, for messages between processes.
OUTCOMES = tuple(Outcome)


class OnFailure(StringEnum):
    """The values of ``scheduler_task.on_failure``: what a repeating task does after its last retry
    failed."""

    STOP = "stop"  #: the task ends, as in web2py
    CONTINUE = "continue"  #: the task goes on with its next repeat

    ALL: ClassVar[tuple[OnFailure, ...]]


OnFailure.ALL = tuple(OnFailure)


class OnChildFailure(StringEnum):
    """The values of ``scheduler_task_deps.on_failure``: what happens to a task when a task that it
    waits for ended without success."""

    STOP = "stop"  #: the waiting task is stopped, with the reason
    RUN = "run"  #: the waiting task runs
    WAIT = "wait"  #: the waiting task goes on waiting until the other task is requeued

    ALL: ClassVar[tuple[OnChildFailure, ...]]


OnChildFailure.ALL = tuple(OnChildFailure)


class Task(NamedTuple):
    """A task and its schedule: one row of ``scheduler_task``, as the engine reads it.

    A named tuple and not a data class, because thousands are created per second.
    """

    id: int
    uuid: str
    application_name: str | None
    task_name: str | None
    group_name: str | None
    status: str
    broadcast: bool
    function_name: str
    args: str | None
    vars: str | None
    start_time: datetime | None
    next_run_time: datetime | None
    stop_time: datetime | None
    repeats: int
    retry_failed: int
    period: int
    prevent_drift: bool
    cronline: str | None
    timeout: int
    sync_output: int
    times_run: int
    times_failed: int
    times_lost: int
    priority: int
    on_failure: str
    only_worker: str | None
    assigned_worker_name: str | None
    run_id: int | None

    @property
    def label(self) -> str:
        """The name of the task in logs and messages: ``17 send_mail``."""
        return f"{self.id} {self.task_name or self.function_name}"


@dataclass(frozen=True)
class Order:
    """A task sent to a runner: the task, the id of its run, and the start time of the run."""

    task: Task
    run_id: int
    started: datetime

    @property
    def label(self) -> str:
        """The name of the run in logs and messages: ``run 81 of task 17 send_mail``."""
        return f"run {self.run_id} of task {self.task.label}"


@dataclass(frozen=True)
class Report:
    """The report of a run that has ended.

    ``seconds`` is the run time of the function; ``result`` is JSON text, or None without a result.
    """

    order: Order
    outcome: Outcome
    ended: datetime
    seconds: float
    result: str | None = None
    traceback: str | None = None
    output: str = ""
    reason: str | None = None
    progress: dict[str, Any] | None = None


@dataclass(frozen=True)
class Worker:
    """A worker process: one row of ``scheduler_worker``."""

    id: int
    worker_name: str
    application_name: str
    status: str
    is_ticker: bool
    group_names: tuple[str, ...]
    lease_until: float
