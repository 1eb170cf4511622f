"""The web pages: py4web actions that `Scheduler.enable` mounts into an app.

Lists the pages. Each module has the actions of one page; `web.routing` is common to all. Receives a
scheduler as an argument, and never imports its module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from plugin_scheduler.controllers import (
    audit_log,
    bulk_actions,
    charts,
    enqueue,
    explain,
    failures,
    graph,
    overview,
    run,
    schedule,
    task,
    tasks,
    timeline,
    workers,
)
from plugin_scheduler.controllers.web.auth import Policy
from plugin_scheduler.controllers.web.routing import Site

PAGES = (
    overview,
    tasks,
    task,
    run,
    enqueue,
    explain,
    failures,
    schedule,
    timeline,
    graph,
    workers,
    charts,
    audit_log,
    bulk_actions,
)


def mount(
    scheduler: Any,
    auth: Any,
    policy: Policy | None,
    route: str,
    trusted_proxies: Iterable[str] = (),
) -> Site:
    """Register every page as an action of the app that is being loaded."""
    site = Site(scheduler, auth, policy, route.strip("/"), trusted_proxies)
    site.serve_static()
    for page in PAGES:
        page.mount(site)
    return site
