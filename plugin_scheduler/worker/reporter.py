"""Reporter: writes results, live output, progress and log lines.

Holds results until they are stored, and counts them. Does not claim tasks, and does not end runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.types import Order, Outcome, Report
from plugin_scheduler.core.worker_stats import ReportStats
from plugin_scheduler.execution.live_run import LiveRun, Result
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.scheduling.state_machine import Move
from plugin_scheduler.store import Store
from plugin_scheduler.store.metrics_buffer import MetricsBuffer
from plugin_scheduler.system.clock import Clock
from plugin_scheduler.worker.held_rows import HeldRows
from plugin_scheduler.worker.large_results import Delivery, LargeResults

PROGRESS_EVERY = 0.3  # seconds between two writes of a run's progress
WATCHED_EVERY = 0.5  # seconds between two writes of a run's output while it is viewed
REFUSED_AGAIN = 30.0  # seconds until a report that the database refused is retried
MANY = 10  # number of runs that end in one turn from which on they share a log line
BOOT_TOLD_AGAIN = 300.0  # seconds until the same failure to start runners is logged again
LARGE_RESULT_EVERY = 0.02  # seconds between two checks of large results


class CountedRun(NamedTuple):
    """The counted values of a run."""

    order: Order
    outcome: Outcome
    seconds: float


Done = list[tuple[Report, Move | None]]


class Reporter:
    """The path from the pool to the tables."""

    def __init__(
        self, store: Store, large_results: LargeResults, worker_name: str, clock: Clock
    ) -> None:
        self._store, self._large_results = store, large_results
        self._name, self._clock = worker_name, clock
        self._results: list[Result] = []
        self._held = HeldRows(clock)
        self._refused: set[int] = set()
        self._watched: dict[int, float] = {}  # end of viewing, by the run's number
        self.total = self.errors = self.boot_errors = 0
        self.boot_error: str | None = None
        self._boot_told: dict[str, float] = {}  # failures, and when each was logged
        self._tally = MetricsBuffer()
        self._minute = 0
        self._uncounted: list[CountedRun] = []
        self._counting_trouble = ""

    def about(self) -> ReportStats:
        """Return the counters for the worker's row."""
        return {
            "total": self.total,
            "errors": self.errors,
            "boot_errors": self.boot_errors,
            "boot_error": self.boot_error,
        }

    @property
    def is_busy(self) -> bool:
        return bool(self._results) or self._large_results.busy

    @property
    def refused(self) -> list[str]:
        """Return the labels of runs whose ends the database refused."""
        return [one.order.label for one in self._results if one.order.run_id in self._held]

    def task_ids(self) -> list[int]:
        """Return the tasks whose results are not stored yet."""
        return [result.order.task.id for result in self._results] + self._large_results.task_ids()

    def collect(self, news: News) -> None:
        """Take over the pool's news."""
        if news.spawned:
            self.boot_error = None
        for why in news.boot_failures:
            self.boot_error = why
            self.boot_errors += 1
            self._tell_boot_failure(why)
        for order, reason in news.retired:
            about = {"run": order.run_id, "task": order.task.label}
            if reason is None:
                log_event("runner_spent", **about)
            else:
                log_event("runner_retires", **about, why=reason)
        for result in news.results:
            if result.result_file:
                self._large_results.carry(result)
            else:
                self._results.append(result)
        for delivery in self._large_results.delivered():
            if delivery.instead is not None:
                self._results.append(delivery.instead)
            else:
                self._tell_delivery(delivery)

    def _tell_boot_failure(self, why: str) -> None:
        """Log a failure to start runners once for a while: the next try may fail in the same
        way."""
        now = self._clock.monotonic()
        told = self._boot_told.items()
        self._boot_told = {one: at for one, at in told if now < at + BOOT_TOLD_AGAIN}
        if why not in self._boot_told:
            self._boot_told[why] = now
            log_event("boot_failed", why=why)

    def store(self) -> bool:
        """Write all reports in one transaction, and keep them until that succeeds.

        Return True if a report was written.
        """
        if not self._results:
            return False
        ended, self._minute = self._store.dialect.now(), self._store.metrics.minute()
        if not self._held:
            return self._store_part(self._results, ended)
        due = [one for one in self._results if not self._held.is_held(one.order.run_id)]
        patient = self._held.longest_held(one.order.run_id for one in due)
        alone = [one for one in due if one.order.run_id == patient]
        others = [one for one in due if one.order.run_id != patient]
        return self._store_part(alone, ended) | self._store_part(others, ended)

    def _store_part(self, results: Sequence[Result], ended: datetime) -> bool:
        done = self._try_to_store(results, ended) if results else []
        stored = {report.order.run_id for report, _ in done}
        self._results = [one for one in self._results if one.order.run_id not in stored]
        self._held.forget_but({one.order.run_id for one in self._results})
        self._refused -= stored
        self._tell_ends(done)
        return bool(done)

    def _try_to_store(self, results: Sequence[Result], ended: datetime) -> Done:
        reports = [_report(result, ended) for result in results]
        try:
            return self._store.tasks.report(reports, self._name)
        except Locked:
            return self._store_those_free(results, ended)
        except StoreUnavailable:
            raise
        except Exception:  # one of them cannot be stored; it must not block the others
            return self._store_each(reports)

    def _store_those_free(self, results: Sequence[Result], ended: datetime) -> Done:
        """Store the results whose rows are free. A transaction (for example an edit) holds a row,
        and the others must not wait for it."""
        free = self._store.tasks.free([result.order for result in results])
        reports = [_report(one, ended) for one in results if one.order.run_id in free]
        done: Done = []
        try:
            done = self._store.tasks.report(reports, self._name) if reports else []
        except Locked:  # held since the check; all of them are retried
            pass
        except StoreUnavailable:
            raise
        except Exception:  # one of the others cannot be stored
            done = self._store_each(reports)
        stored = {report.order.run_id for report, _ in done}
        self._held.note({result.order.run_id for result in results} - stored)
        return done

    def _store_each(self, reports: Sequence[Report]) -> Done:
        """Store reports one by one: one that cannot be stored must not block the others."""
        done: Done = []
        for report in reports:
            try:
                done.append(self._store_one(report))
            except Locked:
                self._held.note({report.order.run_id})
            except StoreUnavailable:
                if not done:
                    raise
                break  # the rest is retried
            except Exception as error:  # its row refuses even the minimal report
                self._hold_refused(report, error)
        return done

    def _hold_refused(self, report: Report, error: Exception) -> None:
        run_id = report.order.run_id
        if run_id not in self._refused:
            self._refused.add(run_id)
            about = {"run": run_id, "task": report.order.task.label}
            log_event("report_refused", **about, seconds=REFUSED_AGAIN, error=first_line(error))
        self._held.put_off(run_id, REFUSED_AGAIN)

    def _store_one(self, report: Report) -> tuple[Report, Move | None]:
        try:
            return self._store.tasks.report([report], self._name)[0]
        except StoreUnavailable:
            raise
        except Exception as error:  # reported to the person who views the task
            said = f"{type(error).__name__}: {error!a}"
            why = Reason(ReasonCode.REPORT_REFUSED, error=said)
            plain = Report(report.order, Outcome.FAILED, report.ended, report.seconds, reason=why)
            return self._store.tasks.report([plain], self._name)[0]

    # -- counts --------------------

    def keep_counts(self) -> None:
        """Store the counts if possible. They are not essential, so a failure is logged once, and
        stops nothing."""
        try:
            self.store_counts()
            self._counting_trouble = ""
        except Exception as error:  # if the database is away, other calls report it
            trouble = first_line(error)
            if trouble != self._counting_trouble:
                log_event("counts_refused", error=trouble)
                self._counting_trouble = trouble

    def store_counts(self) -> None:
        """Write the counts of runs; keep what cannot be written now."""
        metrics, tally = self._store.metrics, self._tally
        if self._uncounted:
            self._minute = metrics.minute()
            self._count(self._uncounted)
            self._uncounted = []
        unasked = tally.unasked()
        if unasked:
            tally.told(metrics.of(self._name, unasked))
        news = tally.news()
        if news:
            metrics.write(self._name, news)
            tally.stored(news)

    def _count(self, ends: Sequence[Report | CountedRun]) -> None:
        minute, add = self._minute, self._tally.add
        for end in ends:
            add(minute, end.order, end.outcome, end.seconds)

    # -- live data --------------------

    def save_live(self, runs: Sequence[LiveRun]) -> None:
        """Write progress, and output of running tasks with ``sync_output`` or with a viewer."""
        now = self._clock.monotonic()
        for run in runs:
            prints = run.output.changed and self._output_due(run) <= now
            moves = run.progress_is_new and (prints or run.progress_saved + PROGRESS_EVERY <= now)
            if run.is_refused or not (prints or moves):
                continue
            output = run.output.text() if prints else None
            if self._save_run(run, output, run.progress if moves else None):
                run.output.changed &= not prints
                run.progress_is_new &= not moves
            if prints:
                run.output_saved = now
            if moves:
                run.progress_saved = now

    def _save_run(self, run: LiveRun, output: str | None, progress: dict[str, Any] | None) -> bool:
        """Save live data; return False if the row is held. If the database refuses it, no more live
        data of that run is saved, so that the others do not wait."""
        try:
            self._store.tasks.save_live(run.order.run_id, output, progress)
        except Locked:
            return False
        except StoreUnavailable:
            raise
        except Exception as error:  # any error that a driver or a trigger raises for this row
            run.is_refused = True
            about = {"run": run.order.run_id, "task": run.order.task.label}
            log_event("live_refused", **about, error=first_line(error))
        return True

    def unwanted(self, orders: Iterable[int]) -> dict[int, str]:
        """Return those of these runs that must end, and why; also record whose output is viewed."""
        wishes = self._store.tasks.wishes(orders, self._name)
        now = self._clock.monotonic()
        self._watched = {run_id: now + left for run_id, left in wishes.watched.items()}
        return wishes.ends

    def _output_due(self, run: LiveRun) -> float:
        """Return when new output must be saved; never, if it is not requested."""
        every = run.order.task.sync_output
        due = run.output_saved + every if every > 0 else math.inf
        if self._watched.get(run.order.run_id, 0.0) > self._clock.monotonic():
            due = min(due, run.output_saved + WATCHED_EVERY)
        return due

    def next_deadline(self, runs: Sequence[LiveRun]) -> float | None:
        """Return the monotonic time of the next write."""
        now = self._clock.monotonic()
        times = [max(self._held.until(one.order.run_id), now) for one in self._results]
        if self._large_results.busy:
            times.append(now + LARGE_RESULT_EVERY)
        for run in runs:
            if run.is_refused:
                continue
            if run.progress_is_new:
                times.append(run.progress_saved + PROGRESS_EVERY)
            if run.output.changed:
                times.append(self._output_due(run))
        return min(times) if times else None

    # -- log --------------------

    def _tell_delivery(self, delivery: Delivery) -> None:
        self.total += 1
        order = delivery.result.order
        if delivery.was_in_time:
            result = delivery.result
            self._uncounted.append(
                CountedRun(result.order, result.outcome, result.seconds)
            )  # does not need the database now
            seconds = delivery.result.seconds
            log_event("run_completed", run=order.run_id, task=order.task.label, seconds=seconds)
        else:
            log_event("report_dropped", run=order.run_id, task=order.task.label)

    def _tell_ends(self, done: Done) -> None:
        """Log each end; completed runs share a line if there are many."""
        self._count([report for report, move in done if move is not None])
        if len(done) < MANY:
            for report, move in done:
                self._tell_end(report, move)
            return
        plain = [one for one, move in done if move is not None and move.name == "finish"]
        self.total += len(plain)
        log_event(
            "runs_completed",
            count=len(plain),
            first=plain[0].order.task.label if plain else "-",
            seconds=sum(report.seconds for report in plain),
        )
        for report, move in done:
            if move is None or move.name != "finish":
                self._tell_end(report, move)

    def _tell_end(self, report: Report, move: Move | None) -> None:
        task, run = report.order.task, report.order.run_id
        self.total += 1
        if move is None:
            log_event("report_dropped", run=run, task=task.label)
        elif report.outcome == Outcome.COMPLETED:
            event = "run_repeats" if move.name == "repeat" else "run_completed"
            log_event(event, run=run, task=task.label, seconds=report.seconds)
        else:
            self.errors += 1
            log_event(
                "run_failed",
                run=run,
                task=task.label,
                outcome=report.outcome,
                seconds=report.seconds,
                reason=report.reason,
                status=move.target,
            )


def _report(result: Result, ended: datetime) -> Report:
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
