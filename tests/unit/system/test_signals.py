"""Signals are noted where they arrive, also before a worker has its loop."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from plugin_scheduler.system.signals import (
    DRAIN,
    HEEDED,
    KILL,
    NOTHING,
    RELOAD,
    STATE,
    Signals,
    ToldToLeave,
    held_back,
    name_of,
)

KILLS = (signal.SIGINT, signal.SIGQUIT)


@pytest.fixture
def signals() -> Iterator[Signals]:
    with Signals() as one:
        yield one


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, *KILLS])
def test_who_waits_before_its_loop_is_told_of_a_signal_at_once(
    signals: Signals, number: signal.Signals
) -> None:
    signals.pause(0.01)
    send(number)
    began = time.monotonic()
    with pytest.raises(ToldToLeave, match=re.escape(f"{name_of(number)} during startup")) as told:
        signals.pause(30)
    assert time.monotonic() - began < 10
    assert told.value.exit_code == (128 + number if number in KILLS else 0)
    assert signals.read() == []


@pytest.mark.parametrize("number", sorted(set(HEEDED) - {signal.SIGPIPE}))
def test_no_signal_that_can_be_heeded_kills_without_a_word(
    signals: Signals, number: signal.Signals
) -> None:
    send(number)
    assert signals.read() == [number]


def test_a_hangup_means_leave_with_a_terminal_and_reload_without(
    signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    for has_terminal, meaning in ((True, DRAIN), (False, RELOAD)):
        monkeypatch.setattr(signals, "_has_terminal", has_terminal)
        assert signals.meaning(signal.SIGHUP) == meaning
    others = {number: signals.meaning(number) for number in HEEDED if number != signal.SIGHUP}
    assert others.pop(signal.SIGTERM) == DRAIN
    assert {others.pop(number) for number in KILLS} == {KILL}
    assert others.pop(signal.SIGUSR1) == STATE
    assert set(others.values()) == {NOTHING}


def test_what_nohup_ignores_stays_ignored_and_a_programs_own_handler_stays_its_own() -> None:
    came: list[int] = []
    before = {
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number)),
    }
    try:
        with Signals() as signals:
            send(signal.SIGHUP)
            send(signal.SIGUSR1)
            assert (signals.read(), came) == ([], [signal.SIGUSR1])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_what_was_held_back_arrives_when_it_is_heeded() -> None:
    with held_back():
        # To this thread: another one of the test runner's does not hold the signal back.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        with Signals() as signals:
            assert signals.read() == [signal.SIGINT]


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in HEEDED]
    with Signals():
        assert [signal.getsignal(number) for number in HEEDED] != before
    assert [signal.getsignal(number) for number in HEEDED] == before
