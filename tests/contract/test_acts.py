"""What people do to many tasks at once is done to those it is meant for; the others are told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.home import Connect, scheduler_on
from support.kit import Lab, eventually

from plugin_scheduler import Scheduler
from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.types import RunStatus, TaskStatus
from plugin_scheduler.operations.bulk_actions import ACTS, MOST, Acted, Acts
from plugin_scheduler.queries import Filter, Queries
from plugin_scheduler.store.audit_log import AuditLog

HOUR = timedelta(hours=1)
Insert = Callable[..., int]


@pytest.fixture
def scheduler(connect: Connect) -> Scheduler:
    return scheduler_on(connect())


@pytest.fixture
def journal(scheduler: Scheduler) -> AuditLog:
    return AuditLog(scheduler.db, scheduler.now)


@pytest.fixture
def acts(scheduler: Scheduler, journal: AuditLog) -> Acts:
    return Acts(scheduler, Queries.of(scheduler), journal, "ann")


@pytest.fixture
def task(scheduler: Scheduler) -> Insert:
    table = scheduler.db.scheduler_task

    def insert(status: str = TaskStatus.QUEUED, **columns: Any) -> int:
        given = {"application_name": "lab", "function_name": "add", **columns}
        return int(table.insert(status=status, **given))

    return insert


def row(scheduler: Scheduler, task_id: int) -> Any:
    return scheduler.db.scheduler_task(task_id)


def told(acted: Acted) -> tuple[int, dict[str, int]]:
    return acted.done, {str(why.sentence): number for why, number in acted.skipped.items()}


def test_stop_ends_what_waits_asks_what_runs_and_skips_what_has_ended(
    acts: Acts, task: Insert, scheduler: Scheduler
) -> None:
    waits, runs, ended = task(), task(TaskStatus.RUNNING), task(TaskStatus.COMPLETED)
    run = scheduler.db.scheduler_run
    run_id = run.insert(task_id=runs, status=RunStatus.RUNNING)
    acted = acts.act("stop", [waits, runs, ended])
    assert told(acted) == (2, {"has ended": 1})
    assert row(scheduler, waits).status == TaskStatus.STOPPED
    assert row(scheduler, runs).status == TaskStatus.RUNNING and run(run_id).stop_requested
    assert acted.sentence("stop") == "Stopped: 2. Skipped: 1; has ended (1)."


class Meanwhile(Queries):
    """A reader behind whose back a task ends just after it was looked at."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.some = self._some_and_end_one  # type: ignore[method-assign]

    def _some_and_end_one(self, ids: Any) -> Any:
        found = self.listing.some(ids)
        ended = self._task.id == max(ids)
        self._db(ended).update(status=TaskStatus.COMPLETED)
        return found


@pytest.mark.parametrize("name", ["stop", "run_now", "enable", "disable"])
def test_a_task_that_ended_in_the_meantime_is_skipped_and_has_no_note(
    scheduler: Scheduler, journal: AuditLog, task: Insert, name: str
) -> None:
    acts = Acts(scheduler, Meanwhile.of(scheduler), journal, "ann")
    columns = {"next_run_time": scheduler.now() + HOUR, "enabled": name != "enable"}
    ids = [task(**columns) for _ in range(3)]
    acted = acts.act(name, ids)
    done = 3 if name == "run_now" else 2  # what has ended runs again
    assert (acted.done, sum(acted.skipped.values())) == (done, 3 - done)
    assert [len(journal.of_task(one)) for one in ids] == [1, 1, done - 2]


def test_requeue_runs_ended_tasks_again_but_those_that_are_too_late(
    acts: Acts, task: Insert, scheduler: Scheduler
) -> None:
    failed, waits = task(TaskStatus.FAILED), task()
    late = task(TaskStatus.EXPIRED, stop_time=scheduler.now() - HOUR)
    acted = acts.act("requeue", [failed, waits, late])
    assert told(acted) == (1, {"has not ended": 1, "its stop time has passed": 1})
    assert row(scheduler, failed).status == TaskStatus.QUEUED
    assert row(scheduler, late).status == TaskStatus.EXPIRED


def test_run_now_makes_due_what_waits_and_requeues_what_has_ended(
    acts: Acts, task: Insert, scheduler: Scheduler
) -> None:
    now = scheduler.now()
    later, never = task(next_run_time=now + HOUR), task(next_run_time=None)
    ended = task(TaskStatus.STOPPED)
    others = {
        "is already due": task(next_run_time=now - HOUR),
        "is disabled": task(next_run_time=now + HOUR, enabled=False),
        "already claimed by a worker": task(TaskStatus.RUNNING),
        "its stop time has passed": task(next_run_time=now + HOUR, stop_time=now - HOUR),
    }
    acted = acts.act("run_now", [later, never, ended, *others.values()])
    assert told(acted) == (3, dict.fromkeys(others, 1))
    for task_id in (later, never, ended):
        found = row(scheduler, task_id)
        assert found.status == TaskStatus.QUEUED and abs(found.next_run_time - now) < HOUR / 10


def test_enable_and_disable_hold_for_the_next_run_of_what_runs_now(
    acts: Acts, task: Insert, scheduler: Scheduler
) -> None:
    ids = [task(), task(TaskStatus.RUNNING), task(enabled=False), task(TaskStatus.FAILED)]
    assert told(acts.act("disable", ids)) == (2, {"needs no change": 1, "has ended": 1})
    assert [row(scheduler, one).enabled for one in ids] == [False, False, False, True]
    assert row(scheduler, ids[1]).status == TaskStatus.RUNNING
    assert told(acts.act("enable", ids)) == (3, {"has ended": 1})


def test_priority_and_group_are_checked_as_their_columns_are(
    acts: Acts, task: Insert, scheduler: Scheduler
) -> None:
    one, other = task(priority=5), task(group_name="mail")
    assert told(acts.act("set_priority", [one, other], "5")) == (1, {"needs no change": 1})
    assert told(acts.act("set_priority", [one], 0)) == (1, {})
    assert told(acts.act("set_group", [one, other], " mail ")) == (1, {"needs no change": 1})
    assert (row(scheduler, one).priority, row(scheduler, one).group_name) == (0, "mail")
    for name, wrong in (("set_priority", "high"), ("set_priority", 5000), ("set_group", " ")):
        with pytest.raises(BadTask, match=r"priority|group_name"):
            acts.act(name, [one], wrong)


def test_delete_takes_runs_along_and_leaves_a_note(
    acts: Acts, task: Insert, scheduler: Scheduler, journal: AuditLog
) -> None:
    gone, stays = task(TaskStatus.FAILED), task()
    run = scheduler.db.scheduler_run
    run.insert(task_id=gone, status=RunStatus.FAILED)
    assert told(acts.act("delete", [gone, 10**9])) == (1, {"no longer exists": 1})
    assert row(scheduler, gone) is None and row(scheduler, stays)
    assert scheduler.db(run.task_id == gone).isempty()
    [note] = journal.of_task(gone)
    assert (note.who, note.did) == ("ann", "delete")


def test_who_did_what_to_which_task_is_kept_and_not_of_those_that_were_skipped(
    acts: Acts, task: Insert, journal: AuditLog
) -> None:
    waits, ended = task(), task(TaskStatus.FAILED)
    acts.act("set_priority", [waits], 7)
    acts.act("stop", [waits, ended])
    assert [(note.did, note.detail) for note in journal.of_task(waits)] == [
        ("stop", {}),
        ("set_priority", {"value": 7}),
    ]
    assert journal.of_task(ended) == []


def test_tasks_of_another_app_are_not_there(acts: Acts, task: Insert, scheduler: Scheduler) -> None:
    foreign = task(application_name="shop")
    for name in ACTS:
        value = {"set_priority": 3, "set_group": "mail"}.get(name)
        assert told(acts.act(name, [foreign], value)) == (0, {"no longer exists": 1})
    found = row(scheduler, foreign)
    assert (found.status, found.priority, found.group_name) == (TaskStatus.QUEUED, 0, "main")


def test_what_there_is_not_and_too_many_at_once_are_refused(acts: Acts) -> None:
    for name, ids in (("paint", [1]), ("stop", list(range(MOST + 1)))):
        with pytest.raises(BadTask, match=r"paint|500"):
            acts.act(name, ids)


def test_all_that_match_are_gone_through_once_though_they_match_no_more_or_more_come(
    acts: Acts, task: Insert, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugin_scheduler.operations.bulk_actions.MOST", 3)
    made = [task(TaskStatus.FAILED if number % 2 else TaskStatus.QUEUED) for number in range(14)]
    failed, wanted = made[1::2], Filter(status=(TaskStatus.FAILED,))
    upto, at, done, steps = made[-1], 0, 0, 0
    while at is not None:
        step = acts.act_on_matching("requeue", wanted, at, upto)
        scheduler.db.commit()
        task(TaskStatus.FAILED)  # somebody else's fails meanwhile
        done, at, steps = done + step.acted.done, step.at, steps + 1
        assert step.acted.done <= 3
    assert done == len(failed) and 3 <= steps <= 4
    assert {row(scheduler, one).status for one in failed} == {TaskStatus.QUEUED}
    assert Queries.of(scheduler).count(wanted).number == steps


def test_nothing_is_kept_before_the_caller_commits(
    acts: Acts, task: Insert, scheduler: Scheduler, journal: AuditLog
) -> None:
    one = task()
    scheduler.db.commit()
    acts.act("stop", [one])
    scheduler.db.rollback()
    assert row(scheduler, one).status == TaskStatus.QUEUED and not journal.of_task(one)


def test_a_worker_copes_with_whatever_is_done_to_the_task_it_runs(lab: Lab) -> None:
    lab.write_tasks("""
        def wait(path):
            open(path + ".began", "w").close()
            while not os.path.exists(path):
                time.sleep(0.01)
    """)
    lab.start_worker("-n", "2")
    acts = Acts(
        lab.scheduler, Queries.of(lab.scheduler), AuditLog(lab.db, lab.scheduler.now), "ann"
    )
    kept, gone = (lab.queue("wait", str(lab.folder / name)) for name in ("kept", "gone"))
    for name in ("kept", "gone"):
        eventually((lab.folder / f"{name}.began").exists)
    for name, value in (("disable", None), ("set_priority", 9), ("set_group", "elsewhere")):
        acts.act(name, [kept], value)
        lab.db.commit()
    acts.act("delete", [gone])
    lab.db.commit()
    (lab.folder / "kept").touch()
    assert lab.becomes(kept, TaskStatus.COMPLETED)
    eventually(lambda: lab.worker_row().worker_stats["running"] == [], what="the run is ended")
