"""The way through the claim's index: one stretch for each group and priority in use.

I own what is known of the priorities in use, and how they are found. I call dialects. I never know
which tasks are due: `due` and `claims` write what is asked of each stretch.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from plugin_scheduler.database.dialects.base import Dialect
from plugin_scheduler.database.dialects.bulk_sql import Ask

#: Beyond every priority; one that is text, put there by hand, is above every number in SQLite.
LOWEST, HIGHEST = -(2**31) - 1, 2**31
REMEMBERED = 8  # priorities of a group of which there is no task at the moment

NARROW = 50  # a gap in which each number is asked for, where a search might read the whole table
MOST_TEXTS = 200

# Holes in texts that are made once, since to make one takes pydal longer than most databases need
# to answer it. Nobody can guess these words and put them into a name.
MOMENT, SINCE, PLACE, LOW, HIGH = (f"hole_{uuid.uuid4().hex}" for _ in range(5))

#: Which rows of a group a stretch has; a gap is at the top, at the bottom, or in between.
NONE, LEVEL, TOP, BOTTOM, GAP = "none", "level", "top", "bottom", "gap"
BETWEEN = f"scheduler_task.priority > {LOW} AND scheduler_task.priority < {HIGH}"
WORDS = {
    NONE: "scheduler_task.priority IS NULL",
    LEVEL: f"scheduler_task.priority = {LOW}",
    **dict.fromkeys((TOP, BOTTOM, GAP), BETWEEN),
}


class Stretch(NamedTuple):
    """A part of the claim's index: of a group one priority, or all that lie between two."""

    kind: str
    group: str
    low: Any
    high: Any

    @property
    def words(self) -> str:
        return WORDS[self.kind].replace(LOW, str(self.low)).replace(HIGH, str(self.high))


def questions(stretches: Sequence[Stretch], text: Callable[[str, str], str]) -> list[Ask]:
    """What asks for all of these; ``text`` makes that of a kind and group, with holes."""
    rows: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for place, one in enumerate(stretches):
        rows.setdefault((one.kind, one.group), []).append((place, one.low, one.high))
    return [Ask(text(*which), (PLACE, LOW, HIGH), some) for which, some in rows.items()]


class Texts:
    """Statements with holes, each made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[Any, str] = {}

    def get(self, key: Any, make: Callable[[], str]) -> str:
        if key not in self._made:
            if len(self._made) >= MOST_TEXTS:
                self._made.clear()
            self._made[key] = make()
        return self._made[key]


class Levels:
    """Priorities in use, found by steps in the claim's index: DISTINCT or MAX() would read all of
    it on some databases.

    What was found is remembered. Each question asks for what lies between, too, so that whatever
    came in the meantime is found: one statement, where the database knows how and nothing came.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: dict[str, list[Any]] = {}

    def ask(
        self, groups: Sequence[str], text: Callable[[str, str], str]
    ) -> Iterator[tuple[Stretch, Any]]:
        """Each level of these groups that has an answer, with it. ``text`` asks for PLACE, priority
        and answer: of the first row of a level, or any in a gap."""
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
        """What is known, and all that lies between."""
        known = self._known.setdefault(group, [])
        levels = [Stretch(LEVEL, group, priority, priority) for priority in known]
        bounds = itertools.pairwise((LOWEST, *sorted(known), HIGHEST))
        gaps = [self._gap(group, *pair) for pair in bounds]
        return [Stretch(NONE, group, None, None), *levels, *gaps]

    def _meet(self, gap: Stretch, priority: Any) -> list[Stretch]:
        """One that is new; what is to be asked next."""
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
        """All alike, where all are read alike."""
        kind = GAP
        if not self._dialect.steps_down:
            kind = TOP if high == HIGHEST else BOTTOM if low == LOWEST else GAP
        return Stretch(kind, group, low, high)

    def forget_but(self, there: Sequence[Stretch]) -> None:
        """Priorities go with their tasks; a few are remembered, since they will come again."""
        for group, known in self._known.items():
            stay = [one.low for one in there if one.group == group and one.low is not None]
            if len(known) > len(stay) + REMEMBERED:
                self._known[group] = stay
