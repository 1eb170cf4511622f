"""Scan of the claim index: one range for each group and priority in use.

Finds and caches the priorities in use. Does not decide which tasks are due: `claim_conditions` and
`claims` provide the query for each range.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.bulk_sql import Ask

#: Limits beyond every priority. In SQLite, text entered by hand sorts above every number.
LOWEST, HIGHEST = -(2**31) - 1, 2**31
REMEMBERED = 8  # cached priorities of a group without a task at the moment

NARROW = 50  # in a gap up to this size each number is queried, if a search might scan the table
MOST_TEXTS = 200

# Placeholders in cached statements: pydal takes longer to build a statement than most databases to
# execute it. They are random, so that no name can contain them.
MOMENT, SINCE, PLACE, LOW, HIGH = (f"hole_{uuid.uuid4().hex}" for _ in range(5))

#: Kinds of ranges in a group; a gap is at the top, at the bottom, or in between.
NONE, LEVEL, TOP, BOTTOM, GAP = "none", "level", "top", "bottom", "gap"
BETWEEN = f"scheduler_task.priority > {LOW} AND scheduler_task.priority < {HIGH}"
WORDS = {
    NONE: "scheduler_task.priority IS NULL",
    LEVEL: f"scheduler_task.priority = {LOW}",
    **dict.fromkeys((TOP, BOTTOM, GAP), BETWEEN),
}


class Stretch(NamedTuple):
    """A range of the claim index: one priority of a group, or all between two priorities."""

    kind: str
    group: str
    low: Any
    high: Any

    @property
    def words(self) -> str:
        return WORDS[self.kind].replace(LOW, str(self.low)).replace(HIGH, str(self.high))


def questions(stretches: Sequence[Stretch], text: Callable[[str, str], str]) -> list[Ask]:
    """Return the queries for ranges; ``text`` builds the statement of a kind and group."""
    rows: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for place, one in enumerate(stretches):
        rows.setdefault((one.kind, one.group), []).append((place, one.low, one.high))
    return [Ask(text(*which), (PLACE, LOW, HIGH), some) for which, some in rows.items()]


class Texts:
    """A cache of statements with placeholders."""

    def __init__(self) -> None:
        self._made: dict[Any, str] = {}

    def get(self, key: Any, make: Callable[[], str]) -> str:
        if key not in self._made:
            if len(self._made) >= MOST_TEXTS:
                self._made.clear()
            self._made[key] = make()
        return self._made[key]


class Levels:
    """The priorities in use, found by steps in the claim index.

    DISTINCT or MAX() would read the whole index on some databases. Known priorities are cached.
    Each query also covers the gaps between them, so that new priorities are found. Usually this
    takes one statement.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: dict[str, list[Any]] = {}

    def ask(
        self, groups: Sequence[str], text: Callable[[str, str], str]
    ) -> Iterator[tuple[Stretch, Any]]:
        """Yield each level of these groups that has a row, with the answer.

        ``text`` builds a query for PLACE, priority and answer: of the first row of a level, or of
        any row in a gap.
        """
        todo = [one for group in dict.fromkeys(groups) for one in self._stretches(group)]
        while todo:
            asked, todo = todo, []
            for place, priority, answer in self._dialect.rows_of_all(questions(asked, text)):
                one = asked[place]
                if one.kind == LEVEL and priority not in self._known[one.group]:
                    self._known[one.group].append(priority)
                if one.kind in (NONE, LEVEL):
                    yield one, answer
                elif one.low < priority < one.high:
                    todo += self._meet(one, priority)

    def _stretches(self, group: str) -> list[Stretch]:
        """Return the known levels and the gaps between them."""
        known = self._known.setdefault(group, [])
        levels = [Stretch(LEVEL, group, priority, priority) for priority in known]
        bounds = itertools.pairwise((LOWEST, *sorted(known), HIGHEST))
        gaps = [self._gap(group, *pair) for pair in bounds]
        return [Stretch(NONE, group, None, None), *levels, *gaps]

    def _meet(self, gap: Stretch, priority: Any) -> list[Stretch]:
        """Return the ranges to query after a new priority was found in a gap."""
        return [
            Stretch(LEVEL, gap.group, priority, priority),
            *self._inside(gap.group, gap.low, priority),
            *self._inside(gap.group, priority, gap.high),
        ]

    def _inside(self, group: str, low: Any, high: Any) -> list[Stretch]:
        if self._dialect.steps_down or high - low > NARROW:
            return [self._gap(group, low, high)]
        return [Stretch(LEVEL, group, number, number) for number in range(low + 1, high)]

    def _gap(self, group: str, low: Any, high: Any) -> Stretch:
        """Return a gap; the kinds differ only where databases read them differently."""
        kind = GAP
        if not self._dialect.steps_down:
            kind = TOP if high == HIGHEST else BOTTOM if low == LOWEST else GAP
        return Stretch(kind, group, low, high)

    def forget_but(self, there: Sequence[Stretch]) -> None:
        """Drop cached priorities without tasks, but keep a few, since they are likely to recur."""
        for group, known in self._known.items():
            stay = [one.low for one in there if one.group == group and one.low is not None]
            if len(known) > len(stay) + REMEMBERED:
                self._known[group] = stay
