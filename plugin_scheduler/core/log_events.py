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
    "worker_left": (_I, "worker %(worker)s left: %(why)s"),
    "worker_draining": (_I, "worker %(worker)s takes nothing new: %(why)s"),
    "worker_disabled": (_I, "worker %(worker)s was disabled: it takes nothing new until resumed"),
    "worker_resumed": (_I, "worker %(worker)s was resumed"),
    "row_gone": (_W, "worker %(worker)s found its row gone and added it again"),
    "run_completed": (_I, "run %(run)s of task %(task)s completed in %(seconds).3f s"),
    "runs_completed": (
        _I,
        "%(count)s runs completed, %(first)s among them, in %(seconds).3f s of work",
    ),
    "run_repeats": (_I, "run %(run)s of task %(task)s completed in %(seconds).3f s; it repeats"),
    "run_failed": (
        _W,
        "run %(run)s of task %(task)s ended %(outcome)s after %(seconds).3f s: %(reason)s; "
        "task is now %(status)s",
    ),
    "counts_refused": (
        _W,
        "how the work went cannot be counted in the database, it goes on all the same: %(error)s",
    ),
    "live_refused": (
        _W,
        "run %(run)s of task %(task)s: what it printed and told cannot be stored while it runs, "
        "and is left out: %(error)s",
    ),
    "give_back_refused": (
        _W,
        "run %(run)s of task %(task)s cannot be given back, next try in %(seconds)d s: %(error)s",
    ),
    "chore_refused": (
        _W,
        "%(what)s could not be done, because the database refuses it: %(error)s",
    ),
    "report_refused": (
        _W,
        "run %(run)s of task %(task)s: its end cannot be stored, next try in %(seconds)d s: "
        "%(error)s",
    ),
    "report_dropped": (
        _W,
        "report of run %(run)s of task %(task)s dropped: the task was taken away from this worker",
    ),
    "run_taken": (_W, "run %(run)s of task %(task)s was taken away from this worker; ended"),
    "lead_won": (_I, "worker %(worker)s leads now"),
    "lead_lost": (_I, "worker %(worker)s leads no more"),
    "worker_died": (
        _W,
        "worker %(worker)s on %(host)s died while it was idle: no heartbeat for %(seconds)s s",
    ),
    "requeued": (_W, "worker %(owner)s died; %(count)s tasks given back: %(tasks)s"),
    "expired": (_I, "%(count)s tasks expired: their stop_time passed"),
    "fanned_out": (_I, "broadcast tasks: %(count)s copies queued"),
    "database_away": (_E, "database does not answer, will go on trying: %(error)s"),
    "database_awaited": (
        _W,
        "the database cannot be used now, waiting up to %(seconds)g s for it: %(error)s",
    ),
    "room_awaited": (
        _W,
        "no process can be made that loads the app, waiting up to %(seconds)g s for it: %(error)s",
    ),
    "child_died": (
        _E,
        "a worker of this command died (%(how)s); started again in %(seconds).0f s",
    ),
    "child_refused": (_E, "a worker of this command ended and is not started again: %(how)s"),
    "parent_gone": (_W, "the command that started this worker is gone: it leaves, too"),
    "start_failed": (_E, "this worker could not start: %(error)s"),
    "left_early": (_I, "this worker left: %(why)s"),
    "reloading": (_I, "worker %(worker)s loads its app anew"),
    "reloaded": (
        _I,
        "worker %(worker)s has loaded its app anew: %(tasks)s tasks known; what runs ends as it "
        "began",
    ),
    "reload_failed": (
        _E,
        "worker %(worker)s could not load its app anew and goes on with what it has: %(why)s",
    ),
    "signal_ignored": (_W, "signal %(signal)s ignored"),
    "state": (
        _W,
        "state of worker %(worker)s: %(status)s, groups %(groups)s, leads: %(leads)s, database: "
        "%(database)s; %(waiting)s tasks in hand, %(running)s running: %(runs)s",
    ),
    "lock_ended": (
        _W,
        "a run that has ended left a transaction open and the database locked: idle runners "
        "ended, process %(pids)s",
    ),
    "database_back": (_W, "database answers again after %(seconds).1f s"),
    "bell_lost": (
        _W,
        "news of work come late, this worker looks twice a second instead: %(why)s",
    ),
    "bell_back": (_I, "news of work come at once again"),
    "zones_differ": (_W, "worker %(worker)s: %(trouble)s"),
    "tables_lack": (_W, "could not be made in the database, the worker does without: %(what)s"),
    "boot_failed": (_E, "a runner could not start, next try in a moment: %(why)s"),
    "runner_retires": (
        _I,
        "a runner retires after run %(run)s of task %(task)s: %(why)s",
    ),
    "runner_spent": (
        logging.DEBUG,
        "a runner retires after run %(run)s of task %(task)s: it has done as many runs as "
        "runner_max_runs allows",
    ),
    "threads_in_app": (
        _W,
        "the app starts threads when it is loaded (%(threads)s); runners are started as new "
        "interpreters instead of forks, which takes longer",
    ),
    "claim_failing": (
        _E,
        "no task can be taken, will go on trying: %(error)s. Running tasks and reports are looked "
        "after meanwhile",
    ),
    "claim_works": (_W, "tasks can be taken again after %(seconds).1f s"),
    "events_refused": (
        _W,
        "the history cannot be written, the work goes on all the same: %(error)s",
    ),
    "condemned": (_E, "%(count)s tasks FAILED: their rows cannot be read"),
    "function_unknown": (
        _W,
        "this worker does not know the function %(function)s of task %(task)s: such tasks wait for "
        "a worker that does; restart this one if the function is newer",
    ),
    "functions_given_up": (
        _E,
        "%(count)s tasks FAILED: no worker has known their function for %(seconds).0f s: "
        "%(functions)s",
    ),
    "task_strays": (_W, "gave back %(count)s tasks that this worker did not know it had"),
    "loop_error": (_E, "unexpected error in the worker's loop; going on"),
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
