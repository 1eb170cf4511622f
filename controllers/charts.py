"""Numbers for charts, for every page that draws them.

Does not write.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from plugin_scheduler.controllers.web.request_context import Visit
from plugin_scheduler.controllers.web.routing import Site

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.settings import UTC
from plugin_scheduler.queries.charts import SPANS, Bucket
from plugin_scheduler.system.clock import SYSTEM, instant


def mount(site: Site) -> None:
    """Register the charts' numbers."""

    @site.data("api/charts")
    def scheduler_api_charts(visit: Visit) -> dict[str, Any]:
        """Return the numbers of the last ``span`` (hour, day or week), of all runs or of one
        ``function``, ``group`` or ``worker``: for each interval of ``seconds`` the completed and
        failed runs, and their run time and queue time, mean and maximum; null where nothing ran."""
        span = visit.query.get("span") or "hour"
        if span not in SPANS:
            raise BadTask(Sentence("span must be one of {spans}", spans=list(SPANS)))
        parts = {name: visit.query.get(name) for name in ("function", "group", "worker")}
        seen = visit.queries.charts(span, **{name: one or None for name, one in parts.items()})
        return {
            "span": seen.span,
            "seconds": seen.seconds,
            "completed": seen.completed,
            "failed": seen.failed,
            "buckets": [_plain(one) for one in seen.buckets],
        }


def _plain(bucket: Bucket) -> dict[str, Any]:
    at = instant(SYSTEM.at(bucket.at, UTC), UTC)
    return {**asdict(bucket), "at": at.isoformat(timespec="seconds")}
