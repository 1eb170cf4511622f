"""The log events of a test by their names and values, so that no test depends on their texts."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from plugin_scheduler.core.log_events import EVENTS, logger

_NAMES = {sentence: name for name, (_, sentence) in EVENTS.items()}


class LoggedEvents:
    """What was logged since the beginning of the test, of every level."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, logger.name)
        self._caplog = caplog

    @property
    def names(self) -> list[str]:
        """Return the names of the events, in the order in which they were logged."""
        return [name for record in self._caplog.records if (name := _NAMES.get(str(record.msg)))]

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the values of each event of that name."""
        sentence = EVENTS[name][1]
        found = [record for record in self._caplog.records if record.msg == sentence]
        return [dict(record.args) if isinstance(record.args, dict) else {} for record in found]
