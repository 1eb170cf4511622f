"""The failures page: groups of failed runs, and requeueing of their tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from support.kit import eventually
from support.pages_kit import Page, Site

from plugin_scheduler.core.types import TaskStatus

DATABASES = ("sqlite", "postgres")

TASKS = """
    def divide(amount, customers):
        return amount / customers

    def average(day, numbers=()):
        print("the average of", day)
        return divide(sum(numbers), len(numbers))

    def fetch(name):
        return {"a": 1}[name]

    def flaky(path):
        if not os.path.exists(path):
            raise RuntimeError("not there yet: <b>" + path)
"""
Visit = Callable[..., Page]


@pytest.fixture
def clean(site: Site) -> Any:
    db = site.app.fresh()
    for name in ("scheduler_run", "scheduler_task"):
        db(db[name]).delete()
    db.commit()
    return db


def failed(site: Site, function: str, *args: Any) -> int:
    task_id = site.app.queue(function, *args)
    site.app.becomes(task_id, TaskStatus.FAILED)
    return task_id


@pytest.mark.usefixtures("clean")
def test_nothing_failed_is_good_news(page: Page) -> None:
    page.open("failures")
    assert page.get_by_role("heading", name="No failures").is_visible()
    page.look("failures-empty")
    page.axe()


@pytest.mark.usefixtures("clean", "worker")
def test_failures_are_grouped_by_the_line_that_failed(page: Page, site: Site) -> None:
    for day in range(3):
        failed(site, "average", day)
    for name in ("b", "c"):
        failed(site, "fetch", name)
    page.open("failures")
    assert page.get_by_text("All 5 failed runs of the last 7 days.").is_visible()
    groups = page.locator("article.failure")
    latest, first = groups.nth(0), groups.nth(1)
    assert "KeyError" in latest.inner_text() and "2" in latest.locator(".times b").inner_text()
    assert re.search(r"models\.py, line \d+, in divide", first.inner_text())
    assert first.locator("code.line").inner_text() == "return amount / customers"
    assert first.locator(".times b").inner_text() == "3"
    page.look("failures")
    page.axe()


@pytest.mark.usefixtures("clean", "worker")
def test_all_tasks_of_a_group_are_requeued_at_once(page: Page, site: Site) -> None:
    path = site.app.folder / "there"
    tasks = [failed(site, "flaky", str(path)) for _ in range(2)]
    other = failed(site, "fetch", "x")
    path.touch()
    page.open("failures")
    group = page.locator("article.failure", has_text="RuntimeError")
    assert "<b>" in group.inner_text()
    group.get_by_role("button", name="Requeue all (2)").click()
    assert "(2)" in page.locator("#confirm p").inner_text()
    page.locator("#confirm").get_by_role("button", name="Yes").click()
    page.get_by_text("Requeued: 2.").wait_for()
    for task_id in tasks:
        assert site.app.becomes(task_id, TaskStatus.COMPLETED)
    assert site.app.task(other).status == TaskStatus.FAILED
    page.open("failures")
    assert "No task to requeue" in group.inner_text()


@pytest.mark.usefixtures("clean", "worker")
def test_a_group_leads_to_the_tasks_of_its_function(page: Page, site: Site) -> None:
    failed(site, "fetch", "x")
    page.open("failures")
    page.get_by_role("link", name="fetch", exact=True).click()
    eventually(lambda: "function=fetch" in page.url)
    assert page.locator("table.tasks tbody tr").count() == 1


@pytest.mark.usefixtures("clean", "worker")
def test_who_may_only_look_cannot_requeue(visit: Visit, site: Site) -> None:
    failed(site, "fetch", "x")
    page = visit("vera")
    page.open("failures")
    assert page.locator("article.failure").count() == 1
    assert not page.get_by_role("button", name="Requeue").count()
