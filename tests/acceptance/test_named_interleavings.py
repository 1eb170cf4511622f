"""What happens when a worker dies, sleeps or loses an answer at exactly the wrong moment.

Each test holds a real worker at a named point and then lets the other side go first.
"""

from __future__ import annotations

import pytest
from support.injection import LOSES, Injected
from support.kit import CONT, STOP, Lab, Worker, eventually

SOURCE = "def work(): mark('work')"
QUICKLY = ("-b", "0.5")
LEASE = 3.5  # seconds, with that heartbeat


def outcomes(lab: Lab, task_id: int) -> list[str]:
    return [run.outcome for run in lab.runs(task_id)]


def started(lab: Lab, point: Injected) -> Worker:
    lab.write_tasks(SOURCE)
    return lab.start_worker(*QUICKLY, **point.env)


def test_a_worker_killed_between_effect_and_report_has_its_task_run_again(each_lab: Lab) -> None:
    """At least once: the effect is committed, and no row says that it happened."""
    lab, point = each_lab, Injected(each_lab, "between effect and report")
    worker = started(lab, point)
    task_id = lab.queue("work")
    point.reached()
    assert len(lab.marks("work")) == 1
    worker.kill()
    lab.start_worker(*QUICKLY)
    task = lab.becomes(task_id, "COMPLETED", within=20)
    assert (task.times_run, task.times_lost) == (1, 0)
    assert len(lab.marks("work")) == 2
    assert outcomes(lab, task_id) == ["LOST"], "a run that returned nothing leaves no row"


def test_a_worker_killed_between_claim_and_start_has_its_task_given_to_another(
    each_lab: Lab,
) -> None:
    lab, point = each_lab, Injected(each_lab, "between claim and start")
    worker = started(lab, point)
    task_id = lab.queue("work")
    point.reached()
    assert lab.task(task_id).status == "RUNNING" and not lab.marks("work")
    worker.kill()
    lab.start_worker(*QUICKLY)
    lab.becomes(task_id, "COMPLETED", within=20)
    assert len(lab.marks("work")) == 1
    assert outcomes(lab, task_id) == ["LOST"]


def test_a_worker_that_sleeps_between_claim_and_start_starts_nothing_when_it_wakes_up(
    each_lab: Lab,
) -> None:
    """Its lease has lapsed, and another worker has run the task meanwhile."""
    lab, point = each_lab, Injected(each_lab, "between claim and start")
    sleeper = started(lab, point)
    task_id = lab.queue("work")
    point.reached()
    sleeper.send(STOP)
    lab.start_worker(*QUICKLY)
    lab.becomes(task_id, "COMPLETED", within=20)
    point.release()
    sleeper.send(CONT)
    other = lab.queue("work")
    lab.becomes(other, "COMPLETED")
    eventually(lambda: "does not" in sleeper.log or len(lab.worker_names()) == 2, 10)
    assert len(lab.marks("work")) == 2, "one for each task"
    assert outcomes(lab, task_id) == ["LOST"]


@pytest.mark.parametrize("name", sorted(LOSES))
def test_an_answer_that_is_lost_after_its_commit_loses_and_doubles_nothing(
    each_lab: Lab, name: str
) -> None:
    lab, point = each_lab, Injected(each_lab, name)
    worker = started(lab, point)
    task_id = lab.queue("work", repeats=2, period=1)
    task = lab.becomes(task_id, "COMPLETED", within=20)
    point.reached()
    assert (task.times_run, task.times_failed, task.times_lost) == (2, 0, 0)
    assert len(lab.marks("work")) == 2
    assert {run.outcome for run in lab.runs(task_id)} <= {"INTERRUPTED"}, "its claim was lost"
    assert len(lab.worker_names()) == 1
    assert "unexpected" not in worker.log
