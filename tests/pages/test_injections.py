"""Every value of a table is text in every page: it is never executed, and breaks nothing.

Pages are not listed here: the routes come from the code that mounts them (`test_rights` checks
that the router has no others).
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import TimeoutError as NotIdle
from support.nasty import LINK, PRODUCT, SCRIPT, SHORT, Nasty
from support.pages_kit import Page, Site
from support.routes import JSON, Asker, Route, meant

ROUTES = [route for route in meant() if route.method == "GET"]
LARGEST_PAGE = 4_000_000  # characters: with a megabyte of output, and not with several
LARGEST_LIST = 1_000_000
HAND_WRITTEN = ("odd-status", "odd-json", "odd-cron", "no-times", "odd")
#: Traces of a text that was executed or parsed, found without the names of the pages.
BECAME = """() => {
    const found = [];
    if (window.pwned !== undefined) found.push(`a script ran: ${window.pwned}`);
    for (const one of document.querySelectorAll("*")) {
        const tag = one.outerHTML.slice(0, 200);
        if (one.classList.contains("pwned")) found.push(`became an element: ${tag}`);
        for (const { name, value } of one.attributes) {
            if (name.startsWith("on")) found.push(`became a handler: ${tag}`);
            if (/^\\s*javascript:/i.test(value) && ["href", "src", "action"].includes(name))
                found.push(`became a link: ${tag}`);
        }
        if (one.tagName === "SCRIPT" && !one.src && one.type !== "application/json")
            found.push(`became a script: ${tag}`);
    }
    if (!document.querySelector("#task-form")) {  // a form sends back what it was given
        const acts = /[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ufeff]/;
        const lines = document.body.textContent.split("\\n");
        for (const text of [...lines, document.title, ...window.drawnTexts])
            if (acts.test(text)) found.push(`acts: ${JSON.stringify(text.slice(0, 200))}`);
    }
    return found.slice(0, 5);
}"""
#: Drawings are not part of the document: keep the texts that are drawn.
WATCH_DRAWINGS = """
window.drawnTexts = new Set();
const draw = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
    window.drawnTexts.add(text);
    return draw.call(this, text, ...place);
};"""


@pytest.fixture(scope="module")
def nasty(site: Site) -> Nasty:
    return Nasty(site)


@pytest.fixture(scope="module")
def asker(site: Site, nasty: Nasty) -> Iterator[Asker]:
    one = Asker(site, "adele")
    yield one
    one.session.close()


@pytest.fixture
def loose(visit: Callable[..., Page]) -> Page:
    """A browser without the content security policy: a script would run here."""
    page = visit(bypass_csp=True)
    page.add_init_script("window.alert = window.print = () => { window.pwned = 'a dialog'; };")
    page.add_init_script(WATCH_DRAWINGS)
    return page


def fillings(nasty: Nasty, route: Route) -> list[str]:
    """Return the route's path with existing rows, all of which have odd texts."""
    names = (SHORT, f"{SHORT}ACTIVE", f"FAILED{SHORT}", "large", "cron")
    ids = [*nasty.tasks.values(), *nasty.runs.values(), nasty.large_run]
    places = [*sorted({str(one) for one in ids}), *(quote(name, safe="") for name in names)]
    return list(dict.fromkeys(route.filled(place) for place in places))


def shown(asker: Asker, nasty: Nasty) -> Iterator[tuple[Route, str, Any]]:
    """Return every answer with texts, in English and in Italian: translations insert texts, too."""
    languages = itertools.cycle(("en", "it", "it"))
    for route in ROUTES:
        for path in fillings(nasty, route):
            answer = asker.ask("GET", path, headers={"Accept-Language": next(languages)})
            assert answer.status_code in (200, 400, 404), f"{path}: {answer.status_code}"
            if answer.status_code == 200:
                yield route, path, answer


@pytest.fixture(scope="module")
def pages(asker: Asker, nasty: Nasty) -> list[str]:
    """Return the addresses of HTML pages: four of each route, and large ones."""
    found: dict[str, list[str]] = {}
    for route, path, answer in shown(asker, nasty):
        if answer.headers["Content-Type"].startswith("text/html"):
            found.setdefault(route.path, []).append(path)
    whole = {
        route.path for route in ROUTES if not route.places and not route.path.startswith("api/")
    }
    assert not whole - found.keys(), "these were not drawn at all"
    return [path for paths in found.values() for path in dict.fromkeys([*paths[:3], *paths[-2:]])]


def open_wholly(page: Page, path: str) -> None:
    """Open a page with its scripts, and move the mouse over each drawing."""
    page.open(path)
    with contextlib.suppress(NotIdle):  # a page that follows something is never idle
        page.wait_for_load_state("networkidle", timeout=3000)
    for canvas in page.locator("canvas").all():
        box = canvas.bounding_box()
        for part in (0.2, 0.5, 0.8) if box else ():
            page.mouse.move(box["x"] + box["width"] * part, box["y"] + box["height"] / 2)


def test_no_text_becomes_anything_else(loose: Page, pages: list[str]) -> None:
    became = []
    for path in pages:
        open_wholly(loose, path)
        became += [f"{path}: {one}" for one in loose.evaluate(BECAME)]
    assert not became, "\n".join(became)


def test_a_strict_browser_has_nothing_to_complain_about(page: Page, pages: list[str]) -> None:
    """The policy is the second line of defence: neither the pages nor a text violate it."""
    for path in pages:
        open_wholly(page, path)
        assert not page.troubles, f"{path}: {page.troubles}"


def test_no_template_looks_into_a_text(asker: Asker, nasty: Nasty) -> None:
    wrong, seen = [], 0
    for _, path, answer in shown(asker, nasty):
        seen += SCRIPT in answer.text.replace("&lt;", "<").replace("&gt;", ">")
        if PRODUCT in answer.text:
            wrong.append(path)
    assert not wrong
    assert seen, "none of the texts is shown anywhere"


def test_json_is_json_and_shown_as_such(asker: Asker, nasty: Nasty) -> None:
    for _, path, answer in shown(asker, nasty):
        kind = answer.headers["Content-Type"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if "attachment" in answer.headers.get("Content-Disposition", ""):
            assert kind == "text/plain; charset=utf-8"
        elif not kind.startswith("text/html"):
            assert kind.startswith(JSON)
            json.loads(answer.text)
        else:
            assert SCRIPT not in answer.text, f"{path} has it as it is"
            assert f'href="{LINK}' not in answer.text


def test_a_large_text_makes_no_endless_page(asker: Asker, nasty: Nasty) -> None:
    large = []
    for route, path, answer in shown(asker, nasty):
        limit = LARGEST_PAGE if route.places else LARGEST_LIST
        if len(answer.text) > limit:
            large.append(f"{path}: {len(answer.text)}")
    assert not large


def test_rows_written_by_hand_break_no_page(site: Site, asker: Asker, nasty: Nasty) -> None:
    """The last test, because it adds rows: invalid status and JSON, no times, no names."""
    site.forget_tickets()
    nasty.unreadable()
    assert list(shown(asker, nasty))
    for route in ROUTES:
        for odd in (
            ("odd-status", "odd-json", "odd-cron", "no-times", "odd") if route.places else ()
        ):
            path = route.filled(odd)
            status = asker.ask("GET", path).status_code
            assert status in (200, 400, 404), f"{path}: {status}"
    assert not site.tickets()
