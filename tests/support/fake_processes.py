"""Fake runners with process ids, so that signals and deaths can be tested without processes."""

from __future__ import annotations

import pytest

from plugin_scheduler.core.reasons import code_of
from plugin_scheduler.execution import pool, runner_handle
from plugin_scheduler.execution.runner_handle import RunnerHandle
from support.fake_forkserver import FakeForkserver
from support.fake_runners import NO_PROCESS, FakeRunner, FakeRunners


class Processes(FakeRunners):
    """Fake runners with process ids; signals to them are recorded and not sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.signals: list[tuple[str, int]] = []
        monkeypatch.setattr(pool, "warn_runner", lambda pid: self._note("TERM", pid))
        for module in (pool, runner_handle):
            monkeypatch.setattr(module, "end_group", lambda pid: self._note("KILL", pid))

    def _note(self, name: str, pid: int) -> None:
        if (name, pid) not in self.signals:
            self.signals.append((name, pid))

    def start(self) -> tuple[FakeRunner, RunnerHandle]:
        """Return a ready runner with a process id."""
        fake, runner = self.join()
        runner.pid = NO_PROCESS + len(self.fakes)
        return fake, runner

    def begin(self, run_id: int, **columns: object) -> tuple[FakeRunner, RunnerHandle]:
        """Return a runner that executes a run with this number."""
        fake, runner = self.start()
        self.hand_out(run_id, **columns)
        assert fake.begin().run_id == run_id
        self.turn()
        return fake, runner

    def connect_forkserver(self) -> FakeForkserver:
        """Return the other end of the pool's forkserver."""
        return FakeForkserver(self.open_forkserver())

    def die(self, fake: FakeRunner, runner: RunnerHandle, status: int = 9) -> None:
        """Let the process of a runner end with this wait status."""
        fake.channel.abandon()
        assert runner.pid is not None
        self.pool._note_death(runner.pid, status)
        self.turn()


def reason_of(runners: Processes) -> str | None:
    """The code of why the last run ended."""
    return code_of(runners.results[-1].reason)
