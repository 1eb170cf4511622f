"""Fetcher: decides how many tasks to claim, and when, and hands them to the runners.

Keeps the usual duration of each function, and the orders that wait for a runner. Does not handle
reports.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.reasons import ReasonCode, code_of
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Task
from plugin_scheduler.execution.live_run import Result
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.store import Store
from plugin_scheduler.store.claims import Claim, Only
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.worker.claim_health import ClaimHealth
from plugin_scheduler.worker.held_rows import HeldRows
from plugin_scheduler.worker.shutdown import Shutdown
from plugin_scheduler.worker.unknown_functions import KnownFunctions

AHEAD = 0.05  # seconds of work that may wait for each runner
TOO_MUCH = 0.2  # seconds of work; orders that would wait longer for their runner are taken back
MOST = 250  # orders for each runner
PLENTY = 0.02  # seconds of work for each runner that allow a short delay
BREATH = 0.01  # seconds
EACH = 0.00006  # overhead of a runner in seconds
EACH_PROCESS = 0.003  # the same with a process for each run
QUICK = 0.02  # seconds; longer tasks never wait for a busy runner
HELD_IN_HAND = 0.5  # seconds until orders that no runner took are given back
GIVE_AGAIN = 0.02  # seconds
REFUSED_AGAIN = 30.0  # seconds until an order that the database refused is given back again
LOOK_EVERY = 8.0  # seconds between two checks for due tasks without a notification
CONTENDED_AGAIN = (0.02, 0.05, 0.1, 0.2, 0.5)  # seconds until locked tasks are retried


class Fetcher:
    """Claims tasks for idle runners, and as many short ones as they can soon run."""

    def __init__(
        self,
        store: Store,
        pool: Pool,
        staying: Shutdown,
        settings: Settings,
        worker_name: str,
        functions: KnownFunctions,
        clock: Clock,
        health: ClaimHealth | None = None,
    ) -> None:
        self._store, self._pool, self._shutdown = store, pool, staying
        self._settings, self._name, self._clock = settings, worker_name, clock
        self.groups = settings.group_names
        self._each = EACH_PROCESS if settings.runner_max_runs == 1 else EACH
        self._waiting: deque[Order] = deque()
        self._taken_at = 0.0
        self._unbegun: list[Order] = []
        self._held = HeldRows(clock)
        self._maybe_more = True
        self._due_at: float | None = None
        self._seconds: dict[str, float] = {}
        self.functions = functions
        self.health = health or ClaimHealth(clock)
        self._contended = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._unbegun)

    @property
    def refused(self) -> list[str]:
        """Return the labels of runs that the database did not take back."""
        return [one.label for one in self._unbegun if one.run_id in self._held]

    def task_ids(self) -> list[int]:
        """Return the tasks whose runs did not begin."""
        return [order.task.id for order in (*self._waiting, *self._unbegun)]

    def serve(self, groups: tuple[str, ...]) -> None:
        """Claim tasks of these groups from now on."""
        if groups != self.groups:
            self.groups = groups
            self.functions.begin_anew()
            self.look_again()

    def look_now_and_then(self) -> None:
        """Check from time to time for changes without a notification."""
        if self._clock.monotonic() >= self._taken_at + LOOK_EVERY:
            self.look_again()
        if self.functions.look_now_and_then():
            self.look_again()
            if overdue := self.functions.overdue():
                self._give_up(overdue)

    def _give_up(self, functions: Collection[str]) -> None:
        """Fail tasks that waited long enough for a worker that knows their function."""
        unknown = self._store.workers.unknown_to_all(functions, self._store.application)
        if not unknown:
            return
        wait = self._settings.unknown_function_wait
        if count := self._store.claims.give_up(unknown, self.groups, wait):
            names = ", ".join(sorted(unknown))
            log_event("functions_given_up", count=count, seconds=wait, functions=names)

    def look_again(self) -> None:
        """Record that the tables changed: there may be more to claim."""
        self._maybe_more = True

    def collect(self, news: News) -> None:
        """Learn durations from results, and give back orders that were not begun.

        An order is returned if its runner is gone or executes a long run. That may have happened
        long ago, and another worker may have the task by now.
        """
        for result in news.results:
            self._note(result)
            if code_of(result.reason) == ReasonCode.UNKNOWN_FUNCTION:
                self.functions.unlearn(result.order.task.function_name)
        self._unbegun += news.unbegun
        for description, _ in news.described:
            self.functions.learn(description["tasks"])
        if news.results:
            # Orders that are longer than expected go to an idle runner.
            self._unbegun += self._pool.recall(self._guess_at_most, TOO_MUCH)

    def _guess_at_most(self, order: Order) -> float:
        return min(QUICK, self._guess(order.task))

    def _note(self, result: Result) -> None:
        name = result.order.task.function_name
        usual = self._seconds.get(name, result.seconds)
        # A slow run is often followed by others, and orders behind it would wait for long.
        share = 0.5 if result.seconds > usual else 0.1
        self._seconds[name] = usual + (result.seconds - usual) * share
        self._maybe_more = True

    def next_deadline(self) -> float | None:
        """Return the monotonic time of the next claim, or of the next attempt to give back."""
        if self._waiting:
            return self._clock.monotonic() + GIVE_AGAIN
        times = [*map(self._give_at, self._unbegun)]
        take = self._take_at()
        return min(times if take is None else [*times, take], default=None)

    def _give_at(self, order: Order) -> float:
        """Return when to give an order back: at the next try if it was postponed."""
        now, put_off = self._clock.monotonic(), self._held.until(order.run_id)
        return put_off if put_off > now else now + GIVE_AGAIN

    def _take_at(self) -> float | None:
        if not self._can_take():
            return None
        when = self._clock.monotonic() if self._maybe_more else self._due_at
        return when if when is None or self.health.may_try() else max(when, self.health.retry_at)

    def breather(self) -> float:
        """Return how many seconds to wait before the database is accessed.

        While every runner has enough short tasks, reports are collected; otherwise each would cost
        a transaction.
        """
        takers, ahead = self._pool.takers(), self._pool.load()
        if not takers or len(ahead) < 2 * takers or self._pool.idle():
            return 0.0
        return BREATH if self._seconds_of(ahead) >= PLENTY * takers else 0.0

    # -- claiming --------------------

    def feed(self) -> None:
        """Claim due tasks if runners have room and tasks are likely, and hand them out."""
        self._take()
        self._hand_out()

    def _take(self) -> None:
        now = self._clock.monotonic()
        if self._due_at is not None and now >= self._due_at:
            self._maybe_more, self._due_at = True, None
        if self._waiting or not (self._can_take() and self._maybe_more and self.health.may_try()):
            return
        wanted, instant = self._wanted(), self._store.dialect.now()
        only = Only(self.functions.only, self.functions.since(instant))
        limited = bool(only.functions)
        claim = self._claim(wanted, instant, only)
        if claim is None:
            return
        took = self._clock.monotonic() - now
        self._waiting.extend(claim.orders)
        self._taken_at = now
        # Tasks without room are claimed when a run ends, or they are given back.
        self._maybe_more = claim.found >= wanted and bool(claim.orders or not limited)
        self._hand_out()  # at once: the queries that follow can wait
        contended = claim.contended
        if not limited and self.functions.only:  # known functions may be queued behind unknown ones
            self._maybe_more = True
        elif claim.found < wanted:
            self._maybe_more, more = True, self._maybe_more  # in case one of these calls fails
            self._look_ahead(now, instant, only)
            contended = contended or self._is_left(claim, instant, only)
            self._mind_others(now, contended)
            self._maybe_more = more
        if limited and not contended:
            self.functions.note_first(only.since, claim.first or instant, took)

    def _is_left(self, claim: Claim, instant: datetime, only: Only) -> bool:
        """Return True if other workers have locked more due tasks at the moment."""
        if len(claim.orders) < claim.found:
            return False
        return self._store.claims.is_left(self._name, self.groups, instant, only)

    def _wanted(self) -> int:
        """Return the maximum number of due tasks that a claim reads."""
        return MOST * max(1, self._pool.takers())

    def _claim(self, wanted: int, instant: datetime, only: Only) -> Claim | None:
        """Claim tasks; return None after a logged failure. Temporary failures are raised."""
        try:
            claim = self._store.claims.take(
                self._name, self.groups, wanted, instant, self._choose, only
            )
        except StoreUnavailable as error:
            self.health.failed(error, passing=True)
            raise
        except Exception as error:  # reported in the log, the worker's row and the history
            self.health.failed(error)
            return None
        self.health.succeeded()
        return claim

    def _can_take(self) -> bool:
        return self._shutdown.takes_work and self._room() > 0

    def _room(self) -> float:
        """Return the seconds of work that the runners have room for."""
        whole, load = AHEAD * self._pool.takers(), self._load()
        if self._pool.idle():
            return max(AHEAD, whole - load)
        return whole - load if load <= whole / 2 else 0.0

    def _load(self) -> float:
        """Return the estimated seconds of work that the runners hold."""
        return self._seconds_of(self._pool.load())

    def _seconds_of(self, orders: Sequence[Order]) -> float:
        return sum(self._guess(order.task) for order in orders)

    def _guess(self, task: Task) -> float:
        """Estimate the duration of a run in seconds; long if it is unknown."""
        # A worker died while it ran, or one loss is the limit: the task runs alone.
        if task.times_lost or self._settings.max_losses == 1:
            return 1.0
        return self._seconds.get(task.function_name, 1.0) + self._each

    def _choose(self, tasks: Sequence[Task]) -> list[Task]:
        """Choose from the due tasks, in their order: a long one for each idle runner, and as many
        short ones as there is room for."""
        idle, room, chosen = self._pool.idle(), self._room(), []
        are_all = len(tasks) < self._wanted()
        for task in self.functions.known(tasks, are_all):
            guess = self._guess(task)
            if guess > QUICK:
                if not idle:
                    break  # keep the order: later tasks must not overtake it for long
                idle -= 1
            elif room <= 0:
                break
            else:
                room -= guess
            chosen.append(task)
        return chosen[: MOST * max(1, self._pool.takers())]

    # -- handing out and giving back --------------------

    def _hand_out(self) -> None:
        """Hand orders to runners; give back orders that no runner takes soon."""
        while self._waiting and self._pool.hand_out(self._waiting[0]):
            self._waiting.popleft()
        late = self._clock.monotonic() > self._taken_at + HELD_IN_HAND
        if self._waiting and (late or not self._shutdown.takes_work or not self._pool.takers()):
            self._unbegun.extend(self._waiting)
            self._waiting.clear()
        if self._unbegun:
            self._give_back()

    def _give_back(self) -> None:
        """Give orders that were not begun back to the database."""
        some = self._to_give_back()
        patient = self._held.longest_held(one.run_id for one in some)
        for part in (
            [one for one in some if one.run_id == patient],
            [one for one in some if one.run_id != patient],
        ):
            if part:
                self._give_back_some(part)

    def _give_back_some(self, some: Sequence[Order]) -> None:
        tasks = self._store.tasks
        try:
            tasks.hand_back(some, self._name)
        except Locked:  # a transaction holds one of them: the others must not wait for it
            self._held.note({order.run_id for order in some} - tasks.free(some))
            return
        except StoreUnavailable:
            raise
        except Exception as error:  # the database refuses one of them: only that one must wait
            self._refused(some, error)
            return
        self.functions.came_back(order.task for order in some)
        self._unbegun = [order for order in self._unbegun if order not in some]
        self._held.forget_but({one.run_id for one in self._unbegun})
        self._maybe_more = True

    def _refused(self, some: Sequence[Order], error: Exception) -> None:
        if len(some) > 1:
            for order in some:
                self._give_back_some([order])
            return
        order = some[0]
        about = {"run": order.run_id, "task": order.task.label, "seconds": REFUSED_AGAIN}
        log_event("give_back_refused", **about, error=first_line(error))
        self._held.put_off(order.run_id, REFUSED_AGAIN)

    def _to_give_back(self) -> list[Order]:
        return [one for one in self._unbegun if not self._held.is_held(one.run_id)]

    def _mind_others(self, now: float, contended: bool) -> None:
        """Retry soon if another worker had locked tasks: some of them may be left."""
        if not contended:
            self._contended = 0
            return
        pause = CONTENDED_AGAIN[min(self._contended, len(CONTENDED_AGAIN) - 1)]
        self._contended += 1
        self._due_at = min(self._due_at or now + pause, now + pause)

    def _look_ahead(self, now: float, instant: datetime, only: Only) -> None:
        """Set the time of the next claim.

        The search starts at the time of the last claim: otherwise tasks that became due between two
        readings of the clock would be missed.
        """
        due = self._store.claims.next_due(self.groups, instant)
        # The tasks that the claim skipped may have changed by then.
        self._due_at = self.functions.skip_until if only.since else None
        if due is not None:
            wait = (due - self._store.dialect.now()).total_seconds()
            self._due_at = min(self._due_at or math.inf, now + max(0.001, wait))
