"""Explain why a task does not run: each condition of a claim, and what prevents it, in words.

The conditions are those of the claim itself, evaluated for one row. Does not write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.settings import fault_of_group
from plugin_scheduler.core.types import OnChildFailure, RunStatus, TaskStatus
from plugin_scheduler.queries import views
from plugin_scheduler.queries.integrity import Integrity
from plugin_scheduler.queries.views import RunView, TaskView, WorkerView, quantity, span
from plugin_scheduler.queries.warnings import (
    cannot_claim,
    cannot_start,
    elsewhere,
    first_of,
    lack_of_workers,
    no_more_ids,
    of_time,
)
from plugin_scheduler.store.claim_conditions import FOR_THIS_WORKER, NO_BROADCAST, OF_THIS_APP
from plugin_scheduler.store.priority_scan import HIGHEST, LOWEST

QUEUED, TIME, ENABLED = "queued", "its time has come", "enabled"
PRIORITY = "claims look for its priority"
END, WAITS = "before its stop_time", "waits for nothing"
SERVED, KNOWN, FREE = "a worker serves its group", "a worker knows its function", "a slot is free"
CLAIMS = "claims succeed"
MOST_NAMED = 5  # tasks that one sentence names


#: Texts for conditions that are met.
HOLDS = {
    QUEUED: Sentence("it is queued"),
    TIME: Sentence("it is due"),
    ENABLED: Sentence("it is enabled"),
    PRIORITY: Sentence("its priority is in the allowed range"),
    END: Sentence("its stop_time has not passed"),
    OF_THIS_APP: Sentence("it belongs to this app"),
    WAITS: Sentence("it waits for no other task"),
    NO_BROADCAST: Sentence("it is not a broadcast"),
    FOR_THIS_WORKER: Sentence("any worker of its group may run it, or its own worker is alive"),
    SERVED: Sentence("an active worker serves its group"),
    KNOWN: Sentence("a worker knows its function"),
    CLAIMS: Sentence("the last claim of a worker of its group succeeded"),
    FREE: Sentence("a worker of its group has a free slot"),
}
#: The most important reason first.
TELLING = (
    QUEUED,
    OF_THIS_APP,
    ENABLED,
    PRIORITY,
    END,
    WAITS,
    FOR_THIS_WORKER,
    SERVED,
    KNOWN,
    CLAIMS,
    TIME,
    NO_BROADCAST,
    FREE,
)


@dataclass(frozen=True)
class Condition:
    """One condition: whether it is met, and a sentence about it."""

    name: str
    met: bool
    sentence: Sentence


@dataclass(frozen=True)
class Explanation:
    """Why a task does not run, or its current state.

    ``state`` is one sentence on the status. ``at`` is its time: when the task is due, when it
    started, or when it ended. ``checks`` are the conditions for the task to run now. ``reasons``
    are the obstacles, the most important first. ``runs_next``: the task only waits for its time.
    """

    task: TaskView
    state: Sentence
    at: datetime | None
    checks: list[Condition]
    reasons: list[Sentence]
    runs_next: bool = False

    @property
    def besides(self) -> list[Sentence]:
        """The reasons that `state` does not contain already."""
        told = [one.sentence for one in self.checks if one.name == TIME] if self.runs_next else []
        return [one for one in self.reasons if one not in told]


class Explanations(Integrity):
    """The obstacles of a task."""

    def obstacles(self, task: TaskView) -> list[Sentence]:
        """Return the reasons why a waiting task does not run yet; empty if nothing prevents it.

        >>> queries.obstacles(task)
        ['it is disabled', 'no live worker serves group "gpu"; start one: ...']
        """
        return self.explain(task).reasons if task.status == TaskStatus.QUEUED else []

    def explain(self, task: TaskView) -> Explanation:
        """Explain why the task does not run, or its current state.

        >>> queries.explain(task).state
        'its next run is due in 4 h'
        """
        now = self.now()
        if task.status == TaskStatus.QUEUED:
            return self._of_waiting(task, now)
        if task.status in TaskStatus.HELD:
            return self._of_held(task, now)
        if task.status not in TaskStatus.ALL:
            return _of_odd(task)
        return self._of_ended(task, now)

    # -- waiting tasks --------------------

    def _of_waiting(self, task: TaskView, now: datetime) -> Explanation:
        workers = self.workers()
        asked = self._ask(task, workers, now)
        reasons = [one for name in TELLING for one in asked.get(name, ())]
        holds = {**HOLDS, KNOWN: self._who_knows(task, workers)}
        checks = [
            Condition(name, not asked[name], asked[name][0] if asked[name] else holds[name])
            for name in HOLDS
            if name in asked
        ]
        reasons = [*self._of_ids(), *reasons]
        later = task.next_run_time
        at = later if later is not None and later > now else None
        runs_next = at is not None and [name for name in asked if asked[name]] == [TIME]
        if not reasons:
            state = Sentence("it is ready: a worker will claim it shortly")
        elif at is not None and runs_next:
            state = Sentence("its next run is due in {time}", time=span((at - now).total_seconds()))
            reasons += self._of_clocks(task, workers)
        else:
            state = Sentence("it does not run now")
        return Explanation(task, state, at, checks, reasons, runs_next)

    def _of_ids(self) -> Iterator[Sentence]:
        """Yield reasons why no run can be created, for any task."""
        for left in self.ids_left():
            if left.ids.table == "scheduler_run" and (why := no_more_ids(left.ids)):
                yield why

    def _ask(
        self, task: TaskView, workers: list[WorkerView], now: datetime
    ) -> dict[str, list[Sentence]]:
        """Return each condition, with the sentences to show if it is not met."""
        found = {
            name: [] if self._meets(task, one) else list(self._about(name, task, now))
            for name, one in self._of_its_row(now).items()
        }
        found.update(self._of_priority(task))
        takers = [one for one in workers if one.serves(task.application, task.group)]
        takers, missing = self._meant(task, takers)
        found[FOR_THIS_WORKER] = [missing] if missing else []
        working = [one for one in takers if one.takes_work]
        if not working and not missing:
            found[SERVED] = self._nobody_takes(task, workers, takers)
        if working:
            found[SERVED] = []
        unknown = list(self._unknown(task, working, now))
        if working or unknown:
            found[KNOWN] = unknown
        if working:
            failing = [one for worker in working for one in cannot_claim(worker)]
            found[CLAIMS] = failing if len(failing) == len(working) else []
        if working and not any(found.values()):
            found[FREE] = self._busy(task, working, now)
        return found

    def _of_priority(self, task: TaskView) -> Iterator[tuple[str, list[Sentence]]]:
        """Check for a priority outside the allowed range, or a text: written by hand."""
        priority = self._task.priority
        usual = (priority > LOWEST) & (priority < HIGHEST)
        if not self._meets(task, (priority == None) | usual):
            what = "priority {priority} is out of range: set one from -1000 to 1000"
            yield PRIORITY, [Sentence(what, priority=str(task.priority))]

    def _of_its_row(self, now: datetime) -> dict[str, Any]:
        """Return the claim's conditions on the row, independent of the worker."""
        nobody = self._due.conditions_of("")
        return {**self._conditions(now), NO_BROADCAST: nobody[NO_BROADCAST]}

    def _meets(self, task: TaskView, condition: Any) -> bool:
        return bool(self._set((self._task.id == task.id) & condition).count())

    def _meant(
        self, task: TaskView, serving: list[WorkerView]
    ) -> tuple[list[WorkerView], Sentence | None]:
        """Return those of these workers that may run the task, and the fault if there are none."""
        if self._meets(task, self._due.conditions_of("")[FOR_THIS_WORKER]):
            return serving, None
        meant = [
            one
            for one in serving
            if self._meets(task, self._due.conditions_of(one.name)[FOR_THIS_WORKER])
        ]
        if any(one.alive for one in meant):
            return meant, None
        return [], Sentence("worker {worker} is not alive", worker=task.only_worker)

    def _about(self, condition: str, task: TaskView, now: datetime) -> Iterator[Sentence]:
        """Explain why a condition of the claim is not met."""
        if condition == TIME and task.next_run_time:
            yield Sentence("it is due in {time}", time=span(_until(task, now)))
        elif condition == WAITS:
            yield from self._waits_of(task)
        elif condition == OF_THIS_APP:
            yield Sentence("it belongs to app {app}", app=task.application)
        elif condition == ENABLED and self._meets(task, self._task.enabled == None):
            yield Sentence("its column enabled is NULL: set it to true or false")
        elif condition == NO_BROADCAST:
            yield Sentence(
                'it is a broadcast: when it is due, each live worker of group "{group}" runs a '
                "copy; the task itself never runs",
                group=task.group,
            )
        else:
            yield _UNMET.get(condition) or Sentence(
                "condition not met: {condition}", condition=condition
            )

    def _nobody_takes(
        self, task: TaskView, workers: list[WorkerView], takers: list[WorkerView]
    ) -> list[Sentence]:
        if task.only_worker and takers:
            return [Sentence("worker {worker} claims no new tasks", worker=task.only_worker)]
        if fault := fault_of_group(task.group):
            what = 'no worker can serve group "{group}", set another one: its name {fault}'
            return [Sentence(what, group=task.group, fault=fault)]
        lack = lack_of_workers(workers, task.application, task.group)
        return [Sentence("{why}; {remedy}", why=lack[0], remedy=lack[1])] if lack else []

    def _unknown(
        self, task: TaskView, working: list[WorkerView], now: datetime
    ) -> Iterator[Sentence]:
        """Explain a function that no worker knows: the task waits for one that does."""
        known = [one for one in working if one.may_know(task.function)]
        if working and not known:
            one = working[0]
            loaded = one.first_heartbeat
            yield Sentence(
                'worker {worker} does not know the function "{function}": it loaded the app {time} '
                "ago; restart it if the function is newer",
                worker=one.name,
                function=task.function,
                time=span((now - loaded).total_seconds() if loaded else 0),
            )
            if others := [other.name for other in working[1:]]:
                yield Sentence(
                    "other workers do not know it either: {workers}", workers=first_of(others)
                )
            yield Sentence(
                "it waits for a worker that knows the function, and FAILS after {time}",
                time=span(self._settings.unknown_function_wait),
            )
        elif not any(one.tasks for one in known) and task.function not in (
            self._known or (task.function,)
        ):
            yield Sentence('there is no task named "{name}" in this app', name=task.function)

    def _who_knows(self, task: TaskView, workers: list[WorkerView]) -> Sentence:
        """Name the workers of the group that know the function, if others do not."""
        there = [one for one in workers if one.serves(task.application, task.group) and one.alive]
        knowing = [one.name for one in there if one.may_know(task.function)]
        others = [one.name for one in there if not one.may_know(task.function)]
        if not knowing or not others:
            return HOLDS[KNOWN]
        return Sentence(
            "worker {knowing} knows its function, worker {others} does not",
            knowing=first_of(knowing),
            others=first_of(others),
        )

    # -- tasks ahead of it --------------------

    def _busy(self, task: TaskView, working: list[WorkerView], now: datetime) -> list[Sentence]:
        """Explain that all slots are in use, and which tasks are ahead."""
        broken = [one for worker in working for one in cannot_start(worker)]
        if len(broken) == len(working):
            return broken
        working = [worker for worker in working if not any(cannot_start(worker))]
        running = self._held_by_each([one.name for one in working])
        if any(len(running[one.name]) < one.slots for one in working):
            return []
        slots = sum(one.slots for one in working)
        what = [
            f"{row.id} {row.task_name or row.function_name}"
            for one in working
            for row in running[one.name]
        ]
        sentence = Sentence(
            'the {slots} slots of group "{group}" are busy with {tasks}'
            if slots > 1
            else 'the only slot of group "{group}" is busy with {tasks}',
            slots=slots,
            group=task.group,
            tasks=first_of(what),
        )
        return [sentence, *self._ahead(task, now)]

    def _ahead(self, task: TaskView, now: datetime) -> Iterator[Sentence]:
        tally = self.ahead_of(task, now)
        if number := tally.total("ahead"):
            one = number == 1 and not tally.capped
            yield Sentence(
                "{tasks} of its group runs first: higher priority, or due earlier"
                if one
                else "{tasks} of its group run first: higher priority, or due earlier",
                tasks=quantity(number, "due task", tally.capped),
            )

    def _of_clocks(self, task: TaskView, workers: list[WorkerView]) -> list[Sentence]:
        """Report clock errors: with a wrong clock, "in an hour" may mean now."""
        serving = [one for one in workers if one.alive and one.serves(task.application, task.group)]
        return [
            *(trouble for worker in serving for trouble in of_time(worker)),
            *elsewhere(serving, self._settings.zone, self._dialect.epoch()),
        ]

    # -- other tasks --------------------

    def _of_held(self, task: TaskView, now: datetime) -> Explanation:
        run = self._run_of(task)
        since = run.start_time if run and run.start_time else task.last_run_time
        facts = {"worker": task.worker or "-", "time": span(_since(since, now))}
        if task.status == TaskStatus.RUNNING:
            state = Sentence("it has been running for {time} on worker {worker}", **facts)
        else:
            state = Sentence("worker {worker} has claimed it and will start it shortly", **facts)
            since = None
        reasons = list(self._of_owner(task))
        if run and run.stop_requested and run.status == RunStatus.RUNNING:
            reasons.append(Sentence("a stop was requested; its worker ends it within seconds"))
        return Explanation(task, state, since, [], reasons)

    def _of_owner(self, task: TaskView) -> Iterator[Sentence]:
        owner = next((one for one in self.workers() if one.name == task.worker), None)
        if owner is None:
            yield Sentence(
                "worker {worker} no longer exists: the leader gives the task back",
                worker=task.worker or "-",
            )
        elif not owner.alive:
            yield Sentence(
                "no heartbeat from worker {worker} for {time}: the leader gives the task back",
                worker=owner.name,
                time=span(owner.silent_for),
            )

    def _of_ended(self, task: TaskView, now: datetime) -> Explanation:
        run = self._run_of(task)
        ended = run.stop_time if run else None
        if ended:
            ago = span(_since(ended, now))
            state = Sentence("it ended {time} ago: {status}", time=ago, status=task.status)
        else:
            state = Sentence("it has ended: {status}", status=task.status)
        reasons = [Sentence("{reason}", reason=task.reason)] if task.reason else []
        return Explanation(task, state, ended, [], reasons)

    # -- rows around a task --------------------

    def _waits_of(self, task: TaskView) -> Iterator[Sentence]:
        """Yield what the task waits for, and what happens if that ended badly."""
        deps, child = self._deps, self._task
        pending = (deps.task_parent == task.id) & (deps.can_visit == False)
        its_child = child.id == deps.task_child
        its_child.ignore_common_filters = True  # a join has its own filter
        rows = self._read_rows(
            pending,
            deps.on_failure,
            *(child[name] for name in ("id", "status", "task_name", "function_name")),
            left=child.on(its_child),
            orderby=deps.id,
            limitby=(0, MOST_NAMED + 1),
        )
        for row in list(rows)[:MOST_NAMED]:
            yield _waits(row.scheduler_task, row.scheduler_task_deps.on_failure)
        if len(rows) > MOST_NAMED:
            number = self._set(pending).count() - MOST_NAMED
            yield Sentence("it waits for {number} more", number=number)

    def _run_of(self, task: TaskView) -> RunView | None:
        """Return the run that the task's row names, if it is kept."""
        rows = self._read_rows(self._run.id == task.run_id, self._run.ALL) if task.run_id else []
        return views.run_view(rows[0]) if rows else None

    def _held_by_each(self, workers: Sequence[str]) -> dict[str, list[Any]]:
        """Return the tasks that each of these workers holds, up to a limit."""
        task = self._task
        held = task.status.belongs(TaskStatus.HELD) & task.assigned_worker_name.belongs(workers)
        columns = (task.id, task.task_name, task.function_name, task.assigned_worker_name)
        found: dict[str, list[Any]] = {name: [] for name in workers}
        for row in self._read_rows(held, *columns, orderby=task.id, limitby=(0, self.most)):
            found.setdefault(row.assigned_worker_name, []).append(row)
        return found


_UNMET = {
    TIME: Sentence("it has no next_run_time"),
    ENABLED: Sentence("it is disabled"),
    END: Sentence("its stop_time has passed"),
    QUEUED: Sentence("it is no longer queued"),
}


def _of_odd(task: TaskView) -> Explanation:
    """Explain a task whose status was written by hand, or is missing."""
    state = Sentence("it has no status: no worker claims it")
    if task.status:
        words = 'its status "{status}" is invalid: no worker claims it'
        state = Sentence(words, status=task.status)
    remedy = Sentence(
        "to run it, set its status to {status} in scheduler_task", status=TaskStatus.QUEUED
    )
    return Explanation(task, state, None, [], [remedy])


def _waits(child: Any, on_failure: str | None) -> Sentence:
    if child.id is None:
        what = Sentence("it waits for a task that was deleted")
        return Sentence("{what}: {fate}", what=what, fate=_fate(on_failure))
    facts = {"id": child.id, "name": child.task_name or child.function_name}
    facts["status"] = child.status
    if child.status == TaskStatus.COMPLETED:
        return Sentence(
            "task {id} {name} is {status}: the leader will release this task shortly",
            **facts,
        )
    if child.status in TaskStatus.ENDED_BADLY:
        what = Sentence("it waits for task {id} {name}, which is {status}", **facts)
        return Sentence("{what}: {fate}", what=what, fate=_fate(on_failure))
    return Sentence("it waits for task {id} {name} ({status})", **facts)


def _fate(on_failure: str | None) -> Sentence:
    """Return what the leader will do with the task."""
    if on_failure == OnChildFailure.RUN:
        return Sentence('it will run anyway (on_failure="run")')
    if on_failure == OnChildFailure.WAIT:
        return Sentence('it waits until that task is requeued (on_failure="wait")')
    return Sentence('it will be stopped (on_failure="stop")')


def _until(task: TaskView, now: datetime) -> float:
    return (task.next_run_time - now).total_seconds() if task.next_run_time else 0.0


def _since(moment: datetime | None, now: datetime) -> float:
    return (now - moment).total_seconds() if moment else 0.0
