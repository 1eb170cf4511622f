"""The words everybody shares: statuses, and the frozen records that travel between rooms.

I own what a Task, Order, Report and Worker look like. I call nobody. I never decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple


class TaskStatus:
    """Where a task stands; the words of web2py's ``scheduler_task.status``."""

    QUEUED = "QUEUED"  #: waits for its time and for a worker
    ASSIGNED = "ASSIGNED"  #: claimed by a worker, not started yet
    RUNNING = "RUNNING"  #: a runner is at it now
    COMPLETED = "COMPLETED"  #: did what it should, and will not run again
    FAILED = "FAILED"  #: raised, or lost its process, with no retries left
    TIMEOUT = "TIMEOUT"  #: took longer than its timeout, with no retries left
    STOPPED = "STOPPED"  #: a person said no
    EXPIRED = "EXPIRED"  #: its stop_time passed before it could start

    ALL = (QUEUED, ASSIGNED, RUNNING, COMPLETED, FAILED, TIMEOUT, STOPPED, EXPIRED)
    WAITING = (QUEUED, ASSIGNED)
    HELD = (ASSIGNED, RUNNING)
    ENDED = (COMPLETED, FAILED, TIMEOUT, STOPPED, EXPIRED)
    ENDED_BADLY = (FAILED, TIMEOUT, STOPPED, EXPIRED)


class RunStatus:
    """How one attempt at a task stands; the words of web2py's ``scheduler_run.status``."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    STOPPED = "STOPPED"

    ALL = (RUNNING, COMPLETED, FAILED, TIMEOUT, STOPPED)


class WorkerStatus:
    """States and orders of a worker, in one column so that any database admin can give an order."""

    ACTIVE = "ACTIVE"  #: state: claims and runs tasks
    DISABLED = "DISABLED"  #: state: alive, finishes what it runs, claims nothing
    TERMINATE = "TERMINATE"  #: order: finish what runs, then leave
    KILL = "KILL"  #: order: end what runs, give it back, leave
    PICK = "PICK"  #: order: look for work now, then be ACTIVE
    STOP_TASK = "STOP_TASK"  #: order: stop what runs here, then be ACTIVE

    ALL = (ACTIVE, PICK, DISABLED, TERMINATE, KILL, STOP_TASK)
    LEAVING = (TERMINATE, KILL)
    MOMENTARY = (PICK, STOP_TASK)


class Outcome:
    """What became of a run: the column ``outcome``. The status is web2py's word for it."""

    COMPLETED = "COMPLETED"  #: its function returned, and its changes are committed
    FAILED = "FAILED"  #: its function raised, or its result could not be stored
    TIMEOUT = "TIMEOUT"  #: took longer than its timeout
    STOPPED = "STOPPED"  #: a person stopped it
    DIED = "DIED"  #: its runner died under it
    LOST = "LOST"  #: its worker died, found by the leading worker
    INTERRUPTED = "INTERRUPTED"  #: its worker left, or could not keep its lease

    RUN_STATUS = {
        COMPLETED: RunStatus.COMPLETED,
        FAILED: RunStatus.FAILED,
        TIMEOUT: RunStatus.TIMEOUT,
        STOPPED: RunStatus.STOPPED,
        DIED: RunStatus.STOPPED,
        LOST: RunStatus.STOPPED,
        INTERRUPTED: RunStatus.STOPPED,
    }

    FAILURES = (FAILED, TIMEOUT, DIED, LOST)  #: nobody asked for such an end


def outcome_of(status: str | None, outcome: str | None) -> str | None:
    """How a run ended; None while it runs. A row of an older version has no outcome, and one whose
    status was edited by hand has another than its outcome: there the status is all that is known.
    """
    if status not in Outcome.RUN_STATUS:
        return None
    return outcome if outcome and Outcome.RUN_STATUS.get(outcome) == status else status


#: As numbers, by their place.
OUTCOMES = tuple(Outcome.RUN_STATUS)


class OnFailure:
    """What a repeating task does when an occurrence failed and has no retries left."""

    STOP = "stop"  #: the task ends, as in web2py
    CONTINUE = "continue"  #: the next occurrence comes all the same

    ALL = (STOP, CONTINUE)


class OnChildFailure:
    """What a waiting task does when the task it waits for ended without success."""

    STOP = "stop"  #: it is stopped, with the reason
    RUN = "run"  #: it runs all the same
    WAIT = "wait"  #: it goes on waiting, for somebody to requeue the other

    ALL = (STOP, RUN, WAIT)


class Task(NamedTuple):
    """What shall be done, and its schedule: one row of ``scheduler_task``, as the engine reads it.

    A named tuple, and not a data class, because thousands are made a second.
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
        """How logs and messages call it: ``17 send_mail``."""
        return f"{self.id} {self.task_name or self.function_name}"


@dataclass(frozen=True)
class Order:
    """A task sent to a runner: the task, the run row made for it, and when it was started."""

    task: Task
    run_id: int
    started: datetime

    @property
    def label(self) -> str:
        """How logs and messages call its run: ``run 81 of task 17 send_mail``."""
        return f"run {self.run_id} of task {self.task.label}"


@dataclass(frozen=True)
class Report:
    """What came back of a run.

    ``seconds`` is how long the function ran; ``result`` is JSON text, or None where there is none.
    """

    order: Order
    outcome: str
    ended: datetime
    seconds: float
    result: str | None = None
    traceback: str | None = None
    output: str = ""
    reason: str | None = None
    progress: dict[str, Any] | None = None


@dataclass(frozen=True)
class Worker:
    """A supervisor process known to the database: one row of ``scheduler_worker``."""

    id: int
    worker_name: str
    application_name: str
    status: str
    is_ticker: bool
    group_names: tuple[str, ...]
    lease_until: float
