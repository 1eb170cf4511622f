"""Access on every route of the router: users without access, roles, tokens, headers.

Routes are not listed here: a new one is tested like all others.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from plugin_scheduler.views import STATIC as STATIC_FILES
from support.pages_kit import STRANGER, Page, Site
from support.routes import (
    HTML,
    JSON,
    STATIC,
    Asker,
    World,
    differences,
    dump,
    facts,
    meant,
    mounted,
)

ROUTES = meant()
READS = [route for route in ROUTES if route.method == "GET"]
CHANGES = [route for route in ROUTES if route.method == "POST"]
FOR_ADMINS = re.compile(r"delete|remove|worker|group|purge|prune")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def world(site: Site) -> World:
    return World(site)


@pytest.fixture(scope="module")
def people(site: Site, world: World) -> Iterator[Callable[[str], Asker]]:
    """Return a user by name, logged in once for the whole file."""
    known: dict[str, Asker] = {}

    def person(who: str) -> Asker:
        if who not in known:
            known[who] = Asker(site, who)
        return known[who]

    yield person
    for one in known.values():
        one.session.close()


@pytest.fixture
def nothing_changes(site: Site, world: World) -> Iterator[None]:
    """Check that no table has changed, and that py4web has logged no exception."""
    site.forget_tickets()
    before = dump(site)
    yield
    assert not differences(before, dump(site))
    assert not site.tickets()


def test_the_router_knows_what_the_code_mounts_and_nothing_else(site: Site) -> None:
    expected = {(route.path, route.method) for route in ROUTES} | {(STATIC, "GET")}
    assert mounted(site) == expected
    assert {route.role for route in ROUTES} == {"view", "act", "admin"}


def test_what_destroys_or_orders_workers_about_is_for_admins() -> None:
    wrong = [
        f"{route} is for {route.role!r}"
        for route in CHANGES
        if (route.role == "admin") != bool(FOR_ADMINS.search(route.path))
    ]
    assert not wrong
    assert {route.role for route in READS} <= {"view"}


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("who", [STRANGER, "norman"])
def test_who_is_not_let_in_learns_nothing(
    people: Callable[[str], Asker], world: World, who: str
) -> None:
    """The answer is the same to every request, for existing and for missing rows."""
    asker = people(who)
    for accept in (HTML, JSON):
        answers: dict[Any, str] = {}
        for route in ROUTES:
            kind = JSON if "/api/" in f"/{route.path}/" else accept
            for path in (*world.fillings(route), *world.empty(route)):
                for body in ({}, {"_token": asker.token}):
                    told = asker.ask(route.method, path, kind, data=body)
                    if kind == accept:
                        answers.setdefault(facts(told), f"{route.method} {path}")
        assert len(answers) == 1, answers
        [(status, text, _)] = answers
        assert status == 403 and (("sign in" in text) == (accept == HTML))


@pytest.mark.usefixtures("nothing_changes")
def test_who_may_look_sees_every_page(people: Callable[[str], Asker], world: World) -> None:
    """Viewing changes nothing, and each page shows existing rows."""
    unseen = []
    for route in READS:
        found = {
            path: people("vera").ask("GET", path).status_code for path in world.fillings(route)
        }
        assert set(found.values()) <= {200, 400, 404}, found
        if 200 not in found.values():
            unseen.append(f"{route}: {found}")
    assert not unseen


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("who, mine", [("vera", "view"), ("alan", "act")])
def test_a_role_may_not_do_what_a_higher_one_may(
    people: Callable[[str], Asker], world: World, who: str, mine: str
) -> None:
    order = ("view", "act", "admin")
    allowed = []
    for route in CHANGES:
        if order.index(route.role) > order.index(mine):
            for path in (*world.fillings(route), *world.empty(route)):
                for answer in (people(who).change(path), people(who).change_json(path, {})):
                    if answer.status_code != 403 or "role does not allow" not in answer.text:
                        allowed.append(f"{who}, {route.method} {path}: {answer.status_code}")
    assert not allowed


def forged(asker: Asker, other: Asker, path: str) -> Iterator[tuple[str, Any]]:
    """Send requests that come from no page, or from an old one; yield a name and the answer."""
    root, host = asker.site.root, urlsplit(asker.site.root).netloc
    ours, token = {"Origin": root}, {"_token": asker.token}
    yield "no token", asker.ask("POST", path, headers=ours)
    for odd in ("", "x" * 32, other.token, asker.token[:-1], f"{asker.token} ", "\u0660" * 32):
        yield f"token {odd!r}", asker.ask("POST", path, data={"_token": odd}, headers=ours)
    header = {**ours, "X-Scheduler-Token": other.token}
    yield "another's token", asker.ask("POST", path, JSON, json={}, headers=header)
    for odd_json in (None, 1, True, [], {}, [asker.token], {"a": 1}):
        body = {"_token": odd_json}
        yield f"token {odd_json!r}", asker.ask("POST", path, JSON, json=body, headers=ours)
    yield "in the address", asker.ask("POST", f"{path}?_token={asker.token}", headers=ours)
    plain = {**ours, "Content-Type": "text/plain"}
    text = f'{{"_token": "{asker.token}"}}'
    yield "JSON as plain text", asker.ask("POST", path, data=text, headers=plain)
    yield "no origin", asker.ask("POST", path, data=token)
    for origin in FOREIGN:
        head = {"Origin": origin.format(host=host)}
        yield f"{head}", asker.ask("POST", path, data=token, headers=head)
    yield "a foreign page", asker.ask("POST", path, data=token, headers={"Referer": "http://x.y/"})
    both = {"Origin": "https://elsewhere.example", "Referer": f"{root}/lab/scheduler"}
    yield "origin and page differ", asker.ask("POST", path, data=token, headers=both)
    for where in ("cross-site", "same-site", "none", "SAME-ORIGIN, cross-site"):
        head = {**ours, "Sec-Fetch-Site": where}
        yield f"{head}", asker.ask("POST", path, data=token, headers=head)


FOREIGN = (
    "null",
    "https://elsewhere.example",
    "http://{host}.elsewhere.example",
    "http://{host}@elsewhere.example",
    "http://elsewhere.example/{host}",
    "http://elsewhere.example#{host}",
    "http://127.0.0.1:1",
    "{host}",
)


@pytest.mark.usefixtures("nothing_changes")
def test_a_change_comes_from_a_page_of_ours_or_is_refused(
    people: Callable[[str], Asker], site: Site, world: World
) -> None:
    other, taken = Asker(site, "adele"), []
    for route in CHANGES:
        path = next(world.fillings(route))
        for what, answer in forged(people("adele"), other, path):
            if answer.status_code != 403:
                taken.append(f"{route}, {what}: {answer.status_code}")
    other.session.close()
    assert not taken


def test_the_same_request_with_a_token_and_from_here_is_not_refused(
    people: Callable[[str], Asker], world: World
) -> None:
    refused = []
    for route in CHANGES:
        path = next(world.empty(route))
        for answer in (people("adele").change(path), people("adele").change_json(path, {})):
            if answer.status_code in (403, 405) or answer.status_code >= 500:
                refused.append(f"{route}: {answer.status_code} {answer.text[:300]}")
    assert not refused


@pytest.mark.usefixtures("nothing_changes")
def test_any_other_method_is_refused(people: Callable[[str], Asker], world: World) -> None:
    asker, taken = people("adele"), []
    known = {(route.path, route.method) for route in ROUTES}
    headers = {"Origin": asker.site.root, "X-Scheduler-Token": asker.token}
    for route in ROUTES:
        for method in METHODS:
            if (route.path, method) not in known:
                path = next(world.fillings(route))
                answer = asker.ask(method, path, headers=headers)
                if answer.status_code not in (404, 405):
                    taken.append(f"{method} {path}: {answer.status_code}")
    assert not taken


def faults_of(answer: Any) -> Iterator[str]:
    """Return the headers that an answer should have, but lacks."""
    given = answer.headers
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in given.get("Content-Security-Policy", "").split(";")
    )
    wanted = {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'"}
    wanted |= {"frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'self'"}
    yield from (f"{name} {policy.get(name)}" for name in wanted if policy.get(name) != wanted[name])
    yield from (word for word in ("unsafe", "http:", "https:", "*") if word in str(policy))
    expected = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    yield from (
        f"{name} {given.get(name)}" for name in expected if given.get(name) != expected[name]
    )
    if given.get("Referrer-Policy") not in ("same-origin", "no-referrer"):
        yield f"Referrer-Policy {given.get('Referrer-Policy')}"
    kind = given.get("Content-Type", "")
    kept = given.get("Content-Disposition", "").startswith("attachment;")
    if not kind.startswith(("text/html; charset=utf-8", JSON)) and not (
        kept and kind == "text/plain; charset=utf-8"
    ):
        yield f"Content-Type {given.get('Content-Type')}"


def test_every_answer_tells_the_browser_what_it_must_not_do(
    people: Callable[[str], Asker], world: World
) -> None:
    faults = []
    for route in ROUTES:
        for who in ("adele", "vera", STRANGER):
            for path in (next(world.fillings(route)), *world.empty(route)):
                answer = people(who).ask(route.method, path)
                if answer.status_code != 303:
                    told = f"{who} {route.method} {path} ({answer.status_code})"
                    faults += [f"{told}: {fault}" for fault in faults_of(answer)]
    assert not faults


def test_cookies_are_out_of_reach_for_scripts_and_other_sites(site: Site) -> None:
    with site.log_in("vera") as session:
        given = session.get(f"{site.pages}/history", timeout=20).headers["Set-Cookie"]
    for cookie in re.findall(r"lab_scheduler_session=[^,]*(?:,[^,=]*)?", given):
        assert "httponly" in cookie.lower() and "samesite=" in cookie.lower(), cookie
    assert "lab_scheduler_session=" in given


ESCAPES = (
    "../layout.html",
    "../../models/memory.py",
    "%2e%2e/layout.html",
    "..%2flayout.html",
    "%2e%2e%2flayout.html",
    "..%252flayout.html",
    "vendor/../../layout.html",
    "..\\layout.html",
    "..%5clayout.html",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "....//layout.html",
    "pages.js%00.html",
    ".",
    "",
    "vendor",
    "vendor/",
    "a" * 3000,
)


@pytest.mark.parametrize("path", ESCAPES)
def test_no_static_address_leads_elsewhere(site: Site, path: str) -> None:
    site.forget_tickets()
    line = http.client.HTTPConnection(urlsplit(site.root).netloc, timeout=20)
    try:
        line.request("GET", f"/lab/scheduler/static/{path}")
        answer = line.getresponse()
        assert answer.status in (403, 404), answer.read()[:200]
    finally:
        line.close()
    assert not site.tickets()


def test_every_static_file_is_what_it_says(site: Site) -> None:
    kinds = {".js": "javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    with site.log_in(STRANGER) as session:
        for file in (one for one in STATIC_FILES.rglob("*") if one.is_file()):
            name = file.relative_to(STATIC_FILES).as_posix()
            answer = session.get(f"{site.pages}/static/{name}", timeout=20)
            assert answer.status_code == 200 and answer.content == file.read_bytes()
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert kinds.get(file.suffix, "") in answer.headers.get("Content-Type", "")


def test_no_other_site_can_show_a_page_inside_its_own(page: Page, site: Site) -> None:
    page.goto(f"{site.root}/_dashboard/version")
    with page.expecting("ERR_BLOCKED_BY_RESPONSE"), page.expecting("frame-ancestors"):
        page.evaluate(
            "url => { const one = document.createElement('iframe'); one.src = url;"
            "document.body.append(one); }",
            f"{site.pages}/history",
        )
