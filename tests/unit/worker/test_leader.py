"""Leader: who leads, which duties are due, and what happens to dead workers."""

from __future__ import annotations

from typing import Any, cast

import pytest
from support.fake_store import FIRST_ID, FakeStore, a_worker
from support.logged_events import LoggedEvents
from support.makers import NINE, a_task

from plugin_scheduler.core.errors import Locked, StoreUnavailable
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Worker
from plugin_scheduler.store.maintenance_checks import (
    BROADCASTS,
    LATE,
    OPEN_RUNS,
    ORPHANS,
    STRAYS,
    UNDECIDED,
)
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.event_queue import EventQueue
from plugin_scheduler.worker.leader import (
    AT_LEAST_EVERY,
    PRUNE_EVERY,
    PRUNE_ON,
    SOON,
    Leader,
)

ME, OTHER = "web1#4711", "web2#17"
SETTINGS = Settings()


class Bench:
    """A worker, whose row has the first id, and the rows of all workers."""

    def __init__(self) -> None:
        self.clock = TurnedClock(NINE)
        self.store = FakeStore(self.clock)
        self.rows: dict[str, dict[str, Any]] = {ME: {"id": FIRST_ID}}
        self.store.answers["workers.all"] = self.workers
        self.todo: set[str] = set()
        self.store.answers["outlook.read"] = lambda **_: set(self.todo)
        self.events = EventQueue(cast(Any, self.store), self.clock, ME)
        self.leader = Leader(cast(Any, self.store), SETTINGS, self.clock, ME, self.events)

    def workers(self) -> list[Worker]:
        return [a_worker(self.clock, worker_name=name, **row) for name, row in self.rows.items()]

    def elect(self, wins: bool = True) -> list[Worker]:
        self.store.answers["workers.lead"] = wins
        return self.leader.try_become_leader(FIRST_ID)

    def beat(self, *known: int) -> int:
        """Do what a heartbeat does: elect, and look after the rows."""
        workers = self.leader.try_become_leader(FIRST_ID)
        return self.leader.look_after(workers, known)

    def lead(self) -> None:
        """Make this worker the leader."""
        self.elect()
        self.rows[ME]["is_ticker"] = True

    def be_silent(self, name: str) -> None:
        """Let a worker send no heartbeat until it is dead for the others."""
        row = self.rows[name]
        row["lease_until"] = self.clock.epoch()
        for _ in range(3):
            self.leader.try_become_leader(FIRST_ID)
            self.clock.turn(SETTINGS.heartbeat)
        assert SETTINGS.silence <= 2 * SETTINGS.heartbeat

    def written(self) -> list[tuple[str, str]]:
        """Return the events of the history that were noted, with the names of their workers."""
        self.events.write()
        calls = self.store.named("events.write")
        return [
            (one.event.value, one.worker_name) for call in calls for one in call.arguments["events"]
        ]


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- election -------------------------------------------------------------------------------------


def test_without_a_leader_a_worker_takes_the_lead(bench: Bench, logged: LoggedEvents) -> None:
    assert not bench.leader.leads
    bench.elect(wins=True)
    assert bench.leader.leads
    assert logged.of("lead_won") == [{"worker": ME}]


def test_a_worker_that_loses_the_election_does_not_lead(bench: Bench, logged: LoggedEvents) -> None:
    bench.elect(wins=False)
    assert not bench.leader.leads
    assert logged.names == []


def test_beside_a_living_leader_there_is_no_election(bench: Bench) -> None:
    bench.rows[OTHER] = {"id": 2, "is_ticker": True}
    bench.elect(wins=True)
    assert not bench.leader.leads
    assert bench.store.named("workers.lead") == []


def test_a_leader_keeps_the_lead_without_an_election_and_logs_nothing(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.lead()
    bench.elect(wins=False)
    assert bench.leader.leads
    assert len(bench.store.named("workers.lead")) == 1
    assert logged.names == ["lead_won"]


def test_the_lead_of_a_worker_whose_lease_is_over_is_free(bench: Bench) -> None:
    bench.rows[OTHER] = {"id": 2, "is_ticker": True, "lease_until": bench.clock.epoch()}
    bench.elect(wins=True)
    assert bench.leader.leads


def test_of_two_leaders_each_asks_the_database_and_one_resigns(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.lead()
    bench.rows[OTHER] = {"id": 2, "is_ticker": True}
    bench.elect(wins=False)
    assert not bench.leader.leads
    assert len(bench.store.named("workers.lead")) == 2
    bench.elect(wins=True)
    assert bench.leader.leads
    assert logged.names == ["lead_won", "lead_lost", "lead_won"]


def test_a_worker_whose_lead_another_one_took_leads_no_more(bench: Bench) -> None:
    bench.lead()
    bench.rows[ME]["is_ticker"] = False
    bench.rows[OTHER] = {"id": 2, "is_ticker": True}
    bench.elect()
    assert not bench.leader.leads


# --- duties ---------------------------------------------------------------------------------------


def test_a_worker_without_the_lead_looks_after_its_own_tasks_only(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.todo = {STRAYS, LATE, UNDECIDED, BROADCASTS, ORPHANS}
    bench.store.answers["tasks.hand_back_unknown"] = 2
    assert bench.beat(17, 18) == 2
    [call] = bench.store.named("tasks.hand_back_unknown")
    assert call.arguments == {"worker_name": ME, "known": (17, 18)}
    assert bench.store.named("maintenance") == []
    assert bench.store.named("outlook.read")[-1].arguments["leads"] is False
    assert logged.of("task_strays") == [{"count": 2}]


STEPS = [
    (LATE, "maintenance.expire_overdue"),
    (UNDECIDED, "maintenance.unblock"),
    (BROADCASTS, "maintenance.fan_out_broadcasts"),
    (ORPHANS, "maintenance.owners"),
    (OPEN_RUNS, "maintenance.owners"),
    (STRAYS, "tasks.hand_back_unknown"),
]


@pytest.mark.parametrize(("what", "method"), STEPS)
def test_a_leader_does_exactly_the_chores_that_have_work(
    bench: Bench, what: str, method: str
) -> None:
    bench.lead()
    bench.todo = {what}
    bench.beat()
    all_of_them = {name for _, name in STEPS}
    assert {call.name for call in bench.store.calls} & all_of_them == {method}


def test_a_round_returns_how_many_rows_of_waiting_tasks_it_has_written(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.lead()
    bench.todo = {STRAYS, LATE, UNDECIDED, BROADCASTS}
    bench.store.answers |= {
        "tasks.hand_back_unknown": 1000,
        "maintenance.unblock": 100,
        "maintenance.fan_out_broadcasts": 10,
        "maintenance.expire_overdue": 1,  # these tasks do not wait any more
    }
    assert bench.beat() == 1110
    assert (logged.of("expired"), logged.of("fanned_out")) == ([{"count": 1}], [{"count": 10}])


def test_a_broadcast_is_copied_for_the_living_workers_only(bench: Bench) -> None:
    bench.lead()
    bench.rows[OTHER] = {"id": 2, "lease_until": bench.clock.epoch()}
    bench.todo = {BROADCASTS}
    bench.beat()
    [call] = bench.store.named("maintenance.fan_out_broadcasts")
    assert [worker.worker_name for worker in call.arguments["alive"]] == [ME]
    assert bench.leader.alive == 1


def test_a_chore_that_is_locked_keeps_no_other_from_being_done(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.lead()
    bench.todo = {LATE, UNDECIDED}
    bench.store.fail("maintenance.expire_overdue", Locked("held"))
    bench.store.answers["maintenance.unblock"] = 3
    assert bench.beat() == 3
    assert "chore_refused" not in logged.names


def test_a_chore_that_the_database_refuses_is_logged_once_until_its_answer_changes(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.lead()
    bench.todo = {LATE, UNDECIDED}
    refusals = [ValueError("full"), ValueError("full"), ValueError("other"), ValueError("full")]
    bench.store.fail("maintenance.expire_overdue", *refusals)
    bench.store.answers["maintenance.unblock"] = 3
    for _ in refusals:
        assert bench.beat() == 3
    refused = logged.of("chore_refused")
    assert [facts["error"].split()[-1] for facts in refused] == ["full", "other", "full"]
    assert all("expire overdue" in facts["what"] for facts in refused)


def test_a_refusal_that_comes_back_after_a_success_is_logged_again(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.lead()
    bench.todo = {LATE}
    for _ in range(2):
        bench.store.fail("maintenance.expire_overdue", ValueError("full"))
        bench.beat()
        bench.beat()
    assert logged.names.count("chore_refused") == 2


def test_an_outage_during_a_chore_is_raised(bench: Bench) -> None:
    bench.lead()
    bench.todo = {LATE}
    bench.store.fail("maintenance.expire_overdue", StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        bench.beat()


# --- when -----------------------------------------------------------------------------------------


def test_a_worker_without_the_lead_has_no_round(bench: Bench) -> None:
    bench.leader.rang()
    bench.clock.turn(1000)
    assert bench.leader.deadline == float("inf")
    assert bench.leader.round_if_due(list) == 0
    assert bench.store.calls == []


def test_a_round_is_due_after_a_pause_and_sooner_after_a_notification(bench: Bench) -> None:
    bench.lead()
    bench.beat()
    began = bench.clock.monotonic()
    assert bench.leader.deadline == began + AT_LEAST_EVERY
    bench.leader.rang()
    assert bench.leader.deadline == began + SOON
    bench.clock.turn(SOON / 2)
    rounds = len(bench.store.named("outlook.read"))
    bench.leader.round_if_due(list)
    assert len(bench.store.named("outlook.read")) == rounds
    bench.clock.turn(SOON / 2)
    bench.leader.round_if_due(lambda: [17])
    assert bench.store.named("outlook.read")[rounds].arguments["known"] == [17]
    assert bench.leader.deadline == bench.clock.monotonic() + AT_LEAST_EVERY


@pytest.mark.parametrize(
    ("what", "method"),
    [
        (LATE, "maintenance.expire_overdue"),
        (UNDECIDED, "maintenance.unblock"),
        (BROADCASTS, "maintenance.fan_out_broadcasts"),
    ],
)
def test_after_a_round_that_has_written_the_next_one_comes_soon(
    bench: Bench, what: str, method: str
) -> None:
    bench.lead()
    bench.todo = {what}
    bench.store.answers[method] = 1
    bench.beat()
    assert bench.leader.deadline == bench.clock.monotonic() + SOON
    bench.store.answers[method] = 0
    bench.beat()
    assert bench.leader.deadline == bench.clock.monotonic() + AT_LEAST_EVERY


def test_old_rows_are_removed_seldom_and_more_often_while_many_are_left(bench: Bench) -> None:
    bench.lead()

    def prunings_after(seconds: float) -> int:
        before = len(bench.store.named("metrics.prune"))
        bench.clock.turn(seconds)
        bench.beat()
        assert len(bench.store.named("metrics.prune")) == len(bench.store.named("events.prune"))
        return len(bench.store.named("metrics.prune")) - before

    assert [prunings_after(PRUNE_ON - 1), prunings_after(1)] == [0, 1]
    assert [prunings_after(PRUNE_EVERY - 1), prunings_after(1)] == [0, 1]
    bench.store.answers["metrics.prune"] = True
    assert prunings_after(PRUNE_EVERY) == 1
    assert [prunings_after(PRUNE_ON - 1), prunings_after(1)] == [0, 1]


def test_old_rows_that_cannot_be_removed_stop_nothing(bench: Bench) -> None:
    bench.lead()
    bench.clock.turn(PRUNE_ON)
    bench.store.fail("metrics.prune", StoreUnavailable("away"))
    bench.beat()
    assert len(bench.store.named("events.prune")) == 1


# --- dead workers ---------------------------------------------------------------------------------


def test_a_dead_worker_gives_back_its_tasks_and_loses_its_row(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.lead()
    bench.rows[OTHER] = {"id": 2}
    bench.be_silent(OTHER)
    bench.store.answers["maintenance.requeue_lost"] = [a_task(), a_task(id=18)]
    assert bench.beat() == 3, "two tasks and a row"
    names = [call.name for call in bench.store.named("maintenance")]
    assert names == ["maintenance.requeue_lost", "maintenance.bury"]
    [facts] = logged.of("requeued")
    assert (facts["owner"], facts["count"]) == (OTHER, 2)
    assert "worker_died" not in logged.names
    assert bench.written() == [("worker_died", OTHER)]
    detail = bench.store.named("events.write")[0].arguments["events"][0].detail
    silent = round(3 * SETTINGS.heartbeat + SETTINGS.lease)
    assert detail == {"host": "web1", "seconds": silent, "tasks": 2}


def test_an_idle_worker_that_died_is_logged(bench: Bench, logged: LoggedEvents) -> None:
    bench.lead()
    bench.rows[OTHER] = {"id": 2}
    bench.be_silent(OTHER)
    bench.beat()
    [facts] = logged.of("worker_died")
    assert (facts["worker"], facts["host"]) == (OTHER, "web1")
    assert "requeued" not in logged.names


def test_a_worker_whose_lease_is_over_is_not_dead_before_its_silence_was_observed(
    bench: Bench,
) -> None:
    bench.lead()
    bench.rows[OTHER] = {"id": 2, "lease_until": bench.clock.epoch()}
    bench.clock.turn(SETTINGS.heartbeat)
    bench.beat()
    assert bench.store.named("maintenance.bury") == []


def test_a_worker_whose_row_is_held_is_not_dead(bench: Bench) -> None:
    bench.lead()
    bench.rows[OTHER] = {"id": 2}
    bench.store.answers["workers.held"] = {OTHER}
    bench.be_silent(OTHER)
    bench.beat()
    assert bench.store.named("maintenance.bury") == []


def test_a_row_that_is_held_during_its_removal_is_tried_again_and_all_tasks_are_counted(
    bench: Bench, logged: LoggedEvents
) -> None:
    bench.lead()
    bench.rows[OTHER] = {"id": 2}
    bench.be_silent(OTHER)
    bench.store.answers["maintenance.requeue_lost"] = [a_task()]
    bench.store.fail("maintenance.bury", Locked("held"))
    bench.beat()
    assert bench.written() == []
    bench.store.answers["maintenance.requeue_lost"] = []
    bench.beat()
    assert bench.written() == [("worker_died", OTHER)]
    [call] = bench.store.named("events.write")
    assert call.arguments["events"][0].detail["tasks"] == 1
    assert "worker_died" not in logged.names, "the log has told of its task"


def test_the_tasks_of_an_owner_without_a_row_are_given_back_after_a_lease(bench: Bench) -> None:
    bench.lead()
    bench.todo = {ORPHANS}
    bench.store.answers["maintenance.owners"] = {ME, "gone#1"}
    bench.store.answers["maintenance.requeue_lost"] = [a_task()]
    seconds = 0.0
    assert bench.beat() == 0
    while not bench.store.named("maintenance.requeue_lost"):
        bench.clock.turn(SETTINGS.heartbeat)
        seconds += SETTINGS.heartbeat
        bench.beat()
    assert SETTINGS.lease <= seconds < SETTINGS.lease + SETTINGS.heartbeat
    [call] = bench.store.named("maintenance.requeue_lost")
    assert call.arguments == {"owner": "gone#1"}
    assert bench.written() == [("worker_gone", "gone#1")]


def test_an_owner_with_a_row_is_no_owner_without_one(bench: Bench) -> None:
    bench.lead()
    bench.rows[OTHER] = {"id": 2}
    bench.todo = {OPEN_RUNS}
    bench.store.answers["maintenance.owners"] = {OTHER}
    for _ in range(10):
        bench.rows[OTHER]["lease_until"] = bench.clock.epoch() + SETTINGS.lease
        bench.clock.turn(SETTINGS.heartbeat)
        bench.beat()
    assert bench.store.named("maintenance.requeue_lost") == []


@pytest.mark.parametrize(("owner", "tasks"), [("gone#1", []), ("", [a_task()])])
def test_open_runs_without_a_task_or_tasks_without_an_owner_are_no_event_of_a_worker(
    bench: Bench, owner: str, tasks: list[Any]
) -> None:
    bench.lead()
    bench.todo = {OPEN_RUNS}
    bench.store.answers["maintenance.owners"] = {owner}
    bench.store.answers["maintenance.requeue_lost"] = tasks
    for _ in range(10):
        bench.clock.turn(SETTINGS.heartbeat)
        bench.beat()
    assert bench.store.named("maintenance.requeue_lost") != []
    assert bench.written() == []
