"""What browse promises to those who show it to people."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.shelf import NOW, Shelf

from plugin_scheduler.core.types import RunStatus, TaskStatus
from plugin_scheduler.queries import CappedCount, Filter
from plugin_scheduler.queries.views import span


def test_filters_combine_and_are_counted_without_the_limit(shelf: Shelf) -> None:
    wanted = [shelf.task(status=TaskStatus.FAILED, group_name="mail") for _ in range(3)]
    shelf.task(status=TaskStatus.FAILED)
    shelf.task(group_name="mail")
    shelf.task(status=TaskStatus.FAILED, group_name="mail", function_name="other")
    parts = {"status": [TaskStatus.FAILED], "group": "mail", "function": "add"}
    assert shelf.ids(**parts, limit=2) == wanted[:0:-1]
    assert shelf.browser.count(Filter(**parts, limit=2)) == CappedCount(3)


@pytest.mark.parametrize("text", ["INVOICE", "send_", "u-u-1", "Müller", "50%", 'say "hi"', "c:\\"])
def test_text_is_found_in_names_uuid_and_arguments_as_it_is_written(
    shelf: Shelf, text: str
) -> None:
    args = '["M\\u00fcller", "50%", "say \\"hi\\"", "c:\\\\x"]'
    wanted = shelf.task(task_name="invoices", function_name="send_it", uuid="u-u-1", args=args)
    shelf.task(task_name="sendXit", args='["50"]')
    assert shelf.ids(text=text) == [wanted]


def test_only_the_tasks_of_the_app_are_seen_and_those_of_all_without_one(shelf: Shelf) -> None:
    mine = shelf.task(application_name="lab/default")
    other = shelf.task(application_name="laboratory")
    assert shelf.ids() == [mine]
    assert shelf.browser.task(other) is None
    assert [row.group for row in shelf.browser.overview().counts] == ["main"]
    everything = shelf.browser_of("").tasks(Filter())
    assert [task.id for task in everything.items] == [other, mine]


def test_a_task_is_found_by_id_and_by_uuid_and_an_id_goes_first(shelf: Shelf) -> None:
    first = shelf.task(uuid="abc")
    shelf.task(uuid=str(first))
    for ref in (first, str(first), "abc"):
        task = shelf.browser.task(ref)
        assert task is not None and task.id == first
    assert shelf.browser.task("9" * 30) is None


def test_a_view_says_what_may_be_done_with_a_task(shelf: Shelf) -> None:
    for status in TaskStatus.ALL:
        task = shelf.browser.task(shelf.task(status=status))
        assert task is not None
        assert task.can_requeue == (status in TaskStatus.ENDED) == (not task.can_stop)


def test_a_row_with_holes_as_web2py_wrote_it_can_be_shown(shelf: Shelf) -> None:
    holes = {"task_name": None, "args": None, "priority": None, "assigned_worker_name": None}
    task = shelf.browser.task(shelf.task(**holes))
    assert task is not None
    assert (task.name, task.args, task.priority, task.worker) == ("add", "[]", 0, None)


def test_what_runs_now_is_told_with_its_worker_time_and_progress(shelf: Shelf) -> None:
    started = NOW - timedelta(seconds=90)
    run_id = shelf.db.scheduler_run.insert(start_time=started, progress={"at": 1, "of": 2})
    running = {"status": TaskStatus.RUNNING, "assigned_worker_name": "w1"}
    task_id = shelf.task(**running, run_id=run_id)
    without_run = shelf.task(**running, last_run_time=NOW)
    seen = {one.task.id: one for one in shelf.browser.overview().running}
    one = seen[task_id]
    assert (one.task.worker, one.since, one.seconds) == ("w1", started, 90.0)
    assert one.progress == {"at": 1, "of": 2}
    assert seen[without_run].since == NOW


def test_a_worker_is_alive_until_its_lease_is_over(shelf: Shelf) -> None:
    shelf.worker("here", lives=4)
    shelf.worker("gone", lives=-35)
    gone, here = shelf.browser.workers()
    assert (here.alive, here.silent_for, here.slots) == (True, 1.0, 2)
    assert (gone.alive, gone.silent_for) == (False, 40.0)


def test_a_worker_of_web2py_is_judged_by_its_heartbeat(shelf: Shelf) -> None:
    for name, silent in (("old", 61), ("young", 10)):
        shelf.worker(name, last_heartbeat=NOW - timedelta(seconds=silent), worker_stats=None)
    shelf.db(shelf.db.scheduler_worker).update(lease_until=None)
    assert [worker.alive for worker in shelf.browser.workers()] == [False, True]


def test_runs_are_paged_and_their_results_decoded(shelf: Shelf) -> None:
    task_id = shelf.task()
    for result in ('{"a": 1}', "not json", None):
        shelf.db.scheduler_run.insert(
            task_id=task_id,
            status=RunStatus.COMPLETED,
            start_time=NOW,
            stop_time=NOW + timedelta(seconds=3),
            run_result=result,
        )
    page = shelf.browser.runs(task_id, limit=2)
    older = shelf.browser.runs(task_id, before=page.older)
    assert [run.result for run in page.items + older.items] == [None, "not json", {"a": 1}]
    assert older.older is None and older.items[0].duration == 3.0
    latest = shelf.browser.latest_run(task_id)
    assert latest is not None and not latest.has_result


def test_looking_neither_commits_nor_rolls_back(shelf: Shelf) -> None:
    shelf.db.commit()
    task_id = shelf.task()
    assert shelf.obstacles(task_id)
    shelf.browser.overview()
    assert shelf.ids() == [task_id]
    shelf.db.rollback()
    assert shelf.ids() == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0.0042, "4.2 ms"),
        (0.25, "0.25 s"),
        (3, "3 s"),
        (119, "119 s"),
        (300, "5 min"),
        (7200, "2 h"),
        (11100, "3 h 5 min"),
        (180000, "2 d 2 h"),
        (98_000_000, "1,134 d"),
    ],
)
def test_a_span_is_as_precise_as_a_person_cares_for(seconds: float, words: str) -> None:
    assert span(seconds) == words
