"""How did the work go? The numbers behind the charts, for every page that draws them.

I call browse. I never write.
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
    """The charts' numbers."""

    @site.data("api/charts")
    def scheduler_api_charts(visit: Visit) -> dict[str, Any]:
        """How the work went in the last ``span`` (hour, day or week), of all or of one
        ``function``, ``group`` or ``worker``: for each stretch of ``seconds`` how many runs
        completed and failed, how long they took and how long they were due and waited, on average
        and at most; null where nothing ran."""
        span = visit.query.get("span") or "hour"
        if span not in SPANS:
            raise BadTask(Sentence("span must be one of {spans}", spans=list(SPANS)))
        parts = {name: visit.query.get(name) for name in ("function", "group", "worker")}
        seen = visit.browser.charts(span, **{name: one or None for name, one in parts.items()})
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
