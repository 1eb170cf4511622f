"""Read-only queries behind the command line and the web pages.

Each module reads one thing (`tasks`, `explain`, `overview`, ...); `base` is their common base.
Queries never write, never end a transaction, and do not decide colours or layout.
"""

from __future__ import annotations

from typing import Any

from plugin_scheduler.models import TABLES
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


class Queries(
    Workforce,
    TaskQueries,
    Runs,
    Links,
    FailedRuns,
    Explanations,
    Overviews,
    Schedules,
    Graphs,
    Timelines,
    Counts,
):
    """The tasks, runs and workers of one app; of all apps in the database if its name is "".

    >>> queries = Queries.of(scheduler)
    >>> queries.tasks(Filter(status=("FAILED",))).items
    [TaskView(id=7, ...)]
    """


def touch(db: Any) -> None:
    """Read a row of each table; raise the driver's error if a table or a column is missing.

    Values are not checked: a row that was edited by hand does not count as a missing table.
    """
    for name in TABLES:
        fields = list(db[name])
        db.executesql(db(db[name], ignore_common_filters=True)._select(*fields, limitby=(0, 1)))
