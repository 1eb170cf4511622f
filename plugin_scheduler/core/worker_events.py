"""Worker events that the history keeps, and the English text of each.

An event is a row of ``scheduler_history``: ``who`` is `SCHEDULER`, ``did`` is the kind of event,
``detail`` contains the values. Pages and the command line build the sentence from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import StringEnum

SCHEDULER = "scheduler"


class WorkerEvent(StringEnum):
    """The values of ``did``."""

    STARTED = "worker_started"
    REFUSED = "worker_refused"
    LEFT = "worker_left"
    DIED = "worker_died"
    SUCCEEDED = "worker_succeeded"
    GONE = "worker_gone"
    ROW_GONE = "row_gone"
    DATABASE_BACK = "database_back"
    CLAIM_FAILING = "claim_failing"
    CLAIM_WORKS = "claim_works"


#: Events of workers that ended without giving a reason.
DEATHS = (WorkerEvent.DIED, WorkerEvent.SUCCEEDED, WorkerEvent.GONE)
TEMPLATES: Mapping[WorkerEvent, str] = {
    WorkerEvent.STARTED: "started on {host}, process {pid}: groups {groups}, slots {slots}",
    WorkerEvent.REFUSED: "did not start: {why}",
    WorkerEvent.LEFT: "stopped: {why}",
    WorkerEvent.DIED: "died on {host}: no heartbeat for {seconds} s; tasks given back: {tasks}",
    WorkerEvent.SUCCEEDED: "died; a new worker took its name; tasks given back: {tasks}",
    WorkerEvent.GONE: "no longer has a row; tasks given back: {tasks}",
    WorkerEvent.ROW_GONE: "found its row missing and added it again",
    WorkerEvent.DATABASE_BACK: "reached its database again after {seconds} s: {error}",
    WorkerEvent.CLAIM_FAILING: "cannot claim tasks: {error}",
    WorkerEvent.CLAIM_WORKS: "claims tasks again after {seconds} s",
}


def event_sentence(who: str, did: str, detail: Mapping[str, Any]) -> Sentence | None:
    """Describe an event; None for the action of a person, and for events of other versions.

    >>> event_sentence("scheduler", "worker_left", {"why": "SIGTERM"})
    'stopped: SIGTERM'
    """
    if who != SCHEDULER:
        return None
    try:
        return Sentence(TEMPLATES[WorkerEvent(did)], **detail)
    except (KeyError, ValueError):
        return None
