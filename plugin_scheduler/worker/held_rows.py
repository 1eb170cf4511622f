"""Rows that other transactions hold: when to retry the runs that need them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from plugin_scheduler.system.clock import Clock
from plugin_scheduler.worker.outages import PAUSES

PATIENT = 3  # tries that skip a held row; later ones wait for it


class HeldRows:
    """Runs whose rows, or whose task's rows, another transaction holds, and when to retry each.
    Most rows are free after a moment."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[int, tuple[float, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def __contains__(self, run_id: int) -> bool:
        return run_id in self._until

    def note(self, run_ids: Iterable[int]) -> None:
        """Record that these runs are held now."""
        for run_id in run_ids:
            tries = self._until[run_id][1] + 1 if run_id in self._until else 0
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            self._until[run_id] = self._clock.monotonic() + pause, tries

    def put_off(self, run_id: int, seconds: float) -> None:
        """Retry a run after a pause of that length."""
        self._until[run_id] = self._clock.monotonic() + seconds, 0

    def longest_held(self, run_ids: Iterable[int]) -> int | None:
        """Return a run that was held repeatedly, if any.

        It must be tried alone, and wait for its row: where transactions follow each other closely,
        only a waiting transaction gets the row.
        """
        often = [run_id for run_id in run_ids if self._until.get(run_id, (0.0, 0))[1] >= PATIENT]
        return min(often, key=self.until, default=None)

    def until(self, run_id: int) -> float:
        """Return the monotonic time of the next try."""
        return self._until[run_id][0] if run_id in self._until else 0.0

    def is_held(self, run_id: int) -> bool:
        return self.until(run_id) > self._clock.monotonic()

    def forget_but(self, run_ids: Collection[int]) -> None:
        """Forget all other runs: they are stored or given back."""
        self._until = {one: until for one, until in self._until.items() if one in run_ids}
