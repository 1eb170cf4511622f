"""Start runners: by a fork in the forkserver, or as new interpreters.

Holds the forkserver, the sequence of requested runners, and the pauses after failed starts. Does
not hand out orders.
"""

from __future__ import annotations

import math
import os
import selectors
from collections.abc import Callable, Collection, Mapping
from typing import Any

from plugin_scheduler.execution.forkserver import PATIENCE, Forkserver
from plugin_scheduler.execution.frame_checks import check_news
from plugin_scheduler.execution.framing import Closed, Unreadable
from plugin_scheduler.execution.own_process import NO_PROCESS
from plugin_scheduler.execution.runner_handle import News, RunnerHandle, unborn_runner
from plugin_scheduler.loaders import LoadedApp
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.processes import spawn_runner

_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the next try


class Spawner:
    """Starts runners, and receives reports of their deaths."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        selector: selectors.BaseSelector,
        clock: Clock,
        world: LoadedApp | None,
    ) -> None:
        self._spec, self._selector, self._clock, self._world = spec, selector, clock, world
        self._forkserver: Forkserver | None = None
        self._unborn: list[RunnerHandle] = []
        #: Loads the app again; replaces the forkserver when the app is loaded.
        self._fresh: Forkserver | None = None
        #: Earlier forkservers that still have runners, with the runners they have yet to fork.
        self._old: dict[Forkserver, list[RunnerHandle]] = {}
        self._failures = 0
        self._allowed_until = math.inf
        self.next_at = 0.0
        self.spawns = False
        self.news = News()
        self.on_death: Callable[[int, int], None] = lambda pid, status: None
        self.on_lost_forkserver: Callable[[Forkserver], None] = lambda forkserver: None
        self.on_reload: Callable[[], None] = lambda: None
        self.on_lapse: Callable[[list[int]], None] = lambda pids: None

    @property
    def has_forkserver(self) -> bool:
        return self._forkserver is not None

    @property
    def forkserver_pid(self) -> int | None:
        return self._forkserver.pid if self._forkserver is not None else None

    @property
    def is_reloaded(self) -> bool:
        """True while runners of an earlier load of the app exist."""
        return bool(self._old)

    def open_forkserver(self) -> None:
        """Start to load the app."""
        self._forkserver = Forkserver.start(self._spec, self._world)
        self._forkserver.allow(self._allowed_until)
        self._selector.register(self._forkserver, selectors.EVENT_READ, self._read_forkserver)

    def close_forkserver(self, patience: float = PATIENCE) -> None:
        """Close the forkserver, which ends every runner that it forked."""
        self._drop_fresh()
        self.close_empty(())
        forkserver, self._forkserver = self._forkserver, None
        if forkserver is not None:
            self._selector.unregister(forkserver)
            forkserver.close(patience)
        self._unborn.clear()

    def allow(self, until: float) -> None:
        """Let runs go on until this time, also in later forkservers."""
        self._allowed_until = until
        for forkserver in self._all():
            forkserver.allow(until)

    def _all(self) -> list[Forkserver]:
        return [one for one in (self._forkserver, self._fresh, *self._old) if one is not None]

    def may_be_now(self) -> bool:
        return self._clock.monotonic() >= self.next_at

    def make_runner(self) -> RunnerHandle | None:
        """Return a runner that is being started; None if it cannot be requested."""
        try:
            return self._make_runner()
        except (OSError, MemoryError) as error:  # no more files or processes are available now
            self.failed(f"{type(error).__name__}: {error}")
            return None

    def _make_runner(self) -> RunnerHandle:
        if self._forkserver is None:
            self.open_forkserver()
        assert self._forkserver is not None
        with unborn_runner(self._spec["nonce"]) as (runner, ends):
            try:
                runner.home = self._forkserver
                if self.spawns:
                    runner.process = spawn_runner(self._spec, ends)
                    runner.pid = runner.process.pid
                    self._forkserver.watch(runner.process.pid)
                else:
                    self._forkserver.ask_to_spawn(ends)
                    self._unborn.append(runner)
            except Closed as error:
                runner.close_files(self._selector)
                raise OSError(f"the forkserver cannot be reached: {error}") from error
            except (OSError, MemoryError):
                runner.close_files(self._selector)
                raise
        return runner

    def unwatch(self, pid: int) -> None:
        """Record that a spawned runner is gone."""
        for forkserver in self._all():
            forkserver.unwatch(pid)

    def succeeded(self) -> None:
        """Record that a runner is ready."""
        self._failures = 0
        self.news.spawned += 1

    def ended(self, runner: RunnerHandle, begun: bool) -> None:
        """Record the end of a runner; count a failure if it never got ready, or if it began no
        order and could not fork."""
        if not runner.ready:
            self.failed()
        elif not begun and runner.status is not None and os.WIFEXITED(runner.status):
            if os.WEXITSTATUS(runner.status) == NO_PROCESS:
                self.failed(runner.last_words())

    def failed(self, why: str | None = None) -> None:
        """Record a failed start. The pauses grow, so that an app that cannot be loaded does not
        cause a flood of starts."""
        if why is not None:
            self.news.boot_failures.append(why)
        if self._clock.monotonic() < self.next_at:
            return  # one of several that failed together
        self.next_at = self._clock.monotonic() + _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1

    def _read_forkserver(self) -> None:
        assert self._forkserver is not None
        try:
            messages = self._forkserver.read()
        except Closed:
            self._lose_forkserver()
            return
        except Unreadable:
            self._lose_forkserver()
            return
        try:
            for message in messages:
                self._on_forkserver(message)
        except ValueError:  # the app has written to its channel
            self._lose_forkserver()

    def _on_forkserver(self, message: list[Any]) -> None:
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
            raise ValueError("a runner that was not requested")
        elif kind == "born":
            self._unborn.pop(0).pid = message[1]
        elif kind == "unborn":  # its files are closed: the pool notices, and reaps it
            self._unborn.pop(0)
            self.failed(message[1])
        elif kind == "died":
            self.on_death(message[1], message[2])
        elif kind == "lapsed":
            self.on_lapse(message[1])

    def _lose_forkserver(self) -> None:
        """Drop a forkserver that is gone: deaths are no longer reported, so kill its runners."""
        forkserver, self._forkserver = self._forkserver, None
        assert forkserver is not None
        self.on_lost_forkserver(forkserver)
        self._selector.unregister(forkserver)
        forkserver.close(0.0)  # the main loop must not wait
        self._unborn.clear()
        if not self.news.boot_failures:
            self.failed()

    # -- reload of the app --------------------

    def reload(self) -> bool:
        """Load the app again, beside the current one. Return False if that is not possible, or
        already under way."""
        if self._world is not None or self._fresh is not None or self._forkserver is None:
            return False
        try:
            fresh = self._fresh = Forkserver.start(self._spec, None)
        except (OSError, MemoryError) as error:
            self.news.reloads.append(f"{type(error).__name__}: {error}")
            return True
        fresh.allow(self._allowed_until)
        self._selector.register(fresh, selectors.EVENT_READ, self._hear_fresh)
        return True

    def _hear_fresh(self) -> None:
        assert self._fresh is not None
        try:
            for message in self._fresh.read():
                check_news(message)
                if message[0] == "loaded":
                    self._replace_forkserver(message[1], message[2])
                else:
                    self._drop_fresh(message[1])
                return
        except (Closed, Unreadable, ValueError):
            self._drop_fresh("the app ended its process during loading")

    def _drop_fresh(self, why: str | None = None) -> None:
        """Drop the new forkserver; the current one goes on."""
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            self._selector.unregister(fresh)
            fresh.close()
            self.news.reloads.append(why)

    def _replace_forkserver(self, description: dict[str, Any], threads: list[str]) -> None:
        old, fresh = self._forkserver, self._fresh
        assert fresh is not None
        self._forkserver, self._fresh = fresh, None
        self._selector.modify(fresh, selectors.EVENT_READ, self._read_forkserver)
        if old is not None:
            self._old[old], self._unborn = self._unborn, []
            self._selector.modify(old, selectors.EVENT_READ, lambda: self._hear_old(old))
        self.spawns = self.spawns or bool(threads)
        self.news.described.append((description, threads))
        self.news.reloads.append(None)
        self.on_reload()

    def _hear_old(self, forkserver: Forkserver) -> None:
        """Read the messages of an old forkserver, until its last runner is gone."""
        unborn = self._old[forkserver]
        try:
            for message in forkserver.read():
                check_news(message)
                if message[0] in ("born", "unborn"):
                    runner = unborn.pop(0)
                    runner.pid = message[1] if message[0] == "born" else None
                elif message[0] == "died":
                    self.on_death(message[1], message[2])
                elif message[0] == "lapsed":
                    self.on_lapse(message[1])
        except (Closed, Unreadable, ValueError, IndexError):
            self.on_lost_forkserver(forkserver)
            self._close_old(forkserver, 0.0)

    def close_empty(self, homes: Collection[Forkserver]) -> None:
        """Close old forkservers, except those in ``homes``."""
        for forkserver in [one for one in self._old if one not in homes]:
            self._close_old(forkserver, PATIENCE)

    def _close_old(self, forkserver: Forkserver, patience: float) -> None:
        del self._old[forkserver]
        self._selector.unregister(forkserver)
        forkserver.close(patience)
