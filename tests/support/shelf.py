"""A lab's tables with a browser whose clock stands still: what people are shown, made by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import WorkerStatus
from plugin_scheduler.queries import Explanation, Filter, Queries
from plugin_scheduler.queries.views import TaskView
from plugin_scheduler.system.clock import TurnedClock
from support.kit import Lab

NOW = datetime(2026, 1, 31, 12, 0)


class Shelf:
    """Rows as a test needs them, and what is made of them."""

    def __init__(self, lab: Lab) -> None:
        self.db, self.clock = lab.db, TurnedClock(NOW)
        self.browser = self.browser_of("lab")

    def browser_of(self, application: str, known: tuple[str, ...] = ()) -> Queries:
        browser = Queries(self.db, Settings(), application, known, self.clock)
        browser._dialect.epoch = self.clock.epoch  # also where a server has a clock of its own
        return browser

    def task(self, **columns: Any) -> int:
        given = {"function_name": "add", "task_name": "add", "next_run_time": NOW, **columns}
        return int(self.db.scheduler_task.insert(**given))

    def worker(self, name: str = "w1", lives: float = 5, **columns: Any) -> None:
        """One that is there; w1 leads."""
        columns = {"group_names": ["main"], "status": WorkerStatus.ACTIVE, **columns}
        columns.setdefault("worker_stats", self.stats())
        columns.setdefault("is_ticker", name == "w1")
        until = self.clock.epoch() + lives
        self.db.scheduler_worker.insert(worker_name=name, lease_until=until, **columns)

    def stats(self, **more: Any) -> dict[str, Any]:
        return {"sleep": 1, "slots": 2, "application": "lab", **more}

    def view(self, task_id: int) -> TaskView:
        task = self.browser_of("").task(task_id)
        assert task is not None
        return task

    def obstacles(self, task_id: int) -> list[str]:
        return [str(one) for one in self.browser.obstacles(self.view(task_id))]

    def explain(self, task_id: int) -> Explanation:
        return self.browser.explain(self.view(task_id))

    def warnings(self, browser: Queries | None = None) -> list[str]:
        return [str(one.sentence) for one in (browser or self.browser).overview().warnings]

    def ids(self, **parts: Any) -> list[int]:
        return [task.id for task in self.browser.tasks(Filter(**parts)).items]
