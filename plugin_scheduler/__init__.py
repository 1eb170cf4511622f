"""web2py's scheduler, reborn: background tasks for py4web, and for every program that uses pydal.

>>> from plugin_scheduler import Scheduler
>>> def task_add(a, b): return a + b
>>> scheduler = Scheduler(db)
>>> scheduler.queue_task(task_add, [3, 4])
"""

from plugin_scheduler.api import Scheduler
from plugin_scheduler.cron import IS_CRONLINE, CronParser
from plugin_scheduler.current import current_task, progress
from plugin_scheduler.errors import (
    BadTask,
    ConfigError,
    DependencyCycle,
    NotFound,
    SchedulerError,
    StoreUnavailable,
)
from plugin_scheduler.identity import VERSION as __version__
from plugin_scheduler.jobs import JobGraph
from plugin_scheduler.records import RunStatus, TaskStatus, WorkerStatus

QUEUED = TaskStatus.QUEUED
ASSIGNED = TaskStatus.ASSIGNED
RUNNING = TaskStatus.RUNNING
COMPLETED = TaskStatus.COMPLETED
FAILED = TaskStatus.FAILED
TIMEOUT = TaskStatus.TIMEOUT
STOPPED = TaskStatus.STOPPED
EXPIRED = TaskStatus.EXPIRED
ACTIVE = WorkerStatus.ACTIVE
DISABLED = WorkerStatus.DISABLED
TERMINATE = WorkerStatus.TERMINATE
KILL = WorkerStatus.KILL
PICK = WorkerStatus.PICK
STOP_TASK = WorkerStatus.STOP_TASK
TASK_STATUS = TaskStatus.ALL
RUN_STATUS = RunStatus.ALL
WORKER_STATUS = WorkerStatus.ALL

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
