"""A pool with real runners, without a worker around it."""

from __future__ import annotations

import selectors
from collections.abc import Callable

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.system.clock import SYSTEM
from support.kit import Lab, eventually


class Runners:
    """A pool with real processes, and nobody else."""

    def __init__(self, lab: Lab, source: str) -> None:
        lab.write_tasks(source)
        assert lab.db
        spec = {"kind": "file", "uri": lab.uri, "folder": str(lab.folder)}
        spec |= {"tasks": str(lab.folder / "tasks.py"), "settings": Settings().as_dict()}
        self.selector = selectors.DefaultSelector()
        self.pool = Pool({**spec, "overrides": {}}, self.selector, SYSTEM)
        self.pool.open()
        self.until(lambda: bool(self.pool.news().described))
        self.pool.staff(Settings(), spawns=False)

    def until(self, condition: Callable[[], object]) -> None:
        eventually(lambda: self.turn() or condition())

    def turn(self) -> None:
        for key, _ in self.selector.select(0.01):
            key.data()
        self.pool.enforce()

    def close(self) -> None:
        self.pool.close()
        self.selector.close()
