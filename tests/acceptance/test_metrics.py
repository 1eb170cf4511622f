"""What workers count, and say of themselves, is what really happened."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import datetime

from support.kit import COMMAND, KILL9, TERM, Lab, eventually

from plugin_scheduler.queries import Charts, Queries

SOURCE = """
def nap(seconds=0.0):
    time.sleep(seconds)
    return "rested"
def boom():
    raise ValueError("no")
"""


def charts(lab: Lab, **parts: str) -> Charts:
    db = lab.fresh()
    try:
        return Queries.of(lab.scheduler).charts("hour", **parts)
    finally:
        db.commit()


def counted(lab: Lab, **parts: str) -> tuple[int, int]:
    seen = charts(lab, **parts)
    return seen.completed, seen.failed


def longest(lab: Lab, function: str) -> float:
    buckets = charts(lab, function=function).buckets
    return max(one.run_longest or 0.0 for one in buckets)


def test_charts_tell_what_ran_how_long_and_how_it_ended(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(SOURCE)
    lab.start_worker("-n", "2")
    tasks = [lab.queue("nap", seconds) for seconds in (0.0, 0.0, 0.3)]
    tasks += [lab.queue("boom"), lab.queue("nap", 30, timeout=1)]
    for task_id in tasks:
        lab.becomes(task_id, "COMPLETED", "FAILED", "TIMEOUT")
    eventually(lambda: counted(lab) == (3, 2), what="all are counted")
    assert counted(lab, function="boom") == (0, 1)
    assert counted(lab, group="main", worker=next(iter(lab.worker_names()))) == (3, 2)
    assert 1.0 <= longest(lab, "nap") < 10


def test_a_worker_that_leaves_has_told_all_that_it_counted(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(SOURCE)
    worker = lab.start_worker("-b", "30")
    for task_id in [lab.queue("nap") for _ in range(7)]:
        lab.becomes(task_id, "COMPLETED")
    worker.send(TERM)
    assert worker.wait() == 0
    assert counted(lab) == (7, 0)


def test_with_a_worker_that_is_killed_at_most_its_last_beat_is_lost(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(SOURCE)
    worker = lab.start_worker("--worker-name", "w1")
    for task_id in [lab.queue("nap") for _ in range(5)]:
        lab.becomes(task_id, "COMPLETED")
    beaten = lab.worker_row().last_heartbeat
    # What had ended when a beat began is in the tables after the next one.
    eventually(lambda: (lab.worker_row().last_heartbeat - beaten).total_seconds() > 2)
    assert counted(lab) == (5, 0)
    worker.send(KILL9)
    worker.wait()
    lab.start_worker("--worker-name", "w1", ready=False)
    lab.becomes(lab.queue("nap"), "COMPLETED", within=30)
    eventually(lambda: counted(lab) == (6, 0), what="the successor adds to what was there")


def test_no_count_is_lost_in_an_outage(own_lab: Lab) -> None:
    lab = own_lab
    lab.write_tasks(SOURCE)
    lab.start_worker("-b", "3")
    for task_id in [lab.queue("nap") for _ in range(5)]:
        lab.becomes(task_id, "COMPLETED")
    lab.becomes(long := lab.queue("nap", 2), "RUNNING")
    lab.hang_up()
    lab.server.stop()
    lab.server.start()
    lab.becomes(long, "COMPLETED", within=30)
    lab.becomes(lab.queue("nap"), "COMPLETED", within=30)
    eventually(lambda: counted(lab) == (7, 0), what="all are counted")


def test_a_large_result_counts_like_any_other(lab: Lab) -> None:
    lab.write_tasks("def large(): return 'x' * 3_000_000")
    lab.start_worker()
    lab.becomes(lab.queue("large"), "COMPLETED")
    eventually(lambda: counted(lab) == (1, 0))


def test_a_worker_says_how_it_and_its_machine_are(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(SOURCE)
    worker = lab.start_worker("-n", "2")
    lab.becomes(lab.queue("nap"), "COMPLETED")
    status = [*COMMAND, "status", "-u", lab.uri, "-f", str(lab.folder), "--json"]
    env = {**lab.env, "PATH": "/usr/bin:/bin"}
    answer = subprocess.run(status, capture_output=True, text=True, check=False, env=env)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (told,) = json.loads(answer.stdout)["workers"]
    (seen,) = Queries.of(lab.scheduler).workers()
    lab.db.commit()
    assert told["memory"] == seen.memory > 10_000_000
    assert told["cpus"] >= 1 and told["load"] >= 0 and 0 <= told["cpu"]
    assert told["python"] == platform.python_version() and told["version"]
    names = {"sqlite": "SQLite 3", "postgres": "PostgreSQL ", "mysql": ("MariaDB ", "MySQL ")}
    assert told["database"].startswith(names[lab.uri.partition(":")[0]])
    assert {"nap", "boom"} <= set(told["tasks"])
    assert isinstance(seen.started_at, datetime) and told["pid"] == worker.pid


def test_a_worker_that_cannot_count_works_and_leaves_as_ever(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(SOURCE)
    worker = lab.start_worker()
    lab.becomes(lab.queue("nap"), "COMPLETED")
    lab.db.executesql("DROP TABLE scheduler_metric")
    lab.db.commit()
    lab.becomes(lab.queue("nap"), "COMPLETED")
    eventually(lambda: "rejected the run counts" in worker.log, 10, "the trouble is told")
    lab.becomes(lab.queue("nap"), "COMPLETED")
    worker.send(TERM)
    assert worker.wait() == 0 and lab.worker_row() is None
    assert worker.log.count("rejected the run counts") == 1
