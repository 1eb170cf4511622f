"""Signals are noted where they arrive, also before a worker has its loop."""

from __future__ import annotations

import os
import signal
import time

import pytest

from plugin_scheduler.errors import ConfigError
from plugin_scheduler.signals import HEEDED, Signals


@pytest.mark.parametrize("number", HEEDED)
def test_who_waits_before_its_loop_is_told_of_a_signal_at_once(number: signal.Signals) -> None:
    with Signals() as signals:
        signals.pause(0.01)
        os.kill(os.getpid(), number)
        began = time.monotonic()
        with pytest.raises(ConfigError, match="told to leave"):
            signals.pause(30)
        assert time.monotonic() - began < 10
        assert signals.read() == [number]
        assert signals.read() == []


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in HEEDED]
    with Signals():
        assert [signal.getsignal(number) for number in HEEDED] != before
    assert [signal.getsignal(number) for number in HEEDED] == before
