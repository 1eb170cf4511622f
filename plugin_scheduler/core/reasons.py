"""Reason codes: why a run ended or a task has its status, as data, with the English text of each.

A `Reason` is created where the decision is made. Its text goes into the column ``reason``, its code
into ``reason_code``. Logic compares codes and never reads the text. Rows of older versions have no
code.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import StringEnum

REASON_LIMIT = 500  # characters; the column holds 512


class ReasonCode(StringEnum):
    """The values of ``reason_code``."""

    RAISED = "raised"
    TIMEOUT = "timeout"
    STOP_REQUESTED = "stop_requested"
    STOP_ORDERED = "stop_ordered"
    RUNNER_DIED = "runner_died"
    RUNNER_UNREADABLE = "runner_unreadable"
    NO_ROOM = "no_room"
    RUNNER_RETIRED = "runner_retired"
    RUNNER_ENDED = "runner_ended"
    WORKER_DIED = "worker_died"
    WORKER_DIED_OFTEN = "worker_died_often"
    WORKER_LEFT = "worker_left"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease_lost"
    SPAWNER_DIED = "spawner_died"
    START_LOST = "start_lost"
    TAKEN_AWAY = "taken_away"
    REPORT_REFUSED = "report_refused"
    REPORT_TOO_LARGE = "report_too_large"
    RESULT_LOST = "result_lost"
    COMMIT_FAILED = "commit_failed"
    UNKNOWN_FUNCTION = "unknown_function"
    BAD_ARGUMENTS = "bad_arguments"
    BAD_ROW = "bad_row"
    NO_NEXT_TIME = "no_next_time"
    NEXT_TOO_LATE = "next_too_late"
    EXPIRED = "expired"
    WAITS = "waits"
    SKIPPED = "skipped"


_C = ReasonCode
#: The English template of each code, with values in braces.
TEMPLATES: Mapping[ReasonCode, str] = {
    _C.RAISED: "{error}",
    _C.TIMEOUT: "ran longer than its timeout of {seconds} s",
    _C.STOP_REQUESTED: "stopped on request",
    _C.STOP_ORDERED: "stopped by command STOP_TASK",
    _C.RUNNER_DIED: "its runner died: {how}",
    _C.RUNNER_UNREADABLE: "its runner sent an unreadable message; the task may have written to "
    "file descriptors of the runner",
    _C.NO_ROOM: "the machine lacks resources for its arguments or its result: {error}",
    _C.RUNNER_RETIRED: "its runner did not respond in time and was killed",
    _C.RUNNER_ENDED: "its runner was killed to end an earlier run",
    _C.WORKER_DIED: "its worker {worker} died",
    _C.WORKER_DIED_OFTEN: "its worker died {times} times",
    _C.WORKER_LEFT: "its worker stopped",
    _C.SHUTDOWN: "its worker stopped ({why})",
    _C.LEASE_LOST: "its worker could not renew its lease in time",
    _C.SPAWNER_DIED: "the forkserver of its runner died",
    _C.START_LOST: "its claim was lost before it started",
    _C.TAKEN_AWAY: "its worker no longer owned the task",
    _C.REPORT_REFUSED: "its report could not be stored: {error}",
    _C.REPORT_TOO_LARGE: "its result could not be stored: {error}",
    _C.RESULT_LOST: "the worker could not receive the file with its result: too many open files",
    _C.COMMIT_FAILED: "its changes could not be committed: {error}",
    _C.UNKNOWN_FUNCTION: "unknown function: {function}",
    _C.BAD_ARGUMENTS: "its arguments are invalid: {error}",
    _C.BAD_ROW: "its row cannot be read: {error}",
    _C.NO_NEXT_TIME: "its next run time cannot be computed: {error}",
    _C.NEXT_TOO_LATE: "its next run would be after its stop_time",
    _C.EXPIRED: "its stop_time passed before it started",
    _C.WAITS: "it waits for {task}, which {ended}",
    _C.SKIPPED: "skipped: it waits for {task}, which {ended}",
}


class Reason(Sentence):
    """English text with its code and values.

    >>> reason = Reason(ReasonCode.WORKER_DIED, worker="web1#7")
    >>> reason, reason.code
    ('its worker web1#7 died', 'worker_died')
    """

    code: str

    def __new__(cls, code: ReasonCode, /, **values: Any) -> Reason:
        reason = super().__new__(cls, TEMPLATES[code], **values)
        assert isinstance(reason, Reason)
        reason.code = code.value
        return reason

    def __getnewargs_ex__(self) -> tuple[tuple[Any], dict[str, Any]]:
        return (ReasonCode(self.code),), self.values


class WrittenReason(str):
    """A reason formatted by another process, with its code.

    >>> WrittenReason("ValueError: 3", "raised").code
    'raised'
    """

    code: str | None

    def __new__(cls, text: str, code: object) -> WrittenReason:
        reason = super().__new__(cls, text)
        reason.code = code.value if isinstance(code, ReasonCode) else _known(code)
        return reason

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.code


def _known(code: object) -> str | None:
    """Return the code if it exists, else None."""
    try:
        return ReasonCode(code).value
    except ValueError:
        return None


def stored_reason(reason: str | None, code: object) -> str | None:
    """Parse the reason of a row, so that it can be translated; for display only.

    Text that does not match the template of its code (cut, or of another version) is returned
    unchanged.

    >>> stored_reason("its worker web1#7 died", "worker_died").values
    {'worker': 'web1#7'}
    """
    known = _known(code)
    found = _pattern(ReasonCode(known)).fullmatch(reason) if known and reason else None
    if found is None:
        return reason
    return Reason(ReasonCode(known), **found.groupdict())


@lru_cache(maxsize=len(ReasonCode))
def _pattern(code: ReasonCode) -> re.Pattern[str]:
    parts = string.Formatter().parse(TEMPLATES[code])
    found = (re.escape(text) + (f"(?P<{name}>.*)" if name else "") for text, name, _, _ in parts)
    return re.compile("".join(found), re.DOTALL)


def code_of(reason: str | None) -> str | None:
    """Return the code of a reason; None for plain text."""
    code = getattr(reason, "code", None)
    return code if isinstance(code, str) else None


def reason_columns(reason: str | None) -> dict[str, str | None]:
    """Return the columns ``reason`` and ``reason_code`` of a task or a run."""
    return {"reason": short(reason), "reason_code": code_of(reason)}


def short(reason: str | None) -> str | None:
    """Cut a reason to the length of its column."""
    if reason is None or len(reason) <= REASON_LIMIT:
        return None if reason is None else str(reason)
    return reason[: REASON_LIMIT - 3] + "..."
