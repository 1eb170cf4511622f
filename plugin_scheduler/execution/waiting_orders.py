"""Orders and results that the system has no room for: when each is retried, and how often.

A large order needs a file, and a runner needs descriptors to receive it. A shortage of either
affects only that order: it waits, and the others go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from plugin_scheduler.core.reasons import Reason, ReasonCode, code_of
from plugin_scheduler.core.types import Order, Outcome
from plugin_scheduler.execution.live_run import Result
from plugin_scheduler.system.clock import Clock

NO_ROOM_AGAIN = (0.5, 1.0, 2.0, 4.0)  # seconds between attempts to get a file


class WaitingOrder(NamedTuple):
    """An order that waits for room: the number of tries, and the time of the next."""

    order: Order
    tries: int
    at: float


class Room:
    """The orders of one pool that wait for room."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[WaitingOrder] = []
        self._returned: dict[int, int] = {}  # tasks that a runner had no room for, and how often

    def orders(self) -> list[Order]:
        return [waiting.order for waiting in self._waiting]

    def times(self) -> list[float]:
        """Return the times at which the orders are retried (monotonic time)."""
        return [waiting.at for waiting in self._waiting]

    def wait(self, order: Order, tries: int, error: Exception) -> Result | None:
        """Keep an order until its next try; return a failed run after the last one."""
        if tries < len(NO_ROOM_AGAIN):
            at = self._clock.monotonic() + NO_ROOM_AGAIN[tries]
            self._waiting.append(WaitingOrder(order, tries + 1, at))
            return None
        reason = Reason(ReasonCode.NO_ROOM, error=f"{type(error).__name__}: {error}")
        return Result(order, Outcome.FAILED, 0.0, "", reason=reason)

    def try_again(self, hand_out: Callable[[Order, int], bool]) -> list[Order]:
        """Hand out the orders that are due; return those that no runner takes."""
        now = self._clock.monotonic()
        due = [waiting for waiting in self._waiting if waiting.at <= now]
        self._waiting = [waiting for waiting in self._waiting if waiting.at > now]
        return [waiting.order for waiting in due if not hand_out(waiting.order, waiting.tries)]

    def give_back(self) -> list[Order]:
        """Return all waiting orders, and clear the list."""
        orders = self.orders()
        self._waiting.clear()
        return orders

    def bounded(self, result: Result) -> Result:
        """Let a task that finds no room in a runner be requeued a limited number of times, then
        fail it."""
        task_id = result.order.task.id
        if code_of(result.reason) != ReasonCode.NO_ROOM:
            self._returned.pop(task_id, None)
            return result
        self._returned[task_id] = self._returned.get(task_id, 0) + 1
        if self._returned[task_id] < len(NO_ROOM_AGAIN):
            return result
        del self._returned[task_id]
        return dataclasses.replace(result, outcome=Outcome.FAILED)
