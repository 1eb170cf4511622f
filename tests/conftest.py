"""Fixtures for all tests, and the rule that continuous integration skips nothing."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import leaks
from support.databases import SERVERS, Database, Shared
from support.home import lab_on
from support.kit import Lab
from support.throwaway import Server

SHARED = pytest.StashKey[Shared]()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """The database servers that all tests share, each started when first asked for."""
    shared = request.config.stash[SHARED]
    try:
        yield shared
    finally:
        shared.close()


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test ends what it started; a test that leaks would make a later one fail."""
    if not os.environ.get("CI") or _shares_more_than_servers(request):
        yield
        return
    shared = request.config.stash[SHARED].descriptors
    before = leaks.snapshot(shared)
    yield
    left = leaks.left_since(before, shared)
    assert left == [], f"the test left behind: {left}"


def _shares_more_than_servers(request: pytest.FixtureRequest) -> bool:
    """A web server, a browser or a worker that several tests share opens things at any time."""
    shared = set()
    for name in request.fixturenames:
        definitions = request._fixturemanager.getfixturedefs(name, request.node) or ()
        shared |= {name for one in definitions if one.scope != "function"}
    return not all(map(_is_of_pytest, shared))


def _is_of_pytest(name: str) -> bool:
    return name in ("servers", "tmp_path_factory", "pytestconfig", "worker_id", "testrun_uid")


def lab_of(kind: str, servers: Shared, folder: Path) -> Iterator[Lab]:
    with servers.database(kind) as database, lab_on(database, folder) as one:
        yield one


@pytest.fixture
def lab(tmp_path: Path, servers: Shared) -> Iterator[Lab]:
    """A folder with a SQLite database, ready for tasks and workers."""
    yield from lab_of("sqlite", servers, tmp_path)


@pytest.fixture
def postgres_lab(tmp_path: Path, servers: Shared) -> Iterator[Lab]:
    yield from lab_of("postgres", servers, tmp_path)


@pytest.fixture
def mysql_lab(tmp_path: Path, servers: Shared) -> Iterator[Lab]:
    yield from lab_of("mysql", servers, tmp_path)


@pytest.fixture(params=["sqlite", *SERVERS])
def each_lab(request: pytest.FixtureRequest, tmp_path: Path, servers: Shared) -> Iterator[Lab]:
    """On each database in its turn."""
    yield from lab_of(request.param, servers, tmp_path)


@pytest.fixture(params=SERVERS)
def server_lab(request: pytest.FixtureRequest, tmp_path: Path, servers: Shared) -> Iterator[Lab]:
    """On each database that is a server; `lab.server` is shared, so leave it running."""
    yield from lab_of(request.param, servers, tmp_path)


@pytest.fixture
def own_postgres(servers: Shared) -> Iterator[Server]:
    """A server of the test's own, which it may stop, kill and start."""
    with servers.another("postgres") as one:
        yield one


@pytest.fixture
def own_mysql(servers: Shared) -> Iterator[Server]:
    with servers.another("mysql") as one:
        yield one


@pytest.fixture(params=SERVERS)
def own_lab(request: pytest.FixtureRequest, tmp_path: Path, servers: Shared) -> Iterator[Lab]:
    """A lab whose `server` is the test's own."""
    with servers.another(request.param) as server, server.fresh_database() as uri:
        with lab_on(Database(uri, server), tmp_path) as one:
            yield one


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is set, a test that is skipped for something the machine lacks has failed."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is not allowed here: {report.longrepr}"
    return report


def pytest_configure(config: pytest.Config) -> None:
    # A shell has what it starts in the background ignore these, and nohup the hangup. Workers that
    # tests start would ignore them, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.stash[SHARED] = Shared()
    _use_a_temporary_folder_of_our_own(config)
    # How pydal calls its driver is not for us to change.
    pymysql = "ignore:'(db|passwd)' is deprecated:DeprecationWarning"
    config.addinivalue_line("filterwarnings", pymysql)


def _use_a_temporary_folder_of_our_own(config: pytest.Config) -> None:
    """So that what a test leaves in there is seen, and what others do in the shared one is not."""
    shared = tempfile.gettempdir()
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", shared)  # where `tmp_path` is, as always
    folder = tempfile.mkdtemp(prefix="plugin_scheduler_tests_", dir=os.environ.get("TESTS_IN"))
    os.environ["TESTS_IN"] = shared  # of the processes that pytest-xdist starts
    os.chmod(folder, 0o711)  # database servers run as users of their own
    usual = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = folder

    def restore() -> None:
        tempfile.tempdir = None
        if usual is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = usual
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(restore)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    """The last words: what nobody has tried, because the machine lacks something."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    for sentence in sorted({report.longrepr[-1].partition(": ")[2] for report in skipped}):
        line = f"NOT TESTED: {sentence}"
        terminalreporter.write_line(line, red=True, bold=True)
