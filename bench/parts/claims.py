"""Time of a claim beside many other rows.

The time in which a worker's store claims 100 tasks in a table with only those 100 (`alone`), and
beside 1,000,000 tasks that are due tomorrow, 1,000,000 that have ended and 100,000 due ones of
another group, all with 10 priorities (`beside`). `next` is the query for the next due time, which a
worker runs when nothing is due. `ratio` compares the medians of claims. Both tables are queried in
turns, so that a noisy machine affects both, and the planner's statistics are fresh (ANALYZE). Only
this scheduler takes part; the part `backlog` compares it with other products.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from plugin_scheduler.models import TABLES
from pydal import DAL

from bench.peers.ours import UUIDS
from bench.places import Place
from bench.rounds import Bench, Found
from plugin_scheduler import Scheduler
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM

TITLE = "Time to claim 100 tasks, without other rows and beside 2,100,000"
METRIC = "ratio"
KINDS = ("sqlite", "postgres", "mysql")
#: case -> number of priorities of the due tasks
CASES = {"due ones of 10 priorities": 10, "due ones of one priority": 1}
CLAIMED, PRIORITIES = 100, 10
MOST, FOR_EACH_TASK = 1_000_000, 100  # rows of the larger kinds, at most, and for each of --tasks
COPIES = 2000  # of each priority, in one statement
TURNS = 15
NAME = "bench"


def run(bench: Bench) -> None:
    """Create the tables of a database on first use, and use them for all of its cases."""
    others = min(MOST, FOR_EACH_TASK * bench.tasks)
    tables: dict[str, tuple[Table, Table]] = {}
    with contextlib.ExitStack() as closing:

        def measure(case: str, kind: str) -> Found:
            if kind not in tables:
                bench.say(f"claims: {others:,} other rows of two sorts each; this takes a while")
                alone, beside = (
                    closing.enter_context(a_table(bench, kind, count)) for count in (0, others)
                )
                tables[kind] = alone, beside
            with contextlib.ExitStack() as asking:
                return compare(
                    *(asking.enter_context(one.a_store(CASES[case])) for one in tables[kind])
                )

        bench.interleave("claims", [(case, kind) for case in CASES for kind in KINDS], measure, 1)


def compare(alone: Store, beside: Store) -> Found:
    """Measure in turns, after one that is not counted, which opens the connections."""
    found: dict[str, list[float]] = {}
    for turn in range(TURNS + 1):
        for name, store in (("alone", alone), ("beside", beside)):
            claim, look = claim_all(store), look_ahead(store)
            if turn:
                found.setdefault(name, []).append(claim)
                found.setdefault(f"next, {name}", []).append(look)
    ratio = statistics.median(found["beside"]) / statistics.median(found["alone"])
    told: Found = {name: ("ms", values) for name, values in found.items()}
    return {"ratio": ("", ratio), **told}


def claim_all(store: Store) -> float:
    """Return the milliseconds of a claim; the tasks are handed back."""
    now = store.dialect.now()
    took, claim = timed(lambda: store.claims.take(NAME, ["main"], CLAIMED, now))
    assert len(claim.orders) == CLAIMED, len(claim.orders)
    store.tasks.hand_back(claim.orders, NAME)
    return took


def look_ahead(store: Store) -> float:
    now = store.dialect.now()
    return timed(lambda: store.claims.next_due(["main"], now))[0]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    answer = work()
    return (time.perf_counter() - begun) * 1000, answer


# -- the tables ------------------------------------------------------------------------------------


class Table:
    """A filled table, and the app's connection to it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.db = DAL(place.uri, folder=place.folder)
        self.scheduler = Scheduler(self.db, tasks={}, application_name=NAME)
        self.db.commit()

    @contextlib.contextmanager
    def a_store(self, priorities: int) -> Iterator[Store]:
        """Provide a worker's store without caches; due tasks have this number of priorities."""
        due = self.db.scheduler_task.id <= CLAIMED
        self.db(due).update(priority=self.db.scheduler_task.id % priorities)
        self.db.commit()
        where = {"uri": self.place.uri, "folder": self.place.folder, "driver_args": None}
        with contextlib.closing(Store.open(where, Settings(), SYSTEM, NAME)) as store:
            yield store

    def fill(self, others: int) -> None:
        """Add the due tasks, and this number of other tasks of the larger kinds."""
        now = self.scheduler.now()
        self.add(CLAIMED, start_time=now - timedelta(minutes=1))
        if others:
            self.add(others, start_time=now + timedelta(days=1))
            self.add(others, status="COMPLETED", stop_time=now)
            self.add(others // 10, group_name="elsewhere")
        for table in TABLES:
            self.db.executesql(f"ANALYZE {'TABLE ' if self.place.kind == 'mysql' else ''}{table}")
        self.db.commit()

    def add(self, count: int, **columns: Any) -> None:
        """Queue one task of each priority with the API, and add copies of their rows."""
        later = {name: columns.pop(name) for name in ("status", "stop_time") if name in columns}
        first = min(
            self.scheduler.queue_task("nothing", priority=priority, **columns).id
            for priority in range(PRIORITIES)
        )
        if later:
            self.db(self.db.scheduler_task.id >= first).update(**later)
        names = [name for name in self.db.scheduler_task.fields if name not in ("id", "uuid")]
        self.copy(first, ", ".join(names), count // PRIORITIES - 1)

    def copy(self, first: int, names: str, times: int) -> None:
        """Copy the rows without reading the table that is written, which MySQL would buffer in a
        file."""
        numbers = ", ".join(f"({number})" for number in range(COPIES))
        for statement in (
            f"CREATE TABLE model AS SELECT {names} FROM scheduler_task WHERE id >= {first}",
            "CREATE TABLE number (n INTEGER)",
            f"INSERT INTO number VALUES {numbers}",
        ):
            self.db.executesql(statement)
        for left in range(times, 0, -COPIES):
            self.db.executesql(
                f"INSERT INTO scheduler_task (uuid, {names})"
                f" SELECT {UUIDS[self.place.kind]}, {names} FROM model CROSS JOIN number"
                f" WHERE number.n < {left}"
            )
            self.db.commit()
        for table in ("model", "number"):
            self.db.executesql(f"DROP TABLE {table}")
        self.db.commit()


@contextlib.contextmanager
def a_table(bench: Bench, kind: str, others: int) -> Iterator[Table]:
    with bench.places.fresh(kind) as place:
        table = Table(place)
        with contextlib.closing(table.db):
            with table.a_store(1):  # creates the indexes
                table.fill(others)
            yield table
