"""The exceptions of the package, and which side must act on each.

    SchedulerError
    |-- ConfigError        the operator: a wrong option, app, database or folder
    |   `-- NameTaken      the operator: a live worker has the name
    |-- BadTask            the caller: a value that cannot be queued or stored
    |-- DependencyCycle    the caller: tasks that wait for each other in a cycle
    |-- NotFound           the caller: a task, run or worker that does not exist
    |-- CommitFailed       the task: its changes are not in the database
    `-- StoreUnavailable   the engine: the database cannot be used now; retry later
        |-- Conflict       the engine: the database rolled this transaction back; retry at once
        `-- Locked         the engine: a row stays locked; continue with other rows

Does not log.
"""

from __future__ import annotations

from collections.abc import Sequence


class SchedulerError(Exception):
    """Base class of all errors of this package."""


class ConfigError(SchedulerError):
    """Raised for a wrong setting, option, app, database or folder.

    The message names it and the remedy.
    """


class NameTaken(ConfigError):
    """Raised if a live worker has the name of a new worker."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"worker name {name!r} is used by a live worker; choose another with --worker-name"
        )


class BadTask(SchedulerError):
    """Raised for a task, argument or result that cannot be stored; the message names the part."""


class NotFound(SchedulerError):
    """Raised if a task, run or worker does not exist."""


class CommitFailed(SchedulerError):
    """Raised by a commit that would lose changes: the database has ended the transaction.

    Call ``db.rollback()`` to go on in a new transaction.
    """


class StoreUnavailable(SchedulerError):
    """Raised if the database is locked, busy or unreachable now; a retry may succeed.

    ``for_all`` is True if no worker can reach the database, so that no worker takes over tasks of
    another one.
    """

    def __init__(self, message: str = "", for_all: bool = False) -> None:
        super().__init__(message)
        self.for_all = for_all


class Conflict(StoreUnavailable):
    """Raised for a deadlock or a write conflict: this transaction was rolled back; retry it."""


class Locked(StoreUnavailable):
    """Raised if a row stays locked by another transaction; continue with other rows."""


class DependencyCycle(SchedulerError):
    """Raised if tasks wait for each other in a cycle, so that none of them can start.

    ``path`` lists the ids of the cycle; the first id is repeated at the end.
    """

    def __init__(self, path: Sequence[object]) -> None:
        self.path = list(path)
        super().__init__(" waits for ".join(f"task {step}" for step in self.path))
