"""The functions that a worker can run, and those of waiting tasks that it cannot.

A task whose function this worker does not know waits for a worker that does. Until such a task is
met, claims ask for nothing more than before. Afterwards claims ask for known functions only, so
that runners are not given tasks of unknown ones; from time to time one claim without that condition
finds out whether they are still there.

No index has functions, so a claim of known ones reads past all tasks of unknown ones that are due
before. One that does so notes where the first known task is, and the next claims begin there. How
long they do depends on how long the reading took: it is to cost a small share of the time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.types import Task
from plugin_scheduler.system.clock import Clock

LOOK_EVERY = 30.0  # seconds between two claims that read tasks of unknown functions
#: For each second that it took to read past unknown functions, and at most: so many seconds are
#: what comes to stand before the first known task is not seen.
SKIP_FOR, SKIP_AT_MOST = 20.0, 8.0
#: What became due that lately is always read: it may be of a transaction that was open till now.
LATELY = timedelta(seconds=10)
LISTED, SHOWN = 500, 20  # known and unknown functions in the worker's row


class KnownFunctions:
    """What one worker knows, and the unknown functions that it met."""

    def __init__(self, names: Iterable[str], wait: float, clock: Clock) -> None:
        self._names, self._wait, self._clock = set(names), wait, clock
        #: Unknown function -> monotonic time at which it was met first.
        self._met: dict[str, float] = {}
        self._only: tuple[str, ...] = ()
        self._narrow_until = 0.0
        self._first: datetime | None = None  #: when the first known task was due
        self.skip_until = 0.0  #: the monotonic time at which a claim begins at the first task again

    @property
    def only(self) -> tuple[str, ...]:
        """The functions that claims are limited to; empty without a limit."""
        return self._only

    def since(self, now: datetime) -> datetime | None:
        """Where claims begin that are limited: before it only unknown functions are due. None: at
        the beginning."""
        if not self._only or self._first is None or self._clock.monotonic() >= self.skip_until:
            return None
        return min(self._first, now - LATELY)

    def note_first(self, began: datetime | None, first: datetime, seconds: float) -> None:
        """Note when the first known task is due, by a claim that began there and took so long."""
        if began is None:
            pause = min(SKIP_AT_MOST, SKIP_FOR * seconds)
            self.skip_until = self._clock.monotonic() + pause
        self._first = first

    def came_back(self, tasks: Iterable[Task]) -> None:
        """Note that these tasks, which were taken, can be taken again."""
        times = [task.next_run_time for task in tasks if task.next_run_time]
        if self._first is not None:
            self._first = min([self._first, *times])

    def begin_anew(self) -> None:
        """Have the next claim read from the beginning: it looks for other tasks."""
        self._first = None

    def about(self) -> dict[str, Any]:
        """What the worker's row says; ``tasks_total`` tells whether ``tasks`` has all."""
        return {
            "tasks": sorted(self._names)[:LISTED],
            "tasks_total": len(self._names),
            "unknown_functions": sorted(self._met)[:SHOWN],
        }

    def learn(self, names: Iterable[str]) -> None:
        """Take over the functions of an app that was loaded anew."""
        if set(names) != self._names:
            self._names, self._met, self._only = set(names), {}, ()
            self.begin_anew()

    def unlearn(self, name: str) -> None:
        """Note that a runner did not know this function after all."""
        self._names.discard(name)
        self._only = ()

    def known(self, tasks: Sequence[Task], are_all: bool = True) -> Sequence[Task]:
        """Those of the tasks that this worker can run; the next claims leave out the others.
        ``are_all``: no due task was left unread behind these."""
        found = {task.function_name for task in tasks}
        unknown = found - self._names
        if not self._only and are_all:  # what was not read this time is there no more
            self._met = {name: self._met[name] for name in self._met if name in unknown}
        if not unknown:
            return tasks
        for task in tasks:
            if task.function_name in unknown and task.function_name not in self._met:
                self._met[task.function_name] = self._clock.monotonic()
                log_event("function_unknown", function=task.function_name, task=task.label)
        if not self._only:
            self._only = tuple(sorted(self._names)) or ("",)
            self._narrow_until = self._clock.monotonic() + min(LOOK_EVERY, self._wait)
        return [task for task in tasks if task.function_name in self._names]

    def look_now_and_then(self) -> bool:
        """Have the next claim read all tasks again, where that is due."""
        if not self._only or self._clock.monotonic() < self._narrow_until:
            return False
        self._only = ()
        return True

    def overdue(self) -> Collection[str]:
        """Unknown functions that were met longer ago than their tasks may wait."""
        since = self._clock.monotonic() - self._wait
        return [name for name, met in self._met.items() if met <= since]
