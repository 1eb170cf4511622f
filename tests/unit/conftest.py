"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.fake_processes import Processes
from support.logged_events import LoggedEvents
from support.worker_bench import WorkerBench


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> LoggedEvents:
    """The log events of the test."""
    return LoggedEvents(caplog)


@pytest.fixture
def bench_with() -> Iterator[Any]:
    """Make a main loop on stubs, with these settings."""
    made: list[WorkerBench] = []

    def make(**options: Any) -> WorkerBench:
        made.append(WorkerBench(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def bench(bench_with: Any) -> WorkerBench:
    """A main loop on stubs."""
    made: WorkerBench = bench_with()
    return made


@pytest.fixture
def runners(monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """A pool whose runners are fakes with process ids."""
    with Processes(monkeypatch) as runners:
        yield runners
