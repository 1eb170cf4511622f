"""What happened at night can be read in the morning: deaths of workers, claims that failed."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

from support.kit import COMMAND, Lab, eventually

from plugin_scheduler.store.audit_log import AuditLog

SOURCE = """
import time

def quick():
    return "done"

def long(seconds):
    time.sleep(seconds)
    return "slept"
"""


def said(*words: str) -> str:
    """What the command answers."""
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=True).stdout


def events_of(lab: Lab, worker: str) -> list[str]:
    """Kinds of events of a worker, the oldest first."""
    lab.db.rollback()
    notes = AuditLog(lab.db, lab.scheduler.now, "").of_worker(worker)
    return [note.did for note in reversed(notes) if note.who == "scheduler"]


def test_an_idle_worker_that_is_killed_is_told_of_in_history_log_and_warnings(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    idle = lab.start_worker("-b", "0.3", "-w", "idle")
    eventually(lambda: events_of(lab, "idle"))
    idle.kill()
    other = lab.start_worker("-b", "0.3", "-w", "other")
    eventually(lambda: "worker_died" in events_of(lab, "idle"), 15)
    assert events_of(lab, "idle") == ["worker_started", "worker_died"]
    assert "worker idle on" in other.log and "died while idle" in other.log
    where = ["-u", lab.uri, "-f", str(lab.folder)]
    assert "worker idle on" in said("status", *where)
    told = json.loads(said("history", *where, "--json", "--since", "1h"))
    assert [one["did"] for one in told["history"] if one["worker_name"] == "idle"] == [
        "worker_died",
        "worker_started",
    ]
    assert "died on" in said("history", *where, "--limit", "2")
    other.kill()
    third = lab.start_worker("-b", "0.3", "-w", "other", ready=False)
    eventually(lambda: "worker_succeeded" in events_of(lab, "other"), 15)
    third.send(signal.SIGTERM)
    third.wait()
    assert events_of(lab, "other") == [
        "worker_started",
        "worker_succeeded",
        "worker_started",
        "worker_left",
    ]


def test_a_claim_that_fails_for_long_ends_no_worker_and_holds_up_no_report(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    worker = lab.start_worker("-b", "0.3", "-w", "w1", "-n", "2")
    running = lab.queue("long", 2)
    lab.becomes(running, "RUNNING")
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON scheduler_run BEGIN "
    lab.db.executesql(refuse + "SELECT RAISE(ABORT, 'ids are used up'); END")
    lab.db.commit()
    waiting = lab.queue("quick")

    def stats() -> Any:
        return lab.worker_row().worker_stats

    eventually(lambda: (stats()["last_claim_error"] or {}).get("in_a_row", 0) >= 4, 15)
    lab.becomes(running, "COMPLETED")
    assert "ids are used up" in stats()["last_claim_error"]["error"]
    assert worker.log.count("tasks cannot be claimed") == 1 and "Traceback" not in worker.log
    lab.db.executesql("DROP TRIGGER refuse")
    lab.db.commit()
    lab.becomes(waiting, "COMPLETED", within=15)
    eventually(lambda: events_of(lab, "w1")[1:] == ["claim_failing", "claim_works"], 5)
    eventually(lambda: stats()["last_claim_error"] is None, 5)
