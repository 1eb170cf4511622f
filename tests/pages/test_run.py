"""The page of a run: live output, progress and outcome."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.kit import eventually
from support.pages_kit import Page, Site
from support.routes import Asker
from support.server import App

from plugin_scheduler.core.types import TaskStatus

TASKS = """
    import sys
    from plugin_scheduler import progress

    def _let_go(path):
        while not os.path.exists(path):
            yield
            time.sleep(0.05)

    def talk(path, of=200):
        number = 0
        for _ in _let_go(path):
            number += 1
            print(f"line {number}", flush=True)
            progress(min(number, of), of, "importing")
        print("the last line")
        return {"rows": [number > 0, None], "name": "<b>Müller</b>"}

    def bar(path):
        for number, _ in enumerate(_let_go(path)):
            share = min(number, 60)
            bar = f"{share:3d}%|{'#' * (share // 10):10s}| {share}/100 [00:03<01:10, 13it/s]"
            print(f"\\r\\x1b[32mresize\\x1b[0m: {bar}", end="", file=sys.stderr, flush=True)

    def percent(path):
        print("some words", flush=True)
        for number, _ in enumerate(_let_go(path)):
            print(f"!clear!{min(number, 50)}%", flush=True)
        return 1

    def inject():
        print("<script>window.hurt = 1</script><img src=x onerror='window.hurt=1'>")
        print("\\x1b]0;title\\x07\\x1b]8;;javascript:hurt()\\x07link\\x1b]8;;\\x07", end=" ")
        print("\\x1b[2J\\x1b[31mred")
        print("\\x1b[0m[[=1+1]] {{=1+1}} \\u202etxt.exe")
        raise ValueError("</script><script>window.hurt = 1</script> [[=1+1]]")

    def divide(n):
        return 10 / n

    def nothing(path):
        for _ in _let_go(path):
            pass

    def much():
        for number in range(60_000):
            print(f"row {number}")
        return "x" * 100_000
"""

pytestmark = pytest.mark.usefixtures("worker")


class Desk:
    """Runs of an app, each of which ends on request."""

    def __init__(self, app: App, folder: Path) -> None:
        self.app, self.go = app, folder / "go"

    def begin(self, function: str, *args: Any) -> tuple[int, int]:
        """Return the ids of a task and its current run."""
        task_id = self.app.queue(function, str(self.go), *args, timeout=600)
        self.app.becomes(task_id, TaskStatus.RUNNING)
        return task_id, self.app.runs(task_id)[0].id

    def ended(self, function: str, *args: Any) -> int:
        """Return the id of an ended run."""
        task_id = self.app.queue(function, *args)
        self.app.becomes(task_id, TaskStatus.COMPLETED, TaskStatus.FAILED)
        return int(self.app.runs(task_id)[0].id)


@pytest.fixture
def desk(site: Site, tmp_path: Path) -> Any:
    one = Desk(site.app, tmp_path)
    yield one
    one.go.touch()


def lines(page: Page) -> list[str]:
    return [text for text in page.locator(".screen .line").all_inner_texts() if text.strip()]


def state(page: Page) -> str:
    return str(page.locator("#state").inner_text())


def test_output_is_seen_as_it_is_printed_and_the_end_without_a_reload(
    desk: Desk, page: Page
) -> None:
    _, run_id = desk.begin("talk")
    page.open(f"runs/{run_id}")
    page.evaluate("window.sameDocument = true")
    eventually(lambda: len(lines(page)) > 5, 8)
    first = page.locator(".screen .line").first.element_handle()
    seen = len(lines(page))
    eventually(lambda: len(lines(page)) > seen + 20, 8)
    assert lines(page)[:seen] == [f"line {n + 1}" for n in range(seen)]
    assert first.evaluate("line => line.isConnected"), "what was there is not drawn anew"
    assert page.locator("#live").is_visible() and state(page) == TaskStatus.RUNNING
    page.look("run-live")
    page.axe()
    desk.go.touch()
    eventually(lambda: state(page) == TaskStatus.COMPLETED, 8)
    assert lines(page)[-1] == "the last line" and not page.locator("#live").is_visible()
    assert '"name": "<b>Müller</b>"' in page.locator("#result").inner_text()
    assert page.evaluate("window.sameDocument")
    page.look("run-completed")
    page.axe()


def test_progress_tells_the_share_the_words_and_the_time_left(desk: Desk, page: Page) -> None:
    _, run_id = desk.begin("talk", 100)
    page.open(f"runs/{run_id}")
    eventually(lambda: 0.1 < page.locator("#headway progress").evaluate("bar => bar.value") < 1, 8)
    said = page.locator("#headway").inner_text()
    assert re.search(r"importing \(\d+ of 100\)", said) and re.search(r"\d+%.*about .* left", said)


@pytest.mark.parametrize("function", ["bar", "percent"])
def test_bars_that_are_printed_move_in_place(desk: Desk, page: Page, function: str) -> None:
    _, run_id = desk.begin(function)
    page.open(f"runs/{run_id}")
    eventually(lambda: page.locator("#headway progress").evaluate("bar => bar.value") >= 0.2, 15)
    assert len(lines(page)) == 1 and "%" in lines(page)[0]
    if function == "bar":
        page.look("run-bar")
        assert page.locator(".screen .f2").inner_text() == "resize"


def test_who_scrolls_up_stays_there_and_can_jump_to_the_end(desk: Desk, page: Page) -> None:
    _, run_id = desk.begin("talk")
    page.open(f"runs/{run_id}")
    pane, jump = page.locator(".screen"), page.locator(".jump")
    at_end = "pane => pane.scrollHeight - pane.scrollTop - pane.clientHeight < 40"
    eventually(lambda: pane.evaluate("pane => pane.scrollHeight > 1.5 * pane.clientHeight"), 15)
    eventually(lambda: pane.evaluate(at_end))
    pane.evaluate("pane => { pane.scrollTop = 30; }")
    eventually(jump.is_visible)
    seen = len(lines(page))
    eventually(lambda: len(lines(page)) > seen + 10, 8)
    assert pane.evaluate("pane => pane.scrollTop") == 30
    jump.click()
    assert pane.evaluate(at_end) and not jump.is_visible()


def test_what_a_task_prints_and_raises_is_inert(desk: Desk, page: Page) -> None:
    page.open(f"runs/{desk.ended('inject')}")
    eventually(lambda: len(lines(page)) == 3)
    assert lines(page)[0].startswith("<script>window.hurt = 1</script><img src=x")
    assert lines(page)[1] == "link red"
    assert lines(page)[2] == "[[=1+1]] {{=1+1}} \\u202etxt.exe"
    assert page.locator(".screen .f1").inner_text() == "red"
    said = page.locator(".failure h2").inner_text()
    assert said == "ValueError: </script><script>window.hurt = 1</script> [[=1+1]]"
    assert page.evaluate("window.hurt") is None
    page.look("run-inert")


def test_the_failing_line_comes_first_and_the_whole_traceback_below(desk: Desk, page: Page) -> None:
    page.open(f"runs/{desk.ended('divide', 0)}")
    failure = page.locator(".failure")
    assert failure.locator("h2").inner_text() == "ZeroDivisionError: division by zero"
    assert re.match(r"models.py, line \d+, in divide", failure.locator(".place").inner_text())
    assert failure.locator(".guilty").inner_text().endswith("return 10 / n")
    assert "Traceback (most recent call last)" in failure.locator("details pre").inner_text()
    page.look("run-failed")
    page.axe()


def test_a_run_is_stopped_from_its_page_and_that_is_seen(desk: Desk, page: Page) -> None:
    task_id, run_id = desk.begin("talk")
    page.open(f"runs/{run_id}")
    page.get_by_role("button", name="Stop").click()
    eventually(lambda: state(page) == TaskStatus.STOPPED, 10)
    assert not page.locator("#stop").is_visible()
    assert page.locator(".failure .guilty").is_visible(), "where it was"
    assert desk.app.task(task_id).status == TaskStatus.STOPPED


def test_a_run_that_returns_nothing_goes_and_the_page_says_so(desk: Desk, page: Page) -> None:
    _, run_id = desk.begin("nothing")
    page.open(f"runs/{run_id}")
    with page.expecting("answered 404", 10):
        desk.go.touch()
        page.locator("#gone").wait_for()
    assert "keep_empty_runs" in page.locator("#gone").inner_text()


def test_of_much_output_the_end_is_shown_and_all_of_it_can_be_had(desk: Desk, page: Page) -> None:
    run_id = desk.ended("much")
    page.open(f"runs/{run_id}")
    eventually(lambda: lines(page) and lines(page)[-1] == "row 59999", 10)
    assert page.locator("#cut").is_visible()
    asker = Asker(page.site, "dashboard")
    whole = asker.ask("GET", f"runs/{run_id}/output.txt")
    assert whole.text.splitlines() == [f"row {n}" for n in range(60_000)]
    assert f"run-{run_id}-output.txt" in whole.headers["Content-Disposition"]
    assert page.get_by_text("Only the beginning is shown.").is_visible()
    assert asker.ask("GET", f"runs/{run_id}/result.txt").text == '"' + "x" * 100_000 + '"'


def test_the_runs_before_and_after_are_one_step_away(desk: Desk, page: Page) -> None:
    app = desk.app
    task_id = app.queue("add", 1, 2, period=1, repeats=3)
    app.becomes(task_id, TaskStatus.COMPLETED)
    first, second, third = (run.id for run in app.runs(task_id))
    page.open(f"runs/{second}")
    page.get_by_role("link", name="Older run").click()
    page.wait_for_url(f"**/runs/{first}")
    assert page.get_by_role("link", name="Older run").count() == 0
    page.get_by_role("link", name="Newer run").click()
    page.get_by_role("link", name="Newer run").click()
    page.wait_for_url(f"**/runs/{third}")


def test_who_may_only_look_sees_it_live_and_cannot_stop_it(desk: Desk, visit: Any) -> None:
    _, run_id = desk.begin("talk")
    page = visit("vera")
    page.open(f"runs/{run_id}")
    eventually(lambda: len(lines(page)) > 5, 8)
    assert page.locator("#stop").count() == 0


def test_scripts_read_a_run_and_its_output_piece_by_piece(desk: Desk, site: Site) -> None:
    asker, run_id = Asker(site, "vera"), desk.ended("divide", 0)
    run = asker.ask("GET", f"api/runs/{run_id}").json()
    assert (run["status"], run["running"]) == (TaskStatus.FAILED, False)
    assert run["blame"]["kind"] == "ZeroDivisionError" and run["blame"]["function"] == "divide"
    talked = desk.ended("much")
    first = asker.ask("GET", f"api/runs/{talked}/output").json()
    assert first["fresh"] and first["end"] == first["total"] > first["start"] > 0
    query = {"after": first["end"], "marker": first["marker"]}
    more = asker.ask("GET", f"api/runs/{talked}/output", params=query).json()
    assert (more["text"], more["fresh"], more["end"]) == ("", False, first["end"])
    assert asker.change_json(f"runs/{talked}/watch", {}).json()["watched"] is False


def test_the_page_speaks_italian(visit: Any, desk: Desk) -> None:
    page = visit(locale="it-IT")
    page.open(f"runs/{desk.ended('divide', 2)}")
    words = page.locator("main").inner_text()
    for word in ("Esecuzione", "Risultato", "Avvio", "Durata", "Scarica come testo"):
        assert word in words, words
    assert "Download" not in words
