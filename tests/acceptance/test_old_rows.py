"""Tasks that web2py queued, claimed and left behind, with the real command."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from support.kit import Lab, Worker
from support.old_tables import VERSIONS, OldApp, add_worker

TASKS = """
    def add(a, b=1):
        mark("add")
        return a + b

    def tick():
        mark("tick")

    def fail():
        mark("fail")
        raise ValueError("no luck")
"""


class Left:
    """What an app of web2py has in its database when its workers are gone."""

    def __init__(self, lab: Lab, version: str) -> None:
        self.app = OldApp(lab.uri, lab.folder, version)
        self.db = self.app.open()
        self.now = datetime.now().replace(microsecond=0)

    def task(self, function: str, **columns: Any) -> int:
        row = {
            "application_name": "shop/default",
            "function_name": function,
            "uuid": f"{function} {len(self.db(self.db.scheduler_task).select())}",
            "status": "QUEUED",
            "start_time": self.now - timedelta(hours=1),
            "next_run_time": self.now - timedelta(minutes=1),
        }
        return int(self.db.scheduler_task.insert(**{**row, **columns}))

    def leave(self) -> None:
        """The last request has ended, and ours is another folder."""
        self.db.commit()
        self.db.close()
        self.app.lose_notes()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_waits_in_old_tables_runs_as_it_was_meant(each_lab: Lab, version: str) -> None:
    lab = each_lab
    lab.write_tasks(TASKS)
    left = Left(lab, version)
    plain = left.task("add", args="[3]", vars='{"b": 4}')
    again = left.task("tick", repeats=3, times_run=1, period=1)
    tried = left.task("fail", retry_failed=1, period=1)
    late = left.task("add", stop_time=left.now - timedelta(minutes=1))
    off = left.task("add", enabled=False)
    done = left.task("add", status="COMPLETED", times_run=1)
    left.leave()
    lab.start_worker()
    lab.becomes(plain, "COMPLETED")
    assert lab.runs(plain)[0].run_result == "7"
    assert lab.becomes(again, "COMPLETED").times_run == 3 and len(lab.marks("tick")) == 2
    assert lab.becomes(tried, "FAILED").times_failed == 2 and len(lab.runs(tried)) == 2
    assert lab.becomes(late, "EXPIRED").times_run == 0
    assert lab.task(off).status == "QUEUED" and lab.task(done).times_run == 1
    assert len(lab.marks("add")) == 1


@pytest.mark.parametrize("version", ["2.14", "now"])
def test_old_tasks_go_on_waiting_for_each_other(each_lab: Lab, version: str) -> None:
    lab = each_lab
    lab.write_tasks(TASKS)
    left = Left(lab, version)
    second, first = left.task("add", args="[2]"), left.task("add", args="[1]")
    left.db.scheduler_task_deps.insert(task_parent=second, task_child=first, can_visit=False)
    left.leave()
    lab.start_worker()
    lab.becomes(second, "COMPLETED")
    assert [run.task_id for run in lab.runs()] == [first, second]


@pytest.mark.parametrize("version", ["2.4", "now"])
def test_what_dead_workers_of_web2py_held_is_run_again(each_lab: Lab, version: str) -> None:
    lab = each_lab
    lab.write_tasks(TASKS)
    left = Left(lab, version)
    add_worker(left.db, "web1#11", left.now - timedelta(minutes=10), is_ticker=True)
    ran = left.task("add", args="[1]", status="RUNNING", assigned_worker_name="web1#11")
    open_run = left.db.scheduler_run.insert(
        task_id=ran, status="RUNNING", start_time=left.now, worker_name="web1#11"
    )
    claimed = left.task("add", args="[2]", status="ASSIGNED", assigned_worker_name="web2#22")
    left.leave()
    lab.start_worker()
    for task_id, result in ((ran, "2"), (claimed, "3")):
        lab.becomes(task_id, "COMPLETED")
        assert lab.runs(task_id)[-1].run_result == result
    old = next(run for run in lab.runs(ran) if run.id == open_run)
    assert old.status == "STOPPED" and "web1#11 died" in old.reason
    assert not lab.worker_names() & {"web1#11", "web2#22"}


def test_a_worker_brings_old_tables_up_to_date_by_itself(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks("def add(a, b): return a + b")
    left = Left(lab, "2.9")
    task_id = left.task("add", args="[3, 4]")
    left.leave()
    where = ["-u", lab.uri, "-f", str(lab.folder), "-t", str(lab.folder / "tasks.py")]
    worker = Worker([*where, "-E", "1", "-b", "1"], lab.folder, lab.env)
    lab.workers.append(worker)
    assert worker.wait() == 0, worker.log
    assert lab.task(task_id).status == "COMPLETED" and lab.runs(task_id)[0].run_result == "7"
