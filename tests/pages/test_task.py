"""The page of a task: status, explanation, call, schedule, runs, dependencies and history."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from support.kit import eventually
from support.pages_kit import Page, Site
from support.routes import Asker

from plugin_scheduler import JobGraph
from plugin_scheduler.core.types import TaskStatus

TASKS = """
    def send(to, key, copies=1):
        return to
"""
FAR = datetime(2031, 5, 1, 9, 0)


def now(site: Site) -> datetime:
    site.app.fresh()
    moment: datetime = site.app.scheduler.now()
    return moment


def text(page: Page, place: str = "main") -> str:
    return str(page.locator(place).inner_text())


def facts(page: Page) -> dict[str, str]:
    """Return the value of each label."""
    pairs = page.locator("dl.facts").evaluate_all(
        "all => all.flatMap(one => [...one.querySelectorAll('dt')]"
        ".map(name => [name.innerText, name.nextElementSibling.innerText]))"
    )
    return dict(pairs)


def test_a_task_that_waits_tells_its_call_its_schedule_and_why_it_waits(
    site: Site, page: Page
) -> None:
    soon = now(site) + timedelta(hours=3, minutes=1)
    task_id = site.app.queue(
        "send",
        "ann@example.com",
        pvars={"key": "s3cret", "copies": 2},
        secret=["key"],
        task_name="Letters <i>of</i> May",
        period=300,
        repeats=0,
        start_time=soon,
        retry_failed=2,
        priority=7,
    )
    page.open(f"tasks/{task_id}")
    assert text(page, "h1") == "Letters <i>of</i> May"
    assert text(page, "#state") == TaskStatus.QUEUED
    found = facts(page)
    assert (found["Argument 1"], found["copies"]) == ('"ann@example.com"', "2")
    assert "s3cret" not in page.content() and set(found["key"]) <= set('"•')
    assert found["Schedule"] == "in 3 h 1 min, then every 5 minutes"
    assert len(found["Next runs"].splitlines()) == 5 and found["Priority"] == "7"
    assert "2 retries" in found["Failed"]
    assert "No runs yet." in text(page, "#history")
    page.look("task-waiting")
    page.axe()


def test_why_it_does_not_run_is_told_for_that_very_task(site: Site, page: Page) -> None:
    task_id = site.app.queue("add", 1, 2, group_name="gpu")
    page.open(f"tasks/{task_id}")
    assert 'group "gpu"' in text(page, "#why")


def test_a_task_that_ran_shows_its_runs_and_what_happened_in_order(site: Site, page: Page) -> None:
    app = site.app
    task_id = app.queue("fail", retry_failed=1, period=1)
    worker = app.start_worker()
    app.becomes(task_id, TaskStatus.FAILED)
    worker.send(15)
    worker.wait()
    page.open(f"tasks/{task_id}")
    assert page.locator("#history tbody tr").count() == 2
    events = page.locator(".story li").all_inner_texts()
    first, second = (run.id for run in app.runs(task_id))
    assert [one.split("\n")[1].split()[1] for one in events[:2]] == [str(second), str(first)]
    assert "Scheduled start" in events[-1] and "ValueError: no <luck>" in events[0]
    page.look("task-failed")
    page.axe()
    page.locator("#history tbody a").first.click()
    page.wait_for_url(f"**/runs/{second}")


def test_what_it_waits_for_and_what_waits_for_it_are_links_with_states(
    site: Site, page: Page
) -> None:
    app = site.app
    first, middle, last = (
        app.queue("add", 1, 2, task_name=name, next_run_time=FAR)
        for name in ("draw", "print", "bind")
    )
    job = JobGraph(app.db, "a book")
    job.add_deps(task_parent=middle, task_child=first)
    job.add_deps(task_parent=last, task_child=middle)
    job.validate("a book")
    page.open(f"tasks/{middle}")
    links = page.locator("ul.links")
    assert ["draw" in links.nth(0).inner_text(), "bind" in links.nth(1).inner_text()] == [True] * 2
    assert "QUEUED" in links.nth(0).inner_text() and "a book" in links.nth(1).inner_text()
    page.look("task-dependencies")
    page.axe()
    links.nth(0).get_by_role("link").click()
    page.wait_for_url(f"**/tasks/{first}")
    assert "print" in text(page, "ul.links")


def test_a_change_is_seen_without_a_reload_and_what_is_unfolded_stays_so(
    site: Site, page: Page
) -> None:
    app = site.app
    task_id = app.queue("add", 1, 2, next_run_time=FAR)
    page.open(f"tasks/{task_id}")
    page.locator("#why summary").click()
    task = app.fresh().scheduler_task
    app.db(task.id == task_id).update(enabled=False)
    app.db.commit()
    eventually(lambda: "disabled" in text(page, "#state"), 10)
    eventually(lambda: "disabled" in text(page, "#why"), 10)
    assert page.locator("#why details[open]").count() == 1
    assert page.get_by_role("button", name="Enable").is_visible()


def test_it_is_disabled_enabled_stopped_and_queued_again_by_its_buttons(
    site: Site, page: Page
) -> None:
    app = site.app
    task_id = app.queue("add", 1, 2, next_run_time=FAR)
    page.open(f"tasks/{task_id}")

    def press(name: str) -> None:
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_url(f"**/tasks/{task_id}")

    press("Disable")
    assert not app.task(task_id).enabled
    press("Enable")
    assert app.task(task_id).enabled
    press("Stop")
    assert app.task(task_id).status == TaskStatus.STOPPED
    press("Requeue")
    assert app.task(task_id).status == TaskStatus.QUEUED
    assert [who in text(page, ".story") for who in ("stop", "requeue")] == [True, True]


def test_deleting_is_asked_for_and_for_admins_only(site: Site, visit: Any) -> None:
    app = site.app
    task_id = app.queue("add", 1, 2, next_run_time=FAR)
    page = visit("alan")
    page.open(f"tasks/{task_id}")
    assert page.get_by_role("button", name="Stop").is_visible()
    assert page.get_by_role("button", name="Delete").count() == 0
    page.open("history")  # otherwise the page would keep requesting a deleted task
    page = visit("adele")
    page.open(f"tasks/{task_id}")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Cancel").click()
    assert app.task(task_id) is not None
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Yes").click()
    page.wait_for_url("**/scheduler/tasks")
    assert app.task(task_id) is None


def test_who_may_only_look_gets_no_buttons(site: Site, visit: Any) -> None:
    page = visit("vera")
    page.open(f"tasks/{site.app.queue('add', 1, 2, next_run_time=FAR)}")
    assert page.locator("#buttons button, #buttons a").count() == 0


def test_many_runs_come_page_by_page(site: Site, page: Page) -> None:
    app = site.app
    task_id = app.queue("add", 1, 2, next_run_time=FAR)
    run = app.fresh().scheduler_run
    for number in range(45):
        at = now(site) - timedelta(hours=45 - number)
        run.insert(task_id=task_id, status="COMPLETED", start_time=at, stop_time=at, run_result="3")
    app.db.commit()
    page.open(f"tasks/{task_id}")
    rows = page.locator("#history tbody tr")
    counts = [rows.count()]
    for _ in range(2):
        page.get_by_role("link", name="Older runs").click()
        page.wait_for_url("**before=*")
        counts.append(rows.count())
    assert counts == [20, 20, 5]
    page.get_by_role("link", name="Newest runs").click()
    page.wait_for_url(f"**/tasks/{task_id}")


def test_a_row_that_web2py_wrote_with_holes_can_be_looked_at(site: Site, page: Page) -> None:
    app = site.app
    columns = {"task_name": None, "args": "not json", "priority": None, "start_time": None}
    task_id = app.fresh().scheduler_task.insert(
        function_name="add", uuid="old-one", status="FAILED", application_name="lab", **columns
    )
    app.db.commit()
    page.open("tasks/old-one")
    assert text(page, "h1") == "add" and facts(page)["args"] == "not json"
    again = page.get_by_role("link", name="Run again").get_attribute("href")
    assert f"queue?like={task_id}&" in again


def test_scripts_get_the_same_and_no_secret(site: Site) -> None:
    queue = site.app.queue
    task_id = queue("send", "ann", repeats=0, pvars={"key": "s3cret"}, secret=["key"], period=60)
    answer = Asker(site, "vera").ask("GET", f"api/tasks/{task_id}")
    task = answer.json()
    assert (task["id"], task["schedule"], len(task["following"])) == (task_id, "every minute", 5)
    assert task["waits_for"] == task["runs"] == [] and "s3cret" not in answer.text


def test_the_page_speaks_italian(site: Site, visit: Any) -> None:
    page = visit(locale="it-IT")
    page.open(f"tasks/{site.app.queue('add', 1, 2, period=300, repeats=0)}")
    words = text(page)
    for word in ("Argomento 1", "Esecuzioni", "Durata massima", "Elimina"):
        assert word in words, words


def test_of_a_task_that_is_not_there_nothing_is_told(page: Page) -> None:
    with page.expecting("answered 404"):
        page.open("tasks/999999")
    assert "Task not found" in text(page)


@pytest.mark.parametrize("place", ["runs/1x", "runs/99999999999999999999"])
def test_an_odd_number_of_a_run_is_refused_in_words(site: Site, place: str) -> None:
    answer = Asker(site, "vera").ask("GET", place)
    assert answer.status_code == 400 and "must be a whole number" in answer.text
