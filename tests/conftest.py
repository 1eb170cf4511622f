"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import Lab, lab_in


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A folder with a SQLite database, ready for tasks and workers."""
    with lab_in(tmp_path) as one:
        yield one
