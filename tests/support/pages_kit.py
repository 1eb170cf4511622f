"""What the tests of the pages share: a site, people who are logged in to it, and their browser.

I know how a real py4web with a real app is started (through `server`), how people log in, and how
Debian's chromium is told what to do (through Playwright). A `Page` also notes whatever a person
with open developer tools would see go wrong. I never know what a page shows: that is what tests
are for, and nothing here stands in for the real thing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, BrowserContext, Locator, Response, sync_playwright
from pydal.validators import CRYPT

from support.databases import Database
from support.kit import eventually
from support.server import PASSWORD, App, Server
from support.throwaway import Missing

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --no-proxy-server"
).split()
WIDTHS, SCHEMES = {1280: 900, 390: 844}, ("light", "dark")
ADMIN = "dashboard"  # whoever is logged in to py4web's dashboard
STRANGER = ""
USER_PASSWORD = "let us in, too"
SECRET = str(uuid.uuid4())
ROLES = {"vera": "view", "alan": "act", "adele": "admin", "norman": ""}
USERS = """
    from py4web import Session
    from py4web.utils.auth import Auth

    session = Session(secret={secret!r})
    auth = Auth(session, db, registration_requires_confirmation=False)
    auth.enable()
    ROLES = {roles!r}
    for name in ROLES:
        if db(db.auth_user.username == name).isempty():
            db.auth_user.insert(
                username=name, email=name + "@example.com", password={password!r},
                first_name=name.title(), last_name="Tester")
    db.commit()

    def _policy(user):
        return ROLES.get(user["username"])
"""
USERS = USERS.format(roles=ROLES, secret=SECRET, password=str(CRYPT()(USER_PASSWORD)[0]))
FOR_USERS = "scheduler.enable(auth=auth, policy=_policy)\n"


def program() -> str:
    """Where the browser is."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise Missing("no browser: install chromium")
    return found


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """One browser, without any page yet."""
    where = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=where, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


class Site:
    """An app with the pages, served by py4web; ``more`` is what its models say besides."""

    def __init__(self, folder: Path, database: Database, *more: str) -> None:
        self.kind = database.uri.partition(":")[0]
        self.app = App(folder / "apps", database, *more)
        templates = self.app.apps / "lab" / "templates"
        templates.mkdir()
        (templates / "auth.html").write_text("[[=form]]")
        self.server = Server(self.app.apps)
        self.root = self.server.url

    @property
    def pages(self) -> str:
        """Where the pages begin."""
        return f"{self.root}/lab/scheduler"

    def log_in(self, who: str = ADMIN) -> requests.Session:
        """Somebody without a browser, logged in as one of `ROLES`, as `ADMIN`, or not at all."""
        session = requests.Session()
        session.trust_env = False
        if who == ADMIN:
            url, given = f"{self.root}/_dashboard/login", {"password": PASSWORD}
        elif who:
            url = f"{self.root}/lab/auth/api/login"
            given = {"email": who, "password": USER_PASSWORD}
        else:
            return session
        answer = session.post(url, json=given, timeout=20)
        assert answer.ok and answer.json().get("user"), answer.text
        return session

    def tickets(self) -> list[str]:
        """What py4web noted of exceptions that nobody caught."""
        with self.log_in() as session:
            answer = session.get(f"{self.root}/_dashboard/tickets", timeout=20).json()
        return [f"{one['method']} {one['path']}: {one['error']}" for one in answer["payload"]]

    def forget_tickets(self) -> None:
        with self.log_in() as session:
            assert session.get(f"{self.root}/_dashboard/clear", timeout=20).ok

    def close(self) -> None:
        self.server.close()
        self.app.close()


class Page:
    """A page of Playwright's, whose methods it has, too. What goes wrong in it is in `troubles`."""

    def __init__(self, context: BrowserContext, site: Site, folder: Path) -> None:
        self._page, self._folder, self._kind = context.new_page(), folder, site.kind
        self.site = site
        self.troubles: list[str] = []
        self._page.on("console", self._on_console)
        self._page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))
        self._page.on("request", self._on_request)
        self._page.on("requestfailed", self._on_failure)
        self._page.on("response", self._on_response)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._page, name)

    def open(self, path: str = "") -> Response | None:
        """Go to a page below the scheduler's, such as ``tasks?status=FAILED``."""
        return self._page.goto(f"{self.site.pages}/{path}".rstrip("/"))

    def follow(self, link: Locator) -> None:
        """Click what leads to another page, and wait until that page is there."""
        with self._page.expect_navigation():
            link.click()

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            if message.text.startswith("Failed to load resource"):
                return  # that is what `_on_failure` and `_on_response` tell
            where = message.location.get("url", "")
            self.troubles.append(f"console, {message.type}: {message.text} ({where})")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.site.root, "data:", "blob:", "about:")):
            self.troubles.append(f"{request.method} {request.url}: asked somebody else")

    def _on_failure(self, request: Any) -> None:
        # What was still under way when the person went elsewhere is no failure.
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"{request.method} {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            method = response.request.method
            self.troubles.append(f"{method} {response.url}: answered {response.status}")

    @contextlib.contextmanager
    def expecting(self, pattern: str, within: float = 5.0) -> Iterator[None]:
        """One thing is to go wrong in here, and no trouble is made of it."""
        before = len(self.troubles)
        yield
        eventually(lambda: self._heard(before, pattern), within, f"{pattern!r} goes wrong")
        self.troubles[before:] = [
            one for one in self.troubles[before:] if not re.search(pattern, one)
        ]

    def _heard(self, before: int, pattern: str) -> bool:
        """What the browser has to say is told only while it is asked something."""
        self._page.evaluate("1")
        return any(re.search(pattern, one) for one in self.troubles[before:])

    def look(self, name: str) -> None:
        """Pictures, wide and narrow, light and dark; nothing may stick out at the side."""
        before = self._page.viewport_size
        for scheme in SCHEMES:
            self._page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for width, height in WIDTHS.items():
                self._page.set_viewport_size({"width": width, "height": height})
                self._picture(f"{name}-{self._kind}-{width}-{scheme}.png")
                out = self._page.evaluate(STICKS_OUT)
                assert not out, f"{name} at {width} pixels, {scheme}, sticks out: {out}"
        self._page.emulate_media(color_scheme="light")
        self._page.set_viewport_size(before)

    def _picture(self, name: str) -> None:
        self._page.evaluate(SETTLED)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._page.screenshot(path=self._folder / name, full_page=True, animations="disabled")

    def axe(self, *ignore: str) -> None:
        """Nothing that axe-core knows may hinder a person, in light and in dark."""
        self._page.evaluate(STILL)
        for scheme in SCHEMES:
            self._page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self._page.evaluate(SETTLED)
            found = [one for one in self._violations() if one["id"] not in ignore]
            assert not found, f"axe in {scheme} on {self._page.url}:\n{in_words(found)}"
        self._page.emulate_media(color_scheme="light")
        self._page.evaluate(LIVE)

    def _violations(self) -> list[dict[str, Any]]:
        """Asked past the page's own rules, which let no script in but the page's."""
        line = self._page.context.new_cdp_session(self._page)
        try:
            for expression in (axe_source(), AXE):
                how = {"awaitPromise": True, "returnByValue": True}
                answer = line.send("Runtime.evaluate", {"expression": expression, **how})
                assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        finally:
            line.detach()
        return answer["result"]["value"]  # type: ignore[no-any-return]


#: It scrolls things into sight, and what it leaves on them is an empty style: a page that fetches
#: itself again would copy that, and be told that its rules forbid styles.
AXE = """axe.run().then(answer => {
    for (const one of document.querySelectorAll('[style=""]')) one.removeAttribute("style");
    return answer.violations;
})"""
#: What is wider than the window, outermost first. What scrolls inside of something is not.
STICKS_OUT = """() => {
    const wide = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= wide) return [];
    const end = one => {
        const box = one.getBoundingClientRect();
        const spills = getComputedStyle(one).overflowX === "visible";
        return Math.round(Math.max(box.right, spills ? box.left + one.scrollWidth : 0));
    };
    const all = [...document.querySelectorAll("body *")];
    const out = all.filter(one => end(one) > wide + 1);
    const said = one => `<${one.tagName.toLowerCase()} id="${one.id}" class="${
        one.getAttribute("class") || ""}"> to ${end(one)}`;
    return [`the page is ${document.documentElement.scrollWidth} wide`,
            ...out.slice(0, 6).map(said)];
}"""
#: Fonts are there, and what had to be drawn anew for another size or colour is.
SETTLED = """async () => {
    await document.fonts.ready;
    for (let turn = 0; turn < 3; turn++) await new Promise(done => requestAnimationFrame(done));
}"""
#: No part of the page is fetched anew while somebody goes through it, for whom it would change.
STILL = """async () => {
    window.holdStill = event => event.preventDefault();
    document.addEventListener("htmx:beforeRequest", window.holdStill);
    while (document.querySelector(".htmx-request, .htmx-swapping, .htmx-settling"))
        await new Promise(done => setTimeout(done, 20));
}"""
LIVE = "() => document.removeEventListener('htmx:beforeRequest', window.holdStill)"


def axe_source() -> str:
    """axe-core, as its wheel brings it."""
    found = importlib.util.find_spec("axe_playwright_python")
    assert found is not None and found.origin is not None
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def in_words(violations: list[dict[str, Any]]) -> str:
    """Each rule with its help, and the elements that break it."""
    lines = []
    for one in violations:
        lines.append(f"{one['id']} ({one['impact']}): {one['help']}; {one['helpUrl']}")
        for node in one["nodes"][:5]:
            lines.append(f"    {node['html'][:300]}\n        {node['failureSummary']}")
    return "\n".join(lines)
