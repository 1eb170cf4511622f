"""Fixtures of the unit tests."""

from __future__ import annotations

import pytest
from support.logged_events import LoggedEvents


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> LoggedEvents:
    """The log events of the test."""
    return LoggedEvents(caplog)
