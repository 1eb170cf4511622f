"""Workers die all the time; the work does not care."""

from __future__ import annotations

import pytest
import spans
from kit import Lab


@pytest.mark.slow
def test_ten_thousand_tasks_survive_a_kill_9_every_second(lab: Lab) -> None:
    spans.survive_a_kill_9_every_second(lab, 10_000, every=200, most_kills=400)
