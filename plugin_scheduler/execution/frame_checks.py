"""Check frames that arrive from a runner or a forkserver.

Tasks run in a runner and can write to its descriptors, so each frame is treated as untrusted input:
the kind, number, type and range of its values, and text that no database accepts. ValueError names
the fault. The module does not decide what happens to the sender.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from plugin_scheduler.execution.mailbox import PackedReport, unpack_report

LONGEST = 1 << 20  # characters of a text
LONGEST_REASON = 500  # characters of a runner's reason to retire
MOST_SECONDS = 1e10  # of a run, or of a machine's monotonic clock
MOST_PID = 1 << 31


def read_report(body: bytes) -> PackedReport:
    """Unpack a report and check that its values can be stored."""
    told = unpack_report(body)
    if not (0.0 <= told.seconds <= MOST_SECONDS and 0.0 <= told.began <= MOST_SECONDS):
        raise ValueError("invalid times in a report")
    if told.result is not None and "\0" in told.result:
        raise ValueError("a result that is not JSON")
    if told.rest:
        _check_rest(told.rest)
        if "retires" in told.rest and not told.retires:
            raise ValueError("a reason to exit without an exit")
    return told


def _check_rest(rest: Any) -> None:
    if type(rest) is not dict:
        raise ValueError("invalid details in a report")
    for name, value in rest.items():
        check = _REST.get(name)
        if check is None or not check(value):
            raise ValueError("invalid value in a report")


def check_message(message: Any) -> None:
    """Check a message of a runner: ``["progress", run id, progress]``, ``["ready", pid]``,
    ``["loaded", description]`` or ``["boot_failed", why]``."""
    _check(message, _FROM_RUNNERS)


def check_news(message: Any) -> None:
    """Check a message of a forkserver; see `Forkserver.read`."""
    _check(message, _FROM_FORKSERVERS)


def _check(message: Any, kinds: Mapping[str, tuple[Callable[[Any], bool], ...]]) -> None:
    if type(message) is not list or not message or type(message[0]) is not str:
        raise ValueError("not a message")
    checks = kinds.get(message[0])
    if checks is None or len(message) != len(checks) + 1:
        raise ValueError("unknown message")
    for check, value in zip(checks, message[1:], strict=True):
        if not check(value):
            raise ValueError(f"invalid value in a message ({message[0]})")


def _is_text(value: Any) -> bool:
    if type(value) is not str or len(value) > LONGEST or "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in value)


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_reason(value: Any) -> bool:
    return _is_text(value) and 0 < len(value) <= LONGEST_REASON


def _is_pid(value: Any) -> bool:
    return type(value) is int and 0 < value < MOST_PID


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _are_pids(value: Any) -> bool:
    return type(value) is list and all(map(_is_pid, value))


def _is_description(value: Any) -> bool:
    """Check the parts of `LoadedApp.describe` that are read while the worker runs."""
    return type(value) is dict and _are_texts(value.get("tasks"))


def _are_texts(value: Any) -> bool:
    return type(value) is list and all(map(_is_text, value))


def _is_amount(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 1 << 63
    return type(value) is float and math.isfinite(value)


def is_progress(value: Any) -> bool:
    """Return True for a value that `progress` can make of its arguments."""
    return (
        type(value) is dict
        and value.keys() == {"at", "of", "text"}
        and _is_amount(value["at"])
        and (value["of"] is None or _is_amount(value["of"]))
        and _is_text(value["text"])
    )


_REST: Mapping[str, Callable[[Any], bool]] = {
    "traceback": _is_text_or_none,
    "reason": _is_text_or_none,
    "reason_code": _is_text_or_none,
    "progress": is_progress,
    "retires": _is_reason,
}
_FROM_RUNNERS: Mapping[str, tuple[Callable[[Any], bool], ...]] = {
    "progress": (_is_whole, is_progress),
    "ready": (_is_pid,),
    "loaded": (_is_description,),
    "boot_failed": (_is_text,),
}
_FROM_FORKSERVERS: Mapping[str, tuple[Callable[[Any], bool], ...]] = {
    "loaded": (_is_description, _are_texts),
    "boot_failed": (_is_text,),
    "away": (_is_text,),
    "born": (_is_pid,),
    "unborn": (_is_text,),
    "died": (_is_pid, _is_whole),
    "lapsed": (_are_pids,),
}
