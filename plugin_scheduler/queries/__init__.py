"""Read-only queries behind the command line and the web pages.

Each module reads one thing (`tasks`, `explain`, `overview`, ...); `base` is their common base.
Queries never write, never end a transaction, and do not decide colours or layout.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from plugin_scheduler.core.registry import Home
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.models import TABLES
from plugin_scheduler.queries.base import AppData, Source
from plugin_scheduler.queries.charts import Charts as Charts
from plugin_scheduler.queries.charts import Counts
from plugin_scheduler.queries.charts import Usual as Usual
from plugin_scheduler.queries.dependencies import Link as Link
from plugin_scheduler.queries.dependencies import Links
from plugin_scheduler.queries.explain import Condition as Condition
from plugin_scheduler.queries.explain import Explanation as Explanation
from plugin_scheduler.queries.explain import Explanations
from plugin_scheduler.queries.failures import FailedRuns
from plugin_scheduler.queries.failures import Failures as Failures
from plugin_scheduler.queries.graphs import Graphs
from plugin_scheduler.queries.overview import Overview as Overview
from plugin_scheduler.queries.overview import Overviews
from plugin_scheduler.queries.runs import Piece as Piece
from plugin_scheduler.queries.runs import RunDetail as RunDetail
from plugin_scheduler.queries.runs import Runs
from plugin_scheduler.queries.schedule import Schedules
from plugin_scheduler.queries.task_filter import CappedCount as CappedCount
from plugin_scheduler.queries.task_filter import Filter as Filter
from plugin_scheduler.queries.task_filter import Listing as Listing
from plugin_scheduler.queries.tasks import TaskQueries
from plugin_scheduler.queries.timeline import Timelines
from plugin_scheduler.queries.warnings import Notice as Notice
from plugin_scheduler.queries.workers import Staff as Staff
from plugin_scheduler.queries.workers import Workforce
from plugin_scheduler.system.clock import SYSTEM, Clock


class Queries(Source):
    """The tasks, runs and workers of one app; of all apps in the database if its name is "".

    Each part answers for one subject; its methods are those of this class, too.

    >>> queries = Queries.of(scheduler)
    >>> queries.tasks(Filter(status=("FAILED",))).items
    [TaskView(id=7, ...)]
    """

    def __init__(
        self,
        db: Any,
        settings: Settings,
        application: str = "",
        known: Collection[str] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        app = AppData.of(db, settings, application, known, clock)
        super().__init__(app)
        self._of_tasks(TaskQueries(app), Links(app), Graphs(app))
        self._of_runs(Runs(app), FailedRuns(app), Counts(app))
        self._of_workers(Workforce(app), Timelines(app))
        self._of_health(Overviews(app), Explanations(app))
        self.schedules = Schedules(app)
        self.repeating, self.one_offs = self.schedules.repeating, self.schedules.one_offs
        self.next_hours, self.next_days = self.schedules.next_hours, self.schedules.next_days

    @classmethod
    def of(cls, home: Home) -> Queries:
        """Return the queries on an app's scheduler."""
        return cls(home.db, home.settings, home.application_name, home.catalog.names())

    def _of_tasks(self, listing: TaskQueries, links: Links, graphs: Graphs) -> None:
        self.listing = listing
        self.tasks, self.task, self.some = listing.tasks, listing.task, listing.some
        self.listed, self.count, self.ids = listing.listed, listing.count, listing.ids
        self.newest_id = listing.newest_id
        self.waits_for, self.waited_by = links.waits_for, links.waited_by
        self.jobs, self.graph_of, self.graph_of_job = (
            graphs.jobs,
            graphs.graph_of,
            graphs.graph_of_job,
        )

    def _of_runs(self, runs: Runs, failed: FailedRuns, counts: Counts) -> None:
        self.run, self.runs, self.run_ids = runs.run, runs.runs, runs.run_ids
        self.latest_run, self.output = runs.latest_run, runs.output
        self.whole_output, self.whole_result = runs.whole_output, runs.whole_result
        self.failures, self.failed_like = failed.failures, failed.failed_like
        self.charts, self.usual = counts.charts, counts.usual

    def _of_workers(self, workforce: Workforce, timelines: Timelines) -> None:
        self.staff, self.timeline = workforce.staff, timelines.timeline

    def _of_health(self, overviews: Overviews, explanations: Explanations) -> None:
        self.overviews, self.explanations = overviews, explanations
        self.overview, self.warnings = overviews.overview, overviews.warnings
        self.odd_statuses, self.unreadable = overviews.odd_statuses, overviews.unreadable
        self.condemned, self.ids_left = overviews.condemned, overviews.ids_left
        self.runs_without_task = overviews.runs_without_task
        self.dependencies_without_task = overviews.dependencies_without_task
        self.held_without_worker = overviews.held_without_worker
        self.explain, self.obstacles = explanations.explain, explanations.obstacles
        self.ahead_of = explanations.ahead_of


def touch(db: Any) -> None:
    """Read a row of each table; raise the driver's error if a table or a column is missing.

    Values are not checked: a row that was edited by hand does not count as a missing table.
    """
    for name in TABLES:
        fields = list(db[name])
        db.executesql(db(db[name], ignore_common_filters=True)._select(*fields, limitby=(0, 1)))
