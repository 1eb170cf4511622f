"""Who works for an app, and at what, on every database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from support.shelf import NOW, Shelf

from plugin_scheduler.core.types import RunStatus, TaskStatus


def at_work(shelf: Shelf, worker: str = "w1", **columns: Any) -> int:
    """A run that a worker is at; its number."""
    task_id = shelf.task(status=TaskStatus.RUNNING, **columns)
    run = {"status": RunStatus.RUNNING, "start_time": NOW - timedelta(seconds=30)}
    return int(shelf.db.scheduler_run.insert(task_id=task_id, worker_name=worker, **run))


def running(*run_ids: int) -> list[dict[str, Any]]:
    return [{"run": run_id} for run_id in run_ids]


def test_each_worker_is_told_with_what_its_slots_are_at(shelf: Shelf) -> None:
    first = at_work(shelf, task_name="resize")
    run = shelf.db.scheduler_run
    shelf.db(run.id == first).update(progress={"at": 1, "of": 4})
    second = at_work(shelf, "w2", function_name="mail", task_name=None)
    shelf.worker("w1", worker_stats=shelf.stats(running=running(first)))
    shelf.worker("w2", worker_stats=shelf.stats(running=running(second)))
    one, other = shelf.browser.staff().members
    (slot,) = one.at_work
    assert (slot.run_id, slot.name, slot.function, slot.seconds) == (first, "resize", "add", 30.0)
    assert (slot.headway.share, slot.headway.left) == (0.25, 90.0)
    assert [slot.name for slot in other.at_work] == ["mail"]


def test_what_has_ended_since_its_worker_told_of_it_is_not_shown(shelf: Shelf) -> None:
    ended = at_work(shelf)
    shelf.db(shelf.db.scheduler_run.id == ended).update(status=RunStatus.COMPLETED)
    shelf.worker("w1", worker_stats=shelf.stats(running=[*running(ended, 999), "nonsense"]))
    assert [one.at_work for one in shelf.browser.staff().members] == [[]]


def test_workers_of_other_apps_are_counted_only(shelf: Shelf) -> None:
    apps = ("lab", "shop")
    mine, other = (at_work(shelf, "of all", application_name=one) for one in apps)
    stats = shelf.stats(application="", running=running(mine, other))
    shelf.worker("of all", worker_stats=stats)
    shelf.worker("of shop", worker_stats=shelf.stats(application="shop"))
    shelf.worker("gone", lives=-60, worker_stats=shelf.stats(application="shop"))
    staff = shelf.browser.staff()
    (member,) = staff.members
    assert (member.worker.name, staff.others) == ("of all", 1)
    assert [slot.run_id for slot in member.at_work] == [mine] and member.for_others == 1
    assert len(shelf.browser_of("").staff().members) == 3


def test_a_silent_worker_is_at_nothing_and_does_not_complain(shelf: Shelf) -> None:
    run_id = at_work(shelf)
    trouble = {"boot_error": "no module x", "running": running(run_id)}
    shelf.worker("w1", lives=-60, worker_stats=shelf.stats(**trouble))
    shelf.worker("w2", worker_stats=shelf.stats(boot_error="no module x"))
    silent, alive = shelf.browser.staff().members
    assert (silent.at_work, silent.troubles) == ([], [])
    assert [str(one) for one in alive.troubles] == [
        "worker w2 could not start a runner: no module x"
    ]
