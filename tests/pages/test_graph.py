"""The graph page: jobs and dependencies, with live statuses."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from support.kit import Worker, eventually
from support.pages_kit import Page, Site

from plugin_scheduler import JobGraph
from plugin_scheduler.core.types import RunStatus, TaskStatus

TASKS = """
    def bind(): return "bound"
    def print_pages(): return "printed"
    def press(): raise ValueError("no paper")
"""


@pytest.fixture
def empty(site: Site) -> Iterator[Site]:
    """A site without jobs, before and after the test."""
    yield site
    db = site.app.fresh()
    for name in ("scheduler_run", "scheduler_task_deps", "scheduler_task"):
        db(db[name]).delete()
    db.commit()


@pytest.fixture
def book(empty: Site) -> dict[str, int]:
    """A job with each status and kind of line; ids by name."""
    app = empty.app
    given = {
        "write": TaskStatus.COMPLETED,
        "set type": TaskStatus.COMPLETED,
        "draw": TaskStatus.FAILED,
        "print": TaskStatus.RUNNING,
        "bind": TaskStatus.QUEUED,
        "cover": TaskStatus.STOPPED,
        "tell everybody that the book is there": TaskStatus.QUEUED,
    }
    ids = {name: app.queue("print_pages", task_name=name) for name in given}
    for name, status in given.items():
        app.db(app.db.scheduler_task.id == ids[name]).update(status=status)
    job = JobGraph(app.db, "a book")
    last = ids["tell everybody that the book is there"]
    for task, other in (("set type", "write"), ("print", "set type"), ("cover", "draw")):
        job.add_deps(ids[task], ids[other])
    job.add_deps(ids["bind"], ids["print"])
    job.add_deps(ids["bind"], ids["cover"], on_failure="run")
    job.add_deps(last, ids["bind"], on_failure="wait")
    deps = app.db.scheduler_task_deps
    app.db(deps.task_child.belongs([ids["write"], ids["set type"]])).update(can_visit=True)
    run_id = app.db.scheduler_run.insert(
        task_id=ids["print"], status=RunStatus.RUNNING, progress={"at": 3, "of": 10}
    )
    app.db(app.db.scheduler_task.id == ids["print"]).update(run_id=run_id)
    app.db.commit()
    return ids


def test_where_no_task_waits_for_another_it_is_told_how_to_begin(empty: Site, page: Page) -> None:
    page.open("graph")
    assert page.get_by_role("heading", name="No dependencies").is_visible()
    page.look("graph-empty")
    page.axe()
    page.open("graph?job=nothing")
    assert page.get_by_role("heading", name="Job not found").is_visible()


def test_jobs_are_listed_with_their_states_and_lead_to_their_drawing(
    book: dict[str, int], page: Page
) -> None:
    page.open("graph")
    row = page.locator("#jobs tbody tr", has_text="a book")
    assert row.locator(".badge").count() == 5 and "7" in row.inner_text()
    page.look("graph-jobs")
    page.axe()
    page.follow(row.get_by_role("link"))
    assert page.get_by_role("heading", name="a book").is_visible()
    assert page.locator("#drawing a.node").count() == 7
    assert page.locator("#drawing path.edge").count() == 6


def test_a_drawing_says_each_state_in_words_and_every_line_in_the_list(
    book: dict[str, int], page: Page
) -> None:
    page.open("graph?job=a book")
    node = page.locator(f"#node-{book['print']}")
    assert node.get_attribute("aria-label") == "print, RUNNING"
    assert "▶ RUNNING" in node.text_content() and node.locator("rect.progress").count() == 1
    assert page.locator("path.edge.done").count() == 2
    assert page.locator("path.edge.run").count() == page.locator("path.edge.wait").count() == 1
    listed = page.locator("#listed tbody tr", has_text="bind").first.inner_text()
    assert "runs even if it fails" in listed and "is stopped if it fails" in listed
    assert "print" in page.locator("#listed tbody tr", has_text="30%").inner_text()
    page.look("graph")
    page.axe()


def test_what_waits_stands_to_the_right_of_what_it_waits_for(
    book: dict[str, int], page: Page
) -> None:
    page.open(f"graph?task={book['bind']}")
    left = {
        name: page.locator(f"#node-{number}").bounding_box()["x"] for name, number in book.items()
    }
    assert left["write"] < left["set type"] < left["print"] < left["bind"]
    assert left["draw"] < left["cover"] < left["bind"]
    assert "chosen" in page.locator(f"#node-{book['bind']}").get_attribute("class")


def test_the_keyboard_reaches_each_task_and_the_buttons_change_the_size(
    book: dict[str, int], page: Page
) -> None:
    page.open(f"graph?task={book['write']}")
    width = page.locator("#drawing").bounding_box()["width"]
    page.get_by_role("button", name="Zoom in").press("Enter")
    larger = page.locator("#drawing").bounding_box()["width"]
    assert larger > width
    page.get_by_role("button", name="Zoom out").click()
    assert page.locator("#drawing").bounding_box()["width"] == pytest.approx(width, abs=1)
    page.locator("#canvas").focus()
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.id")
    assert focused in {f"node-{number}" for number in book.values()}


@pytest.fixture
def at_work(empty: Site) -> Iterator[Worker]:
    """A worker for one test: in other tests it would change rows of simulated runs."""
    worker = empty.app.start_worker("-n", "2")
    yield worker
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.usefixtures("at_work")
def test_states_change_in_the_drawing_while_workers_work(empty: Site, page: Page) -> None:
    app = empty.app
    hold = app.folder / "hold"
    first = app.queue("hold", str(hold), task_name="first")
    second = app.scheduler.queue_task("bind", task_name="second").id
    JobGraph(app.db, "two").add_deps(second, first)
    app.db.commit()  # both at once, or the worker would not wait
    app.becomes(first, TaskStatus.RUNNING)
    page.open("graph?job=two")
    page.get_by_role("button", name="Zoom in").click()
    width = page.locator("#drawing").bounding_box()["width"]
    page.wait_for_selector(f"#node-{first}.busy")
    page.wait_for_selector(f"#node-{second}.calm")
    hold.touch()
    page.wait_for_selector(f"#node-{second}.good")
    assert page.locator("#listed .badge.good").count() == 2
    assert page.locator("#drawing").bounding_box()["width"] == pytest.approx(width, abs=1)
    hold.unlink()


def test_a_ring_is_told_and_a_task_alone_is_drawn_alone(empty: Site, page: Page) -> None:
    app = empty.app
    one, other, alone = (app.queue("bind", task_name=name) for name in ("one", "other", "alone"))
    job = JobGraph(app.db, "ring")
    job.add_deps(one, other)
    job.add_deps(other, one)
    app.db.commit()
    page.open("graph?job=ring")
    assert page.get_by_text("can never start").is_visible()
    page.look("graph-ring")
    page.axe()
    page.open(f"graph?task={alone}")
    assert page.get_by_text("This task waits for no other task").is_visible()


def test_names_are_text_whatever_they_hold(empty: Site, page: Page) -> None:
    evil = '"><script>alert(1)</script><a href="javascript:alert(2)">'
    app = empty.app
    one, other = (app.queue("bind", task_name=evil) for _ in range(2))
    JobGraph(app.db, evil).add_deps(one, other)
    app.db.commit()
    page.open("graph")
    page.get_by_role("link", name=evil).click()
    eventually(lambda: page.locator("#listed").get_by_role("link", name=evil).count() == 3)
    assert page.locator('a[href^="javascript"]').count() == 0


def test_programs_ask_for_the_same(book: dict[str, int], empty: Site) -> None:
    with empty.log_in("vera") as session:

        def ask(query: str, status: int = 200) -> dict[str, object]:
            answer = session.get(f"{empty.pages}/api/graph{query}", timeout=20)
            assert answer.status_code == status, answer.text
            return dict(answer.json())

        (job,) = ask("")["jobs"]
        assert (job["name"], job["tasks"], job["edges"]) == ("a book", 7, 6)
        found = ask(f"?task={book['bind']}")
        assert {node["id"] for node in found["nodes"]} == set(book.values())
        assert {edge["after"] for edge in found["edges"]} <= set(book.values())
        assert ask("?job=a%20book") == found
        ask("?task=987654321", 404)
        ask("?task=x", 400)
