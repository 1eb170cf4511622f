"""Compute and describe the due times of tasks that run more than once.

Contains the arithmetic of period, prevent_drift, repeats and retry_failed. Does not read a clock or
the database: all times are arguments, naive datetimes in one zone (all local, or all UTC).

Returned times have whole seconds, because pydal stores no fraction of a second.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.scheduling import cron, cron_description

_SLACK = timedelta(seconds=0.1)
_SECOND = timedelta(seconds=1)

_UNITS = (
    (604800, "every week", "every {count} weeks"),
    (86400, "every day", "every {count} days"),
    (3600, "every hour", "every {count} hours"),
    (60, "every minute", "every {count} minutes"),
    (1, "every second", "every {count} seconds"),
)


def next_run_time(
    *,
    started: datetime,
    start_time: datetime | None,
    period: int,
    prevent_drift: bool,
    cronline: str | None,
) -> datetime:
    """Return the next due time, counted from ``started``, the start of the latest run.

    As in web2py, ``period`` (seconds) counts from start to start. A ``cronline`` takes precedence:
    the result is its first matching minute after ``started``. With ``prevent_drift`` the result is
    the first of ``start_time``, ``start_time + period``, ``start_time + 2 * period``, ... strictly
    after ``started``. This applies after success and failure, so that a failing task never starts
    twice in one interval. Without ``start_time`` or ``period``, ``prevent_drift`` has no effect.

    Raises ``ValueError`` when the cron line is not valid.

    >>> at_nine = datetime(2026, 5, 1, 9)
    >>> next_run_time(started=datetime(2026, 5, 1, 9, 0, 7), start_time=at_nine, period=60,
    ...               prevent_drift=True, cronline=None)
    datetime.datetime(2026, 5, 1, 9, 1)
    """
    if cronline:
        return cron.next_after(cronline, started)
    if prevent_drift and period > 0 and start_time is not None:
        return _next_on_grid(started, start_time.replace(microsecond=0), timedelta(seconds=period))
    return _whole_second(started + timedelta(seconds=period))


class Rhythm(Protocol):
    """The schedule columns of a task, or of a view of a task."""

    @property
    def start_time(self) -> datetime | None: ...
    @property
    def period(self) -> int: ...
    @property
    def prevent_drift(self) -> bool: ...
    @property
    def cronline(self) -> str | None: ...


def next_after(task: Rhythm, started: datetime) -> datetime:
    """Return the next due time of ``task`` after a run that started at ``started``."""
    return next_run_time(
        started=started,
        start_time=task.start_time,
        period=task.period,
        prevent_drift=task.prevent_drift,
        cronline=task.cronline,
    )


def _next_on_grid(started: datetime, start_time: datetime, period: timedelta) -> datetime:
    # A task that was started by hand before its start_time is still due at start_time.
    slots = max(0, (started - start_time) // period + 1)
    return start_time + slots * period


def _whole_second(moment: datetime) -> datetime:
    # A run that is due at a whole second starts some milliseconds later. Rounding up would add a
    # second to every period; rounding down a late start would make the next run too early. So a
    # delay up to 0.1 s is rounded down, and any longer delay is rounded up.
    floor = moment.replace(microsecond=0)
    return floor if moment - floor <= _SLACK else floor + _SECOND


def first_run_time(*, start_time: datetime, cronline: str | None) -> datetime:
    """Return the first due time of a new task: ``start_time``, or the first cron minute after it.

    As in web2py the minute is strictly after ``start_time``: a task for ``0 9 * * *`` with a
    ``start_time`` of exactly 9:00 first runs on the next day.

    Raises ``ValueError`` when the cron line is not valid.

    >>> first_run_time(start_time=datetime(2026, 5, 1, 9), cronline="0 9 * * *")
    datetime.datetime(2026, 5, 2, 9, 0)
    """
    return cron.next_after(cronline, start_time) if cronline else start_time


def runs_again(*, times_run: int, repeats: int) -> bool:
    """Return True if a task repeats after success; ``repeats=0`` means unlimited, as in web2py.

    ``times_run`` includes the run that just completed.

    >>> runs_again(times_run=2, repeats=3), runs_again(times_run=3, repeats=3)
    (True, False)
    """
    return repeats == 0 or times_run < repeats


def may_retry(*, times_failed: int, retry_failed: int) -> bool:
    """Return True if a task that just failed is retried; ``retry_failed=-1`` means always.

    ``times_failed`` counts the consecutive failures before this one, so ``retry_failed=2`` allows
    three attempts, as in web2py.

    >>> may_retry(times_failed=1, retry_failed=2), may_retry(times_failed=2, retry_failed=2)
    (True, False)
    """
    return retry_failed == -1 or times_failed < retry_failed


def in_words(
    *,
    period: int,
    repeats: int,
    cronline: str | None = None,
    first: datetime | None = None,
    until: datetime | None = None,
) -> Sentence:
    """Describe a schedule; ``period`` is in seconds, ``repeats=0`` means unlimited.

    ``first`` and ``until`` are included if given.

    >>> in_words(period=3600, repeats=3)
    'every hour, 3 times'
    """
    words = _rhythm(period, repeats, cronline)
    if first is not None:
        words = Sentence("{words}, first on {when}", words=words, when=_minute(first))
    if until is not None:
        words = Sentence("{words}, until {when}", words=words, when=_minute(until))
    return words


def _rhythm(period: int, repeats: int, cronline: str | None) -> Sentence:
    if repeats == 1 and not cronline:
        return Sentence("once")
    words = _cron_words(cronline) if cronline else _period_words(period)
    if repeats == 1:
        return Sentence("{words}, once", words=words)
    return Sentence("{words}, {count} times", words=words, count=repeats) if repeats else words


def _cron_words(cronline: str) -> Sentence:
    meaning = cron_description.in_words(cronline)
    if meaning is None:
        return Sentence("{line}", line=cronline)
    return Sentence("{meaning} ({line})", meaning=meaning, line=cronline)


def _period_words(period: int) -> Sentence:
    if period <= 0:
        return Sentence("without a pause")
    for seconds, one, many in _UNITS:
        if period % seconds == 0:
            count = period // seconds
            return Sentence(one if count == 1 else many, count=count)
    return Sentence("every {count} seconds", count=period)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
