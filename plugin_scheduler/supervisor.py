"""In what order? The event loop of a worker: one process, one thread, one selector.

I own the turn: wait, heed signals, enforce deadlines, store reports, obey, claim, hand out, beat,
lead. I call pool, ticker and store. I never run user code, and never start a process myself.
"""

from __future__ import annotations

import selectors
from collections import deque
from datetime import datetime
from typing import Any

from plugin_scheduler import porter
from plugin_scheduler.clock import Clock
from plugin_scheduler.errors import StoreUnavailable
from plugin_scheduler.identity import Identity, describe_me
from plugin_scheduler.lifecycle import Move
from plugin_scheduler.log import tell
from plugin_scheduler.outage import Outage
from plugin_scheduler.pool import News, Pool
from plugin_scheduler.records import Outcome, Report, Task, WorkerStatus
from plugin_scheduler.runs import LiveRun, Result
from plugin_scheduler.settings import Settings
from plugin_scheduler.signals import Signals
from plugin_scheduler.staying import Staying
from plugin_scheduler.store import Store
from plugin_scheduler.ticker import Ticker

AUDIT_EVERY = 0.2  # seconds at least between two looks at orders, however often the bell rings
POLL_EVERY = 1.0  # seconds at most between two looks, also when no bell rings
PROGRESS_EVERY = 0.3  # seconds between two stores of a run's progress
PREFETCH_FOR = 0.05  # seconds of work that may wait in hand
PREFETCH_MOST = 20  # tasks in hand for each slot
HELD_IN_HAND = 0.5  # seconds until a claimed task that found no runner is handed back
STUBBORN_ERRORS = 20  # unexpected errors in a row after which going on makes no sense


class Supervisor:
    """A worker, from its first row to its last."""

    def __init__(
        self,
        store: Store,
        pool: Pool,
        selector: selectors.BaseSelector,
        settings: Settings,
        identity: Identity,
        clock: Clock,
    ) -> None:
        self._store, self._pool, self._selector = store, pool, selector
        self._settings, self._me, self._clock = settings, identity, clock
        self._bell = store.dialect.doorbell()
        self._ticker = Ticker(store, settings, clock, identity.name)
        self._staying = Staying(settings, clock)
        self._outage = Outage(clock)
        self._porters = porter.Porters(identity.where, settings, identity.name)
        self._worker_id = 0
        self._results: list[Result] = []
        self._claimed: deque[tuple[Task, float]] = deque()
        self._maybe_more = True
        self._rung = True
        self._due_at: float | None = None
        self._next_beat = 0.0
        self._next_audit = 0.0
        self._usual_seconds = 0.01
        self._errors_in_a_row = 0
        self._total = self._errors = self._boot_errors = 0
        self._boot_error: str | None = None

    # -- the loop --------------------

    def work(self) -> int:
        """Be a worker until told to leave; the exit code."""
        with Signals() as signals:
            self._selector.register(signals, selectors.EVENT_READ, lambda: None)
            self._arrive()
            try:
                while not self._staying.is_over(self._busy()):
                    self._guarded_turn(signals)
            finally:
                self._selector.unregister(signals)
                self._depart()
        return self._staying.exit_code

    def _guarded_turn(self, signals: Signals) -> None:
        """One transient error must not end a worker: everything unexpected is told and survived."""
        try:
            self._wait()
            self._staying.heed(signals.read(), self._pool, self._me.name)
            self._turn()
            self._errors_in_a_row = 0
        except Exception:  # a defect of ours; the alternative is a worker that silently is no more
            tell("loop_error")
            self._errors += 1
            self._errors_in_a_row += 1
            if self._errors_in_a_row >= STUBBORN_ERRORS:
                raise
            self._clock.sleep(0.1)

    def _turn(self) -> None:
        self._pool.enforce()
        self._collect(self._pool.news())
        self._staying.enforce(self._pool)
        if not self._outage.may_try():
            return
        try:
            self._store_reports()
            self._obey_if_due()
            self._claim()
            self._hand_out()
            self._save_live()
            self._beat_if_due()
        except StoreUnavailable as error:
            if self._outage.noticed(error):
                self._ticker.distrust()
            self._errors += 1
        else:
            self._outage.over()

    def _busy(self) -> bool:
        return bool(self._results or self._pool.live_runs() or self._claimed or self._porters.busy)

    # -- waiting --------------------

    def _wait(self) -> None:
        """Until something happened: a byte, a deadline, a due task, or the doorbell."""
        deadline = self._nearest_deadline()
        while True:
            left = max(0.0, deadline - self._clock.monotonic())
            events = self._selector.select(min(left, self._bell.interval))
            for key, _ in events:
                key.data()
            self._rung = self._bell_rings() or self._rung
            if events or self._rung or self._clock.monotonic() >= deadline:
                return

    def _bell_rings(self) -> bool:
        return self._outage.may_try() and self._bell.rung()

    def _nearest_deadline(self) -> float:
        now = self._clock.monotonic()
        deadlines = [self._next_beat, now + POLL_EVERY]
        if self._porters.busy or self._results:
            deadlines.append(now + 0.02)
        if self._claimed:
            deadlines.append(self._claimed[0][1] + HELD_IN_HAND)
        if self._can_take() and self._maybe_more:
            deadlines.append(now)
        for deadline in (
            self._pool.next_deadline(),
            self._due_at if self._can_take() else None,
            self._staying.deadline,
            self._next_save(),
        ):
            if deadline is not None:
                deadlines.append(deadline)
        nearest = min(deadlines)
        return max(nearest, self._outage.retry_at) if self._outage.is_on else nearest

    # -- reports --------------------

    def _collect(self, news: News) -> None:
        for why in news.boot_failures:
            self._boot_error = why
            self._boot_errors += 1
            tell("boot_failed", why=why)
        for result in news.results:
            self._note_length(result.seconds)
            if result.result_file:
                self._porters.carry(result)
            else:
                self._results.append(result)
        for delivery in self._porters.delivered():
            if delivery.instead is not None:
                self._results.append(delivery.instead)
            else:
                self._tell_delivery(delivery)

    def _tell_delivery(self, delivery: porter.Delivery) -> None:
        self._total += 1
        order = delivery.result.order
        event = "run_completed" if delivery.was_in_time else "report_dropped"
        facts = {"run": order.run_id, "task": order.task.label}
        if delivery.was_in_time:
            facts["seconds"] = delivery.result.seconds
        tell(event, **facts)

    def _note_length(self, seconds: float) -> None:
        self._usual_seconds += (seconds - self._usual_seconds) * 0.2
        self._maybe_more = True

    def _store_reports(self) -> None:
        if not self._results:
            return
        ended = self._store.dialect.now()
        reports = [_report(result, ended) for result in self._results]
        for report, move in self._store.tasks.report(reports, self._me.name):
            self._tell_end(report, move)
        self._results.clear()

    def _tell_end(self, report: Report, move: Move | None) -> None:
        task, run = report.order.task, report.order.run_id
        self._total += 1
        if move is None:
            tell("report_dropped", run=run, task=task.label)
        elif report.outcome == Outcome.COMPLETED:
            event = "run_repeats" if move.name == "repeat" else "run_completed"
            tell(event, run=run, task=task.label, seconds=report.seconds)
        else:
            self._errors += 1
            tell(
                "run_failed",
                run=run,
                task=task.label,
                outcome=report.outcome,
                seconds=report.seconds,
                reason=report.reason,
                status=move.target,
            )

    # -- claim and hand out --------------------

    def _can_take(self) -> bool:
        return self._staying.takes_work and self._room() > 0

    def _room(self) -> int:
        """How many tasks to claim: for idle runners, and as many short ones as they soon will do."""
        prefetch = 0
        if self._usual_seconds < PREFETCH_FOR:
            each = min(PREFETCH_MOST, int(PREFETCH_FOR / max(self._usual_seconds, 0.001)))
            prefetch = each * self._settings.slots
        return self._pool.idle() + (prefetch if self._pool.runners else 0) - len(self._claimed)

    def _claim(self) -> None:
        now = self._clock.monotonic()
        self._hand_back_unstarted(now)
        if self._due_at is not None and now >= self._due_at:
            self._maybe_more, self._due_at = True, None
        if not (self._can_take() and self._maybe_more):
            return
        wanted, groups = self._room(), self._settings.group_names
        instant = self._store.dialect.now()
        tasks = self._store.tasks.claim(self._me.name, groups, wanted, instant)
        self._claimed.extend((task, now) for task in tasks)
        self._maybe_more = len(tasks) == wanted
        if not self._maybe_more:
            self._look_ahead(now, instant)

    def _look_ahead(self, now: float, instant: datetime) -> None:
        """When to claim again: from the very instant of the last claim on, or what became due
        between two readings of the clock would be seen by neither."""
        due = self._store.tasks.next_due(self._settings.group_names, instant)
        self._due_at = None
        if due is not None:
            wait = (due - self._store.dialect.now()).total_seconds()
            self._due_at = now + max(0.001, wait)

    def _hand_back_unstarted(self, now: float) -> None:
        """What waits in hand while it could run elsewhere goes back: a task came that takes long,
        or this worker takes nothing now."""
        if not self._claimed:
            return
        waited = now - self._claimed[0][1] >= HELD_IN_HAND and not self._pool.idle()
        if waited or not self._staying.takes_work:
            tasks = [task for task, _ in self._claimed]
            self._store.tasks.hand_back(tasks, self._me.name)
            self._claimed.clear()
            self._usual_seconds = max(self._usual_seconds, PREFETCH_FOR)

    def _hand_out(self) -> None:
        count = min(self._pool.idle(), len(self._claimed))
        if not count:
            return
        tasks = [self._claimed[index][0] for index in range(count)]
        orders = self._store.tasks.start(tasks, self._me.name)
        for _ in range(count):
            self._claimed.popleft()
        for order in orders:
            if not self._pool.hand_out(order):
                self._results.append(_never_began(order))

    # -- live output --------------------

    def _save_live(self) -> None:
        now = self._clock.monotonic()
        for run in self._pool.live_runs():
            output = run.output.text() if self._save_at(run) <= now and run.output.changed else None
            progress = run.progress if run.progress_is_new else None
            if progress is not None and now - run.saved < PROGRESS_EVERY and output is None:
                continue
            if output is not None or progress is not None:
                self._store.tasks.save_live(run.order.run_id, output, progress)
                run.saved, run.progress_is_new = now, False

    def _save_at(self, run: LiveRun) -> float:
        every = run.order.task.sync_output
        return run.saved + every if every > 0 else float("inf")

    def _next_save(self) -> float | None:
        times = []
        for run in self._pool.live_runs():
            if run.progress_is_new:
                times.append(run.saved + PROGRESS_EVERY)
            if run.output.changed and run.order.task.sync_output > 0:
                times.append(self._save_at(run))
        return min(times) if times else None

    # -- orders --------------------

    def _obey_if_due(self) -> None:
        now = self._clock.monotonic()
        if not self._rung and now < self._next_audit + POLL_EVERY - AUDIT_EVERY:
            return
        if self._rung:
            self._maybe_more = True
        if now < self._next_audit:
            return
        self._rung, self._next_audit = False, now + AUDIT_EVERY
        self._obey(self._store.workers.status(self._worker_id))
        self._end_unwanted_runs()
        if self._ticker.leads:
            self._ticker.round_soon()

    def _obey(self, status: str | None) -> None:
        if status is None:
            tell("row_gone", worker=self._me.name)
            self._worker_id = self._store.workers.register(self._me.name, self._stats())
        elif status == WorkerStatus.STOP_TASK:
            for run in self._pool.live_runs():
                self._pool.stop_run(run.order.run_id, Outcome.STOPPED, "stopped by STOP_TASK")
        if status in WorkerStatus.MOMENTARY:
            self._store.workers.carried_out(self._worker_id, status)
            self._maybe_more = True
        elif status is not None:
            self._staying.follow(status, self._pool, self._me.name)

    def _end_unwanted_runs(self) -> None:
        runs = {run.order.run_id: run for run in self._pool.live_runs() if not run.ending}
        if not runs:
            return
        for run_id, why in self._store.tasks.asked_to_end(runs).items():
            if why == "stop":
                self._pool.stop_run(run_id, Outcome.STOPPED, "stopped on request")
            else:
                tell("run_taken", run=run_id, task=runs[run_id].order.task.label)
                self._pool.stop_run(run_id, Outcome.INTERRUPTED, "taken away from its worker")

    # -- heartbeat --------------------

    def _arrive(self) -> None:
        self._worker_id = self._me.register(self._store, self._stats(), self._clock)
        self._pool.staff(self._settings.slots)
        tell(
            "worker_started",
            worker=self._me.name,
            app=self._me.application or "-",
            groups=",".join(self._settings.group_names),
            slots=self._settings.slots,
            tasks=len(self._me.tasks),
        )

    def _beat_if_due(self) -> None:
        now = self._clock.monotonic()
        if now < self._next_beat:
            return
        late = self._next_beat and now - self._next_beat > self._settings.lease
        if late:
            self._ticker.distrust()
        self._next_beat = now + self._settings.heartbeat
        if not self._store.workers.beat(self._worker_id, self._stats()):
            self._obey(None)
        strays = self._store.tasks.hand_back_unknown(self._me.name, self._known_tasks())
        if strays:
            tell("task_strays", count=strays)
        self._ticker.stand_for_election(self._worker_id)
        if self._ticker.leads:
            self._ticker.round()
        self._maybe_more = True
        self._leave_if_idle()

    def _known_tasks(self) -> list[int]:
        known = [run.order.task.id for run in self._pool.live_runs()]
        known += [result.order.task.id for result in self._results]
        known += [task.id for task, _ in self._claimed]
        return known + self._porters.task_ids()

    def _leave_if_idle(self) -> None:
        if not self._settings.max_empty_runs:
            return
        pending = self._busy() or self._store.tasks.has_due_work(
            self._settings.group_names, self._settings.max_empty_runs * self._settings.heartbeat
        )
        self._staying.count_beat(pending, self._me.name)

    def _stats(self) -> dict[str, Any]:
        runs = self._pool.live_runs()
        return {
            "status": self._staying.words(bool(runs)),
            "sleep": self._settings.heartbeat,
            "total": self._total,
            "errors": self._errors,
            "empty_runs": self._staying.empty_beats,
            "queue": len(self._claimed),
            "distribution": None,
            "workers": self._ticker.alive,
            "slots": self._settings.slots,
            "running": [_about(run) for run in runs],
            "runner_deaths": self._pool.deaths,
            "boot_errors": self._boot_errors,
            "boot_error": self._boot_error,
            **describe_me(self._me),
        }

    def _depart(self) -> None:
        """Leave nothing behind: no process, no row, no task in hand."""
        self._pool.close()
        try:
            self._hand_back_unstarted(float("inf"))
            self._store.tasks.hand_back_unknown(self._me.name, ())
            self._store.workers.leave(self._worker_id)
        except StoreUnavailable as error:
            tell("database_away", error=error)  # the ticker will find what we hold
            self._staying.exit_code = self._staying.exit_code or 1
        tell("worker_left", worker=self._me.name, why=self._staying.why)
        self._store.close()


def _report(result: Result, ended: Any) -> Report:
    return Report(
        order=result.order,
        outcome=result.outcome,
        ended=ended,
        seconds=result.seconds,
        result=result.result,
        traceback=result.traceback,
        output=result.output,
        reason=result.reason,
        progress=result.progress,
    )


def _never_began(order: Any) -> Result:
    return Result(order, Outcome.INTERRUPTED, 0.0, "", reason="its runner was gone before it began")


def _about(run: LiveRun) -> dict[str, Any]:
    task = run.order.task
    return {
        "run": run.order.run_id,
        "task": task.id,
        "function": task.function_name,
        "since": run.order.started.isoformat(" ", "seconds"),
    }
