"""Time to read a page of the list of tasks, with different filters: this scheduler only.

There are 100 times as many tasks as in a turn, a million by default: 70 % completed, 25 % due
tomorrow, 4 % failed, 1 % stopped. All ended tasks have a run with output, and failed ones a
traceback. The measured time is that of all queries of one page, for the rows and the count. Its
median, and its maximum (in parentheses), should be below 300 ms. "looked at" is the share of all
tasks that a page has read: less than 100 % if the time limit ended the search before the page was
full.
"""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime, timedelta
from typing import Any

from plugin_scheduler.models import INDEXES, TABLES

from bench.peers import Peer, a_peer, find
from bench.rounds import Bench, Found
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects import dialect_for
from plugin_scheduler.queries import Filter, Queries
from plugin_scheduler.system.clock import SYSTEM

TITLE = "Reading a page of the list of 1,000,000 tasks"
METRIC = "page"
TIMES, AGAIN = 100, 10  # tasks for each task of a turn; pages read for each case
LAST_WEEK = datetime.now() - timedelta(days=7)

PAGES: dict[str, Filter] = {
    "the newest": Filter(),
    "the oldest": Filter(sort="oldest"),
    "completed ones": Filter(status=("COMPLETED",)),
    "failed ones": Filter(status=("FAILED",)),
    "stopped ones of a group": Filter(status=("STOPPED",), group="gpu"),
    "failed ones, by last run": Filter(status=("FAILED",), sort="last run"),
    "stopped ones of a group, by name": Filter(status=("STOPPED",), group="gpu", sort="name"),
    "all, by next run": Filter(sort="next run"),
    "of one function": Filter(function="task_7"),
    "of no function": Filter(function="nobody"),
    "of one worker": Filter(worker="w3"),
    "disabled ones, of which there is one": Filter(enabled=False),
    "repeating ones": Filter(repeating=True),
    "ran last week, of which there is none": Filter(time="last_run_time", since=LAST_WEEK),
    "a name that is found": Filter(text="name 77"),
    "a text that is nowhere": Filter(text="nowhere to be found"),
    "an argument of one task": Filter(text="needle"),
    "a text in output": Filter(text="total 4711", in_output=True),
    "a text that is in no output": Filter(text="nowhere to be found", in_output=True),
    "failed ones with a text in the traceback": Filter(
        status=("FAILED",), text="KeyError", in_output=True
    ),
}

NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
LINES = "line of output, as tasks print them; "
TRACEBACK = 'Traceback (most recent call last):\n  File "/srv/shop/tasks.py", line 31, in report\n'
DATES = {
    "sqlite": "datetime({base}, '{sign}' || {seconds} || ' seconds')",
    "postgres": "({base}::timestamp {sign} {seconds} * interval '1 second')",
}


def run(bench: Bench) -> None:
    ours = [name for name in bench.names if name in ("ours", "ours-postgres")]
    for name in ours:
        with a_peer(find(name), bench.places) as peer:
            count = bench.tasks * TIMES
            bench.say(f"pages: {count:,} tasks, {name}")
            fill(peer, count)
            cases = [(case, name) for case in PAGES]

            def measure(case: str, _: str, peer: Peer = peer) -> Found:
                return reading(peer, PAGES[case])

            bench.interleave("pages", cases, measure, rounds=1)


def reading(peer: Any, wanted: Filter) -> Found:
    """Read several pages one after the other, as a user does."""
    took, share = [], 1.0
    for _ in range(AGAIN):
        browser = Queries(peer.db, Settings())
        began = time.perf_counter()
        page, _ = browser.listed(wanted)
        took.append(1000 * (time.perf_counter() - began))
        peer.db.rollback()
        if page.looked_to is not None and len(took) == 1:
            share = 1 - page.looked_to / peer.most
        wanted = dataclasses.replace(wanted, after=page.after)
    return {"page": ("ms", took), "looked at": ("%", 100 * share)}


def fill(peer: Any, count: int) -> None:
    db, kind = peer.db, peer.place.kind
    numbers = NUMBERS.format(count=count)
    base = f"'{datetime.now():%Y-%m-%d %H:%M:%S}'"
    past = DATES[kind].format(base=base, sign="-", seconds="(864000 + {0} - i)").format(count)
    soon = DATES[kind].format(base=base, sign="+", seconds="(86400 + i)")
    status = (
        "CASE WHEN i % 4 = 0 THEN 'QUEUED' WHEN i % 25 = 1 THEN 'FAILED' "
        "WHEN i % 100 = 3 THEN 'STOPPED' ELSE 'COMPLETED' END"
    )
    ended = "i % 4 <> 0"
    columns = {
        "application_name": "'standalone'",
        "task_name": "'name ' || (i % 1000)",
        "group_name": "CASE i % 5 WHEN 0 THEN 'mail' WHEN 3 THEN 'gpu' ELSE 'main' END",
        "status": status,
        "function_name": "'task_' || (i % 20)",
        "uuid": "'uuid-' || i",
        "args": f"CASE i WHEN {count // 50} THEN '[\"needle\"]' ELSE '[' || i || ']' END",
        "vars": '\'{"day": 3, "name": "somebody"}\'',
        "enabled": "CASE i WHEN 5 THEN 'F' ELSE 'T' END",
        "broadcast": "'F'",
        "start_time": past,
        "next_run_time": f"CASE WHEN {ended} THEN {past} ELSE {soon} END",
        "last_run_time": f"CASE WHEN {ended} THEN {past} ELSE NULL END",
        "repeats": "CASE i % 1000 WHEN 4 THEN 0 ELSE 1 END",
        "retry_failed": "0",
        "period": "60",
        "timeout": "60",
        "sync_output": "0",
        "times_run": "1",
        "times_failed": "0",
        "times_lost": "0",
        "priority": "i % 3",
        "assigned_worker_name": f"CASE WHEN {ended} THEN 'w' || (i % 4) ELSE '' END",
        "run_id": f"CASE WHEN {ended} THEN i ELSE NULL END",
    }
    insert(db, "scheduler_task", columns, numbers)
    runs = {
        "id": "i",
        "task_id": "i",
        "status": f"CASE {status} WHEN 'QUEUED' THEN 'COMPLETED' ELSE {status} END",
        "start_time": past,
        "stop_time": past,
        "run_output": f"'{LINES * 4}total ' || (i % 5000)",
        "run_result": "'3'",
        "traceback": f"CASE WHEN i % 25 = 1 THEN '{TRACEBACK * 4}KeyError: 3' ELSE NULL END",
        "worker_name": "'w' || (i % 4)",
    }
    insert(db, "scheduler_run", runs, numbers, f" WHERE {ended}")
    dialect_for(db, SYSTEM, Settings()).prepare_tables(INDEXES)
    for table in TABLES:
        db.executesql(f"ANALYZE {table}")
    db.commit()
    peer.most = count


def insert(db: Any, table: str, columns: dict[str, str], numbers: str, where: str = "") -> None:
    names, values = ", ".join(columns), ", ".join(columns.values())
    sql = f"INSERT INTO {table} ({names}) {numbers} SELECT {values} FROM n{where}"
    if db._uri.startswith("sqlite"):
        sql = f"{numbers} INSERT INTO {table} ({names}) SELECT {values} FROM n{where}"
    db.executesql(sql)
    db.commit()
