"""Why does it not run? For each reason one task that has it, and the sentence it gets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from support.shelf import NOW, Shelf

from plugin_scheduler import NotFound, Scheduler
from plugin_scheduler.core.types import RunStatus, TaskStatus, WorkerStatus

HOUR = timedelta(hours=1)


def unmet(shelf: Shelf, task_id: int) -> list[str]:
    return [one.name for one in shelf.explain(task_id).checks if not one.met]


def test_nothing_hinders_a_due_task_whose_group_is_served(shelf: Shelf) -> None:
    shelf.worker()
    seen = shelf.explain(shelf.task())
    assert seen.state == "it is ready: a worker will claim it shortly"
    assert seen.reasons == [] and all(check.met for check in seen.checks)
    assert shelf.obstacles(shelf.task(status=TaskStatus.COMPLETED)) == []


def test_the_checks_are_the_conditions_of_the_claim_by_their_names(shelf: Shelf) -> None:
    shelf.worker()
    names = {one.name for one in shelf.explain(shelf.task()).checks}
    due = shelf.browser._due
    claimed = {*due.conditions(NOW), *due.conditions_of("w1")}
    assert claimed < names
    assert names - claimed == {
        "a worker serves its group",
        "a worker knows its function",
        "claims succeed",
        "a slot is free",
    }


def test_every_obstacle_is_told_in_words(shelf: Shelf) -> None:
    shelf.worker()
    shelf.worker("resting", status=WorkerStatus.DISABLED, group_names=["slow"])
    shelf.worker("going", status=WorkerStatus.TERMINATE, group_names=["old"])
    shelf.worker("foreign", group_names=["gpu"], worker_stats={"application": "shop"})
    told: dict[str, dict[str, Any]] = {
        "it is due in 60 min": {"next_run_time": NOW + HOUR},
        "it has no next_run_time": {"next_run_time": None},
        "it is disabled": {"enabled": False},
        "its stop_time has passed": {"stop_time": NOW - HOUR},
        'no live worker serves group "mail"; start a worker: scheduler.py -K lab:mail': {
            "group_name": "mail"
        },
        'no live worker serves group "gpu" of app lab; start a worker: scheduler.py -K lab:gpu': {
            "group_name": "gpu"
        },
        'no worker of group "slow" claims new tasks; '
        "resume resting, or start another worker: scheduler.py -K lab:slow": {"group_name": "slow"},
        'no worker of group "old" claims new tasks; '
        "stopping: going; start another worker: scheduler.py -K lab:old": {"group_name": "old"},
        "worker w9 is not alive": {"only_worker": "w9"},
        "worker resting claims no new tasks": {"only_worker": "resting", "group_name": "slow"},
    }
    for sentence, columns in told.items():
        assert shelf.obstacles(shelf.task(**columns)) == [sentence]


def test_a_row_written_by_hand_that_can_never_run_says_why(shelf: Shelf) -> None:
    shelf.worker()
    group = 'no worker can serve group "{}", set another one: its name {}'
    told: dict[str, dict[str, Any]] = {
        group.format("a,b", "cannot contain ',', which separates group names"): {
            "group_name": "a,b"
        },
        group.format("[a]", "must not begin with ["): {"group_name": "[a]"},
        group.format("", "must not be empty"): {"group_name": ""},
        "its column enabled is NULL: set it to true or false": {"enabled": None},
    }
    if shelf.browser._db._uri.startswith("sqlite"):  # others have no room for it
        what = "priority {} is out of range: set one from -1000 to 1000"
        told |= {what.format(one): {"priority": one} for one in (2**63 - 1, -(2**63), 2**31)}
    for sentence, columns in told.items():
        task = shelf.task(**columns)
        assert shelf.obstacles(task) == [sentence]
        assert shelf.explain(task).state == "it does not run now"
    none = shelf.task(group_name=None)
    assert shelf.obstacles(none) == [group.format("", "must not be empty")]


def test_a_task_that_is_not_due_yet_says_when(shelf: Shelf) -> None:
    shelf.worker()
    seen = shelf.explain(shelf.task(next_run_time=NOW + 4 * HOUR))
    assert (seen.state, seen.at) == ("its next run is due in 4 h", NOW + 4 * HOUR)
    assert seen.reasons == ["it is due in 4 h"] and seen.besides == []


def test_the_most_telling_reason_comes_first(shelf: Shelf) -> None:
    task_id = shelf.task(enabled=False, next_run_time=NOW + HOUR)
    seen = shelf.explain(task_id)
    assert seen.state == "it does not run now"
    disabled, unserved, later = seen.reasons
    assert disabled == "it is disabled" and later == "it is due in 60 min"
    assert unserved.startswith('no live worker serves group "main"')
    assert unmet(shelf, task_id) == ["its time has come", "enabled", "a worker serves its group"]


def test_a_clock_that_is_wrong_is_told_of_what_is_not_due_yet(shelf: Shelf) -> None:
    shelf.worker(worker_stats=shelf.stats(clock_skew=-3600.0, host="h1"))
    away, clock = shelf.explain(shelf.task(next_run_time=NOW + HOUR)).reasons
    assert away == "it is due in 60 min"
    assert clock.startswith("worker w1: the clock of h1 is 60 min behind the database's")


def wait_for(shelf: Shelf, child: int | None, on_failure: str | None = None) -> int:
    parent = shelf.task()
    shelf.db.scheduler_task_deps.insert(task_parent=parent, task_child=child, on_failure=on_failure)
    return parent


def test_a_waiting_task_names_what_it_waits_for(shelf: Shelf) -> None:
    shelf.worker()
    child = shelf.task(task_name="print", status=TaskStatus.RUNNING)
    parent = wait_for(shelf, child)
    shelf.db.scheduler_task_deps.insert(task_parent=parent, task_child=shelf.task())
    first, second = shelf.obstacles(parent)
    assert first == f"it waits for task {child} print (RUNNING)"
    assert second.endswith("add (QUEUED)")
    assert unmet(shelf, parent) == ["waits for nothing"]


@pytest.mark.parametrize(
    ("on_failure", "fate"),
    [
        ("stop", 'it will be stopped (on_failure="stop")'),
        (None, 'it will be stopped (on_failure="stop")'),
        ("run", 'it will run anyway (on_failure="run")'),
        ("wait", 'it waits until that task is requeued (on_failure="wait")'),
    ],
)
def test_what_becomes_of_it_is_told_where_the_other_failed_or_was_deleted(
    shelf: Shelf, on_failure: str | None, fate: str
) -> None:
    shelf.worker()
    child = shelf.task(task_name="print", status=TaskStatus.FAILED)
    failed = f"it waits for task {child} print, which is FAILED: {fate}"
    assert shelf.obstacles(wait_for(shelf, child, on_failure)) == [failed]
    deleted = f"it waits for a task that was deleted: {fate}"
    assert shelf.obstacles(wait_for(shelf, None, on_failure)) == [deleted]


def test_a_task_that_waits_for_many_names_the_first_and_counts_the_others(shelf: Shelf) -> None:
    shelf.worker()
    parent = wait_for(shelf, shelf.task())
    for _ in range(7):
        shelf.db.scheduler_task_deps.insert(task_parent=parent, task_child=shelf.task())
    assert [*map(str, shelf.obstacles(parent))][5:] == ["it waits for 3 more"]


def test_what_another_task_has_completed_for_goes_on_in_a_moment(shelf: Shelf) -> None:
    shelf.worker()
    (told,) = shelf.obstacles(wait_for(shelf, shelf.task(status=TaskStatus.COMPLETED)))
    assert told.endswith("is COMPLETED: the leader will release this task shortly")


def test_a_task_of_another_app_says_whose_it_is(shelf: Shelf) -> None:
    shelf.worker()
    reasons = shelf.obstacles(shelf.task(application_name="shop"))
    assert reasons[0] == "it belongs to app shop"


def test_a_broadcast_says_that_its_copies_run(shelf: Shelf) -> None:
    shelf.worker()
    task_id = shelf.task(broadcast=True)
    (told,) = shelf.obstacles(task_id)
    assert told.startswith("it is a broadcast: when it is due, each live worker of group")
    assert unmet(shelf, task_id) == ["no broadcast"]


def test_a_function_that_nobody_knows_is_told(shelf: Shelf) -> None:
    shelf.worker()
    browser = shelf.browser_of("lab", known=("add",))
    gone = shelf.view(shelf.task(function_name="gone"))
    assert browser.obstacles(gone) == ['there is no task named "gone" in this app']


def test_a_function_newer_than_the_workers_says_to_restart_them(shelf: Shelf) -> None:
    loaded = NOW - 3 * HOUR
    shelf.worker(worker_stats=shelf.stats(tasks=["add"]), first_heartbeat=loaded)
    browser = shelf.browser_of("lab", known=("add", "newer"))
    assert browser.obstacles(shelf.view(shelf.task())) == []
    assert browser.obstacles(shelf.view(shelf.task(function_name="newer"))) == [
        'worker w1 does not know the function "newer": it loaded the app 3 h ago; '
        "restart it if the function is newer",
        "it waits for a worker that knows the function, and FAILS after 60 min",
    ]


def test_a_function_that_some_workers_know_says_which(shelf: Shelf) -> None:
    shelf.worker("old", worker_stats=shelf.stats(tasks=["add"], unknown_functions=["newer"]))
    shelf.worker("w1", worker_stats=shelf.stats(tasks=["add", "newer"]))
    shelf.worker("cut", worker_stats=shelf.stats(tasks=["add"], tasks_total=501))
    task_id = shelf.task(function_name="newer")
    told = {check.name: check for check in shelf.explain(task_id).checks}
    known = told["a worker knows its function"]
    assert known.met
    assert known.sentence == "worker cut, w1 knows its function, worker old does not"
    assert shelf.warnings() == [
        "worker old does not know these functions of waiting tasks: newer; "
        "restart it if they are newer"
    ]


def running(shelf: Shelf, number: int) -> list[int]:
    at_work = {"status": TaskStatus.RUNNING, "assigned_worker_name": "w1", "task_name": "long"}
    return [shelf.task(**at_work) for _ in range(number)]


def test_slots_that_are_all_busy_are_told_with_what_keeps_them(shelf: Shelf) -> None:
    shelf.worker()
    (first,) = running(shelf, 1)
    task_id = shelf.task()
    assert shelf.obstacles(task_id) == []
    (second,) = running(shelf, 1)
    assert shelf.obstacles(task_id) == [
        f'the 2 slots of group "main" are busy with {first} long, {second} long'
    ]
    assert unmet(shelf, task_id) == ["a slot is free"]


def test_tasks_that_go_first_are_counted_in_the_order_of_the_claim(shelf: Shelf) -> None:
    shelf.worker(worker_stats=shelf.stats(slots=1))
    running(shelf, 1)
    shelf.task(next_run_time=NOW - timedelta(seconds=90), priority=-1)  # 30 s ahead of us
    shelf.task(next_run_time=NOW - timedelta(seconds=30), priority=-1)  # 30 s behind
    shelf.task(priority=5)
    shelf.task(priority=5, enabled=False)
    before = shelf.task()
    task_id = shelf.task()
    shelf.task()
    assert shelf.obstacles(task_id)[1:] == [
        "3 due tasks of its group run first: higher priority, or due earlier"
    ]
    assert "2 due tasks" in shelf.obstacles(before)[1]
    shelf.browser.explanations.most = 1
    assert "1+ due tasks" in shelf.obstacles(task_id)[1]


def test_the_order_that_is_told_is_the_one_in_which_tasks_are_taken(shelf: Shelf) -> None:
    shelf.worker(worker_stats=shelf.stats(slots=1))
    running(shelf, 1)
    ids = [
        shelf.task(next_run_time=NOW - timedelta(seconds=late), priority=priority)
        for late, priority in ((0, 0), (60, -1), (61, -1), (0, 3), (500, -9), (3, 0), (0, 0))
    ]
    due = shelf.browser._due
    ranked = sorted(map(shelf.view, ids), key=lambda one: due.rank(one))  # type: ignore[arg-type]
    ahead = [shelf.browser.ahead_of(one, NOW).total("ahead") for one in ranked]
    assert ahead == list(range(len(ids)))


def test_workers_that_cannot_start_a_runner_say_why(shelf: Shelf) -> None:
    shelf.worker(worker_stats=shelf.stats(boot_error="no module x"))
    assert shelf.obstacles(shelf.task()) == ["worker w1 could not start a runner: no module x"]


def test_a_running_task_says_for_how_long_and_where(shelf: Shelf) -> None:
    shelf.worker()
    run_id = shelf.db.scheduler_run.insert(
        start_time=NOW - timedelta(seconds=90), status=RunStatus.RUNNING, stop_requested=True
    )
    held = {"status": TaskStatus.RUNNING, "assigned_worker_name": "w1"}
    seen = shelf.explain(shelf.task(**held, run_id=run_id))
    assert (seen.state, seen.checks) == ("it has been running for 90 s on worker w1", [])
    assert seen.at == NOW - timedelta(seconds=90)
    assert seen.reasons == ["a stop was requested; its worker ends it within seconds"]


def test_a_task_whose_worker_is_silent_or_gone_is_given_back(shelf: Shelf) -> None:
    shelf.worker("w2", lives=-35)
    held = {"status": TaskStatus.ASSIGNED}
    silent = shelf.explain(shelf.task(**held, assigned_worker_name="w2"))
    assert silent.state == "worker w2 has claimed it and will start it shortly"
    assert silent.reasons == [
        "no heartbeat from worker w2 for 40 s: the leader gives the task back"
    ]
    gone = shelf.explain(shelf.task(**held, assigned_worker_name="w3"))
    assert gone.reasons == ["worker w3 no longer exists: the leader gives the task back"]


def test_an_ended_task_says_when_and_why(shelf: Shelf) -> None:
    run_id = shelf.db.scheduler_run.insert(stop_time=NOW - HOUR, status=RunStatus.FAILED)
    seen = shelf.explain(shelf.task(status=TaskStatus.FAILED, run_id=run_id, reason="no {luck}"))
    assert (seen.state, seen.at) == ("it ended 60 min ago: FAILED", NOW - HOUR)
    assert seen.reasons == ["no {luck}"]
    assert shelf.explain(shelf.task(status=TaskStatus.EXPIRED)).state == "it has ended: EXPIRED"


def test_the_scheduler_explains_by_id_uuid_query_and_row(scheduler: Scheduler) -> None:
    made = scheduler.queue_task("add", group_name="gpu")
    task = scheduler.db.scheduler_task
    for ref in (made.id, made.uuid, task.id == made.id, scheduler.task_status(made.id)):
        seen = scheduler.explain(ref)
        assert seen.task.id == made.id
        assert seen.reasons == [
            'no live worker serves group "gpu"; start a worker: scheduler.py -K lab:gpu'
        ]
    with pytest.raises(NotFound):
        scheduler.explain(made.id + 1)
