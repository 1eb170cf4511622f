"""What the contract tests share: connections to one database, and a scheduler without workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from home import Connect, connections, scheduler_on

from plugin_scheduler import Scheduler


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    with connections(tmp_path) as one:
        yield one


@pytest.fixture
def scheduler(connect: Connect) -> Scheduler:
    return scheduler_on(connect())
