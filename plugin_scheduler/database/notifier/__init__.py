"""Notifiers tell the main loop about changes in the database.

This module contains the interface and a notifier for databases without notifications. Notifications
shorten waits; correctness depends on polling.
"""

from __future__ import annotations

import math

from plugin_scheduler.core.worker_stats import NotifierStats


class Notifier:
    """Polled by the main loop; may have a file descriptor that wakes up the loop."""

    #: Seconds between two polls.
    interval = 0.5
    #: The current method, for display.
    way = "polling"
    #: The monotonic time of the next call of `test`.
    next_test = math.inf
    #: Why notifications are delayed; None if all is well.
    trouble: str | None = None

    def rung(self) -> bool:
        """Return True if something was written since the last call."""
        raise NotImplementedError

    def fileno(self) -> int:
        """Return a descriptor that becomes readable on a change; -1 if there is none."""
        return -1

    def heed(self) -> None:
        """Handle a readable descriptor."""

    def test(self) -> None:
        """Test periodically that notifications arrive."""

    def about(self) -> NotifierStats:
        """Return the details for the worker's row."""
        return {"wake_up": self.way, "wake_up_trouble": self.trouble}

    def close(self) -> None:
        """Close the descriptor."""


class Silent(Notifier):
    """Notifier of databases without notifications: reports a change at every poll."""

    def rung(self) -> bool:
        return True
