"""Is there news? A doorbell shortens waits; polling gives correctness.

I own the contract and the bell that never rings. I call nobody.
"""

from __future__ import annotations

import math


class Notifier:
    """Asked again and again by the worker's loop; may have a file that wakes the loop up."""

    #: seconds between two looks
    interval = 0.5
    #: how news come now, for people
    way = "polling"
    #: the monotonic time at which `test` has something to do
    next_test = math.inf
    #: why they come more slowly than they should; None when all is well
    trouble: str | None = None

    def rung(self) -> bool:
        """True when something was written since the last look."""
        raise NotImplementedError

    def fileno(self) -> int:
        """A file that becomes readable when it is worth a look; -1 where there is none."""
        return -1

    def heed(self) -> None:
        """That file became readable: look more often for a moment."""

    def test(self) -> None:
        """Make sure, now and then, that it would ring."""

    def about(self) -> dict[str, str | None]:
        """What its worker says of it in its row."""
        return {"wake_up": self.way, "wake_up_trouble": self.trouble}

    def close(self) -> None:
        """Let go of that file."""


class Silent(Notifier):
    """For databases that tell nothing: look every half second."""

    def rung(self) -> bool:
        return True
