"""What should somebody look at? Warnings in words, each with the page that shows more.

I own the warnings of the overview, and what workers complain of. I call counting. I never write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from plugin_scheduler import sight
from plugin_scheduler.browse.counting import Amounts, Counting
from plugin_scheduler.clock import alike, is_zone, own_zone
from plugin_scheduler.records import TaskStatus, WorkerStatus
from plugin_scheduler.sentences import Sentence
from plugin_scheduler.sight import FunctionCount, WorkerView, amount, quantity, span
from plugin_scheduler.worker_events import DEATHS, SCHEDULER

SKEWED = 2.0  # seconds by which a clock may be off before anybody is told
CLAIM_FAILURES = 2  # in a row, from which on they are told; one may be a deadlock
DEATHS_FOR = timedelta(days=1)  # for so long the overview tells of workers that died
DEATHS_SHOWN = 3
TASKS, WORKERS, HISTORY = "tasks", "workers", "history"


@dataclass(frozen=True)
class Notice:
    """A warning, and which page shows more of it under which filter."""

    sentence: Sentence
    page: str = WORKERS
    query: dict[str, str] = field(default_factory=dict)


class Warnings(Counting):
    """What is not as it should be."""

    def warnings(
        self,
        workers: list[WorkerView],
        due: Amounts,
        functions: Iterable[FunctionCount],
        now: datetime,
    ) -> Iterator[Notice]:
        """``due`` are tasks by application and group."""
        yield from _unserved_groups(due, workers)
        yield from self._silent(workers)
        yield from self._deaths(now)
        yield from self._without_a_leader(workers)
        yield from self._unknown_functions(functions, workers)
        yield from self._overdue(now)
        for trouble in troubles(workers):
            yield Notice(trouble)
        for trouble in elsewhere(workers, self._settings.zone, self._dialect.epoch()):
            yield Notice(trouble)

    def _silent(self, workers: list[WorkerView]) -> Iterator[Notice]:
        for worker in workers:
            if worker.alive:
                continue
            silence = {"worker": worker.name, "time": span(worker.silent_for)}
            held = self.held_by(worker.name)
            if held:
                silence["tasks"] = quantity(held, "task")
                yield Notice(
                    Sentence("worker {worker} is silent for {time} and holds {tasks}", **silence)
                )
            else:
                yield Notice(Sentence("worker {worker} is silent for {time}", **silence))

    def _deaths(self, now: datetime) -> Iterator[Notice]:
        """Workers that died lately: their rows are gone, the history knows them."""
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
                yield Notice(Sentence(said, host=str(host), tasks=number, **facts), HISTORY)
            else:
                said = "worker {worker} died {time} ago; {tasks} given back"
                yield Notice(Sentence(said, tasks=number, **facts), HISTORY)
        if len(found) > DEATHS_SHOWN:
            yield Notice(Sentence("more workers died in the last 24 hours"), HISTORY)

    def _without_a_leader(self, workers: list[WorkerView]) -> Iterator[Notice]:
        alive = [worker for worker in workers if worker.alive]
        if alive and not any(worker.is_ticker for worker in alive):
            yield Notice(
                Sentence(
                    "no worker leads: nobody looks after lost tasks, broadcasts, stop times, and "
                    "tasks that wait for others"
                )
            )

    def known_names(self, workers: Iterable[WorkerView]) -> frozenset[str]:
        """The functions that somebody can run: what the workers that are alive have loaded, or
        else what this program knows; empty where nobody tells."""
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
                    Sentence(
                        'no worker knows the function "{function}" of {tasks}',
                        function=one.function,
                        tasks=quantity(one.waiting, "waiting task", "waiting" in one.capped),
                    ),
                    TASKS,
                    {"function": one.function, "status": TaskStatus.QUEUED},
                )

    def _overdue(self, now: datetime) -> Iterator[Notice]:
        tally = self.past_their_end(now)
        if number := tally.total("mine"):
            yield Notice(
                Sentence(
                    "{tasks} past the stop_time that no leading worker has ended yet",
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
                "{number} due task waits there" if number == 1 else "{number} due tasks wait there",
                number=amount(number, (application, group) in due.capped),
            )
            sentence = Sentence("{why}; {wait}; {remedy}", why=lack[0], wait=wait, remedy=lack[1])
            yield Notice(sentence, TASKS, {"group": group, "status": TaskStatus.QUEUED})


def lack_of_workers(
    workers: Iterable[WorkerView], application: str, group: str
) -> tuple[Sentence, Sentence] | None:
    """Why nobody takes tasks of an app's group, and what helps; None where somebody does."""
    workers = list(workers)
    serving = [one for one in workers if one.alive and one.serves(application, group)]
    if any(one.takes_work for one in serving):
        return None
    if serving:
        why = Sentence('no worker of group "{group}" takes anything new', group=group)
        return why, _what_wakes(serving, application, group)
    why = Sentence('no live worker serves group "{group}"', group=group)
    if any(one.alive and group in one.groups for one in workers):
        why = Sentence("{why} of app {app}", why=why, app=application)
    return why, Sentence("start one: {command}", command=sight.command(application, group))


def _what_wakes(serving: list[WorkerView], application: str, group: str) -> Sentence:
    resting = [one.name for one in serving if one.status == WorkerStatus.DISABLED]
    leaving = [one.name for one in serving if one.status in WorkerStatus.LEAVING]
    start = Sentence("start another: {command}", command=sight.command(application, group))
    if resting:
        return Sentence("resume {workers}, or {start}", workers=resting, start=start)
    return Sentence("{workers} is told to leave; {start}", workers=leaving, start=start)


def troubles(workers: Iterable[WorkerView]) -> Iterator[Sentence]:
    """What the workers that are alive complain of."""
    for worker in workers:
        if worker.alive:
            yield from cannot_start(worker)
            yield from cannot_claim(worker)
            yield from of_time(worker)
            if worker.unknown_functions:
                yield Sentence(
                    "worker {worker} does not know these functions of waiting tasks: {functions}; "
                    "restart it if they are newer",
                    worker=worker.name,
                    functions=first_of(worker.unknown_functions),
                )
            if worker.wake_up_trouble:
                yield Sentence(
                    "worker {worker} hears of new tasks up to a second late: {why}",
                    worker=worker.name,
                    why=worker.wake_up_trouble,
                )


def first_of(names: list[str], most: int = 5) -> list[str | Sentence]:
    """The first of them, and how many there are besides."""
    if len(names) <= most:
        return list(names)
    return [*names[:most], Sentence("{number} more", number=len(names) - most)]


def cannot_start(worker: WorkerView) -> Iterator[Sentence]:
    """A runner that does not come up runs nothing."""
    if worker.boot_error:
        yield Sentence(
            "worker {worker} could not start a runner: {why}",
            worker=worker.name,
            why=worker.boot_error,
        )


def cannot_claim(worker: WorkerView) -> Iterator[Sentence]:
    """A worker whose claims fail takes nothing."""
    if worker.claim_error and worker.claim_failures >= CLAIM_FAILURES:
        yield Sentence(
            "worker {worker} cannot take tasks, its last {number} tries failed: {error}; "
            "scheduler.py doctor names known causes with their cure",
            worker=worker.name,
            number=worker.claim_failures,
            error=worker.claim_error,
        )


def of_time(worker: WorkerView) -> Iterator[Sentence]:
    """Clock and time zone of a worker."""
    if abs(worker.clock_skew) >= SKEWED:
        yield Sentence(
            "worker {worker}: the clock of {host} is {time} ahead of the database's "
            "(the database's counts)"
            if worker.clock_skew > 0
            else "worker {worker}: the clock of {host} is {time} behind the database's "
            "(the database's counts)",
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
    """Where whoever looks keeps other times than the workers do."""
    here = zone or own_zone()
    there = next((one.time_zone for one in workers if one.alive and one.time_zone), None)
    if there and is_zone(there) and not alike(here, there, now):
        yield Sentence(
            "the workers keep times in {there}, but here it is {here}: what is queued from here is "
            "due at another time; set time_zone or utc_time for all",
            there=there,
            here=here or Sentence("another zone"),
        )
