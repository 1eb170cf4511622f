"""Runner pool: dispatches tasks, enforces timeouts, terminates and reaps processes.

Does not access the database: orders come from the main loop, and results return to it as `News`.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import selectors
from collections.abc import Callable, Collection, Mapping
from typing import Any

from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Order, Outcome
from plugin_scheduler.execution.frame_checks import check_message, read_report
from plugin_scheduler.execution.framing import Closed, Unreadable
from plugin_scheduler.execution.live_run import LiveRun, Result, result_of
from plugin_scheduler.execution.mailbox import PackedReport, packed
from plugin_scheduler.execution.runner_handle import (
    ENDED_BEFORE,
    UNREADABLE,
    News,
    RunnerHandle,
    end_outdated,
)
from plugin_scheduler.execution.spawner import Spawner
from plugin_scheduler.execution.waiting_orders import Room
from plugin_scheduler.loaders import LoadedApp
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.processes import end_group, ended_how, warn_runner

_READS = 16
GOODBYE = 1.0  # seconds for idle runners to exit by themselves
LEAVING_AT_ONCE = 4  # exiting runners for each slot
LAPSED = Reason(ReasonCode.LEASE_LOST)


class Pool:
    """The runners of one worker."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        selector: selectors.BaseSelector,
        clock: Clock,
        world: LoadedApp | None = None,
    ) -> None:
        self._selector, self._clock = selector, clock
        self._spawner = Spawner({**spec, "nonce": secrets.token_hex(8)}, selector, clock, world)
        self._spawner.on_death = self._note_death
        self._spawner.on_lost_forkserver = self._end_all
        self._spawner.on_lapse = self._note_lapse
        self._spawner.on_reload = self._note_reload
        self.reload = self._spawner.reload
        self._allowed_until = math.inf
        self._settings = Settings()
        self._wanted = 0
        self.runners: list[RunnerHandle] = []
        self.deaths = 0
        self._room = Room(clock)

    def open(self) -> None:
        """Start to load the app. Raise OSError or MemoryError if the system has no room for the
        process."""
        self._spawner.open_forkserver()

    def forget_forkserver(self) -> None:
        """Drop a process that could not load the app; `open` starts another one."""
        self._spawner.close_forkserver()

    @property
    def is_loading(self) -> bool:
        """False if the process that loads the app is gone."""
        return self._spawner.has_forkserver

    def staff(self, settings: Settings, spawns: bool) -> None:
        """Keep ``settings.slots`` runners alive from now on.

        With ``spawns`` each runner is a new interpreter: because a fork would copy threads, or on
        request.
        """
        self._settings, self._wanted = settings, settings.slots
        self._spawner.spawns = spawns

    def _replace_missing(self) -> None:
        if not self._spawner.may_be_now():
            return
        for _ in range(self._missing()):
            runner = self._spawner.make_runner()
            if runner is not None:
                self._welcome(runner)

    def _missing(self) -> int:
        """Return how many runners to start. A runner that is exiting is replaced at once, but the
        number of exiting runners is limited."""
        living = [runner for runner in self.runners if runner.gone_since is None]
        leaving = sum(1 for runner in living if runner.retiring_since is not None)
        room = (1 + LEAVING_AT_ONCE) * self._wanted - len(living)
        return max(0, min(self._wanted - len(living) + leaving, room))

    def _welcome(self, runner: RunnerHandle) -> None:
        runner.born_at = self._clock.monotonic()
        self.runners.append(runner)
        try:
            self._selector.register(
                runner.channel, selectors.EVENT_READ, lambda: self._read_runner(runner)
            )
            self._selector.register(
                runner.output, selectors.EVENT_READ, lambda: self._read_output(runner)
            )
        except OSError as error:  # the system can watch no more files
            self._spawner.failed(f"{type(error).__name__}: {error}")
            runner.end(runner.born_at)

    def _note_death(self, pid: int, status: int) -> None:
        for runner in self.runners:
            if runner.pid == pid:
                runner.status = status
                # Child processes may hold its pipes open, so do not wait for the end of the pipes.
                runner.gone_since = runner.gone_since or self._clock.monotonic()

    def _end_all(self, forkserver: Any) -> None:
        """Kill the runners of a forkserver that is gone: their runs count as lost, as with a
        worker."""
        now = self._clock.monotonic()
        for runner in [one for one in self.runners if one.home is forkserver]:
            runner.refresh_live_run(self._settings)
            runner.end(now, Outcome.LOST, Reason(ReasonCode.SPAWNER_DIED))

    def _note_reload(self) -> None:
        for runner in self.runners:
            runner.outdated = True
            self._spawner.news.unbegun += runner.take_back()

    def allow(self, until: float) -> None:
        """Let runs go on until this monotonic time. The forkserver kills them if the time is not
        extended, because this process may hang."""
        self._allowed_until = until
        self._spawner.allow(until)

    def _note_lapse(self, pids: list[int]) -> None:
        """End the runners that the forkserver has killed, or is about to kill."""
        now = self._clock.monotonic()
        for runner in self.runners:
            if runner.pid not in pids:
                continue
            self._drain(runner)  # a report that has arrived counts
            runner.refresh_live_run(self._settings)
            runner.end(now, Outcome.INTERRUPTED, LAPSED)

    # -- work --------------------

    def idle(self) -> int:
        """Return how many runners could start a run now."""
        return sum(1 for runner in self.runners if runner.is_idle)

    def live_runs(self) -> list[LiveRun]:
        """Return the runs in execution."""
        return [
            run
            for runner in self.runners
            if (run := runner.refresh_live_run(self._settings)) is not None
        ]

    def takers(self) -> int:
        """Return how many runners take orders, without those that execute a long run."""
        return sum(1 for runner in self.runners if self._takes(runner))

    def _takes(self, runner: RunnerHandle) -> bool:
        return runner.takes_orders and not self._is_stuck(runner)

    def _is_stuck(self, runner: RunnerHandle) -> bool:
        """Return whether the runner is stuck, after its waiting messages have been read."""
        if runner.gone_since is not None or not runner.is_stuck(self._clock.monotonic()):
            return False
        self._read_runner(runner)
        return runner.is_stuck(self._clock.monotonic())

    def pids(self) -> list[int]:
        """Return the known pids of the processes that the pool has started."""
        known = [self._spawner.forkserver_pid, *(runner.pid for runner in self.runners)]
        return [pid for pid in known if pid is not None]

    def orders(self) -> list[Order]:
        """Return all orders that were handed out and not answered, begun or not."""
        given = [order for runner in self.runners for order in runner.orders.values()]
        return given + self._room.orders()

    def load(self) -> list[Order]:
        """Return those of these orders whose runners take more orders."""
        return [
            one for runner in self.runners if self._takes(runner) for one in runner.orders.values()
        ]

    def recall(self, guess: Callable[[Order], float], most: float) -> list[Order]:
        """Take back the orders that would wait longer than ``most`` seconds, by the current
        estimate."""
        full = [one for one in self.runners if sum(map(guess, one.waiting())) > most]
        return [order for runner in full for order in runner.take_back()]

    def hand_out(self, order: Order) -> bool:
        """Hand an order to the runner with the fewest orders. Return False if no runner takes it,
        or if this worker's lease is over."""
        return self._hand_out(order, 0)

    def _hand_out(self, order: Order, tries: int) -> bool:
        if self._clock.monotonic() >= self._allowed_until:
            return False
        takers = [
            runner
            for runner in self.runners
            if self._takes(runner) and runner.has_runs_left(self._settings)
        ]
        if not takers:
            return False
        try:
            packet, file = packed(order)
        except (OSError, MemoryError) as error:  # affects this order only: it is large
            if failed := self._room.wait(order, tries, error):
                self._spawner.news.results.append(failed)
            return True
        for runner in sorted(takers, key=lambda runner: len(runner.orders)):
            with contextlib.suppress(Closed):  # the pool detects the closed runner elsewhere
                if runner.lane.send(packet, file):
                    runner.given(order, self._clock.monotonic())
                    return True
        return False

    def _read_runner(self, runner: RunnerHandle) -> None:
        try:
            self._heed(runner)
        except Closed:
            self._stop_hearing(runner)
            runner.gone_since = runner.gone_since or self._clock.monotonic()
        except ValueError:
            self._distrust(runner)

    def _heed(self, runner: RunnerHandle) -> None:
        """Read a runner's messages. Raise Closed at the end of the stream, and ValueError at
        invalid messages."""
        try:
            messages, unreadable = runner.channel.read(), None
        except Unreadable as error:
            messages, unreadable = error.before, error
        for message in messages:
            self._on_runner(runner, message)
        if unreadable is not None:
            raise unreadable

    def _distrust(self, runner: RunnerHandle) -> None:
        """Kill a runner whose channel or scoreboard was written to by a task, and end its run.
        Orders it has not begun are returned."""
        self._stop_hearing(runner)
        self._spawner.news.unbegun += runner.take_back()
        runner.end(self._clock.monotonic(), Outcome.DIED, UNREADABLE)

    def _stop_hearing(self, runner: RunnerHandle) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(runner.channel)

    def _on_runner(self, runner: RunnerHandle, message: Any) -> None:
        if isinstance(message, bytes):
            self._on_report(runner, read_report(message))
            return
        check_message(message)
        if message[0] == "progress":
            run = runner.refresh_live_run(self._settings)
            if run is not None and run.order.run_id == message[1]:
                run.progressed(message[2])
        elif runner.ready:
            raise ValueError("unexpected message of a runner that is ready")
        elif message[0] == "ready":
            runner.ready = True
            self._spawner.succeeded()
        elif message[0] == "loaded":
            self._spawner.news.described.append((message[1], []))
        elif message[0] == "boot_failed":
            self._spawner.failed(message[1])

    def _on_report(self, runner: RunnerHandle, told: PackedReport) -> None:
        file = runner.channel.take_file() if told.in_file else None
        if not runner.expects_report_of(told.run_id):
            raise ValueError("report of an unexpected run")
        order, output = runner.orders[told.run_id], ""
        if told.marked:
            output = runner.output_of(told.run_id, self._settings.output_limit).text()
        run, runner.run = runner.run, None
        run = run if run is not None and run.order is order else None
        runner.answered(order, self._clock.monotonic())
        result = result_of(order, told, output, run, file)
        self._spawner.news.results.append(self._room.bounded(result))
        if run is not None and run.ending:
            # Its child processes may still exist, and its state is unknown.
            runner.end(self._clock.monotonic(), Outcome.INTERRUPTED, ENDED_BEFORE)
        elif told.retires:
            self._spawner.news.retired.append((order, told.rest.get("retires")))
            self._spawner.news.unbegun += runner.retire(self._clock.monotonic())

    def _read_output(self, runner: RunnerHandle) -> None:
        data = runner.read_output()
        if data:
            runner.sort_output(data, self._settings.output_limit)
        elif data is not None:
            self._selector.unregister(runner.output)

    # -- deadlines and ends --------------------

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which `enforce` is next needed."""
        now = self._clock.monotonic()
        grace = self._settings.kill_grace
        known = [runner.next_look(now, grace) for runner in self.runners if runner.orders]
        if any(runner.gone_since is not None for runner in self.runners):
            known.append(now + 0.02)
        if self._missing():
            known.append(self._spawner.next_at)
        known += self._room.times()
        return min(known) if known else None

    def enforce(self) -> None:
        """Warn runs that timed out, kill those that ignored it, reap dead runners, start missing
        ones."""
        now = self._clock.monotonic()
        for runner in list(self.runners):
            self._end_what_cannot_be(runner, now)
            run = runner.refresh_live_run(self._settings)
            if run is not None and run.is_overdue(now):
                why = Reason(ReasonCode.TIMEOUT, seconds=run.order.task.timeout)
                self._warn(runner, Outcome.TIMEOUT, why)
            if run is not None and run.grace_is_over(now):
                runner.end(now)
            if len(runner.orders) > 1 and self._is_stuck(runner):  # do not wait behind a long run
                self._spawner.news.unbegun += runner.take_back()
            if runner.is_overdue(now):
                runner.end(now, Outcome.INTERRUPTED, Reason(ReasonCode.RUNNER_RETIRED))
                self._spawner.failed(None if runner.ready else "a runner was not ready in time")
            self._reap_if_dead(runner, now)
        if self._spawner.is_reloaded:
            self._spawner.close_empty(end_outdated(self.runners, now))
        self._replace_missing()
        self._spawner.news.unbegun += self._room.try_again(self._hand_out)

    def _end_what_cannot_be(self, runner: RunnerHandle, now: float) -> None:
        """Reject an impossible scoreboard, and enforce the maximum time of an order whatever the
        scoreboard says."""
        if runner.gone_since is not None:
            return
        if not runner.has_sane_board(now):
            self._distrust(runner)
        elif now > runner.last_moment(self._settings.kill_grace):
            self._read_runner(runner)  # a report may have arrived while this process was busy
            if now > runner.last_moment(self._settings.kill_grace):
                order = next(iter(runner.orders.values()))
                why = Reason(ReasonCode.TIMEOUT, seconds=order.task.timeout)
                self._spawner.news.unbegun += runner.take_back()
                runner.end(now, Outcome.TIMEOUT, why)

    def stop_run(self, run_id: int, outcome: Outcome, reason: str) -> None:
        """End a run with an exception in its function first; end an order before it begins."""
        for runner in self.runners:
            run = runner.refresh_live_run(self._settings)
            if run is not None and run.order.run_id == run_id:
                self._warn(runner, outcome, reason)
            elif run_id in runner.orders:
                self._spawner.news.unbegun += runner.take_back()
        if any(order.run_id == run_id for order in self._room.orders()):
            self._spawner.news.unbegun += self._room.give_back()
        news = self._spawner.news
        for order in [order for order in news.unbegun if order.run_id == run_id]:
            news.unbegun.remove(order)
            news.results.append(Result(order, outcome, 0.0, "", reason=reason))

    def kill_all_runs(self, outcome: Outcome, reason: str) -> None:
        """Kill all runs now."""
        self._spawner.news.unbegun += self._room.give_back()
        for runner in self.runners:
            self._spawner.news.unbegun += runner.take_back()
            runner.refresh_live_run(self._settings)
            if runner.orders:
                runner.end(self._clock.monotonic(), outcome, reason)

    def end_idle(self, pids: Collection[int] | None) -> list[int]:
        """Kill those of these processes that are idle runners; None means all idle runners."""
        now, ended = self._clock.monotonic(), []
        for runner in self.runners:
            if runner.pid is None or runner.orders or runner.gone_since is not None:
                continue
            if pids is None or runner.pid in pids:
                runner.end(now)
                ended.append(runner.pid)
        return ended

    def _warn(self, runner: RunnerHandle, outcome: Outcome, reason: str) -> None:
        run = runner.run
        if run is None or run.ending:
            return
        # The runner is ended with the run, so it must not begin another order.
        self._spawner.news.unbegun += runner.take_back()
        if runner.at_work() is not run.order:
            return  # the run is over, and its report has been sent
        run.end_as(outcome, reason, self._clock.monotonic())
        try:
            runner.channel.send(["end", run.order.run_id])
        except Closed:
            return
        if runner.pid is not None:
            warn_runner(runner.pid)

    def _reap_if_dead(self, runner: RunnerHandle, now: float) -> None:
        runner.ask_status()
        if runner.gone_since is None:
            return
        if runner.status is None and now < runner.gone_since + 1.0:
            return  # its exit status has not arrived yet
        end_group(runner.pid)
        self._drain(runner)
        not_taken = runner.take_back()
        runs = runner.last_runs(self._settings)
        for run in runs:
            self.deaths += 1
            how = ended_how(runner.status)
            self._spawner.news.results.append(run.died(how, runner.last_words(), now))
        self._spawner.news.unbegun += [*runner.orders.values(), *not_taken]
        self._spawner.ended(runner, bool(runs))
        runner.close_files(self._selector)
        self.runners.remove(runner)
        if runner.process is not None and runner.pid is not None:
            self._spawner.unwatch(runner.pid)

    def _drain(self, runner: RunnerHandle) -> None:
        """Read all remaining output and messages: a report that has arrived counts."""
        runner.sort_output(runner.rest_of_output(), self._settings.output_limit)
        with contextlib.suppress(Closed, ValueError):
            for _ in range(_READS):  # a pipe holds no more than this
                self._heed(runner)

    def has_news(self) -> bool:
        """Return True if there are results or returned orders to fetch with `news`."""
        return bool(self._spawner.news.results or self._spawner.news.unbegun)

    def news(self) -> News:
        """Return the news since the last call."""
        news, self._spawner.news = self._spawner.news, News()
        return news

    def _dismiss_idle(self) -> None:
        """Let idle runners exit by themselves, so that they run the exit handlers of tasks."""
        leaving = [one for one in self.runners if one.is_idle]
        for runner in leaving:
            runner.lane.hang_up()
        until = self._clock.monotonic() + GOODBYE
        while leaving and self._clock.monotonic() < until:
            leaving = [runner for runner in leaving if not runner.has_left()]
            if leaving:
                self._clock.sleep(0.002)

    def close(self) -> None:
        """End every process of this worker, and wait for it to exit."""
        self._wanted = 0
        self._dismiss_idle()
        for runner in self.runners:
            runner.end(self._clock.monotonic())
            if runner.process is not None:
                runner.process.wait()
            runner.close_files(self._selector)
        self.runners.clear()
        self._spawner.close_forkserver()
