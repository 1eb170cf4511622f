"""What the contract tests share: each runs on every database, with connections and a scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.databases import KINDS, Database, Shared
from support.home import Connect, connections, lab_on, scheduler_on
from support.kit import Lab
from support.shelf import Shelf

from plugin_scheduler import Scheduler


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, servers: Shared) -> Iterator[Database]:
    with servers.database(request.param, quick=True) as one:
        yield one


@pytest.fixture
def connect(database: Database, tmp_path: Path) -> Iterator[Connect]:
    with connections(tmp_path, database.uri) as one:
        yield one


@pytest.fixture
def scheduler(connect: Connect) -> Scheduler:
    return scheduler_on(connect())


@pytest.fixture
def lab(database: Database, tmp_path: Path) -> Iterator[Lab]:
    with lab_on(database, tmp_path) as one:
        yield one


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    return Shelf(lab)
