"""The charts: readable by eye, keyboard and screen reader."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from playwright.sync_api import expect
from support.pages_kit import ADMIN, Page, Site


@pytest.fixture(scope="module")
def counted(site: Site) -> Site:
    """Counts of a week: many by day, few by night; none in the last hour."""
    db, now = site.app.db, int(time.time() // 60)
    rows = []
    for ago in range(65, 7 * 24 * 60, 20):
        busy = 2 + math.sin(ago / 24 / 60 * 2 * math.pi)
        for function, share in (("send_mail", 1.0), ("resize", 0.3)):
            completed = int(30 * busy * share)
            times = {"run_seconds": completed * busy, "run_longest": 4 * busy}
            waits = {"wait_seconds": completed * busy / 3, "wait_longest": 2 * busy}
            names = {"function_name": function, "group_name": "main", "application_name": "lab"}
            counts = {"completed": completed, "failed": 6 if ago % 400 == 65 else 0}
            rows.append(
                {
                    "epoch_minute": now - ago,
                    "worker_name": "w1",
                    **counts,
                    **times,
                    **waits,
                    **names,
                }
            )
    db.scheduler_metric.bulk_insert(rows)
    db.commit()
    return site


def numbers(site: Site, **query: str) -> Any:
    with site.log_in(ADMIN) as session:
        answer = session.get(f"{site.pages}/api/charts", params=query, timeout=20)
        return answer.status_code, answer.json()


def shows(page: Page, span: str) -> None:
    expect(page.locator("#charts")).to_have_attribute("data-shows", span)


def test_a_span_is_chosen_and_remembered(counted: Site, page: Page) -> None:
    page.open("workers")
    shows(page, "hour")
    expect(page.get_by_text("No runs ended in the last hour.")).to_be_visible()
    page.get_by_role("button", name="Week").click()
    shows(page, "week")
    expect(page.get_by_role("button", name="Week")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Hour")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#charts canvas")).to_have_count(3)
    page.open("workers")
    shows(page, "week")
    page.look("charts-week")
    page.axe()


def test_the_numbers_are_there_as_words_and_as_a_table(counted: Site, page: Page) -> None:
    page.open("workers")
    page.get_by_role("button", name="Day").click()
    shows(page, "day")
    _, told = numbers(counted, span="day")
    words = f"{told['completed']:,} completed, {told['failed']} failed"
    expect(page.get_by_text(words, exact=True)).to_be_visible()
    picture = page.locator("#charts .chart").first
    expect(picture).to_have_attribute("role", "img")
    assert words in picture.get_attribute("aria-label")
    page.get_by_text("Table of numbers").first.click()
    rows = page.locator("#charts tbody tr")
    filled = [one for one in told["buckets"] if one["completed"]]
    expect(rows).to_have_count(len(filled))
    expect(rows.first).to_contain_text(str(filled[-1]["completed"]))
    page.look("charts-table")
    page.axe()


def test_a_chart_says_more_where_the_mouse_is(counted: Site, page: Page) -> None:
    page.open("workers")
    page.get_by_role("button", name="Week").click()
    shows(page, "week")
    for one in page.locator("#charts .chart").all():
        one.hover()


def test_numbers_that_cannot_be_had_are_told(counted: Site, page: Page) -> None:
    page.open("workers")
    shows(page, "hour")
    page.route("**/api/charts*", lambda route: route.fulfill(status=503, json={"error": "away"}))
    with page.expecting("answered 503"):
        page.get_by_role("button", name="Day").click()
        expect(page.get_by_text("Cannot update the charts: away")).to_be_visible()


def test_scripts_get_one_function_or_one_worker(counted: Site) -> None:
    status, told = numbers(counted, span="week", function="resize")
    assert (status, len(told["buckets"]), told["seconds"]) == (200, 84, 7200)
    assert 0 < told["completed"] < numbers(counted, span="week")[1]["completed"]
    assert told["buckets"][0]["at"].endswith("+00:00")
    assert numbers(counted, span="week", worker="w9")[1]["completed"] == 0
    status, told = numbers(counted, span="year")
    assert status == 400 and "hour, day, week" in told["error"]
