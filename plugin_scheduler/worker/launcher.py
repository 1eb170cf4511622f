"""Run one worker in this process, or several in processes of their own.

Several workers are watched: one that died is restarted; one that left on request, or whose
configuration is wrong, is not. Signals are passed on. The workers exit if their parent is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.log_events import log_event, logger, to_stderr
from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.system.processes import ended_how, start_entry, wait_status
from plugin_scheduler.system.signals import DRAIN, KILL, NOTHING, Signals
from plugin_scheduler.worker.shutdown import EXIT_NO_DATABASE
from plugin_scheduler.worker.startup import run_worker

Spec = tuple[Mapping[str, Any], Mapping[str, Any]]

PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds until a worker that died is restarted
STEADY = 60.0  # seconds of life after which the pauses are reset
DIED = 1  # exit code of a worker that failed
_LONG = 3600.0  # seconds between two checks when nothing happens


def launch(specs: Sequence[Spec]) -> int:
    """Run all workers until they exit; return the first nonzero exit code, or 0."""
    if len(specs) == 1:
        return run_worker(*specs[0])
    with Signals(signal.SIGCHLD) as signals:
        return _Children(specs, signals).work()


@dataclass
class _Child:
    """One worker of several."""

    spec: Spec
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    refused: int = 0  #: consecutive times that the system had no room for it
    starts_at: float | None = None  #: time of the next start; None if none is planned
    code: int = 0


class _Children:
    """The workers of one command."""

    def __init__(self, specs: Sequence[Spec], signals: Signals) -> None:
        self._signals, self._leaving, self._told = signals, False, False
        self._members = [_Child(spec, starts_at=0.0) for spec in specs]
        #: The other end closes when this process ends, for whatever reason.
        self._lifeline, self._end = os.pipe()

    def work(self) -> int:
        """Run until all workers have exited."""
        while True:
            self._start_those_due()
            waits = [one.starts_at for one in self._members if one.starts_at is not None]
            if not waits and not any(one.process for one in self._members):
                break
            self._signals.wait(max(0.0, min(waits, default=_LONG + self._now()) - self._now()))
            self._pass_on()
            self._look()
        return next((one.code for one in self._members if one.code), 0)

    def _now(self) -> float:
        return SYSTEM.monotonic()

    def _start_those_due(self) -> None:
        for one in self._members:
            if one.starts_at is not None and one.starts_at <= self._now():
                load = [logger.level, *one.spec]
                try:
                    one.process = start_entry("worker", [self._lifeline], load)
                except (OSError, MemoryError) as error:  # no room now; the other workers go on
                    if not one.refused:
                        log_event("start_failed", error=error)
                    one.starts_at = self._now() + PAUSES[min(one.refused, len(PAUSES) - 1)]
                    one.refused += 1
                    continue
                one.started, one.starts_at, one.refused = self._now(), None, 0

    def _pass_on(self) -> None:
        for number in self._signals.read():
            meaning = self._signals.meaning(number)
            if meaning == NOTHING:
                continue
            if meaning in (DRAIN, KILL):
                self._leave()
            if number == signal.SIGHUP and meaning == DRAIN:  # workers have no terminal
                if self._told:  # an exiting shell sends it twice
                    continue
                number = signal.SIGTERM
            self._told = self._told or meaning == DRAIN
            for one in self._members:
                if one.process is not None and one.process.poll() is None:
                    one.process.send_signal(number)

    def _leave(self) -> None:
        self._leaving = True
        for one in self._members:
            one.starts_at = None

    def _look(self) -> None:
        for one in self._members:
            if one.process is not None and one.process.poll() is not None:
                self._reap(one)
        if all(one.code == EXIT_NO_DATABASE and one.process is None for one in self._members):
            self._leave()  # no worker is left to hide that from a service manager

    def _reap(self, one: _Child) -> None:
        assert one.process is not None
        code, how = one.process.returncode, ended_how(wait_status(one.process))
        one.process, one.code = None, code if code >= 0 else 128 - code
        if self._leaving or (code >= 0 and code not in (DIED, EXIT_NO_DATABASE)):
            if code and not self._leaving:
                log_event("child_refused", how=how)
            return
        if self._now() - one.started >= STEADY:
            one.deaths = 0
        pause = PAUSES[min(one.deaths, len(PAUSES) - 1)]
        one.deaths += 1
        one.starts_at = self._now() + pause
        log_event("child_died", how=how, seconds=pause)


def work(lifeline: int, level: int, spec: Mapping[str, Any], overrides: Mapping[str, Any]) -> int:
    """Run one of several workers; return the exit code."""
    to_stderr(level)
    try:
        return run_worker(spec, overrides, lifeline=lifeline)
    except ConfigError as error:
        logger.error("%s", error)
        return 2
