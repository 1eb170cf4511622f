"""Run background tasks of py4web apps and of any program that uses pydal, with web2py's API.

>>> from plugin_scheduler import Scheduler
>>> def task_add(a, b): return a + b
>>> scheduler = Scheduler(db)
>>> scheduler.queue_task(task_add, [3, 4])

The packages `controllers`, `models` and `views` lie beside this folder in the repository.
"""

import signal
import sys

if sys.argv[:1] == ["-m"] and __name__ in sys.orig_argv:
    # This is the command. Block these signals during the import: pydal
    # swallows a KeyboardInterrupt while it tries drivers. The signal handling unblocks them.
    signal.pthread_sigmask(
        signal.SIG_BLOCK,
        (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1),
    )

from plugin_scheduler.core.current_task import current_task, progress
from plugin_scheduler.core.errors import (
    BadTask,
    ConfigError,
    DependencyCycle,
    NotFound,
    SchedulerError,
    StoreUnavailable,
)
from plugin_scheduler.core.types import RunStatus, TaskStatus, WorkerStatus
from plugin_scheduler.core.version import VERSION as __version__
from plugin_scheduler.operations.job_graph import JobGraph
from plugin_scheduler.scheduler import Scheduler
from plugin_scheduler.scheduling.cron import IS_CRONLINE, CronParser

# web2py's names are plain texts, so that they look the same in templates and in messages.
QUEUED = TaskStatus.QUEUED.value
ASSIGNED = TaskStatus.ASSIGNED.value
RUNNING = TaskStatus.RUNNING.value
COMPLETED = TaskStatus.COMPLETED.value
FAILED = TaskStatus.FAILED.value
TIMEOUT = TaskStatus.TIMEOUT.value
STOPPED = TaskStatus.STOPPED.value
EXPIRED = TaskStatus.EXPIRED.value
ACTIVE = WorkerStatus.ACTIVE.value
DISABLED = WorkerStatus.DISABLED.value
TERMINATE = WorkerStatus.TERMINATE.value
KILL = WorkerStatus.KILL.value
PICK = WorkerStatus.PICK.value
STOP_TASK = WorkerStatus.STOP_TASK.value
TASK_STATUS = tuple(status.value for status in TaskStatus.ALL)
RUN_STATUS = tuple(status.value for status in RunStatus.ALL)
WORKER_STATUS = tuple(status.value for status in WorkerStatus.ALL)

__all__ = [
    "ACTIVE",
    "ASSIGNED",
    "COMPLETED",
    "DISABLED",
    "EXPIRED",
    "FAILED",
    "IS_CRONLINE",
    "KILL",
    "PICK",
    "QUEUED",
    "RUNNING",
    "RUN_STATUS",
    "STOPPED",
    "STOP_TASK",
    "TASK_STATUS",
    "TERMINATE",
    "TIMEOUT",
    "WORKER_STATUS",
    "BadTask",
    "ConfigError",
    "CronParser",
    "DependencyCycle",
    "JobGraph",
    "NotFound",
    "Scheduler",
    "SchedulerError",
    "StoreUnavailable",
    "__version__",
    "current_task",
    "progress",
]
