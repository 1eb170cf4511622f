"""Hosts whose clocks and zones differ: the database's clock counts, and nobody is buried for it."""

from __future__ import annotations

import glob
import itertools
import subprocess
import time
from typing import Any

import pytest
from support.databases import Shared
from support.kit import COMMAND, Lab, eventually
from support.makers import NINE
from support.throwaway import Missing

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects.server import LONG_TRIP
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM, Clock, TurnedClock

AHEAD = 600.0
SETTINGS = Settings(heartbeat=1)
SOURCE = """
def long(seconds):
    import select  # time.sleep is beyond what libfaketime can do
    mark("long"); db.commit()
    select.select([], [], [], seconds)
    return "slept"
def tick(name):
    with open(name, "a") as file: file.write(f"{time.monotonic()}\\n")
def quick(): mark("quick")
def follow():
    from plugin_scheduler import Scheduler
    Scheduler(db, {}, migrate=False, application_name="lab").queue_task("quick")
"""


@pytest.fixture
def put_forward(servers: Shared) -> dict[str, str]:
    """An environment in which a program finds its machine's clock ten minutes ahead."""
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    found += glob.glob("/usr/lib*/faketime/libfaketime.so.1")
    if not found:
        servers.missing["faketime"] = "no libfaketime found: install faketime"
        raise Missing(servers.missing["faketime"])
    steady = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    return {"LD_PRELOAD": found[0], "FAKETIME": f"+{AHEAD:.0f}s", **steady}


def status_of(lab: Lab) -> str:
    """What a person is shown."""
    where = ["-u", lab.uri, "-f", str(lab.folder)]
    done = subprocess.run([*COMMAND, "status", *where], capture_output=True, text=True, timeout=30)
    assert done.returncode in (0, 1), done.stderr  # 1 where something should be looked at
    return " ".join(done.stdout.split())


def pauses(lab: Lab, name: str) -> list[float]:
    """Between the runs of `tick`."""
    path = lab.folder / name
    times = [float(line) for line in path.read_text().split()] if path.exists() else []
    return [later - sooner for sooner, later in itertools.pairwise(times)]


def test_workers_in_other_zones_and_with_wrong_clocks_work_together(
    server_lab: Lab, put_forward: dict[str, str]
) -> None:
    lab = server_lab
    lab.write_tasks(SOURCE)
    usual = ("-b", "0.5")
    here = lab.start_worker(*usual, "-g", "main,here", TZ="UTC")
    tokyo = lab.start_worker(*usual, "-g", "main,tokyo", TZ="Asia/Tokyo")
    early = lab.start_worker(*usual, "-g", "main,early", TZ="UTC", **put_forward)
    workers = {"here": here, "tokyo": tokyo, "early": early}
    hour = SYSTEM.at(SYSTEM.epoch() + 3600, "UTC")
    tomorrow = [lab.queue("quick", start_time=hour, group_name=name) for name in workers]
    long = [lab.queue("long", 5, group_name=name) for name in ("tokyo", "early")]
    ticking = {"period": 2, "repeats": 0, "prevent_drift": True}
    everybodys = lab.queue("tick", "any", **ticking)
    lab.queue("tick", "early", group_name="early", **ticking)
    said = status_of(lab)
    for task_id in long:
        task = lab.becomes(task_id, "COMPLETED")
        assert (task.times_run, task.times_lost) == (1, 0)
    assert len(lab.marks("long")) == len(lab.runs(long[0]) + lab.runs(long[1])) == 2
    assert {lab.task(task_id).status for task_id in tomorrow} == {"QUEUED"}
    assert lab.task(everybodys).times_lost == 0
    eventually(lambda: min(len(pauses(lab, name)) for name in ("any", "early")) >= 2)
    assert all(1 < pause < 3 for pause in pauses(lab, "any")[1:] + pauses(lab, "early")[1:])
    assert not any(
        word in worker.log for worker in workers.values() for word in ("died", "unexpected error")
    )
    assert "is 10 min ahead of the database's" in said
    assert "the time zone of its machine is Asia/Tokyo, but it uses UTC" in said
    skews = [lab.worker_row(worker).worker_stats["clock_skew"] for worker in workers.values()]
    assert skews == pytest.approx([0, 0, AHEAD], abs=2)


def test_what_a_task_queues_is_due_at_once_also_where_its_workers_zone_is_another(
    server_lab: Lab,
) -> None:
    lab = server_lab
    lab.write_tasks(SOURCE)
    lab.start_worker("-g", "nothing", TZ="UTC")
    lab.start_worker(TZ="Asia/Tokyo")
    lab.becomes(lab.queue("follow"), "COMPLETED")
    eventually(lambda: lab.marks("quick"), 5)


def test_a_name_belongs_to_one_worker_alive(server_lab: Lab) -> None:
    lab = server_lab
    lab.write_tasks(SOURCE)
    first = lab.start_worker("-b", "0.3", "-w", "w1")
    began = time.monotonic()
    second = lab.start_worker("-b", "0.3", "-w", "w1", ready=False)
    assert second.wait() == 2 and time.monotonic() - began < 8
    [line] = [line for line in second.log.splitlines() if line.startswith("Error:")]
    assert "'w1' is used by a live worker" in line and "Traceback" not in second.log
    assert lab.worker_names() == {"w1"} and lab.worker_row(first)
    lab.becomes(lab.queue("quick"), "COMPLETED")


def test_each_start_of_a_worker_has_a_name_of_its_own(server_lab: Lab) -> None:
    lab = server_lab
    lab.write_tasks(SOURCE)
    for _ in range(2):
        lab.start_worker()
    [one, other] = lab.worker_names()
    pids = {str(worker.pid) for worker in lab.workers}
    assert {name.split("#")[1] for name in (one, other)} == pids
    assert one.split("#")[2] != other.split("#")[2]


# -- one store with a wrong clock ------------------------------------------------------------------


class WrongClock(Clock):
    """This machine's, put forward; its steady clock is right, as those of machines are."""

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead

    def epoch(self) -> float:
        return super().epoch() + self.ahead


def store_in(lab: Lab, clock: Clock) -> Store:
    store = Store(lab.db, SETTINGS, clock, "lab")
    store.dialect.zone = "UTC"
    return store


def database_epoch(db: Any) -> float:
    """The time by the database's own clock, asked in its own words."""
    words = {"postgres": "SELECT extract(epoch FROM now())", "mysql": "SELECT UNIX_TIMESTAMP()"}
    [[now]] = db.executesql(words[db._adapter.dbengine])
    db.commit()
    return float(now)


@pytest.mark.parametrize("ahead", [AHEAD, -AHEAD])
def test_leases_are_written_by_the_databases_clock(server_lab: Lab, ahead: float) -> None:
    store = store_in(server_lab, WrongClock(ahead))
    worker_id = store.workers.register("me", {})
    store.workers.beat(worker_id, {})
    lease = store.db.scheduler_worker(worker_id).lease_until
    assert lease == pytest.approx(database_epoch(store.db) + SETTINGS.lease, abs=2)
    assert store.dialect.skew == pytest.approx(ahead, abs=1)


@pytest.mark.parametrize("ahead", [AHEAD, -AHEAD])
def test_what_is_due_is_told_by_the_databases_clock(server_lab: Lab, ahead: float) -> None:
    store = store_in(server_lab, WrongClock(ahead))
    soon, due = (SYSTEM.at(SYSTEM.epoch() + seconds, "UTC") for seconds in (AHEAD / 2, -1))
    server_lab.queue("quick", start_time=soon)
    task_id = server_lab.queue("quick", start_time=due)
    claim = store.claims.take("me", ["main"], 10, store.dialect.now())
    assert [order.task.id for order in claim.orders] == [task_id]


def test_workers_with_wrong_clocks_believe_each_other_alive(server_lab: Lab) -> None:
    early, late = (store_in(server_lab, WrongClock(ahead)) for ahead in (AHEAD, -AHEAD))
    early.workers.register("early", {})
    late.workers.register("late", {})
    for store in (early, late):
        leases = [worker.lease_until for worker in store.workers.all()]
        assert len(leases) == 2 and all(lease > store.dialect.epoch() for lease in leases)


def test_a_clock_that_somebody_sets_moves_nothing(server_lab: Lab) -> None:
    clock = WrongClock(0)
    store = store_in(server_lab, clock)
    before = store.dialect.epoch()
    clock.ahead = AHEAD
    assert store.dialect.epoch() == pytest.approx(before, abs=1)
    store.dialect._read()
    assert store.dialect.epoch() == pytest.approx(before, abs=1)


def test_a_machine_that_slept_asks_for_the_time_when_it_wakes_up(server_lab: Lab) -> None:
    class Sleeper(Clock):
        slept = 0.0

        def monotonic(self) -> float:  # it stands still while a machine sleeps
            return super().monotonic() - self.slept

    clock = Sleeper()
    store = store_in(server_lab, clock)
    store.dialect.epoch()
    clock.slept = AHEAD
    assert store.dialect.epoch() == pytest.approx(database_epoch(server_lab.db), abs=1.5)


def test_an_apps_question_for_the_time_ends_no_transaction_of_its(server_lab: Lab) -> None:
    db, scheduler = server_lab.db, server_lab.scheduler
    task_id = scheduler.queue_task("quick").id
    scheduler._dialect._read()
    db.rollback()
    assert db.scheduler_task(task_id) is None


def test_an_answer_that_took_long_counts_only_where_the_older_one_must_be_wrong(
    server_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = TurnedClock(NINE)
    store = store_in(server_lab, clock)
    ask, trip = store.db.executesql, 3 * LONG_TRIP

    def slowly(*query: Any) -> Any:
        answer = ask(*query)
        clock.turn(trip)
        return answer

    first = store.dialect.epoch() - clock.monotonic()
    monkeypatch.setattr(store.db, "executesql", slowly)
    store.dialect._read()
    assert store.dialect.epoch() - clock.monotonic() == pytest.approx(first, abs=0.01)
    clock.turn(100)  # this machine's steady clock went ahead of the database's
    store.dialect._read()
    behind = first - (store.dialect.epoch() - clock.monotonic())
    assert behind == pytest.approx(100 + trip, abs=trip)
