"""One run of the benchmark: the peers, the number of rounds, and the results.

All peers take turns, round after round, each time in a random order, so that a noisy machine
affects all of them. The parts measure.
"""

from __future__ import annotations

import dataclasses
import random
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from bench.peers import Peer, Stalled, a_peer, find
from bench.places import Places, Unavailable

SECONDS = 2.0  # minimum duration of a drain, if --tasks allows it
LEAST = 20
#: Results of a part in one turn: metric -> (unit, one value or several)
Found = dict[str, tuple[str, "float | list[float]"]]
Case = tuple[str, str]  # name of the case, and name of the peer


@dataclasses.dataclass
class Bench:
    """The common state of all parts."""

    rounds: int
    tasks: int
    names: list[str]
    places: Places
    found: dict[tuple[str, str, str, str], list[float]] = dataclasses.field(default_factory=dict)
    units: dict[str, str] = dataclasses.field(default_factory=dict)
    not_run: list[dict[str, str]] = dataclasses.field(default_factory=list)
    _counts: dict[tuple[str, str, int], int] = dataclasses.field(default_factory=dict)

    def peers(self, wanted: Callable[[type[Peer]], bool] = lambda _: True) -> Iterable[str]:
        """Yield the names of the wanted peers that are available."""
        for name in self.names:
            try:
                if wanted(find(name)):
                    yield name
            except Unavailable as error:
                self.skip("all", "", name, str(error))

    def interleave(
        self,
        part: str,
        cases: list[Case],
        measure: Callable[[str, str], Found],
        rounds: int | None = None,
    ) -> None:
        """Call ``measure(case, name)`` for all cases, round after round; skip a case after it
        failed."""
        failed: set[Case] = set()
        for number in range(1, (rounds or self.rounds) + 1):
            for case in random.sample(cases, len(cases)):
                if case in failed:
                    continue
                self.say(f"{part}, round {number}: {case[0]}, {case[1]}")
                try:
                    self._keep(part, *case, measure(*case))
                except (Unavailable, Stalled, Exception) as error:
                    failed.add(case)
                    self.skip(part, *case, f"{type(error).__name__}: {error}")

    def _keep(self, part: str, case: str, name: str, found: Found) -> None:
        for metric, (unit, value) in found.items():
            values = value if isinstance(value, list) else [value]
            self.found.setdefault((part, case, name, metric), []).extend(values)
            self.units[metric] = unit

    def skip(self, part: str, case: str, name: str, why: str) -> None:
        told = {"part": part, "case": case, "peer": name, "why": why}
        if told not in self.not_run:
            self.not_run.append(told)
            self.say(f"NOT RUN: {part} {case} {name}: {why[:300]}")

    def say(self, words: str) -> None:
        print(f"  {time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)

    # -- draining ----------------------------------------------------------------------------------

    def drain(
        self,
        name: str,
        work: str,
        keep: bool = True,
        start: Callable[[Peer], None] | None = None,
        before: Callable[[Peer], None] | None = None,
        slots: int = 2,
    ) -> float:
        """Return the tasks a second of a new worker from a full queue. ``before`` is called with
        the empty queue."""

        def once(count: int) -> float:
            with a_peer(find(name), self.places, keep) as peer:
                if before:
                    before(peer)
                peer.enqueue(count, work)
                if start:
                    start(peer)
                else:
                    peer.start(slots)
                return rate(peer, count)

        known = (name, work, slots)
        if known not in self._counts:
            pilot = once(min(find(name).pilot, self.tasks))
            self._counts[known] = max(LEAST, min(self.tasks, int(pilot * SECONDS)))
        return once(self._counts[known])


def rate(peer: Peer, count: int, limit: float = 120.0) -> float:
    """Return the tasks a second, until the database or the broker shows the end of the last task.

    The clock starts when a tenth of the tasks is done, so that the start-up time of a worker, and
    the tasks that it had fetched by then, do not count.
    """
    marks: list[tuple[float, int]] = []

    def seen() -> bool:
        left = peer.left()
        marks.append((time.monotonic(), left))
        return not left

    peer.wait(seen, limit, pause=0.03)
    begun, first = next(mark for mark in marks if mark[1] <= 0.9 * count)
    ended = marks[-1][0]
    if first < 0.5 * count:  # too fast for two observations: start the clock when nothing was done
        begun, first = max((mark for mark in marks if mark[1] == count), default=(0.0, count))
        begun = begun or marks[0][0]
    return first / max(ended - begun, 1e-6)


def all_cases(cases: Iterable[str], names: Iterable[str]) -> list[Case]:
    names = list(names)
    return [(case, name) for case in cases for name in names]


def describe(name: str) -> dict[str, Any]:
    """Return the description of a peer for the report."""
    found = find(name)
    return {"title": found.title, "settings": found.settings, "needs": found.needs}
