"""The heart of it on every database: run, fail, stop, lose a worker, keep every letter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.databases import without_dialect_below
from support.kit import Lab, eventually, is_alive

TASKS = """
def add(a, b=0):
    mark("added")
    return a + b
def fail():
    mark("never seen")
    raise ValueError("no luck")
def long(seconds=60):
    mark("began"); db.commit()
    time.sleep(seconds)
    return "slept"
def echo(text, again=""):
    print(text, again)
    return {text: again}
"""
WORDS = "naïve Ünïcode — 日本語 🐘🐬 'it''s' \\ \"quoted\" %s"


def test_a_queued_task_runs_and_its_result_is_stored(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(TASKS)
    lab.start_worker()
    task_id = lab.queue("add", 3, pvars={"b": 4})
    task = lab.becomes(task_id, "COMPLETED")
    [run] = lab.runs(task_id)
    assert (task.times_run, run.status, run.run_result) == (1, "COMPLETED", "7")
    assert len(lab.marks("added")) == 1


def test_a_failing_task_tells_where_and_leaves_nothing_of_what_it_wrote(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(TASKS)
    lab.start_worker()
    task_id = lab.queue("fail")
    lab.becomes(task_id, "FAILED")
    [run] = lab.runs(task_id)
    assert run.status == "FAILED" and "ValueError: no luck" in run.traceback
    assert "tasks.py" in run.traceback and lab.marks() == []


def test_a_running_task_is_stopped_on_request(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(TASKS)
    lab.start_worker()
    task_id = lab.queue("long")
    lab.becomes(task_id, "RUNNING")
    eventually(lambda: lab.marks("began"))
    assert lab.scheduler.stop_task(task_id) == 1
    lab.db.commit()
    lab.becomes(task_id, "STOPPED")
    [run] = lab.runs(task_id)
    assert (run.status, run.outcome, run.reason_code) == ("STOPPED", "STOPPED", "stop_requested")


def test_what_a_killed_worker_ran_is_run_again_by_another(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(TASKS)
    worker = lab.start_worker("-b", "0.3")
    task_id = lab.queue("long", 2)
    eventually(lambda: lab.marks("began"))
    family = [process.pid for process in worker.family()]
    worker.kill()
    eventually(lambda: not any(is_alive(pid) for pid in family), 3)
    lab.start_worker("-b", "0.3")
    lab.becomes(task_id, "COMPLETED")
    lost, kept = lab.runs(task_id)
    assert (lost.status, kept.status) == ("STOPPED", "COMPLETED")
    assert (lost.outcome, kept.outcome) == ("LOST", "COMPLETED")
    assert "died" in lost.reason and kept.run_result == '"slept"'


def test_every_letter_survives_as_argument_result_and_output(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(TASKS)
    lab.start_worker()
    task_id = lab.queue("echo", WORDS, pvars={"again": WORDS})
    lab.becomes(task_id, "COMPLETED")
    found = lab.scheduler.task_status(task_id, output=True)
    assert found.result == {WORDS: WORDS}
    assert found.scheduler_run.run_output == f"{WORDS} {WORDS}\n"


def test_a_server_of_ones_own_goes_away_and_comes_back_with_its_data(own_lab: Lab) -> None:
    lab, server = own_lab, own_lab.server
    task_id = lab.queue("add")
    address = server.address
    for leave in (server.stop, server.kill):
        leave()
        server.start()
        assert server.address == address
        lab.hang_up()
        assert lab.task(task_id).status == "QUEUED"


def test_a_dialect_is_taken_away_from_new_interpreters_too(tmp_path: Path) -> None:
    code = "from plugin_scheduler.database import dialects; print('sqlite' in dialects._DIALECTS)"
    env = {**os.environ, **without_dialect_below("sqlite", tmp_path / "plain")}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert said.stdout == "False\n", said.stderr
