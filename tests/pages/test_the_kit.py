"""The test kit itself: login, and detection of errors in a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.kit import Worker
from support.pages_kit import ADMIN, FOR_USERS, ROLES, STRANGER, USERS, Page, Site

from plugin_scheduler.core.types import TaskStatus

DATABASES = ("sqlite", "postgres")

#: Pages with one fault each, and one without.
PAGES = """
    from py4web import action, response

    HEAD = '<!doctype html><html lang="en"><head><title>A page</title></head>'
    BODIES = {
        "good": "<main><h1>Good</h1><p>Text</p></main>",
        "wide": "<main><h1>Wide</h1><pre>" + "wide " * 80 + "</pre></main>",
        "dim": "<main><h1>Dim</h1><p><font color=#ddd>Who can read this?</font></p></main>",
        "unnamed": "<main><h1>Unnamed</h1><input type=text></main>",
        "inline": "<main><h1>Inline</h1><script>window.touched = 1</script></main>",
        "lost": "<main><h1>Lost</h1><img alt=x src=/lab/nowhere.png></main>",
        "abroad": "<main><h1>Abroad</h1><img alt=x src=http://localhost:1/picture.png></main>",
        "throws": "<main><h1>Throws</h1><script src=/lab/throw.js></script></main>",
    }

    @action("page/<name>")
    def page(name):
        response.headers["Content-Security-Policy"] = "default-src 'self'"
        return HEAD + "<body>" + BODIES[name] + "</body></html>"

    @action("throw.js")
    def throw():
        response.headers["Content-Type"] = "text/javascript"
        return "throw new Error('on purpose')"

    @action("crash")
    def crash():
        raise ValueError("on purpose")
"""
MODELS = (USERS, PAGES, FOR_USERS)


def show(page: Page, name: str) -> None:
    page.goto(f"{page.site.root}/lab/{name}")


def test_people_log_in_with_a_password_of_their_own(site: Site) -> None:
    for name in ROLES:
        with site.log_in(name) as session:
            profile = session.get(f"{site.root}/lab/auth/api/profile", timeout=20).json()
            assert profile["user"]["username"] == name
    for name in (STRANGER, ADMIN):
        with site.log_in(name) as session:
            answer = session.get(f"{site.root}/lab/auth/api/profile", timeout=20)
            assert answer.status_code == 403


def test_a_browser_has_its_persons_login(visit: Callable[..., Page]) -> None:
    page = visit("vera")
    show(page, "auth/api/profile")
    assert '"vera"' in page.inner_text("body")
    page = visit(STRANGER)
    show(page, "auth/api/profile")
    assert "/auth/login" in page.url
    page = visit(ADMIN)
    page.goto(f"{page.site.root}/_dashboard/apps")
    assert '"lab"' in page.inner_text("body")


def test_a_role_opens_the_pages(visit: Callable[..., Page]) -> None:
    for who in (ADMIN, "vera"):
        page = visit(who)
        page.open("history")
        assert page.get_by_role("heading", name="History", exact=True).is_visible()
    page.look("history-empty")
    page.axe()
    for who in (STRANGER, "norman"):
        page = visit(who)
        with page.expecting("answered 403"):
            page.open("history")
        assert page.get_by_role("heading", name="Please sign in").is_visible()


def test_a_worker_serves_the_same_database(site: Site, worker: Worker) -> None:
    assert site.app.becomes(site.app.queue("add", 1, 2), TaskStatus.COMPLETED)


def test_each_page_is_looked_at_in_four_ways(page: Page, pictures: Path) -> None:
    show(page, "page/good")
    page.look("the-kit")
    page.axe()
    assert len(list(pictures.glob(f"the-kit-{page.site.kind}-*.png"))) == 4


def test_what_sticks_out_is_found(page: Page) -> None:
    show(page, "page/wide")
    with pytest.raises(AssertionError, match=r"sticks out.*<pre"):
        page.look("the-kit-wide")


@pytest.mark.parametrize("name, rule", [("dim", "color-contrast"), ("unnamed", "label")])
def test_what_hinders_people_is_found_and_told(page: Page, name: str, rule: str) -> None:
    show(page, f"page/{name}")
    with pytest.raises(AssertionError, match=rf"{rule}.*\n.*<"):
        page.axe()


@pytest.mark.parametrize(
    "name, said",
    [
        ("page/inline", "Content Security Policy"),
        ("page/lost", "nowhere.png: answered 404"),
        ("page/abroad", "picture.png: asked somebody else"),
        ("page/throws", "exception: on purpose"),
        ("nowhere", "answered 404"),
    ],
)
def test_what_goes_wrong_in_a_page_is_a_trouble(page: Page, name: str, said: str) -> None:
    show(page, name)
    assert any(said in trouble for trouble in page.troubles), page.troubles
    page.troubles.clear()


def test_an_exception_in_the_server_is_a_trouble(site: Site) -> None:
    site.forget_tickets()
    with site.log_in(STRANGER) as session:
        assert session.get(f"{site.root}/lab/crash", timeout=20).status_code == 500
    assert ["on purpose" in ticket for ticket in site.tickets()] == [True]


def test_what_was_expected_to_go_wrong_is_no_trouble(page: Page) -> None:
    with page.expecting("404"):
        show(page, "nowhere")
    assert not page.troubles
    with pytest.raises(AssertionError, match="goes wrong"), page.expecting("404", 0.1):
        show(page, "page/good")
