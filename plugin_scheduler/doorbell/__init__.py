"""Is there news? A doorbell shortens waits; polling gives correctness.

I own the contract and the bell that never rings. I call nobody.
"""

from __future__ import annotations


class Doorbell:
    """Asked again and again by the worker's loop."""

    #: seconds between two looks
    interval = 0.5

    def rung(self) -> bool:
        """True when something was written since the last look."""
        raise NotImplementedError


class Silent(Doorbell):
    """For databases that tell nothing: look every half second."""

    def rung(self) -> bool:
        return True
