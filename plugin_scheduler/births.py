"""How runners come into being: from a nursery, or as interpreters of their own.

I own the nursery, the order in which births were asked for, and the pauses after a failed one. I
call nursery and processes. I never hand out work.
"""

from __future__ import annotations

import math
import selectors
from collections.abc import Callable, Mapping
from typing import Any

from plugin_scheduler.clock import Clock
from plugin_scheduler.crew import News, Runner, unborn_runner
from plugin_scheduler.frames import check_news
from plugin_scheduler.hosts import World
from plugin_scheduler.nursery import PATIENCE, Nursery
from plugin_scheduler.processes import spawn_runner
from plugin_scheduler.wire import Closed, Unreadable

_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the next try


class Births:
    """Makes runners, and hears of their deaths."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        selector: selectors.BaseSelector,
        clock: Clock,
        world: World | None,
    ) -> None:
        self._spec, self._selector, self._clock, self._world = spec, selector, clock, world
        self._nursery: Nursery | None = None
        self._unborn: list[Runner] = []
        self._failures = 0
        self._allowed_until = math.inf
        self.next_at = 0.0
        self.spawns = False
        self.news = News()
        self.on_death: Callable[[int, int], None] = lambda pid, status: None
        self.on_lost_nursery: Callable[[], None] = lambda: None
        self.on_lapse: Callable[[list[int]], None] = lambda pids: None

    @property
    def has_nursery(self) -> bool:
        return self._nursery is not None

    @property
    def nursery_pid(self) -> int | None:
        return self._nursery.pid if self._nursery is not None else None

    def open_nursery(self) -> None:
        """Start to load the app."""
        self._nursery = Nursery.start(self._spec, self._world)
        self._nursery.allow(self._allowed_until)
        self._selector.register(self._nursery, selectors.EVENT_READ, self._hear_nursery)

    def close_nursery(self, patience: float = PATIENCE) -> None:
        """End it, and with it every runner that was born there."""
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            self._selector.unregister(nursery)
            nursery.close(patience)
        self._unborn.clear()

    def allow(self, until: float) -> None:
        """What runs may go on until then; also what will be born in a new nursery."""
        self._allowed_until = until
        if self._nursery is not None:
            self._nursery.allow(until)

    def may_be_now(self) -> bool:
        return self._clock.monotonic() >= self.next_at

    def make_runner(self) -> Runner | None:
        """A runner that is on its way; None when it cannot be asked for."""
        try:
            return self._make_runner()
        except (OSError, MemoryError) as error:  # no more files or processes to be had, now
            self.failed(f"{type(error).__name__}: {error}")
            return None

    def _make_runner(self) -> Runner:
        if self._nursery is None:
            self.open_nursery()
        assert self._nursery is not None
        with unborn_runner(self._spec["nonce"]) as (runner, ends):
            try:
                if self.spawns:
                    runner.process = spawn_runner(self._spec, ends)
                    runner.pid = runner.process.pid
                    self._nursery.watch(runner.process.pid)
                else:
                    self._nursery.ask_for_birth(ends)
                    self._unborn.append(runner)
            except Closed as error:
                runner.close_files(self._selector)
                raise OSError(
                    f"the process that starts runners cannot be asked: {error}"
                ) from error
            except (OSError, MemoryError):
                runner.close_files(self._selector)
                raise
        return runner

    def unwatch(self, pid: int) -> None:
        """A spawned runner is gone."""
        if self._nursery is not None:
            self._nursery.unwatch(pid)

    def succeeded(self) -> None:
        """A runner is ready for work."""
        self._failures = 0
        self.news.births += 1

    def failed(self, why: str | None = None) -> None:
        """One did not get ready. Try again later and later: an app that cannot be loaded must not
        cause a storm."""
        if why is not None:
            self.news.boot_failures.append(why)
        if self._clock.monotonic() < self.next_at:
            return  # one of several that failed together
        self.next_at = self._clock.monotonic() + _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1

    def _hear_nursery(self) -> None:
        assert self._nursery is not None
        try:
            messages = self._nursery.read()
        except Closed:
            self._lose_nursery()
            return
        except Unreadable:
            self._lose_nursery()
            return
        try:
            for message in messages:
                self._on_nursery(message)
        except ValueError:  # the app has spoken in its place
            self._lose_nursery()

    def _on_nursery(self, message: list[Any]) -> None:
        check_news(message)
        kind = message[0]
        if kind == "loaded":
            self._failures = 0
            self.news.described.append((message[1], message[2]))
        elif kind == "boot_failed":
            self.failed(message[1])
        elif kind == "away":
            self.news.database_away = True
            self.failed(message[1])
        elif kind in ("born", "unborn") and not self._unborn:
            raise ValueError("a birth that was not asked for")
        elif kind == "born":
            self._unborn.pop(0).pid = message[1]
        elif kind == "unborn":  # its files are closed: the pool finds out, and buries it
            self._unborn.pop(0)
            self.failed(message[1])
        elif kind == "died":
            self.on_death(message[1], message[2])
        elif kind == "lapsed":
            self.on_lapse(message[1])

    def _lose_nursery(self) -> None:
        """Without it no death is reported any more, so its runners have to be ended."""
        self.on_lost_nursery()
        self.close_nursery(patience=0.0)  # the loop waits for nobody
        if not self.news.boot_failures:
            self.failed()
