"""Which tasks does a person want to see, in which order, and what do they get?

I own the filter, the orders of a list, places in it, and the page that comes out. I call the words.
I never ask a database.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from plugin_scheduler.core import row_values
from plugin_scheduler.core.i18n import Sentence

NEWEST, OLDEST = "newest", "oldest"
_LAST = "~"  # behind every digit and letter
_DOWN = str.maketrans("0123456789", "9876543210")
_HALF = 10**12  # beyond every priority


@dataclass(frozen=True)
class Filter:
    """Which tasks: every part that is given must hold. And which page of them.

    ``text`` is looked for in name, function, uuid and arguments, and with ``in_output`` in what the
    latest run printed, gave or raised, too. ``since`` and ``until`` bound the column ``time``.
    ``after`` asks for what follows a place in the list, ``before`` for what precedes it.

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


#: The columns that can be bounded.
TIMES = ("start_time", "next_run_time", "last_run_time")


class PagePosition(NamedTuple):
    """Where a task stands in a list: by its key, which is text, then by its id."""

    key: str
    id: int

    def __str__(self) -> str:
        return f"{self.id}~{self.key}" if self.key else str(self.id)


def place_of(cursor: str | int | None) -> PagePosition | None:
    """A place from its text; None for what is none.

    >>> place_of("17~2026-01-31 12:00:00")
    Place(key='2026-01-31 12:00:00', id=17)
    """
    number, _, key = str(cursor or "").partition("~")
    return PagePosition(key, int(number)) if number.isdecimal() and len(number) < 19 else None


class Sort(NamedTuple):
    """An order that no index gives: the columns it needs, and a key made of them."""

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
ORDERS = (NEWEST, OLDEST, *SORTS)


@dataclass(frozen=True)
class Listing:
    """A page of tasks. ``after`` and ``before`` are the filter's for the pages beside it, None
    where there is none; ``sort`` is the order that it has. ``looked_to`` is the id as far as
    which it was searched, where time was up before the page was full: more is found ``after`` it.
    """

    items: list[Any]
    after: str | None = None
    before: str | None = None
    sort: str = NEWEST
    looked_to: int | None = None
    notes: Sequence[Sentence] = ()


@dataclass(frozen=True)
class CappedCount:
    """How many there are; ``more`` where that is as many as were counted, and not all.

    >>> str(Count(10000, more=True))
    '10,000+'
    """

    number: int
    more: bool = False

    def __str__(self) -> str:
        return f"{self.number:,}{'+' if self.more else ''}"
