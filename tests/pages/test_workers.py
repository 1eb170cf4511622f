"""The workers pages: cards and commands, with real workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from support.kit import INT, KILL9, Worker, eventually
from support.pages_kit import ADMIN, Page, Site

from plugin_scheduler.core.types import Outcome, RunStatus, TaskStatus, WorkerStatus

TASKS = """
    from plugin_scheduler import progress

    def climb(path):
        progress(3, 4, "near the <top>")
        while not os.path.exists(path):
            time.sleep(0.02)

    def fall():
        raise ValueError("no")
"""
#: An unusual name, which must work like any other.
ODD = 'w<b>3"#1/2 & ü'

Start = Callable[..., Worker]


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """Start workers by name; at the end, remove all workers and tasks."""
    started = []

    def by_name(name: str, *more: str, groups: tuple[str, ...] = ()) -> Worker:
        started.append(site.app.start_worker("--worker-name", name, *more))
        if groups:  # a worker obeys its row
            db = site.app.fresh()
            row = db(db.scheduler_worker.worker_name == name)
            row.update(group_names=list(groups))
            db.commit()
        return started[-1]

    yield by_name
    for worker in started:
        if worker.process.poll() is None:
            worker.send(INT)
            worker.wait()
    db = site.app.fresh()
    for table in ("scheduler_worker", "scheduler_task", "scheduler_history", "scheduler_metric"):
        db(db[table]).delete()
    db.commit()


def status(site: Site, worker: Worker) -> Any:
    row = site.app.worker_row(worker)
    return row and row.status


def card(page: Page, name: str) -> Any:
    return page.get_by_role("article", name=f"worker {name}", exact=True)


def climbing(site: Site, top: Path) -> int:
    task_id = site.app.queue("climb", str(top))
    site.app.becomes(task_id, TaskStatus.RUNNING)
    return task_id


def order(page: Page, what: str, who: str, sure: str = "") -> None:
    page.get_by_role("button", name=f"{what} {who}", exact=True).click()
    if sure:
        page.get_by_role("dialog").get_by_role("button", name=sure).click()


def test_without_a_worker_there_is_the_command_that_starts_one(page: Page) -> None:
    page.open("workers")
    expect(page.get_by_role("heading", name="No workers")).to_be_visible()
    expect(page.get_by_text("scheduler.py -K lab", exact=True)).to_be_visible()
    expect(page.get_by_text("No runs ended in the last hour.")).to_be_visible()
    page.look("workers-empty")
    page.axe()


def test_a_card_tells_how_a_worker_is_and_what_its_slots_are_at(
    site: Site, page: Page, start: Start, tmp_path: Path
) -> None:
    worker = start("w1", "-n", "3", groups=("main", "mail"))
    site.app.becomes(site.app.queue("add", 1, 2), TaskStatus.COMPLETED)
    site.app.becomes(site.app.queue("fall"), TaskStatus.FAILED)
    task_id = climbing(site, tmp_path / "top")
    page.open("workers")
    mine = card(page, "w1")
    expect(mine.get_by_text("ACTIVE")).to_be_visible()
    expect(mine.get_by_text("leader")).to_be_visible()
    for text in ("main", "mail", f"process {worker.pid}", "MB", "Python", "2 slots idle"):
        expect(mine.get_by_text(text).first).to_be_visible()
    expect(mine.get_by_text("near the <top> (3 of 4)")).to_be_visible()
    expect(mine.get_by_label("Progress of climb")).to_have_attribute("value", "75")
    run_id = site.app.task(task_id).run_id
    link = mine.get_by_role("link", name="climb")
    assert link.get_attribute("href").endswith(f"/lab/scheduler/runs/{run_id}")
    expect(mine.get_by_text("2 runs, 1 failed")).to_be_visible()
    page.look("workers")
    page.axe()
    (tmp_path / "top").touch()
    expect(mine.get_by_text("3 slots idle")).to_be_visible()  # the page refreshes itself


def test_a_worker_is_put_to_rest_and_woken_up(site: Site, page: Page, start: Start) -> None:
    worker = start("w1")
    page.open("workers")
    order(page, "Pause", "w1")
    expect(page.get_by_text("Paused: w1.")).to_be_visible()
    expect(card(page, "w1").get_by_text("claims no new ones")).to_be_visible()
    assert status(site, worker) == WorkerStatus.DISABLED
    order(page, "Resume", "w1")
    expect(card(page, "w1").get_by_text("ACTIVE")).to_be_visible()
    site.app.becomes(site.app.queue("add", 1, 2), TaskStatus.COMPLETED)


def test_terminate_and_kill_ask_first_and_then_the_worker_leaves(
    site: Site, page: Page, start: Start, tmp_path: Path
) -> None:
    patient = start("w1")
    task_id = climbing(site, tmp_path / "top")
    other = start("w2", groups=("other",))
    page.open("workers")
    order(page, "Terminate", "w1", sure="Cancel")
    order(page, "Terminate", "w1", sure="Yes")
    expect(card(page, "w1").get_by_text("Stopping.")).to_be_visible()
    assert patient.process.poll() is None and site.app.task(task_id).status == TaskStatus.RUNNING
    order(page, "Kill", "w1", sure="Yes")
    patient.wait()
    assert site.app.task(task_id).status == TaskStatus.QUEUED
    expect(card(page, "w1")).to_have_count(0)
    order(page, "Terminate", "w2", sure="Yes")
    assert other.wait() == 0
    expect(page.get_by_role("heading", name="No workers")).to_be_visible()


def test_a_question_outlives_the_pages_refreshing(site: Site, page: Page, start: Start) -> None:
    worker = start("w1")
    page.clock.install()
    page.open("workers")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def refreshes() -> bool:
        asked.clear()
        page.clock.fast_forward(4000)
        page.evaluate("1")  # after this, all requests have been seen
        return any(url.endswith("/workers") for url in asked)

    eventually(refreshes)
    page.get_by_role("button", name="Kill w1", exact=True).click()
    assert not refreshes()
    page.get_by_role("dialog").get_by_role("button", name="Yes").click()
    worker.wait()


def test_a_group_is_told_as_one(site: Site, page: Page, start: Start) -> None:
    workers = [start("w1", groups=("mail",)), start("w2", groups=("mail", "main")), start("w3")]
    page.open("workers")
    order(page, "Pause", "all workers of group mail")
    expect(page.get_by_text("Paused: w1, w2.")).to_be_visible()
    found = [status(site, worker) for worker in workers]
    assert found == [WorkerStatus.DISABLED, WorkerStatus.DISABLED, WorkerStatus.ACTIVE]
    expect(page.get_by_role("row", name="mail 2 (0 active)")).to_be_visible()


def test_a_silent_worker_is_clearly_marked(page: Page, start: Start) -> None:
    worker = start("w1")
    worker.send(KILL9)
    worker.wait()
    page.open("workers")
    silent = card(page, "w1").get_by_text("NO HEARTBEAT", exact=True)
    expect(silent).to_be_visible(timeout=20_000)  # when its lease is over
    expect(card(page, "w1").get_by_text("This worker sends no heartbeats.")).to_be_visible()
    expect(card(page, "w1").get_by_role("button")).to_have_count(0)
    page.look("workers-silent")
    page.axe()


def test_a_worker_has_a_page_with_its_history(
    site: Site, visit: Callable[..., Page], start: Start
) -> None:
    start("w1")
    site.app.becomes(site.app.queue("add", 1, 2), TaskStatus.COMPLETED)
    page = visit("adele")
    page.open("workers")
    card(page, "w1").get_by_role("link", name="w1").click()
    expect(page.get_by_role("heading", name="worker w1")).to_be_visible()
    order(page, "Pause", "w1")
    assert page.url.endswith("/workers/w1")
    expect(page.get_by_role("listitem").filter(has_text="adele")).to_contain_text("disable")
    expect(page.get_by_text("climb", exact=True)).to_be_visible()  # a known function
    page.look("worker")
    page.axe()
    order(page, "Kill", "w1", sure="Yes")
    expect(page.get_by_role("heading", name="Worker not found")).to_be_visible()


def test_a_strange_name_is_a_name_like_any_other(site: Site, page: Page, start: Start) -> None:
    worker = start(ODD)
    page.open("workers")
    card(page, ODD).get_by_role("link", name=ODD).click()
    expect(page.get_by_role("heading", name=f"worker {ODD}")).to_be_visible()
    order(page, "Pause", ODD)
    expect(page.get_by_text(f"Paused: {ODD}.")).to_be_visible()
    assert status(site, worker) == WorkerStatus.DISABLED


def test_who_may_not_order_sees_no_buttons_and_is_refused(
    site: Site, visit: Callable[..., Page], start: Start
) -> None:
    worker = start("w1")
    for who in ("vera", "alan"):
        page = visit(who)
        page.open("workers")
        expect(card(page, "w1")).to_be_visible()
        expect(page.get_by_role("button", name="Kill")).to_have_count(0)
        ask = "Scheduler.post(Scheduler.base + '/workers/order', {worker: 'w1', order: 'kill'})"
        with page.expecting("answered 403"):
            said = page.evaluate(f"{ask}.catch(error => error.message)")
        assert said == "Your role does not allow this."
    assert status(site, worker) == WorkerStatus.ACTIVE


def test_scripts_get_the_same(site: Site, page: Page, start: Start, tmp_path: Path) -> None:
    start("w1", "-n", "2")
    task_id = climbing(site, tmp_path / "top")
    with site.log_in(ADMIN) as session:

        def workers() -> Any:
            return session.get(f"{site.pages}/api/workers", timeout=20).json()["workers"]

        (told,) = eventually(lambda: [one for one in workers() if one["running"]])
    assert (told["name"], told["slots"], told["alive"]) == ("w1", 2, True)
    (run,) = told["running"]
    assert (run["task"], run["name"], run["share"]) == (task_id, "climb", 0.75)
    assert told["orders"] == ["disable", "terminate", "kill"] and told["memory"] > 0
    assert told["last_heartbeat"].endswith("+00:00")
    (tmp_path / "top").touch()
    page.open("workers")
    asking = "Scheduler.post(Scheduler.base + '/workers/order', {})".replace("{}", "%s")
    for body in (
        "{worker: 'w1', order: 'dance'}",
        "{order: 'kill'}",
        "{worker: 'w9', order: 'kill'}",
    ):
        with page.expecting("answered 40[04]"):
            page.evaluate(f"{asking % body}.catch(() => 0)")
    done = page.evaluate(asking % "{group: 'main', order: 'terminate'}")
    assert done["workers"] == ["w1"]
    again = page.evaluate(asking % "{group: 'main', order: 'terminate'}")
    assert again["workers"] == []


def test_a_lost_run_and_the_death_of_its_worker_are_told_in_the_readers_language(
    site: Site, start: Start
) -> None:
    db, now = site.app.fresh(), site.app.scheduler.now()
    task_id = site.app.queue("fall", enabled=False)
    reason = {"reason": "its worker w0 died", "reason_code": "worker_died", "worker_name": "w0"}
    times = {"start_time": now, "stop_time": now}
    run_id = db.scheduler_run.insert(
        task_id=task_id, status=RunStatus.STOPPED, outcome=Outcome.LOST, **reason, **times
    )
    db(db.scheduler_task.id == task_id).update(run_id=run_id)
    db.scheduler_history.insert(
        noted_at=now,
        who="scheduler",
        did="worker_died",
        worker_name="w0",
        application_name=db.scheduler_task(task_id).application_name,
        detail={"host": "h<1>", "seconds": 9, "tasks": 1},
    )
    db.commit()
    with site.log_in(ADMIN) as session:

        def page(path: str, language: str = "en") -> str:
            given = {"timeout": 20, "headers": {"Accept-Language": language}}
            return session.get(f"{site.pages}/{path}", **given).text

        for path in (f"runs/{run_id}", f"tasks/{task_id}"):
            assert ">LOST</span>" in page(path) and "its worker w0 died" in page(path)
        assert "il suo worker w0 è morto" in page(f"runs/{run_id}", "it")
        for path in ("history", "workers/w0"):
            assert "died on h&lt;1&gt;: no heartbeat for 9 s; tasks given back: 1" in page(path)
        assert "morto su h&lt;1&gt;" in page("history", "it")
        assert "worker w0 on h&lt;1&gt; died" in page("")
        told = session.get(f"{site.pages}/api/runs/{run_id}", timeout=20).json()
        assert (told["status"], told["outcome"], told["reason_code"]) == (
            RunStatus.STOPPED,
            Outcome.LOST,
            "worker_died",
        )
