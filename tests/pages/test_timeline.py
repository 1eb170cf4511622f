"""The timeline page: runs as bars, by worker."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.kit import Worker, eventually
from support.pages_kit import Page, Site

from plugin_scheduler.core.types import RunStatus, TaskStatus, WorkerStatus

MINUTE = timedelta(minutes=1)


@pytest.fixture
def empty(site: Site) -> Iterator[Site]:
    """A site without runs and workers, before and after the test."""
    yield site
    db = site.app.fresh()
    for name in ("scheduler_run", "scheduler_task", "scheduler_metric"):
        db(db[name]).delete()
    db(db.scheduler_worker.worker_name.startswith("test ")).delete()
    db.commit()


@pytest.fixture
def busy(empty: Site) -> list[int]:
    """Runs of two workers, and an idle worker; return the ids of the runs, oldest first."""
    app, now = empty.app, datetime.now().replace(microsecond=0)
    task_id, db = app.queue("add", 1, 2, task_name="sum of numbers", enabled=False), app.db
    for name, slots in (("test idle", 1), ("test one", 2), ("test two", 1)):
        stats = {"slots": slots, "application": "lab", "sleep": 1}
        db.scheduler_worker.insert(
            worker_name=name,
            status=WorkerStatus.ACTIVE,
            group_names=["main"],
            lease_until=datetime.now().timestamp() + 3600,
            last_heartbeat=now,
            worker_stats=stats,
        )

    def run(worker: str, ago: float, minutes: float, status: str) -> int:
        start = now - ago * MINUTE
        ended = {"stop_time": start + minutes * MINUTE, "duration": 60.0 * minutes}
        ends = {} if status == RunStatus.RUNNING else ended
        row = {"task_id": task_id, "status": status, "start_time": start, "worker_name": worker}
        return int(db.scheduler_run.insert(**row, **ends))

    ids = [
        run("test one", 55, 20, RunStatus.COMPLETED),
        run("test one", 50, 20, RunStatus.FAILED),
        run("test two", 40, 8, RunStatus.TIMEOUT),
        run("test two", 20, 5, RunStatus.STOPPED),
        run("test one", 12, 0, RunStatus.RUNNING),
    ]
    db.commit()
    return ids


def bars(page: Page) -> list[Any]:
    return list(page.evaluate(BARS))


BARS = """() => echarts.getInstanceByDom(document.getElementById("bars"))
    .getOption().series[1].data.map(one => one.run)"""
MIDDLE = """async run => {
    const element = document.getElementById("bars"), chart = echarts.getInstanceByDom(element);
    element.scrollIntoView({block: "center"});
    const [start, end, top] = chart.getOption().series[1].data.find(one => one.run === run).value;
    const [x, y] = chart.convertToPixel({xAxisIndex: 0, yAxisIndex: 0}, [(start + end) / 2, top]);
    const box = element.getBoundingClientRect();
    return [box.left + x, box.top + y + 10];
}"""


def test_where_nobody_works_it_is_told_how_to_start(empty: Site, page: Page) -> None:
    page.open("timeline")
    assert page.get_by_role("heading", name="No workers in this time span").is_visible()
    page.look("timeline-empty")
    page.axe()


def test_runs_are_bars_and_a_table_and_who_was_idle_is_there(busy: list[int], page: Page) -> None:
    page.open("timeline")
    page.wait_for_selector("#bars canvas")
    assert sorted(bars(page)) == busy
    told = {
        row.locator("td").first.inner_text().strip(): row.inner_text()
        for row in page.locator("#live tbody tr").all()
    }
    assert list(told) == ["test idle", "test one", "test two"]
    assert "0%" in told["test idle"] and "22%" in told["test two"]
    assert re.search(r"4[345]%", told["test one"])
    page.get_by_text("Table of runs").click()
    rows = page.locator("#table tbody tr")
    assert [int(row.locator("a").first.inner_text()) for row in rows.all()] == busy[::-1]
    page.look("timeline")
    page.axe()


def test_another_span_of_time_shows_what_was_at_work_then(busy: list[int], page: Page) -> None:
    page.open("timeline")
    page.get_by_role("link", name="15 minutes").click()
    page.wait_for_selector("#bars canvas")
    assert bars(page) == [busy[-1], busy[-2]] or sorted(bars(page)) == busy[-1:]
    page.get_by_role("link", name="24 hours").click()
    page.wait_for_selector("#bars canvas")
    assert sorted(bars(page)) == busy


def test_a_bar_leads_to_its_run(busy: list[int], page: Page) -> None:
    page.open("timeline")
    page.wait_for_selector("#bars canvas")
    x, y = page.evaluate(MIDDLE, busy[0])
    page.mouse.click(x, y)
    page.wait_for_url(f"**/runs/{busy[0]}")


def test_a_run_appears_while_one_looks_and_the_zoom_stays(
    empty: Site, worker: Worker, page: Page
) -> None:
    app = empty.app
    first = app.becomes(app.queue("add", 1, 2), TaskStatus.COMPLETED).run_id
    page.open("timeline?span=900")
    page.wait_for_selector("#bars canvas")
    assert bars(page) == [first]
    page.evaluate(ZOOM)
    second = app.becomes(app.queue("add", 3, 4), TaskStatus.COMPLETED).run_id
    eventually(lambda: bars(page) == [first, second])
    assert page.evaluate(ZOOMED) == 50
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


ZOOM = """() => echarts.getInstanceByDom(document.getElementById("bars"))
    .dispatchAction({type: "dataZoom", dataZoomIndex: 0, start: 50, end: 100})"""
ZOOMED = """() => echarts.getInstanceByDom(document.getElementById("bars"))
    .getOption().dataZoom[0].start"""


def test_runs_that_were_not_kept_are_told(empty: Site, busy: list[int], page: Page) -> None:
    app, minute = empty.app, int(datetime.now().timestamp() // 60)
    app.db.scheduler_metric.insert(
        worker_name="test idle",
        epoch_minute=minute,
        application_name="lab",
        completed=1234,
        run_seconds=60.0,
    )
    app.db.commit()
    page.open("timeline")
    assert page.get_by_text("Not stored in this time span: 1,234 runs.").is_visible()


def test_names_are_text_whatever_they_hold(busy: list[int], empty: Site, page: Page) -> None:
    evil = "</script><script>alert(1)</script>"
    db = empty.app.fresh()
    db(db.scheduler_task).update(task_name=evil)
    db.commit()
    page.open("timeline")
    page.get_by_text("Table of runs").click()
    assert page.get_by_role("link", name=evil).first.is_visible()


def test_programs_ask_for_the_same(busy: list[int], empty: Site) -> None:
    with empty.log_in("vera") as session:
        found = session.get(f"{empty.pages}/api/timeline", timeout=20).json()
        workers = {one["worker"]: one for one in found["workers"]}
        assert workers["test idle"]["bars"] == [] and not found["cut"]
        first = workers["test one"]["bars"][0]
        assert (first["run"], first["seconds"], first["lane"]) == (busy[0], 1200, 0)
        assert datetime.fromisoformat(first["start"]).tzinfo
        answer = session.get(f"{empty.pages}/api/timeline?span=7", timeout=20)
        assert answer.status_code == 400 and "span must be" in answer.json()["error"]
