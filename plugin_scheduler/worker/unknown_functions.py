"""The functions that a worker can run, and those of waiting tasks that it cannot.

A task whose function this worker does not know waits for a worker that does. Until such a task is
found, claims have no extra condition. Afterwards claims ask for known functions only, so that
runners do not get tasks of unknown ones. From time to time one claim without that condition finds
out whether such tasks are still there.

No index contains functions, so a claim of known ones reads past all tasks of unknown ones that are
due earlier. Such a claim records where the first known task is, and the next claims begin there.
How long they do so depends on the time of the reading, which must stay a small share of the total.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.types import Task
from plugin_scheduler.core.worker_stats import FunctionStats
from plugin_scheduler.system.clock import Clock

LOOK_EVERY = 30.0  # seconds between two claims that read tasks of unknown functions
#: For each second spent reading past unknown functions, and at most: the seconds during which a
#: task that is inserted before the first known task is not seen.
SKIP_FOR, SKIP_AT_MOST = 20.0, 8.0
#: Tasks that became due this recently are always read: their transaction may just have ended.
LATELY = timedelta(seconds=10)
LISTED, SHOWN = 500, 20  # known and unknown functions in the worker's row


class KnownFunctions:
    """What one worker knows, and the unknown functions that it found."""

    def __init__(self, names: Iterable[str], wait: float, clock: Clock) -> None:
        self._names, self._wait, self._clock = set(names), wait, clock
        #: Unknown function -> monotonic time at which it was first found.
        self._met: dict[str, float] = {}
        self._only: tuple[str, ...] = ()
        self._narrow_until = 0.0
        self._first: datetime | None = None  #: when the first known task was due
        self.skip_until = 0.0  #: the monotonic time at which a claim starts at the first task again

    @property
    def only(self) -> tuple[str, ...]:
        """The functions that claims are limited to; empty without a limit."""
        return self._only

    def since(self, now: datetime) -> datetime | None:
        """Return where limited claims begin: only unknown functions are due earlier. None means the
        beginning."""
        if not self._only or self._first is None or self._clock.monotonic() >= self.skip_until:
            return None
        return min(self._first, now - LATELY)

    def note_first(self, began: datetime | None, first: datetime, seconds: float) -> None:
        """Record when the first known task is due, after a claim from ``began`` that took
        ``seconds``."""
        if began is None:
            pause = min(SKIP_AT_MOST, SKIP_FOR * seconds)
            self.skip_until = self._clock.monotonic() + pause
        self._first = first

    def came_back(self, tasks: Iterable[Task]) -> None:
        """Record that these claimed tasks can be claimed again."""
        times = [task.next_run_time for task in tasks if task.next_run_time]
        if self._first is not None:
            self._first = min([self._first, *times])

    def begin_anew(self) -> None:
        """Let the next claim read from the beginning: it searches for other tasks."""
        self._first = None

    def about(self) -> FunctionStats:
        """Return the values for the worker's row; ``tasks_total`` shows whether ``tasks`` is
        complete."""
        return {
            "tasks": sorted(self._names)[:LISTED],
            "tasks_total": len(self._names),
            "unknown_functions": sorted(self._met)[:SHOWN],
        }

    def learn(self, names: Iterable[str]) -> None:
        """Take over the functions of an app that was reloaded."""
        if set(names) != self._names:
            self._names, self._met, self._only = set(names), {}, ()
            self.begin_anew()

    def unlearn(self, name: str) -> None:
        """Record that a runner does not know this function."""
        self._names.discard(name)
        self._only = ()

    def known(self, tasks: Sequence[Task], are_all: bool = True) -> Sequence[Task]:
        """Return those of the tasks that this worker can run; later claims leave out the others.

        ``are_all``: no due task was left unread after these.
        """
        found = {task.function_name for task in tasks}
        unknown = found - self._names
        if not self._only and are_all:  # tasks that were not read are gone
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
        """Let the next claim read all tasks again, when that is due."""
        if not self._only or self._clock.monotonic() < self._narrow_until:
            return False
        self._only = ()
        return True

    def overdue(self) -> Collection[str]:
        """Return unknown functions that were found longer ago than their tasks may wait."""
        since = self._clock.monotonic() - self._wait
        return [name for name, met in self._met.items() if met <= since]
