"""Everything that can go wrong, by who must act.

    SchedulerError
    |-- ConfigError        the operator: a wrong option, app, database or folder
    |   `-- NameTaken      the operator: a live worker has the name
    |-- BadTask            the caller: a value that cannot be queued or stored
    |-- DependencyCycle    the caller: tasks that wait for each other in a ring
    |-- NotFound           the caller: a task, run or worker that is not there
    |-- CommitFailed       the task: what it wrote is not in the database
    `-- StoreUnavailable   the engine: the database does not answer now; try again
        |-- Conflict       the engine: it ended this transaction for another's sake; at once
        `-- Locked         the engine: somebody holds a row; the others can go on

I own the words of errors. I call nobody. I never log and never exit.
"""

from __future__ import annotations

from collections.abc import Sequence


class SchedulerError(Exception):
    """The base of every error of this package."""


class ConfigError(SchedulerError):
    """Something the operator set up is wrong; the message names it and the remedy."""


class NameTaken(ConfigError):
    """A worker that is alive has the name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"worker name {name!r} is taken by a worker that is alive; "
            "choose another with --worker-name"
        )


class BadTask(SchedulerError):
    """A task, argument or result that cannot be stored; the message names the part."""


class NotFound(SchedulerError):
    """There is no such task, run or worker."""


class CommitFailed(SchedulerError):
    """A commit that would keep nothing, or not all: the database has ended the transaction."""


class StoreUnavailable(SchedulerError):
    """The database is locked, gone or busy for the moment; the same call may work later.

    ``for_all`` is True where nobody can reach it now, so that nobody takes over anybody's tasks.
    """

    def __init__(self, message: str = "", for_all: bool = False) -> None:
        super().__init__(message)
        self.for_all = for_all


class Conflict(StoreUnavailable):
    """A deadlock, or two writers of one row: this transaction was the victim, and can go again."""


class Locked(StoreUnavailable):
    """Somebody holds a row, and does not let go in time: go on with the others."""


class DependencyCycle(SchedulerError):
    """Tasks wait for each other in a ring, so that none of them could ever start.

    ``path`` lists the ring, first task repeated at its end.
    """

    def __init__(self, path: Sequence[object]) -> None:
        self.path = list(path)
        super().__init__(" waits for ".join(f"task {step}" for step in self.path))
