"""Filters for tasks, the orders of a list, positions in it, and the resulting page.

Does not access the database.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from plugin_scheduler.core import row_values
from plugin_scheduler.core.i18n import Sentence

NEWEST, OLDEST = "newest", "oldest"
_LAST = "~"  # sorts after every digit and letter
_DOWN = str.maketrans("0123456789", "9876543210")
_HALF = 10**12  # larger than every priority


@dataclass(frozen=True)
class Filter:
    """A filter for tasks, and a page of the result. A task must match every part that is given.

    ``text`` is searched in name, function, uuid and arguments; with ``in_output`` also in the
    output, result and traceback of the latest run. ``since`` and ``until`` limit the column
    ``time``. ``after`` requests what follows a position in the list, ``before`` what precedes it.

    >>> Filter(status=("FAILED",), text="invoice", sort="last run", limit=50)
    """

    status: Collection[str] = ()
    group: str | None = None
    function: str | None = None
    worker: str | None = None
    text: str | None = None
    in_output: bool = False
    time: str = "next_run_time"
    since: datetime | None = None
    until: datetime | None = None
    enabled: bool | None = None
    repeating: bool | None = None
    sort: str = NEWEST
    after: str | int | None = None
    before: str | int | None = None
    limit: int = 20


#: The columns that can be limited.
TIMES = ("start_time", "next_run_time", "last_run_time")


class PagePosition(NamedTuple):
    """The position of a task in a list: by its key, a text, then by its id."""

    key: str
    id: int

    def __str__(self) -> str:
        return f"{self.id}~{self.key}" if self.key else str(self.id)


def place_of(cursor: str | int | None) -> PagePosition | None:
    """Parse a position; return None for an invalid one.

    >>> place_of("17~2026-01-31 12:00:00")
    PagePosition(key='2026-01-31 12:00:00', id=17)
    """
    number, _, key = str(cursor or "").partition("~")
    return PagePosition(key, int(number)) if number.isdecimal() and len(number) < 19 else None


class Sort(NamedTuple):
    """An order that no index provides: the columns it needs, and a key made of them."""

    columns: tuple[str, ...]
    key: Callable[..., str]


def _soonest(when: Any) -> str:
    return str(when)[:19] if when else _LAST


def _latest(when: Any) -> str:
    return str(when)[:19].translate(_DOWN) if when else _LAST


def _highest(priority: Any) -> str:
    return f"{_HALF - row_values.whole(priority):013d}"


def _by_name(name: Any, function: Any) -> str:
    return str(name or function or "").lower()


SORTS = {
    "next run": Sort(("next_run_time",), _soonest),
    "last run": Sort(("last_run_time",), _latest),
    "priority": Sort(("priority",), _highest),
    "name": Sort(("task_name", "function_name"), _by_name),
}
SORTINGS = (NEWEST, OLDEST, *SORTS)


@dataclass(frozen=True)
class Listing:
    """A page of tasks.

    ``after`` and ``before`` are the filter's values for the adjacent pages, None if there is none.
    ``sort`` is the actual order. ``looked_to`` is the last id that was searched, if the time was
    over before the page was full: more is found ``after`` it.
    """

    items: list[Any]
    after: str | None = None
    before: str | None = None
    sort: str = NEWEST
    looked_to: int | None = None
    notes: Sequence[Sentence] = ()


@dataclass(frozen=True)
class CappedCount:
    """A count; ``more``: counting stopped at this number.

    >>> str(CappedCount(10000, more=True))
    '10,000+'
    """

    number: int
    more: bool = False

    def __str__(self) -> str:
        return f"{self.number:,}{'+' if self.more else ''}"
