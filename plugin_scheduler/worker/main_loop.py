"""Main loop of a worker: one process, one thread, one selector.

Each turn waits, handles signals, enforces deadlines, stores reports, follows commands, claims and
hands out tasks, sends the heartbeat, and leads. Does not run user code, and does not start
processes itself.
"""

from __future__ import annotations

import contextlib
import selectors

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import ConfigError, Locked, NameTaken, StoreUnavailable
from plugin_scheduler.core.log_events import log_event, write_out
from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Outcome, WorkerStatus
from plugin_scheduler.core.worker_events import WorkerEvent
from plugin_scheduler.core.worker_stats import WorkerStats
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.system.signals import DRAIN, KILL, RELOAD, STATE, Signals, name_of
from plugin_scheduler.worker import time_zones
from plugin_scheduler.worker.claim_health import ClaimHealth
from plugin_scheduler.worker.event_queue import EventQueue
from plugin_scheduler.worker.fetcher import Fetcher
from plugin_scheduler.worker.large_results import LargeResults
from plugin_scheduler.worker.leader import Leader
from plugin_scheduler.worker.outages import OFTEN, Outage, StartPatience
from plugin_scheduler.worker.registration import Registration
from plugin_scheduler.worker.reporter import Reporter
from plugin_scheduler.worker.shutdown import Shutdown
from plugin_scheduler.worker.stats import Measurements
from plugin_scheduler.worker.unknown_functions import KnownFunctions

AUDIT_EVERY = 0.2  # minimum seconds between reads of commands, however many notifications arrive
POLL_EVERY = 1.0  # maximum seconds between two of them while tasks run
LOCKED_FOR = 1.0  # seconds without the database until idle runners are checked for locks
SHORT = 0.001  # seconds; a selector rounds shorter pauses up to this
STUBBORN_ERRORS = 20  # consecutive unexpected errors after which the worker gives up


class MainLoop:
    """A worker, from its registration to its exit."""

    def __init__(
        self,
        store: Store,
        pool: Pool,
        selector: selectors.BaseSelector,
        settings: Settings,
        identity: Registration,
        clock: Clock,
    ) -> None:
        self._store, self._pool, self._selector = store, pool, selector
        self._settings, self._me, self._clock = settings, identity, clock
        self._notifier = store.dialect.notifier()
        self._events = EventQueue(store, clock, identity.name)
        self._leader = Leader(store, settings, clock, identity.name, self._events)
        self._shutdown = Shutdown(settings, clock)
        self._outage = Outage(settings, clock, pool.allow)
        functions = KnownFunctions(identity.tasks, settings.unknown_function_wait, clock)
        health = ClaimHealth(clock, self._events)
        self._fetcher = Fetcher(
            store, pool, self._shutdown, settings, identity.name, functions, clock, health
        )
        large_results = LargeResults(identity.where, settings, identity.name, clock)
        self._reporter = Reporter(store, large_results, identity.name, clock)
        self._measurements = Measurements(identity, settings, store, pool, clock)
        self._worker_id = 0
        self._next_beat = 0.0
        self._next_audit = self._last_audit = 0.0
        self._errors_in_a_row = self._errors = 0
        self._notifier_trouble: str | None = None
        self._zone_trouble: str | None = None

    # -- the loop --------------------

    def work(self, spawns: bool, signals: Signals, patience: StartPatience) -> int:
        """Run until told to leave; return the exit code."""
        self._arrive(spawns, signals, patience)
        self._selector.register(signals, selectors.EVENT_READ, lambda: None)
        if self._notifier.fileno() >= 0:
            self._selector.register(self._notifier, selectors.EVENT_READ, self._notifier.heed)
        try:
            while not self._is_over():
                self._guarded_turn(signals)
        finally:
            self._selector.unregister(signals)
            self._depart()
        return self._shutdown.exit_code

    def _guarded_turn(self, signals: Signals) -> None:
        """Run one turn, and survive and log unexpected errors: one must not end a worker."""
        try:
            self._wait()
            self._heed(signals)
            self._turn()
            self._errors_in_a_row = 0
        except Exception as error:  # a defect; the alternative is a worker that vanishes silently
            log_event("loop_error")
            self._errors += 1
            self._errors_in_a_row += 1
            if self._errors_in_a_row >= STUBBORN_ERRORS:
                self._shutdown.why = f"{STUBBORN_ERRORS} consecutive errors, the last: {error!r}"
                raise
            self._clock.sleep(min(2.0, 0.1 * 1.5**self._errors_in_a_row))

    def _heed(self, signals: Signals) -> None:
        for number in signals.read():
            meaning = signals.meaning(number)
            if meaning in (DRAIN, KILL):
                self._shutdown.heed([number], self._pool, self._me.name)
            elif meaning == STATE:
                self._tell_state()
            elif meaning == RELOAD:
                self._reload()
            else:
                log_event("signal_ignored", signal=name_of(number))

    def _reload(self) -> None:
        if self._pool.reload():
            log_event("reloading", worker=self._me.name)
        else:
            why = "a reload is in progress, or the functions exist in this process only"
            log_event("reload_failed", worker=self._me.name, why=why)

    def _tell_reload(self, why: str | None) -> None:
        if why is None:
            total = self._fetcher.functions.about()["tasks_total"]
            log_event("reloaded", worker=self._me.name, tasks=total)
        else:
            log_event("reload_failed", worker=self._me.name, why=why)

    def _tell_state(self) -> None:
        """Log the state, for an operator who cannot reach the database."""
        runs, away = self._pool.live_runs(), self._outage.seconds
        now = self._clock.monotonic()
        log_event(
            "state",
            worker=self._me.name,
            status=self._shutdown.words(bool(runs)),
            groups=",".join(self._fetcher.groups),
            leads="yes" if self._leader.leads else "no",
            database=f"no answer for {away:.0f} s" if self._outage.is_on else "answers",
            waiting=len(self._fetcher),
            running=len(runs),
            runs="; ".join(
                f"run {run.order.run_id} of task {run.order.task.label} for {now - run.began:.1f} s"
                for run in runs
            )
            or "-",
        )

    def _turn(self) -> None:
        self._pool.enforce()
        self._collect()
        self._shutdown.enforce(self._pool)
        if not self._outage.may_try():
            return
        try:
            self._beat_if_due()
            if self._reporter.store():  # a retry or a repetition may be due
                self._fetcher.look_again()
            self._fetcher.feed()
            self._audit_if_due()
            self._after_notification()
            self._reporter.save_live(self._pool.live_runs())
        except Locked:  # a row was held by another transaction: not an outage, so no pause
            self._errors += 1
        except StoreUnavailable as error:
            self._errors += 1
            self._end_lock_holders()
            self._outage.noticed(error)
            if self._worker_id:  # the next turn must query the database to detect an answer
                self._next_audit = 0.0
            limit = self._settings.db_outage_limit
            if 0 < limit <= self._outage.seconds:
                self._shutdown.give_up(self._outage.seconds, self._pool)
        except Superseded as error:
            self._shutdown.give_way(str(error), self._pool)
            self._worker_id, self._leader.leads = 0, False
            self._next_beat = self._next_audit = self._last_audit = float("inf")
        else:
            seconds = self._outage.over()
            if seconds is not None:
                why = self._outage.error
                self._events.note(WorkerEvent.DATABASE_BACK, seconds=round(seconds, 1), error=why)

    def _end_lock_holders(self) -> None:
        """Kill idle runners that hold a database lock: what a run left open may never be
        released."""
        if self._outage.seconds >= LOCKED_FOR:
            pids = self._store.dialect.lock_holders()
            ended = self._pool.end_idle(pids) if pids is None or pids else []
            if ended:
                log_event("lock_ended", pids=", ".join(map(str, ended)))

    def _collect(self) -> None:
        news = self._pool.news()
        self._fetcher.collect(news)
        self._reporter.collect(news)
        for why in news.reloads:
            self._tell_reload(why)

    def _is_over(self) -> bool:
        is_busy = self._busy()
        if self._shutdown.leaves and not self._outage.is_on:
            self._shutdown.mind_refused(self._refused() if is_busy else [])
        return self._shutdown.is_over(is_busy)

    def _refused(self) -> list[str]:
        """Return the runs that the database refuses, if nothing else keeps this worker."""
        refused = self._fetcher.refused + self._reporter.refused
        left = len(self._fetcher) + len(self._reporter.task_ids()) + len(self._pool.orders())
        return refused if len(refused) == left else []

    def _busy(self) -> bool:
        self._collect()
        return bool(self._reporter.is_busy or self._pool.orders() or len(self._fetcher))

    # -- waiting --------------------

    def _wait(self) -> None:
        """Wait for an event: input, a deadline, a due task, or a notification."""
        self._clock.sleep(self._fetcher.breather())
        deadline = self._nearest_deadline()
        while True:
            left = max(0.0, deadline - self._clock.monotonic())
            listening = self._outage.may_try()
            pause = min(left, self._notifier.interval) if listening else left
            if 0 < pause < SHORT:
                self._clock.sleep(pause)
                pause = 0.0
            events = self._selector.select(pause)
            for key, _ in events:
                key.data()
            happened = any(key.fileobj is not self._notifier for key, _ in events)
            rung = listening and self._notifier.rung()
            if rung and self._worker_id:
                self._fetcher.look_again()
                self._leader.rang()
                self._next_audit = min(self._next_audit, self._last_audit + AUDIT_EVERY)
            if happened or rung or self._clock.monotonic() >= deadline:
                return

    def _nearest_deadline(self) -> float:
        if self._outage.is_on:
            return self._outage.retry_at
        deadlines = (
            self._next_beat,
            self._audit_at(),
            self._notifier.next_test,
            self._leader.deadline,
            self._pool.next_deadline(),
            self._fetcher.next_deadline(),
            self._reporter.next_deadline(self._pool.live_runs()),
            self._shutdown.deadline,
        )
        # News that arrived during these calls is handled first.
        return 0.0 if self._pool.has_news() else min(one for one in deadlines if one is not None)

    # -- commands --------------------

    def _audit_at(self) -> float:
        """Return when to read commands: soon after a notification, at each heartbeat, and more
        often while runs may have to be ended."""
        watched = self._last_audit + POLL_EVERY if self._pool.orders() else self._next_audit
        return min(self._next_audit, watched)

    def _audit_if_due(self) -> None:
        if self._clock.monotonic() < self._audit_at():
            return
        row = self._store.workers.orders(self._worker_id)
        if row is None:
            self._register_again()
        else:
            self._follow(*row)

    def _follow(self, status: str, groups: tuple[str, ...]) -> None:
        """Apply the commands in this worker's row."""
        self._last_audit = self._clock.monotonic()
        self._next_audit = self._last_audit + max(POLL_EVERY, self._settings.heartbeat)
        self._fetcher.serve(groups or self._settings.group_names)
        self._obey(status)
        self._end_unwanted_runs()

    def _after_notification(self) -> None:
        """Do maintenance after a notification, and test the notifier when a test is due."""
        if self._leader.round_if_due(self._known_tasks):
            self._fetcher.look_again()
        if self._clock.monotonic() >= self._notifier.next_test:
            self._notifier.test()
            self._log_notifier_trouble()

    def _log_notifier_trouble(self) -> None:
        """Log when notifications become delayed: not an error, but an operator should know."""
        before, self._notifier_trouble = self._notifier_trouble, self._notifier.trouble
        if self._notifier_trouble and self._notifier_trouble != before:
            log_event("bell_lost", why=self._notifier_trouble)
        elif before and not self._notifier_trouble:
            log_event("bell_back")

    def _register_again(self) -> None:
        """Add this worker's row again: it was removed by hand, or the worker was thought dead."""
        log_event("row_gone", worker=self._me.name)
        self._events.note(WorkerEvent.ROW_GONE)
        try:
            self._worker_id = self._store.workers.register(self._me.name, self._stats())
        except NameTaken as error:
            raise Superseded(str(error)) from error

    def _obey(self, status: str) -> None:
        if status == WorkerStatus.STOP_TASK:
            why = Reason(ReasonCode.STOP_ORDERED)
            for run in self._pool.live_runs():
                self._pool.stop_run(run.order.run_id, Outcome.STOPPED, why)
        if status in WorkerStatus.MOMENTARY:
            self._store.workers.carried_out(self._worker_id, status)
            self._fetcher.look_again()
        else:
            self._shutdown.follow(status, self._pool, self._me.name)

    def _end_unwanted_runs(self) -> None:
        orders = {order.run_id: order for order in self._pool.orders()}
        if not orders:
            return
        for run_id, why in self._reporter.unwanted(orders).items():
            if why == "stop":
                why_ended = Reason(ReasonCode.STOP_REQUESTED)
                self._pool.stop_run(run_id, Outcome.STOPPED, why_ended)
            else:
                log_event("run_taken", run=run_id, task=orders[run_id].task.label)
                why_ended = Reason(ReasonCode.TAKEN_AWAY)
                self._pool.stop_run(run_id, Outcome.INTERRUPTED, why_ended)

    # -- heartbeat --------------------

    def _arrive(self, spawns: bool, signals: Signals, patience: StartPatience) -> None:
        while not self._worker_id:
            try:
                self._register(signals)
            except StoreUnavailable as error:
                patience.wait(error)
        patience.over()
        self._pool.staff(self._settings, spawns)
        log_event(
            "worker_started",
            worker=self._me.name,
            app=self._me.application or "-",
            groups=",".join(self._settings.group_names),
            slots=self._settings.slots,
            tasks=len(self._me.tasks),
        )

    def _register(self, signals: Signals) -> None:
        self._zone_trouble = time_zones.agree(self._store, self._settings, self._me.name)
        row = self._stats()
        try:
            me = self._me.register(self._store, self._settings, row, signals.pause)
        except ConfigError as error:
            self._events.note(WorkerEvent.REFUSED, why=error)
            self._events.write()
            raise
        self._worker_id = me.worker_id
        if me.given_back is not None:
            self._events.note(WorkerEvent.SUCCEEDED, tasks=me.given_back)
        groups = ", ".join(self._settings.group_names)
        self._events.note(
            WorkerEvent.STARTED,
            groups=groups,
            host=row["host"],
            pid=row["pid"],
            slots=row["slots"],
        )
        self._events.write()

    def _beat_if_due(self) -> None:
        now = self._clock.monotonic()
        if now < self._next_beat:
            return
        try:
            is_there = self._store.workers.beat(self._worker_id, self._stats())
        except Locked:  # an uncommitted command: the work goes on meanwhile
            if self._store.dialect.locks_rows:
                self._outage.held_up()
            self._next_beat = self._clock.monotonic() + OFTEN
            return
        if not is_there:
            self._register_again()
        self._outage.beaten(now)
        self._next_beat = now + self._settings.heartbeat
        with contextlib.suppress(Locked):  # the next heartbeat will do
            self._look_after_rows()
        self._reporter.keep_counts()
        self._events.write()
        write_out()
        self._fetcher.look_now_and_then()
        self._leave_if_idle()

    def _look_after_rows(self) -> None:
        """Maintain the rows of this worker, and of all workers if it leads."""
        condemned = self._store.tasks.condemn_unreadable()
        if condemned:
            log_event("condemned", count=condemned)
        workers = self._leader.try_become_leader(self._worker_id)
        for mine in (one for one in workers if one.id == self._worker_id and one.lease_until):
            self._follow(mine.status, mine.group_names)
        if self._leader.look_after(workers, self._known_tasks()):
            self._fetcher.look_again()

    def _known_tasks(self) -> list[int]:
        self._collect()  # a runner's messages may have been read since this turn began
        running = [order.task.id for order in self._pool.orders()]
        return running + self._reporter.task_ids() + self._fetcher.task_ids()

    def _leave_if_idle(self) -> None:
        if not self._settings.max_empty_runs:
            return
        pending = self._busy() or self._store.claims.has_due_work(
            self._fetcher.groups,
            self._settings.max_empty_runs * self._settings.heartbeat,
            self._fetcher.functions.only,
        )
        self._shutdown.count_beat(pending, self._me.name)

    def _stats(self) -> WorkerStats:
        """Return the values for this worker's row."""
        return {
            "status": self._shutdown.words(bool(self._pool.live_runs())),
            "empty_runs": self._shutdown.empty_beats,
            "queue": len(self._fetcher),
            "distribution": None,
            "workers": self._leader.alive,
            "zone_trouble": self._zone_trouble,
            "database_errors": self._errors,
            **self._reporter.about(),
            **self._notifier.about(),
            **self._store.dialect.about(),
            **self._measurements.read(),
            **self._fetcher.functions.about(),
            **self._fetcher.health.about(self._store.dialect.now()),
        }

    def _depart(self) -> None:
        """Leave no processes, no row and no claimed tasks behind."""
        self._pool.close()
        try:
            if self._worker_id:
                self._give_back_all()
        except StoreUnavailable as error:
            log_event("database_away", error=error)  # the leader will find what this worker holds
            self._shutdown.exit_code = self._shutdown.exit_code or 1
        except Exception as error:  # the same, if the database refuses something
            log_event(
                "chore_refused", what="the deregistration of this worker", error=first_line(error)
            )
            self._shutdown.exit_code = self._shutdown.exit_code or 1
        log_event("worker_left", worker=self._me.name, why=self._shutdown.why)
        self._events.note(WorkerEvent.LEFT, why=self._shutdown.why)
        self._events.write()
        self._notifier.close()
        self._store.close()

    def _give_back_all(self) -> None:
        self._store.tasks.hand_back_unknown(self._me.name, ())
        self._reporter.keep_counts()
        self._store.maintenance.leave(self._worker_id, self._me.name)


class Superseded(Exception):
    """Another live worker has this worker's name, and now owns its tasks."""
