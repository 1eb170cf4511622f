"""What a run changes of its process alone is noticed and put back."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from plugin_scheduler.execution.process_state import ProcessState

CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "search path": (lambda: sys.path.append("/nowhere"), lambda: list(sys.path)),
    "arguments": (lambda: sys.argv.append("more"), lambda: list(sys.argv)),
    "timer": (
        lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 1000),
        lambda: signal.getitimer(signal.ITIMER_VIRTUAL),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_one_change_alone_is_put_back(what: str) -> None:
    change, look = CHANGES[what]
    before, state = look(), ProcessState()
    change()
    assert look() != before
    assert state.restore() == []
    assert look() == before
