"""How much to claim, and when: tasks between the database and the runners.

I own the tasks in hand: claimed, but not started. I call store, pool and staying. I never touch a
report.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime

from plugin_scheduler.clock import Clock
from plugin_scheduler.errors import Locked, StoreUnavailable
from plugin_scheduler.pool import Pool
from plugin_scheduler.records import Order, Task
from plugin_scheduler.settings import Settings
from plugin_scheduler.staying import Staying
from plugin_scheduler.store import Store

PREFETCH_FOR = 0.05  # seconds of work that may wait in hand
PREFETCH_MOST = 20  # tasks in hand for each slot
CONTENDED_AGAIN = (0.02, 0.05, 0.1, 0.2, 0.5)  # seconds until tasks that others held are tried
HELD_IN_HAND = 0.5  # seconds until a claimed task that found no runner is handed back


class Intake:
    """Claims for idle runners, and as many short tasks as they will soon do."""

    def __init__(
        self,
        store: Store,
        pool: Pool,
        staying: Staying,
        settings: Settings,
        worker_name: str,
        clock: Clock,
    ) -> None:
        self._store, self._pool, self._staying = store, pool, staying
        self._settings, self._name, self._clock = settings, worker_name, clock
        self.groups: tuple[str, ...] = settings.group_names
        self._in_hand: deque[tuple[Task, float]] = deque()
        self._maybe_more = True
        self._due_at: float | None = None
        self._usual_seconds = 0.01
        self._contended = 0

    def __len__(self) -> int:
        return len(self._in_hand)

    def task_ids(self) -> list[int]:
        """Tasks in hand."""
        return [task.id for task, _ in self._in_hand]

    def look_again(self) -> None:
        """Something was written: there may be more to claim."""
        self._maybe_more = True

    def note_length(self, seconds: float) -> None:
        """A run took so long; a runner is free for the next."""
        self._usual_seconds += (seconds - self._usual_seconds) * 0.2
        self._maybe_more = True

    def next_deadline(self) -> float | None:
        """The monotonic time at which to claim, or to hand back."""
        times = []
        if self._in_hand:
            times.append(self._in_hand[0][1] + HELD_IN_HAND)
        if self._can_take():
            if self._maybe_more:
                return self._clock.monotonic()
            if self._due_at is not None:
                times.append(self._due_at)
        return min(times) if times else None

    def claim(self) -> None:
        """Take what is due, if there is room for it and any hope to find some."""
        now = self._clock.monotonic()
        self.hand_back_unstarted()
        if self._due_at is not None and now >= self._due_at:
            self._maybe_more, self._due_at = True, None
        if not (self._can_take() and self._maybe_more):
            return
        wanted, instant = self._room(), self._store.dialect.now()
        tasks, contended = self._store.claims.claim(self._name, self.groups, wanted, instant)
        self._in_hand.extend((task, now) for task in tasks)
        self._maybe_more = len(tasks) == wanted
        if not self._maybe_more:
            self._look_ahead(now, instant)
            self._mind_others(now, contended)

    def start(self) -> list[Order]:
        """Orders for the idle runners, written down as started."""
        count = min(self._pool.idle(), len(self._in_hand))
        if not count:
            return []
        tasks = [self._in_hand[index][0] for index in range(count)]
        for _ in range(count):
            self._in_hand.popleft()
        try:
            return self._store.tasks.start(tasks, self._name)
        except Locked:
            return self._start_those_free(tasks)
        except StoreUnavailable:
            self._in_hand.extendleft((task, self._clock.monotonic()) for task in reversed(tasks))
            raise

    def _start_those_free(self, tasks: list[Task]) -> list[Order]:
        """Somebody holds the row of one of them: the others are not to wait for that."""
        free = self._store.tasks.free([task.id for task in tasks])
        now, orders = self._clock.monotonic(), []
        self._in_hand.extend((task, now) for task in tasks if task.id not in free)
        startable = [task for task in tasks if task.id in free]
        try:
            orders = self._store.tasks.start(startable, self._name) if startable else []
        except Locked:
            self._in_hand.extend((task, now) for task in startable)
        return orders

    def hand_back_unstarted(self) -> None:
        """What waits in hand while it could run elsewhere goes back: a task came that takes long,
        or this worker takes nothing now."""
        if not self._in_hand:
            return
        held = self._clock.monotonic() - self._in_hand[0][1]
        if self._staying.takes_work and (held < HELD_IN_HAND or self._pool.idle()):
            return
        try:
            self._store.tasks.hand_back([task for task, _ in self._in_hand], self._name)
        except Locked:  # somebody holds one of them: later, and go on with the rest meanwhile
            now = self._clock.monotonic()
            self._in_hand = deque((task, now) for task, _ in self._in_hand)
            return
        self._in_hand.clear()
        self._usual_seconds = max(self._usual_seconds, PREFETCH_FOR)

    def _can_take(self) -> bool:
        return self._staying.takes_work and self._room() > 0

    def _room(self) -> int:
        prefetch = 0
        if self._pool.runners and self._usual_seconds < PREFETCH_FOR:
            each = min(PREFETCH_MOST, int(PREFETCH_FOR / max(self._usual_seconds, 0.001)))
            prefetch = each * self._settings.slots
        return self._pool.idle() + prefetch - len(self._in_hand)

    def _mind_others(self, now: float, contended: bool) -> None:
        """What another worker was taking may be left over in a moment."""
        if not contended:
            self._contended = 0
            return
        pause = CONTENDED_AGAIN[min(self._contended, len(CONTENDED_AGAIN) - 1)]
        self._contended += 1
        self._due_at = min(self._due_at or now + pause, now + pause)

    def _look_ahead(self, now: float, instant: datetime) -> None:
        """When to claim again: from the very instant of the last claim on, or what became due
        between two readings of the clock would be seen by neither."""
        due = self._store.claims.next_due(self.groups, instant)
        self._due_at = None
        if due is not None:
            wait = (due - self._store.dialect.now()).total_seconds()
            self._due_at = now + max(0.001, wait)
