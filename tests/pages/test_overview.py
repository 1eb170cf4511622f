"""The overview page, and the explanation why a task does not run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from support.kit import Worker, eventually
from support.pages_kit import ADMIN, Page, Site

from plugin_scheduler.core.types import TaskStatus

TASKS = """
    from plugin_scheduler import progress

    def count(path, of=10):
        progress(3, of, "third <b>picture</b>")
        hold(path)
"""


@pytest.fixture
def held(site: Site, worker: Worker) -> Iterator[int]:
    """A task that runs until the end of the test, and reports its progress."""
    path = site.app.folder / "go"
    path.unlink(missing_ok=True)
    task_id = site.app.queue("count", str(path), sync_output=1)
    eventually(lambda: any(run.progress for run in site.app.runs(task_id)))
    yield task_id
    path.touch()
    site.app.becomes(task_id, TaskStatus.COMPLETED)


def answer_of(site: Site, path: str, who: str = ADMIN) -> dict[str, object]:
    with site.log_in(who) as session:
        answer = session.get(f"{site.pages}/{path}", timeout=20)
        assert answer.ok, answer.text
        return answer.json()  # type: ignore[no-any-return]


def test_an_empty_overview_says_what_to_do_next(page: Page) -> None:
    page.open()
    assert page.title().startswith("Overview")
    assert page.get_by_role("heading", name="No tasks yet").is_visible()
    assert page.get_by_text("scheduler.py -K lab").first.is_visible()
    page.look("overview-empty")
    page.axe()


def test_what_runs_is_seen_with_its_progress_and_without_a_reload(
    site: Site, page: Page, worker: Worker
) -> None:
    site.app.queue("add", 1, 2, enabled=False)
    page.open()
    page.evaluate("window.stayed = true")
    assert page.get_by_text("No running tasks.").is_visible()
    path = site.app.folder / "go-live"
    task_id = site.app.queue("count", str(path), sync_output=1)
    row = page.locator("#running tbody tr")
    row.get_by_text("third <b>picture</b>").wait_for()
    assert row.get_by_role("link").get_attribute("href").endswith(f"/tasks/{task_id}")
    assert row.get_by_role("progressbar").get_attribute("value") == "3"
    assert "1 of 2 slots busy" in page.locator("#workers").inner_text()
    path.touch()
    page.get_by_text("No running tasks.").wait_for()
    assert page.evaluate("window.stayed") is True


def test_warnings_are_said_in_words_and_lead_to_what_they_are_about(
    site: Site, page: Page, held: int
) -> None:
    task_id = site.app.queue("add", 1, 2, group_name="gpu <b>")
    site.app.queue("add", 1, 2, group_name="main", cronline="0 3 * * *")
    page.open()
    warning = page.locator(".warnings li").first
    words = warning.inner_text().lower()
    assert 'no live worker serves group "gpu <b>"; 1 due task is waiting; start a worker: ' in words
    assert "scheduler.py -k 'lab:gpu <b>'" in words  # as a shell takes it
    href = warning.get_by_role("link").get_attribute("href")
    assert href.endswith("/tasks?group=gpu%20%3Cb%3E&status=QUEUED")
    group = page.get_by_role("row", name="gpu <b>")
    assert group.get_by_role("link", name="1").is_visible()
    page.look("overview")
    page.axe()
    site.app.scheduler.stop_task(task_id)
    site.app.db.commit()
    page.locator(".warnings").wait_for(state="detached")
    assert page.get_by_text("No warnings.").is_visible()


def test_the_large_numbers_count_what_waits_runs_and_failed(
    site: Site, page: Page, held: int
) -> None:
    before = answer_of(site, "api/overview")["totals"]
    assert isinstance(before, dict)
    site.app.becomes(site.app.queue("fail"), TaskStatus.FAILED)
    page.open()
    assert page.locator("#number-running b").inner_text() == "1"
    failed = page.locator("#number-failed b")
    eventually(lambda: failed.inner_text() == str(before["failed"] + 1))


def test_an_italian_reads_italian(site: Site, visit: object, held: int) -> None:
    page = visit(locale="it-IT")  # type: ignore[operator]
    site.app.queue("add", 1, 2, group_name="gpu")
    page.open()
    assert page.get_by_text('nessun worker vivo serve il gruppo "gpu"').first.is_visible()
    assert page.get_by_role("heading", name="In esecuzione ora").is_visible()


def test_scripts_get_the_same_as_facts(site: Site, held: int) -> None:
    seen = answer_of(site, "api/overview", "vera")
    (running,) = seen["running"]  # type: ignore[misc]
    assert (running["id"], running["at"], running["of"]) == (held, 3, 10)
    assert running["since"].count("T") == 1
    (worker,) = seen["workers"]  # type: ignore[misc]
    assert (worker["alive"], worker["slots"], worker["leads"]) == (True, 2, True)


def test_a_person_reads_why_a_task_waits_and_sees_when_it_changes(
    site: Site, page: Page, worker: Worker
) -> None:
    child = site.app.queue("add", 1, 2, task_name="<i>print</i>", enabled=False)
    task_id = site.app.queue("add", 1, 2, group_name="gpu")
    deps = {"task_parent": task_id, "task_child": child, "on_failure": "wait"}
    site.app.db.scheduler_task_deps.insert(**deps)
    site.app.db.commit()
    page.open(f"tasks/{task_id}/why")
    first, second = page.locator("#why .reasons li").all_text_contents()
    assert first == f"it waits for task {child} <i>print</i> (QUEUED)"
    assert second.startswith('no live worker serves group "gpu"')
    page.locator("#why summary").click()
    unmet = page.locator("#why .unmet")
    assert unmet.count() == 2 and "Not met:" in unmet.first.inner_text()
    page.look("why")
    page.axe()
    site.app.db(site.app.db.scheduler_task_deps).delete()
    site.app.db.commit()
    eventually(lambda: unmet.count() == 1, what="what hindered it is gone, and the list still open")
    assert unmet.first.is_visible()
    site.app.scheduler.stop_task(task_id)
    site.app.db.commit()
    page.get_by_text("it has ended: STOPPED").wait_for()


def test_why_a_task_waits_is_told_as_facts(site: Site, worker: Worker) -> None:
    later = site.app.scheduler.now() + timedelta(hours=4)
    task_id = site.app.queue("add", 1, 2, start_time=later, enabled=False)
    seen = answer_of(site, f"api/tasks/{task_id}/why", "vera")
    assert seen["state"] == "it does not run now"
    assert seen["reasons"][0] == "it is disabled"  # type: ignore[index]
    met = {one["name"]: one["met"] for one in seen["checks"]}  # type: ignore[attr-defined]
    assert not met["enabled"] and not met["its time has come"] and met["waits for nothing"]
    with site.log_in() as session:
        answer = session.get(f"{site.pages}/api/tasks/999999/why", timeout=20)
    assert answer.status_code == 404 and "error" in answer.json()
