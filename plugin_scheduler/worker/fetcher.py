"""How much to take, and when: tasks between the database and the runners.

I own what is known of how long functions take, and the orders that wait for a runner. I call store,
pool and staying. I never touch a report.
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
from plugin_scheduler.worker.lease_guard import HeldRows
from plugin_scheduler.worker.shutdown import Shutdown
from plugin_scheduler.worker.unknown_functions import KnownFunctions

AHEAD = 0.05  # seconds of work that may wait for each runner
TOO_MUCH = 0.2  # seconds of work; what waits for a runner for longer is taken back
MOST = 250  # orders for each runner
PLENTY = 0.02  # seconds of work for each runner, with which nobody need hurry
BREATH = 0.01  # seconds
EACH = 0.00006  # seconds that a runner takes besides
EACH_PROCESS = 0.003  # the same with a process for each run
QUICK = 0.02  # seconds; what takes longer never waits for a busy runner
HELD_IN_HAND = 0.5  # seconds until what no runner took is given back
GIVE_AGAIN = 0.02  # seconds
REFUSED_AGAIN = 30.0  # seconds until an order is given back again that the database refuses
LOOK_EVERY = 8.0  # seconds between two looks for due tasks that no bell told of
CONTENDED_AGAIN = (0.02, 0.05, 0.1, 0.2, 0.5)  # seconds until tasks that others held are tried


class Fetcher:
    """Takes tasks for idle runners, and as many quick ones as they will soon do."""

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
        self._store, self._pool, self._staying = store, pool, staying
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
        """The runs that the database did not take back; their names."""
        return [one.label for one in self._unbegun if one.run_id in self._held]

    def task_ids(self) -> list[int]:
        """Tasks whose runs did not begin."""
        return [order.task.id for order in (*self._waiting, *self._unbegun)]

    def serve(self, groups: tuple[str, ...]) -> None:
        """Take tasks of these groups from now on."""
        if groups != self.groups:
            self.groups = groups
            self.functions.begin_anew()
            self.look_again()

    def look_now_and_then(self) -> None:
        """There may be something that no bell told of."""
        if self._clock.monotonic() >= self._taken_at + LOOK_EVERY:
            self.look_again()
        if self.functions.look_now_and_then():
            self.look_again()
            if overdue := self.functions.overdue():
                self._give_up(overdue)

    def _give_up(self, functions: Collection[str]) -> None:
        """Have tasks FAIL that waited for long enough for a worker that knows their function."""
        unknown = self._store.workers.unknown_to_all(functions, self._store.application)
        if not unknown:
            return
        wait = self._settings.unknown_function_wait
        if count := self._store.claims.give_up(unknown, self.groups, wait):
            names = ", ".join(sorted(unknown))
            log_event("functions_given_up", count=count, seconds=wait, functions=names)

    def look_again(self) -> None:
        """Something was written: there may be more to take."""
        self._maybe_more = True

    def collect(self, news: News) -> None:
        """What ended says how long runs take. What was not begun, because its runner went away or
        is at something long, goes back to the database: it may have happened long ago, and somebody
        else may have the task by now."""
        for result in news.results:
            self._note(result)
            if code_of(result.reason) == ReasonCode.UNKNOWN_FUNCTION:
                self.functions.unlearn(result.order.task.function_name)
        self._unbegun += news.unbegun
        for description, _ in news.described:
            self.functions.learn(description["tasks"])
        if news.results:
            # What was thought quick and is not goes to whoever is idle.
            self._unbegun += self._pool.recall(self._guess_at_most, TOO_MUCH)

    def _guess_at_most(self, order: Order) -> float:
        return min(QUICK, self._guess(order.task))

    def _note(self, result: Result) -> None:
        name = result.order.task.function_name
        usual = self._seconds.get(name, result.seconds)
        # One that is slow for once is slow for a while: what waits behind it would wait for long.
        share = 0.5 if result.seconds > usual else 0.1
        self._seconds[name] = usual + (result.seconds - usual) * share
        self._maybe_more = True

    def next_deadline(self) -> float | None:
        """The monotonic time at which to take, or to give back."""
        if self._waiting:
            return self._clock.monotonic() + GIVE_AGAIN
        times = [*map(self._give_at, self._unbegun)]
        take = self._take_at()
        return min(times if take is None else [*times, take], default=None)

    def _give_at(self, order: Order) -> float:
        """When to give an order back: where that was put off, the next try."""
        now, put_off = self._clock.monotonic(), self._held.until(order.run_id)
        return put_off if put_off > now else now + GIVE_AGAIN

    def _take_at(self) -> float | None:
        if not self._can_take():
            return None
        when = self._clock.monotonic() if self._maybe_more else self._due_at
        return when if when is None or self.health.may_try() else max(when, self.health.retry_at)

    def breather(self) -> float:
        """Seconds to wait before anything is asked or stored: while every runner has plenty of
        quick tasks before it, what they report is gathered, or each would cost a transaction."""
        takers, ahead = self._pool.takers(), self._pool.load()
        if not takers or len(ahead) < 2 * takers or self._pool.idle():
            return 0.0
        return BREATH if self._seconds_of(ahead) >= PLENTY * takers else 0.0

    # -- take --------------------

    def feed(self) -> None:
        """Take what is due, if there is room for it and any hope to find some, and hand it out."""
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
        # What there was no room for has its turn when a run ends, or is given back.
        self._maybe_more = claim.found >= wanted and bool(claim.orders or not limited)
        self._hand_out()  # at once: the questions that follow can wait
        contended = claim.contended
        if not limited and self.functions.only:  # known functions may stand behind unknown ones
            self._maybe_more = True
        elif claim.found < wanted:
            self._maybe_more, more = True, self._maybe_more  # where one of them fails
            self._look_ahead(now, instant, only)
            contended = contended or self._is_left(claim, instant, only)
            self._mind_others(now, contended)
            self._maybe_more = more
        if limited and not contended:
            self.functions.note_first(only.since, claim.first or instant, took)

    def _is_left(self, claim: Claim, instant: datetime, only: Only) -> bool:
        """Is there more that others have locked at this moment?"""
        if len(claim.orders) < claim.found:
            return False
        return self._store.claims.is_left(self._name, self.groups, instant, only)

    def _wanted(self) -> int:
        """How many due tasks a claim reads at most."""
        return MOST * max(1, self._pool.takers())

    def _claim(self, wanted: int, instant: datetime, only: Only) -> Claim | None:
        """None where it failed, which is told; what passes by itself is the caller's."""
        try:
            claim = self._store.claims.take(
                self._name, self.groups, wanted, instant, self._choose, only
            )
        except StoreUnavailable as error:
            self.health.failed(error, passing=True)
            raise
        except Exception as error:  # told in the log, the worker's row and the history
            self.health.failed(error)
            return None
        self.health.succeeded()
        return claim

    def _can_take(self) -> bool:
        return self._staying.takes_work and self._room() > 0

    def _room(self) -> float:
        """Seconds of work for which there is room."""
        whole, load = AHEAD * self._pool.takers(), self._load()
        if self._pool.idle():
            return max(AHEAD, whole - load)
        return whole - load if load <= whole / 2 else 0.0

    def _load(self) -> float:
        """Seconds of work that are in the runners' hands, as far as is known."""
        return self._seconds_of(self._pool.load())

    def _seconds_of(self, orders: Sequence[Order]) -> float:
        return sum(self._guess(order.task) for order in orders)

    def _guess(self, task: Task) -> float:
        """Seconds that a run may take; long where nobody knows."""
        # A worker died under it, or may not do so even once: it goes alone.
        if task.times_lost or self._settings.max_losses == 1:
            return 1.0
        return self._seconds.get(task.function_name, 1.0) + self._each

    def _choose(self, tasks: Sequence[Task]) -> list[Task]:
        """Of those due, in their order: each that is long an idle runner, and quick ones as many as
        are soon done."""
        idle, room, chosen = self._pool.idle(), self._room(), []
        are_all = len(tasks) < self._wanted()
        for task in self.functions.known(tasks, are_all):
            guess = self._guess(task)
            if guess > QUICK:
                if not idle:
                    break  # it is its turn: what stands behind it is not to overtake it for long
                idle -= 1
            elif room <= 0:
                break
            else:
                room -= guess
            chosen.append(task)
        return chosen[: MOST * max(1, self._pool.takers())]

    # -- give --------------------

    def _hand_out(self) -> None:
        """Orders to their runners; what none of them takes soon is given back."""
        while self._waiting and self._pool.hand_out(self._waiting[0]):
            self._waiting.popleft()
        late = self._clock.monotonic() > self._taken_at + HELD_IN_HAND
        if self._waiting and (late or not self._staying.takes_work or not self._pool.takers()):
            self._unbegun.extend(self._waiting)
            self._waiting.clear()
        if self._unbegun:
            self._give_back()

    def _give_back(self) -> None:
        """What was not begun goes to others."""
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
        except Locked:  # somebody holds one of them: the others are not to wait for that
            self._held.note({order.run_id for order in some} - tasks.free(some))
            return
        except StoreUnavailable:
            raise
        except Exception as error:  # the database refuses one of them: it alone has to wait
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
        """What another worker was taking may be left over in a moment."""
        if not contended:
            self._contended = 0
            return
        pause = CONTENDED_AGAIN[min(self._contended, len(CONTENDED_AGAIN) - 1)]
        self._contended += 1
        self._due_at = min(self._due_at or now + pause, now + pause)

    def _look_ahead(self, now: float, instant: datetime, only: Only) -> None:
        """When to take again: from the very instant of the last time on, or what became due between
        two readings of the clock would be seen by neither."""
        due = self._store.claims.next_due(self.groups, instant)
        # What the claim passed over may have changed by then.
        self._due_at = self.functions.skip_until if only.since else None
        if due is not None:
            wait = (due - self._store.dialect.now()).total_seconds()
            self._due_at = min(self._due_at or math.inf, now + max(0.001, wait))
