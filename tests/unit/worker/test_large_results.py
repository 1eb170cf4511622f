"""Large results: reported by processes of their own, a few at a time, each with limited tries."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_store import FakeStore
from support.makers import NINE, a_task, an_order

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.reasons import ReasonCode, code_of
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Outcome
from plugin_scheduler.execution.live_run import Result
from plugin_scheduler.scheduling.state_machine import Move
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.system.private_files import PrivateFile, complete_file
from plugin_scheduler.worker import large_results
from plugin_scheduler.worker.large_results import (
    AT_ONCE,
    NO_ROOM_AGAIN,
    PATIENCE,
    STORED,
    TOO_LATE,
    TOO_LONG,
    TRIES,
    TRY_AGAIN,
    Delivery,
    LargeResults,
)

KILLED, CRASHED = -9, 1
WHERE = {"uri": "none"}


class FakeProcess:
    """A process that goes on until the test gives it an exit code."""

    def __init__(self, entry: str, load: dict[str, Any]) -> None:
        self.entry, self.load = entry, load
        self.code: int | None = None
        self.kills = 0

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.kills += 1


class Bench:
    """Large results of one worker, and the processes that were started for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = TurnedClock(NINE)
        self.processes: list[FakeProcess] = []
        self.errors: list[Exception] = []
        self.files: list[PrivateFile] = []
        monkeypatch.setattr(large_results, "start_entry", self.start)
        self.large = LargeResults(WHERE, Settings(slots=7), "me", self.clock)

    def start(self, entry: str, fds: list[int], load: dict[str, Any]) -> FakeProcess:
        if self.errors:
            raise self.errors.pop(0)
        assert all(os.fstat(fd) for fd in fds), "the file is open"
        process = FakeProcess(entry, load)
        self.processes.append(process)
        return process

    def carry(self, number: int = 81, **parts: Any) -> Result:
        file = complete_file("result", b"[1]")
        self.files.append(file)
        values = {"outcome": Outcome.COMPLETED, "seconds": 0.5, "output": "", **parts}
        result = Result(an_order(id=number, run_id=number), **values, result_file=file)
        self.large.carry(result)
        return result

    def end(self, *codes: int) -> list[Delivery]:
        """Let the newest process of one result end with each code; return what was delivered."""
        done = []
        for code in codes:
            done += self.large.delivered()
            self.processes[-1].code = code
        return done + self.large.delivered()

    def are_closed(self) -> bool:
        return not any(map(is_open, self.files))


def is_open(file: PrivateFile) -> bool:
    try:
        return file.fileno() >= 0
    except ValueError:
        return False


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    bench = Bench(monkeypatch)
    yield bench
    for file in bench.files:
        file.close()


# --- in the worker --------------------------------------------------------------------------------


def test_a_large_result_is_busy_until_its_process_has_stored_it(bench: Bench) -> None:
    result = bench.carry(17)
    assert (bench.large.busy, bench.large.task_ids()) == (True, [17])
    assert bench.large.delivered() == []
    assert bench.end(STORED) == [Delivery(result, was_in_time=True)]
    assert (bench.large.busy, bench.large.task_ids()) == (False, [])
    assert len(bench.processes) == 1 and bench.are_closed()


def test_a_process_gets_all_of_a_report_but_the_result_which_it_reads_from_the_file(
    bench: Bench,
) -> None:
    bench.carry(17, output="printed")
    bench.large.delivered()
    [process] = bench.processes
    assert process.entry == "large_result"
    load = process.load
    assert (load["where"], load["worker"], load["settings"]["slots"]) == (WHERE, "me", 7)
    assert load["order"] == {"task": 17, "run": 17, "started": NINE.isoformat()}
    assert (load["parts"]["outcome"], load["parts"]["output"]) == (Outcome.COMPLETED, "printed")
    assert not {"order", "result", "result_file"} & set(load["parts"])


def test_a_report_that_came_too_late_is_delivered_as_such(bench: Bench) -> None:
    result = bench.carry()
    assert bench.end(TOO_LATE) == [Delivery(result, was_in_time=False)]
    assert bench.are_closed()


def test_at_most_a_few_processes_are_at_work_and_the_others_wait_for_them(bench: Bench) -> None:
    for number in range(1, AT_ONCE + 3):
        bench.carry(number)
    bench.large.delivered()
    assert len(bench.processes) == AT_ONCE
    bench.processes[0].code = STORED
    assert len(bench.large.delivered()) == 1
    bench.large.delivered()
    assert len(bench.processes) == AT_ONCE + 1


def test_a_process_that_found_no_database_is_started_again_without_end(bench: Bench) -> None:
    bench.carry()
    assert bench.end(*[TRY_AGAIN] * 20) == []
    assert len(bench.processes) == 21 and bench.large.busy


def test_a_process_that_is_started_again_takes_the_place_of_the_one_before(bench: Bench) -> None:
    for number in range(1, AT_ONCE + 1):
        bench.carry(number)
    bench.large.delivered()
    bench.processes[0].code = TRY_AGAIN
    bench.large.delivered()
    assert len(bench.processes) == AT_ONCE + 1


def test_a_process_that_was_killed_is_started_again_a_few_times_and_then_the_run_fails(
    bench: Bench,
) -> None:
    result = bench.carry()
    assert bench.end(*[KILLED] * (TRIES - 1)) == []
    [delivery] = bench.end(KILLED)
    assert len(bench.processes) == TRIES
    assert delivery.result is result and delivery.instead is not None
    assert (delivery.instead.outcome, delivery.instead.result_file) == (Outcome.FAILED, None)
    assert code_of(delivery.instead.reason) == ReasonCode.REPORT_TOO_LARGE
    assert bench.are_closed() and not bench.large.busy


def test_a_process_that_fails_is_not_started_again(bench: Bench) -> None:
    bench.carry()
    [delivery] = bench.end(CRASHED)
    assert delivery.instead is not None and delivery.instead.outcome == Outcome.FAILED
    assert len(bench.processes) == 1


def test_a_process_that_hangs_is_killed(bench: Bench) -> None:
    bench.carry()
    bench.large.delivered()
    bench.clock.turn(TOO_LONG)
    bench.large.delivered()
    assert bench.processes[0].kills == 0
    bench.clock.turn(1.0)
    assert bench.large.delivered() == []
    assert bench.processes[0].kills == 1


@pytest.mark.parametrize("error", [OSError(errno.EAGAIN, "no process"), MemoryError()])
def test_a_process_that_cannot_be_started_now_is_started_after_a_pause(
    bench: Bench, error: Exception
) -> None:
    bench.errors = [error]
    bench.carry()
    bench.large.delivered()
    bench.clock.turn(NO_ROOM_AGAIN / 2)
    bench.large.delivered()
    assert bench.processes == []
    bench.clock.turn(NO_ROOM_AGAIN / 2)
    bench.large.delivered()
    assert len(bench.processes) == 1


# --- in the process -------------------------------------------------------------------------------


LOAD = {
    "where": WHERE,
    "settings": Settings().as_dict(),
    "worker": "me",
    "order": {"task": 17, "run": 81, "started": NINE.isoformat()},
    "parts": {"outcome": Outcome.COMPLETED, "seconds": 0.5, "output": "printed"},
}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    """The store that the process opens, in which the task of `LOAD` is."""
    clock = TurnedClock(NINE)
    monkeypatch.setattr(large_results, "SYSTEM", clock)
    store: Any = FakeStore(clock)
    store.db = SimpleNamespace(scheduler_task=SimpleNamespace(id=17))
    store.tasks.read = lambda found: [a_task()] if found else []
    monkeypatch.setattr(Store, "open", lambda *_, **options: store)
    return store


def carry(load: dict[str, Any] = LOAD) -> int:
    file = complete_file("result", b"[1]")
    try:
        return large_results.carry(load, file.fileno())
    finally:
        file.close()


def test_the_process_reports_the_result_from_its_file(store: FakeStore) -> None:
    assert carry() == STORED
    [report] = store.reports
    assert (report.result, report.output, report.seconds) == ("[1]", "printed", 0.5)
    assert (report.order.run_id, report.order.started, report.ended) == (81, NINE, NINE)
    assert store.named("tasks.report")[0].arguments["worker_name"] == "me"


def test_a_report_that_the_store_drops_is_too_late(store: FakeStore) -> None:
    store.answers["tasks.report"] = lambda reports, worker_name: [(reports[0], None)]
    assert carry() == TOO_LATE


def test_a_report_of_a_task_whose_row_is_gone_is_too_late(store: FakeStore) -> None:
    assert carry({**LOAD, "order": {**LOAD["order"], "task": 18}}) == TOO_LATE  # type: ignore[dict-item]
    assert store.reports == []


def test_a_result_larger_than_the_database_accepts_fails_the_run(store: FakeStore) -> None:
    store.fail("tasks.report", ValueError("too large"))
    assert carry() == STORED
    refused, failed = store.reports
    assert (refused.result, failed.result) == ("[1]", None)
    assert failed.outcome == Outcome.FAILED
    assert code_of(failed.reason) == ReasonCode.REPORT_TOO_LARGE
    assert failed.output == "printed"


def test_a_failure_that_is_too_late_is_told_as_such(store: FakeStore) -> None:
    store.fail("tasks.report", ValueError("too large"))
    moves = iter([None, Move("finish")])
    store.answers["tasks.report"] = lambda reports, worker_name: [(reports[0], next(moves))]
    assert carry() == TOO_LATE


def test_the_process_waits_for_the_database_and_tries_again(store: FakeStore) -> None:
    store.fail("tasks.report", *[StoreUnavailable("away")] * 3)
    assert carry() == STORED
    assert 0.0 < store.clock.monotonic() - store.times("tasks.report")[0] < 1.0


def test_the_process_waits_for_a_limited_time_and_lets_the_worker_decide(store: FakeStore) -> None:
    began = store.clock.monotonic()
    store.go_away(StoreUnavailable("away"))
    assert carry() == TRY_AGAIN
    assert store.clock.monotonic() - began == pytest.approx(PATIENCE, abs=0.5)
