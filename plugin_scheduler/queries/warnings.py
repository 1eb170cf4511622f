"""Warnings of the overview and of workers, each with the page that shows more.

Does not write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import TaskStatus, WorkerStatus
from plugin_scheduler.core.worker_events import DEATHS, SCHEDULER
from plugin_scheduler.models.ids import Ids
from plugin_scheduler.queries import views
from plugin_scheduler.queries.capped_counts import Amounts
from plugin_scheduler.queries.integrity import MOST, Integrity, Left, Odd
from plugin_scheduler.queries.views import FunctionCount, WorkerView, amount, quantity, span
from plugin_scheduler.system.clock import alike, is_zone, own_zone

SKEWED = 2.0  # seconds of clock error without a warning
CLAIM_FAILURES = 2  # consecutive failures that cause a warning; one may be a deadlock
DEATHS_FOR = timedelta(days=1)  # time for which the overview shows workers that died
DEATHS_SHOWN = 3
TASKS, WORKERS, HISTORY = "tasks", "workers", "history"
#: Severity: work is not done; needs attention; for information.
ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Notice:
    """A warning, and the page and filter that show more. Scripts use its ``code``."""

    code: str
    sentence: Sentence
    page: str = WORKERS
    query: dict[str, str] = field(default_factory=dict)
    severity: str = WARNING


def exit_code(severities: Iterable[str]) -> int:
    """Return the exit code of a command: 2 for an error, 1 for a warning, else 0."""
    return max((_CODES.get(one, 0) for one in severities), default=0)


_CODES = {ERROR: 2, WARNING: 1}


class Warnings(Integrity):
    """Faults that need attention."""

    def warnings(
        self,
        workers: list[WorkerView],
        due: Amounts,
        functions: Iterable[FunctionCount],
        now: datetime,
    ) -> Iterator[Notice]:
        """Yield all warnings; ``due`` are tasks by application and group."""
        yield from _unserved_groups(due, workers)
        yield from self._silent(workers)
        yield from self._deaths(now)
        yield from self._without_a_leader(workers)
        yield from self._unknown_functions(functions, workers)
        yield from self._overdue(now)
        yield from map(_of_odd, self.odd_statuses())
        yield from self.of_ids()
        yield from notices_of(workers)
        for trouble in elsewhere(workers, self._settings.zone, self._dialect.epoch()):
            yield Notice("zone_here", trouble)

    def of_ids(self) -> Iterator[Notice]:
        """Yield warnings about ids that run out, have run out, or cannot continue."""
        return map(_of_ids, self.ids_left())

    def _silent(self, workers: list[WorkerView]) -> Iterator[Notice]:
        for worker in workers:
            if worker.alive:
                continue
            silence = {"worker": worker.name, "time": span(worker.silent_for)}
            held = self.held_by(worker.name)
            if held:
                silence["tasks"] = quantity(held, "task")
                words = "no heartbeat from worker {worker} for {time}; it holds {tasks}"
                yield Notice("worker_silent", Sentence(words, **silence))
            else:
                words = "no heartbeat from worker {worker} for {time}"
                yield Notice("worker_silent", Sentence(words, **silence))

    def _deaths(self, now: datetime) -> Iterator[Notice]:
        """Yield workers that died recently: their rows are gone, the history knows them."""
        history = self._db.scheduler_history
        query = history.did.belongs([event.value for event in DEATHS])
        query &= (history.noted_at > now - DEATHS_FOR) & (history.who == SCHEDULER)
        if self.application:
            query &= history.application_name.belongs(["", self.application])
        fields = [history[name] for name in ("worker_name", "noted_at", "detail")]
        newest = {"orderby": ~history.noted_at | ~history.id, "limitby": (0, DEATHS_SHOWN + 1)}
        found = self._rows(history, query, *fields, **newest)
        for row in found[:DEATHS_SHOWN]:
            detail = row.detail if isinstance(row.detail, dict) else {}
            facts = {"worker": row.worker_name, "time": span((now - row.noted_at).total_seconds())}
            host, tasks = detail.get("host"), detail.get("tasks")
            number = quantity(tasks if isinstance(tasks, int) else 0, "task")
            if host:
                said = "worker {worker} on {host} died {time} ago; {tasks} given back"
                sentence = Sentence(said, host=str(host), tasks=number, **facts)
                yield Notice("worker_died", sentence, HISTORY, severity=NOTE)
            else:
                said = "worker {worker} died {time} ago; {tasks} given back"
                sentence = Sentence(said, tasks=number, **facts)
                yield Notice("worker_died", sentence, HISTORY, severity=NOTE)
        if len(found) > DEATHS_SHOWN:
            sentence = Sentence("more workers died in the last 24 hours")
            yield Notice("worker_died", sentence, HISTORY, severity=NOTE)

    def _without_a_leader(self, workers: list[WorkerView]) -> Iterator[Notice]:
        alive = [worker for worker in workers if worker.alive]
        if alive and not any(worker.is_ticker for worker in alive):
            yield Notice(
                "no_leader",
                Sentence(
                    "no worker is the leader: lost tasks, broadcasts, stop times and tasks that "
                    "wait for others are not processed"
                ),
                severity=ERROR,
            )

    def known_names(self, workers: Iterable[WorkerView]) -> frozenset[str]:
        """Return the functions that can be run: those that living workers have loaded, else those
        that this program knows; empty if unknown."""
        mine = [one for one in workers if one.alive and one.works_for(self.application)]
        if not mine or not all(one.tasks and len(one.tasks) >= one.tasks_total for one in mine):
            return self._known
        return frozenset().union(*(one.tasks for one in mine))

    def _unknown_functions(
        self, functions: Iterable[FunctionCount], workers: list[WorkerView]
    ) -> Iterator[Notice]:
        known = self.known_names(workers)
        for one in functions:
            if known and one.waiting and one.function not in known:
                yield Notice(
                    "function_unknown",
                    Sentence(
                        'no worker knows the function "{function}" of {tasks}',
                        function=one.function,
                        tasks=quantity(one.waiting, "waiting task", "waiting" in one.capped),
                    ),
                    TASKS,
                    {"function": one.function, "status": TaskStatus.QUEUED},
                    ERROR,
                )

    def _overdue(self, now: datetime) -> Iterator[Notice]:
        tally = self.past_their_end(now)
        if number := tally.total("mine"):
            yield Notice(
                "overdue",
                Sentence(
                    "{tasks} past the stop_time; no leader has expired them yet",
                    tasks=quantity(number, "task", tally.capped),
                ),
                TASKS,
                {"status": TaskStatus.QUEUED},
            )


def _unserved_groups(due: Amounts, workers: list[WorkerView]) -> Iterator[Notice]:
    for (application, group), number in sorted(due.numbers.items()):
        lack = lack_of_workers(workers, application, group)
        if lack:
            wait = Sentence(
                "{number} due task is waiting" if number == 1 else "{number} due tasks are waiting",
                number=amount(number, (application, group) in due.capped),
            )
            sentence = Sentence("{why}; {wait}; {remedy}", why=lack[0], wait=wait, remedy=lack[1])
            query = {"group": group, "status": TaskStatus.QUEUED}
            yield Notice("group_unserved", sentence, TASKS, query, ERROR)


def _of_odd(odd: Odd) -> Notice:
    facts = {"tasks": quantity(odd.tasks, "task", odd.tasks >= MOST), "id": odd.first}
    if odd.status:
        words = '{tasks} with the invalid status "{status}": no worker claims them (task {id})'
        return Notice("status_odd", Sentence(words, status=odd.status, **facts), TASKS, {}, ERROR)
    words = "{tasks} without a status: no worker claims them (task {id})"
    return Notice("status_odd", Sentence(words, **facts), TASKS, {}, ERROR)


def _of_ids(left: Left) -> Notice:
    sentence = no_more_ids(left.ids)
    if sentence is not None:
        code = "sequence_behind" if left.ids.is_behind else "ids_used_up"
        return Notice(code, sentence, severity=ERROR)
    facts = {"percent": int(100 * left.ids.share), "table": left.ids.table}
    if left.ends is None:
        words = "{percent} % of the ids of {table} are used; scheduler.py upgrade widens them"
        return Notice("ids_running_out", Sentence(words, **facts))
    words = (
        "{percent} % of the ids of {table} are used; at the current rate the last one is used by "
        "{date}; scheduler.py upgrade widens them"
    )
    date = left.ends.date().isoformat()
    return Notice("ids_running_out", Sentence(words, date=date, **facts))


def no_more_ids(ids: Ids) -> Sentence | None:
    """Explain why no row can be added to a table, with the remedy; None if one can."""
    if ids.is_behind:
        return Sentence(
            "no row can be added to {table}: its sequence {sequence} is behind id {id}, for "
            "example after a restore; scheduler.py upgrade corrects it",
            table=ids.table,
            sequence=ids.sequence,
            id=ids.highest,
        )
    if ids.are_used_up:
        return Sentence(
            "no row can be added to {table}: all ids up to {id} are used; scheduler.py upgrade "
            "widens them",
            table=ids.table,
            id=ids.largest,
        )
    return None


def lack_of_workers(
    workers: Iterable[WorkerView], application: str, group: str
) -> tuple[Sentence, Sentence] | None:
    """Explain why no worker claims tasks of an app's group, with the remedy; None if one does."""
    workers = list(workers)
    serving = [one for one in workers if one.alive and one.serves(application, group)]
    if any(one.takes_work for one in serving):
        return None
    if serving:
        why = Sentence('no worker of group "{group}" claims new tasks', group=group)
        return why, _what_wakes(serving, application, group)
    why = Sentence('no live worker serves group "{group}"', group=group)
    if any(one.alive and group in one.groups for one in workers):
        why = Sentence("{why} of app {app}", why=why, app=application)
    return why, Sentence("start a worker: {command}", command=views.command(application, group))


def _what_wakes(serving: list[WorkerView], application: str, group: str) -> Sentence:
    resting = [one.name for one in serving if one.status == WorkerStatus.DISABLED]
    leaving = [one.name for one in serving if one.status in WorkerStatus.LEAVING]
    start = Sentence("start another worker: {command}", command=views.command(application, group))
    if resting:
        return Sentence("resume {workers}, or {start}", workers=resting, start=start)
    return Sentence("stopping: {workers}; {start}", workers=leaving, start=start)


def troubles(workers: Iterable[WorkerView]) -> Iterator[Sentence]:
    """Yield the troubles of living workers."""
    return (notice.sentence for notice in notices_of(workers))


def notices_of(workers: Iterable[WorkerView]) -> Iterator[Notice]:
    """Yield the `troubles` as notices with codes."""
    for worker in workers:
        if worker.odd:
            yield Notice(
                "worker_unreadable",
                Sentence(
                    "worker {worker}: values in its row cannot be read: {why}",
                    worker=worker.name,
                    why=worker.odd,
                ),
            )
        if not worker.alive:
            continue
        for trouble in cannot_start(worker):
            yield Notice("runner_not_started", trouble, severity=ERROR)
        for trouble in cannot_claim(worker):
            yield Notice("claims_fail", trouble, severity=ERROR)
        for trouble in of_time(worker):
            yield Notice("worker_time", trouble)
        if worker.wake_up_trouble:
            yield Notice(
                "late_news",
                Sentence(
                    "worker {worker} receives no notifications and starts new tasks up to one "
                    "second late: {why}",
                    worker=worker.name,
                    why=worker.wake_up_trouble,
                ),
            )
        if worker.unknown_functions:
            yield Notice(
                "worker_unknown_functions",
                Sentence(
                    "worker {worker} does not know these functions of waiting tasks: {functions}; "
                    "restart it if they are newer",
                    worker=worker.name,
                    functions=first_of(worker.unknown_functions),
                ),
            )


def first_of(names: list[str], most: int = 5) -> list[str | Sentence]:
    """Return the first names, and the number of the others."""
    if len(names) <= most:
        return list(names)
    return [*names[:most], Sentence("{number} more", number=len(names) - most)]


def cannot_start(worker: WorkerView) -> Iterator[Sentence]:
    """Report a worker whose runners do not start: it runs no tasks."""
    if worker.boot_error:
        yield Sentence(
            "worker {worker} could not start a runner: {why}",
            worker=worker.name,
            why=worker.boot_error,
        )


def cannot_claim(worker: WorkerView) -> Iterator[Sentence]:
    """Report a worker whose claims fail: it gets no tasks."""
    if worker.claim_error and worker.claim_failures >= CLAIM_FAILURES:
        yield Sentence(
            "worker {worker} cannot claim tasks, its last {number} attempts failed: {error}; "
            "scheduler.py doctor shows known causes and their fixes",
            worker=worker.name,
            number=worker.claim_failures,
            error=worker.claim_error,
        )


def of_time(worker: WorkerView) -> Iterator[Sentence]:
    """Report faults of a worker's clock and time zone."""
    if abs(worker.clock_skew) >= SKEWED:
        yield Sentence(
            "worker {worker}: the clock of {host} is {time} ahead of the database's "
            "(the database's clock is used)"
            if worker.clock_skew > 0
            else "worker {worker}: the clock of {host} is {time} behind the database's "
            "(the database's clock is used)",
            worker=worker.name,
            host=str(worker.host),
            time=span(abs(worker.clock_skew)),
        )
    if worker.zone_trouble:
        yield Sentence(
            "worker {worker} on {host}: {why}",
            worker=worker.name,
            host=str(worker.host),
            why=worker.zone_trouble,
        )


def elsewhere(workers: Iterable[WorkerView], zone: str | None, now: float) -> Iterator[Sentence]:
    """Report a time zone here that differs from the workers'."""
    here = zone or own_zone()
    there = next((one.time_zone for one in workers if one.alive and one.time_zone), None)
    if there and is_zone(there) and not alike(here, there, now):
        yield Sentence(
            "the workers use the time zone {there}, but this program uses {here}: tasks queued "
            "here are due at another time; set time_zone or utc_time for all",
            there=there,
            here=here or Sentence("an unnamed time zone"),
        )
