"""Who runs it? Feeding, deadlines, ending and burial of the runners of one worker.

I own the runner processes of a worker. I call births, crew and runs. I never touch the database:
orders come from the supervisor, and what came of them goes back to it as news.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import selectors
from collections.abc import Mapping
from typing import Any

from plugin_scheduler.births import Births
from plugin_scheduler.clock import Clock
from plugin_scheduler.crew import News, Runner
from plugin_scheduler.hosts import World
from plugin_scheduler.processes import end_group, ended_how, warn_runner
from plugin_scheduler.records import Order, Outcome
from plugin_scheduler.runs import LiveRun
from plugin_scheduler.settings import Settings
from plugin_scheduler.spool import Spool
from plugin_scheduler.wire import Closed

LAPSED = "its worker could not renew its lease in time"


class Pool:
    """The runners of one worker."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        selector: selectors.BaseSelector,
        clock: Clock,
        world: World | None = None,
    ) -> None:
        self._selector, self._clock = selector, clock
        self._spool = Spool()
        own = {"nonce": secrets.token_hex(8), "spool": self._spool.folder}
        self._births = Births({**spec, **own}, selector, clock, world)
        self._births.on_death = self._note_death
        self._births.on_lost_nursery = self._end_all
        self._births.on_lapse = self._note_lapse
        self._allowed_until = math.inf
        self._settings = Settings()
        self._wanted = 0
        self.runners: list[Runner] = []
        self.deaths = 0

    def open(self) -> None:
        """Start to load the app."""
        self._births.open_nursery()

    @property
    def is_loading(self) -> bool:
        """False when the process that loads the app is gone."""
        return self._births.has_nursery

    def staff(self, settings: Settings, spawns: bool) -> None:
        """Keep ``settings.slots`` runners alive from now on.

        With ``spawns`` each is a new interpreter: where threads would be forked, or where somebody
        asked for it.
        """
        self._settings, self._wanted = settings, settings.slots
        self._births.spawns = spawns

    def _replace_missing(self) -> None:
        missing = self._wanted - self._living()
        if missing <= 0 or not self._births.may_be_now():
            return
        for _ in range(missing):
            runner = self._births.make_runner()
            if runner is not None:
                self._welcome(runner)

    def _living(self) -> int:
        return sum(1 for runner in self.runners if runner.gone_since is None)

    def _welcome(self, runner: Runner) -> None:
        runner.born_at = self._clock.monotonic()
        self.runners.append(runner)
        self._selector.register(
            runner.channel, selectors.EVENT_READ, lambda: self._hear_runner(runner)
        )
        self._selector.register(
            runner.output, selectors.EVENT_READ, lambda: self._read_output(runner)
        )

    def _note_death(self, pid: int, status: int) -> None:
        for runner in self.runners:
            if runner.pid == pid:
                runner.status = status
                # What it left running may hold its pipes open: their end is not to be waited for.
                runner.gone_since = runner.gone_since or self._clock.monotonic()

    def _end_all(self) -> None:
        """The nursery is gone: runs are lost as they are with a worker, and counted likewise."""
        now = self._clock.monotonic()
        for runner in self.runners:
            if runner.run is not None:
                runner.run.end_as(Outcome.LOST, "the process its runner came from died", now)
            runner.end(now)

    def allow(self, until: float) -> None:
        """Runs may go on until then (monotonic time). The nursery ends them when nothing else was
        said by then: this process itself may be what hangs."""
        self._allowed_until = until
        self._births.allow(until)

    def _note_lapse(self, pids: list[int]) -> None:
        """The nursery has ended these runners, or is about to."""
        now = self._clock.monotonic()
        for runner in self.runners:
            if runner.pid not in pids:
                continue
            self._drain(runner)  # one that had reported is what it reported
            if runner.run is not None and not runner.run.has_reported:
                runner.run.end_as(Outcome.INTERRUPTED, LAPSED, now)
            runner.end(now)

    # -- work --------------------

    def idle(self) -> int:
        """How many runners could start a run now."""
        return sum(1 for runner in self.runners if runner.is_idle)

    def live_runs(self) -> list[LiveRun]:
        """Runs that are at work now."""
        return [runner.run for runner in self.runners if runner.run is not None]

    def hand_out(self, order: Order) -> bool:
        """Give an order to an idle runner; False when there is none after all, or when the time is
        over in which this worker may run anything (the turn took longer than its lease)."""
        if self._clock.monotonic() >= self._allowed_until:
            return False
        for runner in self.runners:
            if not runner.is_idle:
                continue
            task = order.task
            run = LiveRun(order, self._settings, self._clock.monotonic())
            message = ["run", order.run_id, task.id, task.uuid]
            message += [task.function_name, task.args, task.vars]
            try:
                runner.channel.send(message)
            except Closed:
                runner.gone_since = runner.gone_since or self._clock.monotonic()
                continue
            runner.run = run
            self._watch_writing(runner)
            return True
        return False

    def _hear_runner(self, runner: Runner) -> None:
        try:
            messages = runner.channel.read()
        except Closed:
            self._selector.unregister(runner.channel)
            runner.gone_since = runner.gone_since or self._clock.monotonic()
            return
        for message in messages:
            self._on_runner(runner, message)
        if runner.channel.pending:
            with contextlib.suppress(Closed):  # the next read finds out
                runner.channel.flush()
            self._watch_writing(runner)

    def _watch_writing(self, runner: Runner) -> None:
        """A large order is sent as the runner makes room for it."""
        events = selectors.EVENT_READ
        if runner.channel.pending:
            events |= selectors.EVENT_WRITE
        with contextlib.suppress(KeyError):
            key = self._selector.get_key(runner.channel)
            if key.events != events:
                self._selector.modify(runner.channel, events, key.data)

    def _on_runner(self, runner: Runner, message: list[Any]) -> None:
        kind = message[0]
        if kind == "ready":
            runner.ready = True
            self._births.succeeded()
        elif kind == "loaded":
            self._births.news.described.append((message[1], []))
        elif kind == "boot_failed":
            self._births.failed(message[1])
        elif runner.run is not None and message[1] == runner.run.order.run_id:
            if kind == "progress":
                runner.run.progressed(message[2])
            elif kind == "report":
                runner.run.reported(message[2], message[3], self._clock.monotonic())
                runner.retiring = bool(message[3].get("retire"))
                self._settle(runner)

    def _read_output(self, runner: Runner) -> None:
        data = runner.read_output()
        if data:
            self._sort_output(runner, data)
        elif data is not None:
            self._selector.unregister(runner.output)

    def _sort_output(self, runner: Runner, data: bytes) -> None:
        """Bytes belong to the run whose mark follows them; a mark closes its run's output."""
        ended, rest = runner.stream.split(data)
        for piece, run_id in ended:
            if runner.run is not None and runner.run.order.run_id == run_id:
                runner.run.output.write(piece)
                runner.run.output_complete = True
                self._settle(runner)
        if runner.run is not None and not runner.run.output_complete:
            runner.run.output.write(rest)

    def _settle(self, runner: Runner) -> None:
        """A run is over when both its report and the last of its output are here."""
        run = runner.run
        if run is None or not run.is_complete:
            return
        runner.run = None
        self._births.news.results.append(run.result())
        if run.ending:  # what it started may still be there, and its state is anybody's guess
            runner.end(self._clock.monotonic())
        elif runner.retiring:
            runner.retire(self._clock.monotonic())

    # -- deadlines and ends --------------------

    def next_deadline(self) -> float | None:
        """The monotonic time at which `enforce` has something to do."""
        times = [run.next_deadline() for run in self.live_runs()]
        known = [time for time in times if time is not None]
        if any(runner.gone_since is not None for runner in self.runners):
            known.append(self._clock.monotonic() + 0.02)
        if self._wanted > self._living():
            known.append(self._births.next_at)
        return min(known) if known else None

    def enforce(self) -> None:
        """Warn runs whose time is up, end those that did not listen, bury the dead, fill gaps."""
        now = self._clock.monotonic()
        for runner in list(self.runners):
            run = runner.run
            if run is not None and run.is_overdue(now):
                self._warn(runner, Outcome.TIMEOUT, f"took longer than {run.order.task.timeout} s")
            if run is not None and run.grace_is_over(now):
                runner.end(now)
            if run is not None and run.lacks_its_mark(now):
                run.output_complete = runner.retiring = True
                self._settle(runner)
            if runner.is_overdue(now):
                runner.end(now)
                self._births.failed(None if runner.ready else "a runner did not get ready in time")
            self._bury_if_dead(runner, now)
        self._replace_missing()

    def stop_run(self, run_id: int, outcome: str, reason: str) -> None:
        """End a run: its function sees an exception first, then its processes are killed."""
        for runner in self.runners:
            if runner.run is not None and runner.run.order.run_id == run_id:
                self._warn(runner, outcome, reason)

    def kill_all_runs(self, outcome: str, reason: str) -> None:
        """End every run now."""
        for runner in self.runners:
            if runner.run is not None:
                runner.run.end_as(outcome, reason, self._clock.monotonic())
                runner.end(self._clock.monotonic())

    def _warn(self, runner: Runner, outcome: str, reason: str) -> None:
        run = runner.run
        if run is None or run.ending:
            return
        run.end_as(outcome, reason, self._clock.monotonic())
        try:
            runner.channel.send(["end", run.order.run_id])
        except Closed:
            return
        if runner.pid is not None:
            warn_runner(runner.pid)

    def _bury_if_dead(self, runner: Runner, now: float) -> None:
        runner.ask_status()
        if runner.gone_since is None:
            return
        if runner.status is None and now < runner.gone_since + 1.0:
            return  # its exit status is on its way
        end_group(runner.pid)
        self._drain(runner)
        run, runner.run = runner.run, None
        if run is not None:
            self.deaths += 1
            run.output.write(runner.stream.rest())
            how = ended_how(runner.status)
            self._births.news.results.append(run.died(how, runner.last_words(), now))
        if not runner.ready:
            self._births.failed()
        runner.close_files(self._selector)
        self.runners.remove(runner)
        if runner.process is not None and runner.pid is not None:
            self._births.unwatch(runner.pid)

    def _drain(self, runner: Runner) -> None:
        """A killed run keeps what it printed, and a report that was already sent."""
        with contextlib.suppress(Closed):
            for message in runner.channel.read():
                self._on_runner(runner, message)
        self._sort_output(runner, runner.rest_of_output())

    def news(self) -> News:
        """What happened since the last call."""
        news, self._births.news = self._births.news, News()
        return news

    def close(self) -> None:
        """End every process of this worker, and wait until they are gone."""
        self._wanted = 0
        for runner in self.runners:
            runner.end(self._clock.monotonic())
            if runner.process is not None:
                runner.process.wait()
            runner.close_files(self._selector)
        self.runners.clear()
        self._births.close_nursery()
        self._spool.remove()
