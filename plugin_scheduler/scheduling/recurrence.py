"""When next? The due times of a task that runs more than once.

I own the arithmetic of period, prevent_drift, repeats and retry_failed, and their wording for
people. I call ``cron`` for cron lines. I never read a clock or the database: every time comes in
as an argument, and all of them are naive datetimes of one kind (all local, or all UTC).

Times given back have whole seconds, because pydal stores no fraction of a second.
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
    """When the task runs next, counted from ``started``, the start of its latest run.

    As web2py's book has it, ``period`` (seconds) runs from start to start, and a ``cronline``
    wins over it: the first matching minute after ``started``. With ``prevent_drift`` the task
    keeps to ``start_time``, ``start_time + period``, ``start_time + 2 * period``...: the first of
    these strictly after ``started``, whether the run succeeded or failed, so that a failing task
    never starts twice in one slot. Without ``start_time`` or ``period`` there are no such points
    and ``prevent_drift`` changes nothing.

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
    """What says how often: of a task, or of a view of one."""

    @property
    def start_time(self) -> datetime | None: ...
    @property
    def period(self) -> int: ...
    @property
    def prevent_drift(self) -> bool: ...
    @property
    def cronline(self) -> str | None: ...


def next_after(task: Rhythm, started: datetime) -> datetime:
    """When ``task`` is due again, if a run of it begins at ``started``."""
    return next_run_time(
        started=started,
        start_time=task.start_time,
        period=task.period,
        prevent_drift=task.prevent_drift,
        cronline=task.cronline,
    )


def _next_on_grid(started: datetime, start_time: datetime, period: timedelta) -> datetime:
    # A task that a person ran before its start_time is still due at start_time.
    slots = max(0, (started - start_time) // period + 1)
    return start_time + slots * period


def _whole_second(moment: datetime) -> datetime:
    # What was due at a whole second starts some milliseconds after it. Rounding that up would add
    # a second to every round, rounding a late start down would bring the next one too early: so
    # a tenth of a second is forgiven, and anything more goes to the next second.
    floor = moment.replace(microsecond=0)
    return floor if moment - floor <= _SLACK else floor + _SECOND


def first_run_time(*, start_time: datetime, cronline: str | None) -> datetime:
    """When a new task runs first: at ``start_time``, or at its first cron minute after that.

    As in web2py the minute is strictly after ``start_time``: a task for ``0 9 * * *`` that is
    queued to start at 9:00 sharp runs first on the next day.

    Raises ``ValueError`` when the cron line is not valid.

    >>> first_run_time(start_time=datetime(2026, 5, 1, 9), cronline="0 9 * * *")
    datetime.datetime(2026, 5, 2, 9, 0)
    """
    return cron.next_after(cronline, start_time) if cronline else start_time


def runs_again(*, times_run: int, repeats: int) -> bool:
    """Whether a task repeats after success; ``repeats=0`` means for ever, as in web2py.

    ``times_run`` includes the run that just completed.

    >>> runs_again(times_run=2, repeats=3), runs_again(times_run=3, repeats=3)
    (True, False)
    """
    return repeats == 0 or times_run < repeats


def may_retry(*, times_failed: int, retry_failed: int) -> bool:
    """Whether a task that just failed is tried again; ``retry_failed=-1`` means always.

    ``times_failed`` counts the failures in a row before this one, so that ``retry_failed=2``
    allows three attempts, as in web2py.

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
    """A schedule as a person would say it; ``period`` in seconds, ``repeats=0`` for ever. ``first``
    and ``until`` are told where they are given.

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
