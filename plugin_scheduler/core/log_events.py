"""Log events: the table of all events with their levels and messages.

Configures loggers only when the command line asks for it.
"""

from __future__ import annotations

import logging
import textwrap
from typing import Any

from plugin_scheduler.core.visible_text import visible
from plugin_scheduler.system.log_outlet import OutletHandler

logger = logging.getLogger("plugin_scheduler")

_D, _I, _W, _E = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

EVENTS: dict[str, tuple[int, str]] = {
    "worker_started": (
        _I,
        "worker %(worker)s started: app %(app)s, groups %(groups)s, slots %(slots)s, "
        "%(tasks)s tasks known",
    ),
    "worker_left": (_I, "worker %(worker)s stopped: %(why)s"),
    "worker_draining": (
        _I,
        "worker %(worker)s is stopping and claims no new tasks: %(why)s",
    ),
    "worker_disabled": (
        _I,
        "worker %(worker)s is paused and claims no new tasks until it is resumed",
    ),
    "worker_resumed": (_I, "worker %(worker)s is resumed"),
    "row_gone": (_W, "worker %(worker)s found its row missing and added it again"),
    "run_completed": (_I, "run %(run)s of task %(task)s completed in %(seconds).3f s"),
    "runs_completed": (
        _I,
        "%(count)s runs completed, the first of task %(first)s; run time %(seconds).3f s in total",
    ),
    "run_repeats": (
        _I,
        "run %(run)s of task %(task)s completed in %(seconds).3f s; the task is queued again",
    ),
    "run_failed": (
        _W,
        "run %(run)s of task %(task)s ended with outcome %(outcome)s after %(seconds).3f s: "
        "%(reason)s; the task is now %(status)s",
    ),
    "counts_refused": (
        _W,
        "the database rejected the run counts; tasks are not affected: %(error)s",
    ),
    "live_refused": (
        _W,
        "run %(run)s of task %(task)s: the database rejected its live output and progress, no more "
        "are stored until it ends: %(error)s",
    ),
    "give_back_refused": (
        _W,
        "run %(run)s of task %(task)s cannot be given back, retry in %(seconds)d s: %(error)s",
    ),
    "chore_refused": (_W, "the database rejected %(what)s: %(error)s"),
    "report_refused": (
        _W,
        "run %(run)s of task %(task)s: its report cannot be stored, retry in %(seconds)d s: "
        "%(error)s",
    ),
    "report_dropped": (
        _W,
        "report of run %(run)s of task %(task)s dropped: this worker no longer owns the task",
    ),
    "run_taken": (
        _W,
        "run %(run)s of task %(task)s terminated: this worker no longer owns the task",
    ),
    "lead_won": (_I, "worker %(worker)s is now the leader"),
    "lead_lost": (_I, "worker %(worker)s is no longer the leader"),
    "worker_died": (
        _W,
        "worker %(worker)s on %(host)s died while idle: no heartbeat for %(seconds)s s",
    ),
    "requeued": (_W, "worker %(owner)s died; %(count)s tasks given back: %(tasks)s"),
    "expired": (_I, "%(count)s tasks expired: their stop_time has passed"),
    "fanned_out": (_I, "broadcast tasks: %(count)s copies queued"),
    "database_away": (_E, "the database does not answer, retrying: %(error)s"),
    "database_awaited": (
        _W,
        "the database is not available, retrying for up to %(seconds)g s: %(error)s",
    ),
    "room_awaited": (
        _W,
        "the process that loads the app cannot be created, retrying for up to %(seconds)g s: "
        "%(error)s",
    ),
    "child_died": (
        _E,
        "a worker of this command died (%(how)s); restart in %(seconds).0f s",
    ),
    "child_refused": (_E, "a worker of this command exited and is not restarted: %(how)s"),
    "parent_gone": (_W, "the command that started this worker has exited, the worker stops"),
    "start_failed": (_E, "this worker could not start: %(error)s"),
    "left_early": (_I, "this worker stopped: %(why)s"),
    "reloading": (_I, "worker %(worker)s reloads its app"),
    "reloaded": (
        _I,
        "worker %(worker)s has reloaded its app: %(tasks)s tasks known; running tasks finish with "
        "the old code",
    ),
    "reload_failed": (
        _E,
        "worker %(worker)s could not reload its app and keeps the one it has: %(why)s",
    ),
    "signal_ignored": (_W, "signal %(signal)s ignored"),
    "state": (
        _W,
        "state of worker %(worker)s: %(status)s, groups %(groups)s, leader: %(leads)s, database: "
        "%(database)s; %(waiting)s tasks claimed but not running, %(running)s running: %(runs)s",
    ),
    "lock_ended": (
        _W,
        "a run that has ended left a transaction open, which locked the database: idle runners "
        "terminated, process %(pids)s",
    ),
    "database_back": (_W, "the database answers again after %(seconds).1f s"),
    "bell_lost": (_W, "notifications are delayed, polling every 0.5 s: %(why)s"),
    "bell_back": (_I, "notifications arrive without delay again"),
    "zones_differ": (_W, "worker %(worker)s: %(trouble)s"),
    "tables_lack": (_W, "not created in the database, the worker runs without: %(what)s"),
    "boot_failed": (_E, "a runner could not start, retrying: %(why)s"),
    "runner_retires": (_I, "a runner exits after run %(run)s of task %(task)s: %(why)s"),
    "runner_spent": (
        logging.DEBUG,
        "a runner exits after run %(run)s of task %(task)s: it has reached runner_max_runs",
    ),
    "threads_in_app": (
        _W,
        "the app starts threads when it is loaded (%(threads)s); runners are started as new "
        "interpreters instead of forks, which takes longer",
    ),
    "claim_failing": (
        _E,
        "tasks cannot be claimed, retrying: %(error)s. Running tasks and reports are not affected",
    ),
    "claim_works": (_W, "tasks can be claimed again after %(seconds).1f s"),
    "events_refused": (
        _W,
        "the database rejected the worker's events (scheduler_history); tasks are not affected: "
        "%(error)s",
    ),
    "condemned": (_E, "%(count)s tasks FAILED: their rows cannot be read"),
    "function_unknown": (
        _W,
        "this worker does not know the function %(function)s of task %(task)s: such tasks wait for "
        "a worker that knows it; restart this worker if the function is newer",
    ),
    "functions_given_up": (
        _E,
        "%(count)s tasks FAILED: no worker has known their function for %(seconds).0f s: "
        "%(functions)s",
    ),
    "task_strays": (
        _W,
        "gave back %(count)s tasks that were assigned to this worker but unknown to it",
    ),
    "loop_error": (_E, "unexpected error in the worker's main loop, the worker continues"),
}


def log_event(event: str, **facts: object) -> None:
    """Log an event by its name.

    >>> log_event("lead_won", worker="web1#4711")
    """
    level, sentence = EVENTS[event]
    if logger.isEnabledFor(level):
        # Names and messages come from outside and must not contain line breaks.
        facts = {name: _inert(fact) for name, fact in facts.items()}
        # An empty dict would be one argument too many for the message.
        arguments = (facts,) if facts else ()
        logger.log(level, sentence, *arguments, exc_info=event == "loop_error")


def _inert(fact: object) -> object:
    return fact if isinstance(fact, (int, float)) else visible(str(fact))


class _Lines(logging.Formatter):
    """Formatter with one line per event; traceback lines are indented to tell them apart."""

    def formatException(self, info: Any) -> str:
        return textwrap.indent(visible(super().formatException(info), lines=True), "    ")


def stderr_handler(fd: int = 2) -> OutletHandler:
    """Return the command's handler: time, level and message on standard error; never blocks."""
    handler = OutletHandler(fd)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))
    return handler


def to_stderr(level: int) -> None:
    """Log events to standard error; for the command line only."""
    logger.addHandler(stderr_handler())
    logger.setLevel(level)
    logger.propagate = False


def write_out() -> None:
    """Write the lines that were buffered."""
    for handler in logger.handlers:
        if isinstance(handler, OutletHandler):
            handler.write_out()
