"""Tasks put into the tables of a site, for tests of pages that list them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from plugin_scheduler.core.types import TaskStatus
from support.pages_kit import Site


class Desk:
    """The tables of a site, emptied, and what is put there."""

    def __init__(self, site: Site) -> None:
        self.site, self.db = site, site.app.fresh()
        for name in ("scheduler_task_deps", "scheduler_run", "scheduler_task", "scheduler_history"):
            self.db(self.db[name]).delete()
        self.db.commit()

    def tasks(self, number: int, status: str = TaskStatus.QUEUED, **columns: Any) -> list[int]:
        now = self.site.app.scheduler.now()
        given = {
            "application_name": "lab",
            "function_name": "add",
            "status": status,
            "next_run_time": now + timedelta(days=1),
            **columns,
        }
        given.setdefault("task_name", given["function_name"])
        made = [int(self.db.scheduler_task.insert(**given)) for _ in range(number)]
        self.db.commit()
        return made

    def many(self, number: int, status: str) -> None:
        """Quickly."""
        columns = "uuid, status, group_name, function_name, task_name, application_name, enabled"
        rows = ", ".join(
            f"('{status}-{one}', '{status}', 'main', 'add', 'one of many', 'lab', 'T')"
            for one in range(number)
        )
        self.db.executesql(f"INSERT INTO scheduler_task ({columns}) VALUES {rows}")
        self.db.commit()

    def count(self, **columns: Any) -> int:
        db = self.site.app.fresh()
        query = db.scheduler_task.id > 0
        for name, value in columns.items():
            query &= db.scheduler_task[name] == value
        return int(db(query).count())
