"""Fixtures of the pages: a site on each database, a worker, and browsers of users.

`site` and `worker` exist as long as a file of tests. A file adds functions to its app in ``TASKS``.
A file that calls `scheduler.enable` in another way, or has no users, sets ``MODELS`` (default:
`pages_kit.USERS` and `pages_kit.FOR_USERS`).

`page` is the browser of a user of the dashboard; `visit("vera")` is that of another user (see
`pages_kit.ROLES`). An error in a browser or in the server fails the test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from support.databases import Shared
from support.kit import Worker
from support.pages_kit import ADMIN, FOR_USERS, USERS, Page, Site, chromium

PATIENCE = 20_000  # milliseconds: three browsers and as many servers may share two processors
Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the screenshots; SCREENSHOTS in the environment keeps them."""
    kept = os.environ.get("SCREENSHOTS")
    return Path(kept).absolute() if kept else tmp_path_factory.mktemp("screenshots")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on the ``DATABASES`` of its file: SQLite, and others if the pages depend on the
    database (searches, times, orders). Contract tests read everything else on each database."""
    if "site" in metafunc.fixturenames:
        kinds = getattr(metafunc.module, "DATABASES", ("sqlite",))
        metafunc.parametrize("site", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, servers: Shared, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """An app with the pages, on one database after the other."""
    tasks = getattr(request.module, "TASKS", "")
    models = getattr(request.module, "MODELS", (USERS, FOR_USERS))
    folder = tmp_path_factory.mktemp("site")
    with servers.database(request.param) as database:
        one = Site(folder, database, tasks, *models)
        try:
            yield one
        finally:
            one.close()


@pytest.fixture(scope="module")
def worker(site: Site) -> Worker:
    """A real worker that serves `main`, with two slots."""
    return site.app.start_worker("-n", "2")


@pytest.fixture
def visit(site: Site, browser: Browser, pictures: Path) -> Iterator[Visit]:
    """Open a browser as a user; at the end, check all browsers for errors."""
    pages = []

    def open_as(who: str = ADMIN, **options: object) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(PATIENCE)
        with site.log_in(who) as session:
            for cookie in session.cookies:
                where = {"domain": cookie.domain.removesuffix(".local"), "path": cookie.path}
                one = {"name": cookie.name, "value": cookie.value, "httpOnly": True, **where}
                context.add_cookies([one])
        pages.append(Page(context, site, pictures))
        return pages[-1]

    site.forget_tickets()
    yield open_as
    troubles = [trouble for page in pages for trouble in page.troubles]
    for page in pages:
        page.context.close()
    troubles += site.tickets()
    assert not troubles, "\n".join(troubles)


@pytest.fixture
def page(visit: Visit) -> Page:
    """The browser of a user of the dashboard."""
    return visit()
