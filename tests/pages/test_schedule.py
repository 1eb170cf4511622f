"""The schedule page: drawing of the next hours, the next days, and repeating tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.pages_kit import Page, Site

from plugin_scheduler.core.types import RunStatus, TaskStatus

Visit = Callable[..., Page]
TASKS = """
    def report(): return 1
    def sweep(): return 1
    def backup(): return 1
    def send_mail(to): return to
"""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def empty(site: Site) -> Iterator[Site]:
    """A site without tasks, before and after the test."""
    yield site
    db = site.app.fresh()
    for name in ("scheduler_run", "scheduler_task_deps", "scheduler_task", "scheduler_history"):
        db(db[name]).delete()
    db.commit()


@pytest.fixture
def filled(empty: Site) -> dict[str, int]:
    """Tasks of each kind; ids by name."""
    app, now = empty.app, datetime.now().replace(microsecond=0)
    ids = {
        "report": app.queue("report", task_name="report", repeats=0, cronline="0 7 * * 1-5"),
        "sweep": app.queue("sweep", task_name="sweep", repeats=0, period=5),
        "backup": app.queue(
            "backup", task_name="nightly backup", repeats=0, period=3 * 3600, start_time=now + HOUR
        ),
        "thrice": app.queue("report", task_name="three times", repeats=3, period=7200),
        "off": app.queue("backup", task_name="switched off", repeats=0, enabled=False),
        "mail": app.queue("send_mail", "ann", start_time=now + 3 * HOUR),
        "far": app.queue("send_mail", "bob", start_time=now + 3 * DAY),
    }
    ids["waits"] = app.queue("report", task_name="afterwards", repeats=0)
    app.db.scheduler_task_deps.insert(task_parent=ids["waits"], task_child=ids["mail"])
    run_id = app.db.scheduler_run.insert(
        task_id=ids["backup"], status=RunStatus.FAILED, start_time=now - 2 * HOUR
    )
    app.db(app.db.scheduler_task.id == ids["backup"]).update(run_id=run_id)
    ids["run"] = run_id
    app.db.commit()
    return ids


def row_of(page: Page, name: str) -> Any:
    return page.locator("#repeating tbody tr", has_text=name)


def test_where_nothing_repeats_it_is_told_what_to_do(empty: Site, page: Page) -> None:
    for path in ("schedule", "schedule/days"):
        page.open(path)
        assert page.get_by_role("heading", name="No repeating tasks").is_visible()
        assert page.get_by_text("No planned runs").is_visible()
    page.open("schedule")
    page.look("schedule-empty")
    page.axe()


def test_the_next_hours_are_drawn_and_told_in_a_table(filled: dict[str, int], page: Page) -> None:
    page.open("schedule")
    page.wait_for_selector("#hours canvas")
    page.get_by_text("Table of runs").click()
    table = page.locator("section", has=page.locator("#hours")).locator("tbody tr")
    told = {row.locator("td").first.inner_text(): row.inner_text() for row in table.all()}
    assert set(told) == {"sweep", "nightly backup", "three times", "send_mail"} | (
        {"report"} & set(told)  # not on weekends
    )
    assert "17,28" in told["sweep"] and "every 5 seconds" in told["sweep"]
    assert page.get_by_text("One task waits for other tasks").is_visible()
    page.get_by_text("Table of runs").click()
    page.look("schedule")
    page.axe()


def test_a_dot_leads_to_its_task(filled: dict[str, int], page: Page) -> None:
    page.open("schedule")
    page.wait_for_selector("#hours canvas")
    for name, task in (("nightly backup", "backup"), ("send_mail", "mail")):
        page.open("schedule")
        x, y = page.evaluate(DOT, name)
        page.mouse.click(x, y)
        page.wait_for_url(f"**/tasks/{filled[task]}")


DOT = """async name => {
    const element = document.getElementById("hours"), chart = echarts.getInstanceByDom(element);
    element.scrollIntoView({block: "center"});
    const option = chart.getOption(), row = option.yAxis[0].data.indexOf(name);
    const dot = option.series.flatMap(one => one.type === "scatter" ? one.data : [])
        .find(one => one.value[1] === row);
    const place = [Date.parse(dot.value[0]), row];
    const [x, y] = chart.convertToPixel({xAxisIndex: 0, yAxisIndex: 0}, place);
    const box = element.getBoundingClientRect();
    return [box.left + x, box.top + y];
}"""


def test_what_repeats_is_listed_with_words_next_runs_and_its_last_run(
    filled: dict[str, int], page: Page
) -> None:
    page.open("schedule")
    backup = row_of(page, "nightly backup")
    assert "every 3 hours" in backup.inner_text() and RunStatus.FAILED in backup.inner_text()
    assert backup.locator("time").first.is_visible()
    assert (
        backup.get_by_role("link", name=RunStatus.FAILED)
        .get_attribute("href")
        .endswith(f"/runs/{filled['run']}")
    )
    backup.get_by_text("then").click()
    assert backup.locator(".then time").count() == 4
    assert "3 left" in row_of(page, "three times").inner_text()
    assert "disabled" in row_of(page, "switched off").inner_text()
    assert "waits for another task" in row_of(page, "afterwards").inner_text()
    assert row_of(page, "sweep").locator("time").first.get_attribute("title")


def test_the_next_days_are_counted_and_a_day_tells_its_tasks(
    filled: dict[str, int], page: Page
) -> None:
    page.open("schedule")
    page.follow(page.get_by_role("link", name="30 days"))
    assert page.locator(".month .day").count() == 30
    day = (datetime.now() + 3 * DAY).date().isoformat()
    page.locator(f'.month .day:has(time[datetime="{day}"])').click()
    listed = page.locator("#day tbody tr")
    told = {row.locator("td").first.inner_text(): row.inner_text() for row in listed.all()}
    assert "17,280" in told["sweep"] and "send_mail" in told
    assert page.locator('.month [aria-current="date"] time').get_attribute("datetime") == day
    page.look("schedule-days")
    page.axe()


def test_a_task_is_switched_off_and_on_and_that_is_noted(
    filled: dict[str, int], empty: Site, visit: Visit
) -> None:
    page = visit("alan")
    for path in ("schedule", "schedule/days"):
        page.open(path)
        row_of(page, "sweep").get_by_role("button", name="Disable sweep").click()
        page.get_by_text(f"Task {filled['sweep']} is disabled.").wait_for()
        assert page.url.endswith(path)
        assert not empty.app.task(filled["sweep"]).enabled
        row_of(page, "sweep").get_by_role("button", name="Enable sweep").click()
        page.get_by_text(f"Task {filled['sweep']} is enabled.").wait_for()
        assert empty.app.task(filled["sweep"]).enabled
    page.open("history")
    assert page.locator("tbody tr", has_text="alan").count() == 4


def test_who_may_only_look_finds_no_switch(filled: dict[str, int], visit: Visit) -> None:
    page = visit("vera")
    page.open("schedule")
    assert page.get_by_role("button", name="Disable sweep").count() == 0


def test_what_was_to_repeat_for_ever_and_ended_is_told(
    filled: dict[str, int], empty: Site, page: Page
) -> None:
    db = empty.app.fresh()
    db(db.scheduler_task.id == filled["backup"]).update(
        status=TaskStatus.FAILED, reason="the disk is full"
    )
    db.commit()
    page.open("schedule")
    ended = page.locator("section", has_text="Ended tasks with unlimited repeats")
    assert "nightly backup" in ended.inner_text() and "the disk is full" in ended.inner_text()


def test_names_are_text_whatever_they_hold(empty: Site, page: Page) -> None:
    evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    empty.app.queue("report", task_name=evil, repeats=0, period=7200)
    for path in ("schedule", "schedule/days"):
        page.open(path)
        assert page.locator("#repeating").get_by_role("link", name=evil).is_visible()
        assert page.locator("main img").count() == 0


def test_programs_ask_for_the_same(filled: dict[str, int], empty: Site) -> None:
    with empty.log_in("vera") as session:
        found = session.get(f"{empty.pages}/api/schedule", timeout=20).json()
        lanes = {lane["name"] or lane["function"]: lane for lane in found["lanes"]}
        (band,) = lanes["sweep"]["bands"]
        assert band["count"] in (17280, 17281) and band["every"] == 5
        assert lanes["send_mail"]["tasks"] == [filled["mail"]] and found["waiting"] == 1
        assert datetime.fromisoformat(lanes["nightly backup"]["dots"][0]).tzinfo
        days = session.get(f"{empty.pages}/api/schedule?days=2", timeout=20).json()
        assert len(days["days"]) == len(days["totals"]) == 2
        repeating = session.get(f"{empty.pages}/api/schedule/repeating", timeout=20).json()
        assert {task["name"] for task in repeating["tasks"]} >= {"sweep", "afterwards"}
        for wrong in ("days=0", "days=1000", "hours=x"):
            answer = session.get(f"{empty.pages}/api/schedule?{wrong}", timeout=20)
            assert answer.status_code == 400 and "must be" in answer.json()["error"]
