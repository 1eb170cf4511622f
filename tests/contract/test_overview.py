"""How things stand: numbers that end at a cap, and warnings that say where to look."""

from __future__ import annotations

from datetime import timedelta

import pytest
from plugin_scheduler.models import INDEXES
from support.shelf import NOW, Shelf

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Outcome, RunStatus, TaskStatus, WorkerStatus
from plugin_scheduler.queries.views import FunctionCount

HOUR = timedelta(hours=1)


def test_due_tasks_become_late_after_a_lease(shelf: Shelf) -> None:
    shelf.task()
    shelf.task(enabled=False)
    shelf.task(next_run_time=NOW + HOUR)
    shelf.task(status=TaskStatus.COMPLETED, group_name="mail")
    mail, main = (shelf.browser.overview().counts[index] for index in (0, 1))
    assert (mail.group, mail.by_status, mail.due) == ("mail", {TaskStatus.COMPLETED: 1}, 0)
    assert (main.group, main.by_status) == ("main", {TaskStatus.QUEUED: 3})
    assert (main.due, main.late) == (1, 0)
    shelf.clock.turn(Settings().lease + 1)
    assert shelf.browser.overview().counts[1].late == 1


def test_counts_end_at_a_cap_and_say_so(shelf: Shelf) -> None:
    shelf.browser.overviews.most, shelf.browser.overviews.most_done = 3, 2
    for priority in (0, 0, 5, 5):
        shelf.task(priority=priority)
        shelf.task(status=TaskStatus.COMPLETED)
    seen = shelf.browser.overview()
    group = seen.counts[0]
    assert group.by_status == {TaskStatus.QUEUED: 3, TaskStatus.COMPLETED: 2}
    assert group.due == 3
    # Among those that were not looked at some may be late, though none of the others is.
    assert set(group.capped) == {TaskStatus.QUEUED, TaskStatus.COMPLETED, "due", "late"}
    assert (seen.totals.waiting, seen.totals.due) == (3, 3)
    assert set(seen.totals.capped) >= {"waiting", "due"}


def test_numbers_below_the_cap_are_exact_over_all_priorities(shelf: Shelf) -> None:
    for priority in (-7, 0, 0, 12, 900):
        shelf.task(priority=priority)
    seen = shelf.browser.overview()
    assert (seen.counts[0].due, seen.counts[0].capped, seen.totals.capped) == (5, (), ())


@pytest.mark.parametrize("indexed", [True, False])
def test_every_group_is_found_under_every_status(shelf: Shelf, indexed: bool) -> None:
    if indexed:
        dialect = shelf.browser._dialect
        with dialect.reading():
            assert dialect.prepare_tables(INDEXES) == []
    shelf.task(group_name=None)
    for group in ("b", "a", "a b", "a_b", "main"):
        for status in (TaskStatus.QUEUED, TaskStatus.STOPPED):
            shelf.task(group_name=group, status=status)
    counts = shelf.browser.overview().counts
    assert [one.group for one in counts] == ["a", "a b", "a_b", "b", "main"]
    assert all(set(one.by_status) == {TaskStatus.QUEUED, TaskStatus.STOPPED} for one in counts)


def test_totals_add_up_what_waits_what_runs_and_what_failed_in_the_last_day(shelf: Shelf) -> None:
    task_id = shelf.task(status=TaskStatus.RUNNING)
    shelf.task(group_name="mail")
    shelf.task(status=TaskStatus.ASSIGNED)
    foreign = shelf.task(application_name="shop")
    failed = {"status": RunStatus.FAILED, "start_time": NOW - HOUR}
    for columns in (
        {**failed, "task_id": task_id},
        {**failed, "task_id": task_id, "status": RunStatus.TIMEOUT},
        {**failed, "task_id": task_id, "status": RunStatus.STOPPED, "outcome": Outcome.LOST},
        {**failed, "task_id": task_id, "status": RunStatus.STOPPED, "outcome": Outcome.STOPPED},
        {**failed, "task_id": task_id, "status": RunStatus.STOPPED},
        {**failed, "task_id": task_id, "start_time": NOW - timedelta(days=2)},
        {**failed, "task_id": task_id, "status": RunStatus.COMPLETED},
        {**failed, "task_id": foreign},
    ):
        shelf.db.scheduler_run.insert(**columns)
    seen = shelf.browser.overview()
    totals = seen.totals
    assert (totals.waiting, totals.due, totals.running, totals.failed) == (2, 1, 1, 3)
    assert seen.functions == [FunctionCount("add", waiting=2, running=1, failed=3)]


def test_tasks_of_other_apps_are_not_counted(shelf: Shelf) -> None:
    shelf.task(application_name="shop", group_name="mail")
    shelf.task(application_name="lab/default", function_name="report")
    seen = shelf.browser.overview()
    assert [one.group for one in seen.counts] == ["main"]
    assert [one.function for one in seen.functions] == ["report"]


def test_warnings_name_groups_without_a_worker_and_silent_workers(shelf: Shelf) -> None:
    for _ in range(3):
        shelf.task(group_name="gpu")
    shelf.worker("w2", lives=-35)
    shelf.task(status=TaskStatus.RUNNING, assigned_worker_name="w2")
    assert shelf.warnings() == [
        'no live worker serves group "gpu"; 3 due tasks are waiting; '
        "start a worker: scheduler.py -K lab:gpu",
        "no heartbeat from worker w2 for 40 s; it holds 1 task",
    ]


def test_a_warning_leads_to_the_page_that_shows_more(shelf: Shelf) -> None:
    shelf.task(group_name="gpu")
    shelf.worker("w2", lives=-35)
    unserved, silent = shelf.browser.overview().warnings
    assert (unserved.page, unserved.query) == (
        "tasks",
        {"group": "gpu", "status": TaskStatus.QUEUED},
    )
    assert (silent.page, silent.query) == ("workers", {})


def test_a_group_whose_workers_all_rest_is_told_with_what_wakes_them(shelf: Shelf) -> None:
    shelf.worker("w1", status=WorkerStatus.DISABLED)
    shelf.task()
    assert shelf.warnings() == [
        'no worker of group "main" claims new tasks; 1 due task is waiting; '
        "resume w1, or start another worker: scheduler.py -K lab"
    ]


def test_warnings_name_functions_that_nobody_knows(shelf: Shelf) -> None:
    shelf.worker()
    shelf.task(function_name="gone", next_run_time=NOW + timedelta(days=1))
    shelf.task(function_name="gone", status=TaskStatus.FAILED)
    unknown = 'no worker knows the function "gone" of 1 waiting task'
    assert shelf.warnings(shelf.browser_of("lab", known=("add",))) == [unknown]
    assert shelf.warnings() == []  # where none is known, none is unknown


def test_what_the_workers_have_loaded_counts_more_than_what_this_program_knows(
    shelf: Shelf,
) -> None:
    shelf.worker(worker_stats=shelf.stats(tasks=["add", "newer"]))
    shelf.task(function_name="newer", next_run_time=NOW + HOUR)
    shelf.task(function_name="older", next_run_time=NOW + HOUR)
    told = shelf.warnings(shelf.browser_of("lab", known=("add", "older")))
    assert told == ['no worker knows the function "older" of 1 waiting task']


def test_tasks_past_their_stop_time_are_told(shelf: Shelf) -> None:
    shelf.worker()
    for status in (TaskStatus.QUEUED, TaskStatus.QUEUED, TaskStatus.EXPIRED):
        shelf.task(status=status, stop_time=NOW - HOUR)
    shelf.task(stop_time=NOW + HOUR, next_run_time=NOW + HOUR)
    assert shelf.warnings() == ["2 tasks past the stop_time; no leader has expired them yet"]


def test_it_is_told_where_nobody_leads(shelf: Shelf) -> None:
    shelf.worker("w1", lives=-35)
    shelf.worker("w2")
    silent, leaderless = shelf.warnings()
    assert silent == "no heartbeat from worker w1 for 40 s"
    assert leaderless.startswith("no worker is the leader: ")


@pytest.mark.parametrize(
    ("stats", "words"),
    [
        ({"boot_error": "no module x"}, "worker w1 could not start a runner: no module x"),
        (
            {"clock_skew": -90.0, "host": "h1"},
            "worker w1: the clock of h1 is 90 s behind the database's "
            "(the database's clock is used)",
        ),
        (
            {"clock_skew": 2.0, "host": "h1"},
            "worker w1: the clock of h1 is 2 s ahead of the database's "
            "(the database's clock is used)",
        ),
        ({"zone_trouble": "its times are odd", "host": "h1"}, "worker w1 on h1: its times are odd"),
        (
            {"wake_up_trouble": "no ear"},
            "worker w1 receives no notifications and starts new tasks up to one second late: "
            "no ear",
        ),
    ],
)
def test_what_a_worker_complains_of_is_told(
    shelf: Shelf, stats: dict[str, object], words: str
) -> None:
    shelf.worker(worker_stats=shelf.stats(**stats))
    assert shelf.warnings() == [words]


def test_who_looks_from_another_time_zone_is_told(shelf: Shelf) -> None:
    shelf.worker(worker_stats=shelf.stats(time_zone="Pacific/Kiritimati"))
    (told,) = shelf.warnings()
    assert told.startswith(
        "the workers use the time zone Pacific/Kiritimati, but this program uses "
    )
