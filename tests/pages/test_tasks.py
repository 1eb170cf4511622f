"""The list of tasks: filters, sort orders, pages, and bulk actions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.kit import eventually
from support.pages_kit import Page, Site
from support.routes import JSON, Asker
from support.task_desk import Desk

from plugin_scheduler.core.types import RunStatus, TaskStatus

DATABASES = ("sqlite", "postgres")

Visit = Callable[..., Page]
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def desk(site: Site) -> Desk:
    return Desk(site)


def shown(page: Page) -> list[int]:
    """Return the ids on the page, from top to bottom."""
    return [int(one) for one in re.findall(r"#(\d+)", " ".join(names(page)))]


def names(page: Page) -> list[str]:
    page.wait_for_load_state()
    return [str(text) for text in page.locator("table.tasks td.name a").all_inner_texts()]


def pick(page: Page, *ids: int) -> None:
    for one in ids:
        page.get_by_label(f"Select task {one}").check()


def press(page: Page, name: str) -> str:
    """Press a button of the bulk actions, and "Yes"; return the question."""
    page.locator("#batch-bar").get_by_role("button", name=name, exact=True).click()
    question = page.locator("#confirm p").inner_text()
    page.locator("#confirm").get_by_role("button", name="Yes").click()
    return str(question)


def said(page: Page) -> str:
    page.locator("#flash .note").wait_for()
    return str(page.locator("#flash").inner_text())


def test_an_empty_list_says_so(page: Page, desk: Desk) -> None:
    page.open("tasks")
    page.get_by_role("heading", name="No tasks yet").wait_for()
    page.look("tasks-empty")
    page.axe()
    page.open("tasks?text=nothing")
    page.follow(page.get_by_role("link", name="Show all tasks"))
    assert page.url.endswith("/tasks")


def test_a_list_tells_of_every_task_what_counts(page: Page, desk: Desk) -> None:
    now = desk.site.app.scheduler.now()
    desk.tasks(1, function_name="send_mail", args='["ann@example.com", 3]', task_name="newsletter")
    desk.tasks(1, TaskStatus.RUNNING, function_name="sales_report", assigned_worker_name="web1#7")
    desk.tasks(1, TaskStatus.COMPLETED, last_run_time=now - timedelta(hours=2), times_run=1200)
    reason = "ValueError: there is no such day in the calendar of the shop, nor in any other one"
    desk.tasks(1, TaskStatus.FAILED, reason=reason, priority=10, times_failed=3, last_run_time=now)
    desk.tasks(1, TaskStatus.TIMEOUT, task_name="a-name-without-any-space-in-it" * 4)
    desk.tasks(1, enabled=False, group_name="gpu")
    desk.tasks(1, task_name=SCRIPT, vars='{"where": "' + "far away, " * 30 + '"}')
    desk.tasks(1, TaskStatus.STOPPED, reason="stopped on request")
    page.open("tasks")
    assert page.locator("#total").inner_text() == "8 in total"
    assert 'send_mail("ann@example.com", 3)' in page.inner_text("table.tasks")
    assert SCRIPT in page.inner_text("table.tasks")
    page.look("tasks")
    page.axe()
    page.get_by_role("link", name="newsletter").hover()
    assert page.get_by_role("link", name="newsletter").get_attribute("href")


def test_filters_narrow_the_list_and_are_taken_away_one_by_one(page: Page, desk: Desk) -> None:
    [wanted] = desk.tasks(1, TaskStatus.FAILED, group_name="mail", args='["a needle"]')
    desk.tasks(2, TaskStatus.FAILED, group_name="mail")
    desk.tasks(2, group_name="mail")
    page.open("tasks")
    page.follow(page.get_by_role("navigation", name="Status").get_by_text("FAILED"))
    assert page.locator("#total").inner_text() == "3 match"
    page.get_by_role("searchbox").fill("needle")
    page.get_by_label("Group", exact=True).first.fill("mail")
    page.get_by_role("button", name="Filter").click()
    assert shown(page) == [wanted] and "status=FAILED" in page.url
    page.get_by_role("link", name="Text: needle").click()
    assert len(shown(page)) == 3
    page.get_by_role("link", name="Clear all").click()
    assert len(shown(page)) == 5


def test_what_a_run_printed_is_found_where_that_is_asked_for(page: Page, desk: Desk) -> None:
    [task_id] = desk.tasks(1)
    desk.tasks(1)
    run = desk.db.scheduler_run
    run_id = run.insert(task_id=task_id, status=RunStatus.FAILED, traceback="KeyError: 'needle'")
    desk.db(desk.db.scheduler_task.id == task_id).update(run_id=run_id)
    desk.db.commit()
    page.open("tasks")
    page.get_by_role("searchbox").fill("needle")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("heading", name="No matching tasks").wait_for()
    page.get_by_label("search the output").check()
    page.get_by_role("button", name="Filter").click()
    assert shown(page) == [task_id]


def test_heads_sort_and_pages_go_on_and_back(page: Page, desk: Desk) -> None:
    ids = [desk.tasks(1, task_name=f"task {number:02}", priority=number)[0] for number in range(45)]
    page.open("tasks?limit=20")
    assert shown(page) == ids[:24:-1]
    page.get_by_role("link", name="Next", exact=True).click()
    assert shown(page) == ids[24:4:-1]
    page.get_by_role("link", name="Previous").click()
    assert shown(page) == ids[:24:-1]
    page.get_by_role("link", name="Task", exact=True).click()
    assert shown(page) == ids[:20]
    page.get_by_role("link", name="Next", exact=True).click()
    page.get_by_role("link", name="Next", exact=True).click()
    assert shown(page) == ids[40:] and not page.get_by_role("link", name="Next", exact=True).count()
    page.get_by_role("link", name="Priority").click()
    assert shown(page) == ids[:24:-1]
    assert page.get_by_role("columnheader", name="Priority").get_attribute("aria-sort")


def test_what_is_picked_is_done_and_what_was_skipped_is_told_with_the_reason(
    page: Page, desk: Desk
) -> None:
    waiting, ended = desk.tasks(2), desk.tasks(1, TaskStatus.COMPLETED)
    page.open("tasks")
    assert not page.locator("#batch-bar").is_visible()
    pick(page, *waiting, *ended)
    assert page.locator("#picked").inner_text() == "3 selected"
    assert press(page, "Stop") == "Stop the selected tasks (3)?"
    assert said(page) == "Stopped: 2. Skipped: 1; has ended (1)."
    eventually(lambda: page.locator(".badge", has_text="STOPPED").count() >= 3)  # 2, and the filter
    page.locator("#batch-bar").wait_for(state="hidden")
    assert desk.count(status=TaskStatus.STOPPED) == 2


def test_the_bar_of_what_may_be_done_is_fit_to_be_seen(page: Page, desk: Desk) -> None:
    for one in (TaskStatus.FAILED, TaskStatus.QUEUED, TaskStatus.COMPLETED):
        desk.tasks(3, one)
    page.open("tasks?text=add&group=main")
    page.get_by_label("Select all on this page").check()
    page.look("tasks-picked")
    page.axe()
    page.get_by_label("All matching tasks").check()
    assert page.locator("#picked").inner_text() == "All matching tasks are selected"
    page.axe()


def test_a_question_answered_with_no_changes_nothing(page: Page, desk: Desk) -> None:
    [one] = desk.tasks(1)
    page.open("tasks")
    pick(page, one)
    page.locator("#batch-bar").get_by_role("button", name="Delete").click()
    assert "cannot be undone" in page.locator("#confirm p").inner_text()
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    assert desk.count() == 1 and page.locator("#picked").inner_text() == "1 selected"
    page.keyboard.press("Escape")
    page.locator("#batch-bar").wait_for(state="hidden")


@pytest.mark.parametrize(
    ("button", "fill", "columns"),
    [
        ("Set priority", ("Priority", "7"), {"priority": 7}),
        ("Move to group", ("Group", "gpu"), {"group_name": "gpu"}),
        ("Disable", None, {"enabled": False}),
        ("Run now", None, {"status": TaskStatus.QUEUED}),
        ("Delete", None, None),
    ],
)
def test_each_button_does_what_it_says(
    page: Page, desk: Desk, button: str, fill: tuple[str, str] | None, columns: Any
) -> None:
    ids = desk.tasks(3)
    page.open("tasks")
    page.get_by_label("Select all on this page").check()
    if fill:
        page.locator("#batch-bar").get_by_label(fill[0], exact=True).fill(fill[1])
    press(page, button)
    assert said(page).endswith("3.")
    assert desk.count(**(columns or {})) == (3 if columns else 0)
    told = desk.site.app.fresh().scheduler_history
    notes = desk.db(told.task_id.belongs(ids)).select()
    assert {note.who for note in notes} == {"dashboard"} and len(notes) == 3


def test_all_that_match_are_done_step_by_step_with_progress(page: Page, desk: Desk) -> None:
    desk.many(1200, TaskStatus.FAILED)
    desk.tasks(3)
    page.open("tasks?status=FAILED")
    page.get_by_label("Select all on this page").check()
    page.get_by_label("All matching tasks (1,200)").check()
    steps: list[str] = []
    page.on("request", lambda one: steps.append(one.url) if one.method == "POST" else None)
    assert press(page, "Requeue") == "Requeue the selected tasks (1,200)?"
    assert said(page) == "Requeued: 1,200."
    assert len(steps) == 3
    assert desk.count(status=TaskStatus.FAILED) == 0


def test_a_batch_can_be_cancelled_between_two_steps(page: Page, desk: Desk) -> None:
    desk.many(1200, TaskStatus.FAILED)
    page.open("tasks?status=FAILED")
    page.get_by_label("Select all on this page").check()
    page.get_by_label("All matching tasks").check()

    def cancel_first(route: Any) -> None:
        page.locator("#batch-cancel").click()
        route.continue_()

    page.route("**/tasks/act", cancel_first, times=1)
    press(page, "Requeue")
    assert said(page) == "Cancelled. Requeued: 500."
    assert desk.count(status=TaskStatus.FAILED) == 700


def test_the_list_keeps_itself_fresh_but_stands_still_while_somebody_picks(
    page: Page, desk: Desk
) -> None:
    [first] = desk.tasks(1)
    page.open("tasks")
    [second] = desk.tasks(1)
    eventually(lambda: shown(page) == [second, first], 15, "it refreshes itself")
    pick(page, first)
    desk.tasks(1)
    page.evaluate("htmx.trigger('#list', 'refresh')")
    assert len(shown(page)) == 2 and page.locator("#picked").inner_text() == "1 selected"


def test_a_search_that_is_not_over_goes_on_by_itself_until_something_is_found(
    page: Page, desk: Desk
) -> None:
    [needle] = desk.tasks(1, task_name="needle")
    desk.many(30_000, TaskStatus.COMPLETED)
    page.open("tasks?text=needle&in_output=1")
    eventually(lambda: shown(page) == [needle], 60, "it is found")


def test_without_scripts_everything_works_as_well(visit: Visit, desk: Desk) -> None:
    page = visit(java_script_enabled=False)
    one, other = desk.tasks(2)
    page.open("tasks")
    pick(page, other)
    page.locator("#batch-bar").get_by_role("button", name="Stop", exact=True).click()
    assert said(page) == "Stopped: 1."
    page.open("tasks?status=QUEUED")
    page.get_by_label("All matching tasks").check()
    page.locator("#batch-bar").get_by_role("button", name="Delete").click()
    assert said(page) == "Deleted: 1." and "status=QUEUED" in page.url
    assert desk.count() == 1 and desk.count(id=one) == 0


def test_who_may_only_look_has_nothing_to_pick_and_who_may_act_cannot_delete(
    visit: Visit, desk: Desk
) -> None:
    [one] = desk.tasks(1)
    page = visit("vera")
    page.open("tasks")
    assert shown(page) == [one]
    assert not page.locator("#batch-bar").count() and not page.locator("input[name=id]").count()
    page = visit("alan")
    page.open("tasks")
    pick(page, one)
    assert page.get_by_role("button", name="Stop", exact=True).is_visible()
    assert not page.get_by_role("button", name="Delete").count()


@pytest.mark.parametrize(
    "query",
    [
        *("grop=mail", "status=FAILD", "status=,", "status=", "group=+", "since=tomorrow"),
        *("enabled=maybe", "time=x", "text", "=", "&", "group=mail&", "a" * 5000),
    ],
    ids=lambda query: query[:20],
)
def test_a_filter_that_is_not_understood_deletes_nothing(
    site: Site, desk: Desk, query: str
) -> None:
    desk.tasks(2)
    asker = Asker(site, "adele")
    answer = asker.change("tasks/delete", JSON, all=1, query=query)
    assert answer.status_code == 400 and answer.json()["error"]
    assert desk.count() == 2


def test_scripts_get_the_list_as_json_and_act_step_by_step(site: Site, desk: Desk) -> None:
    desk.many(700, TaskStatus.FAILED)
    [queued] = desk.tasks(1, args="[1]")
    asker = Asker(site, "adele")
    told = asker.ask("GET", "api/tasks?status=queued,running&limit=10", JSON).json()
    assert [task["id"] for task in told["tasks"]] == [queued]
    assert (told["total"], told["total_is_more"], told["after"]) == (1, False, None)
    assert told["tasks"][0]["next_run_time"].endswith("+00:00")
    asked = {"act": "set_priority", "priority": 3, "all": 1, "query": "status=FAILED"}
    first = asker.change("tasks/act", JSON, **asked, above=0).json()
    assert first["done"] == 500 and first["above"] < first["upto"]
    more = {"above": first["above"], "upto": first["upto"]}
    assert asker.change("tasks/act", JSON, **asked, **more).json()["above"] is None
    assert desk.count(priority=3) == 700
    answer = asker.change("tasks/act", JSON, act="delete", id=[queued])
    assert answer.status_code == 400 and desk.count(id=queued) == 1


def test_it_speaks_italian(visit: Visit, desk: Desk) -> None:
    page = visit(locale="it-IT")
    desk.tasks(1)
    page.open("tasks")
    assert page.get_by_role("heading", name="Attività").is_visible()
    assert page.get_by_role("button", name="Filtra").is_visible()
