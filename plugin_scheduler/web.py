"""Web pages: defines `Scheduler.enable`, which mounts the pages into an app.

Imports the controllers only when an app enables its pages, because only they need py4web.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from plugin_scheduler.database.dialects.base import Dialect


class Pages:
    """The methods of a scheduler that concern web pages."""

    if TYPE_CHECKING:
        now: Callable[[], datetime]
        _dialect: Dialect

    def enable(
        self,
        auth: Any = None,
        policy: Callable[[Mapping[str, Any]], Any] | None = None,
        route: str = "scheduler",
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        """Mount the management pages into the py4web app that calls this, at ``/<app>/scheduler``.

        By default only users of py4web's dashboard have access. ``policy`` admits users of the
        app's ``auth``, too: it receives the user as a dict, and returns a role (``"view"``,
        ``"act"`` or ``"admin"``), or None to hide the pages. Call it once, after `auth.enable`,
        when the app is loaded. ``trusted_proxies`` are the addresses or networks of reverse
        proxies. Their statements on scheme and host are accepted, because every change must come
        from the origin of the pages. Raises ConfigError for a policy without auth, or for an
        invalid address of a proxy.

        >>> scheduler.enable()
        >>> scheduler.enable(auth=auth, policy=lambda user: "act" if user["id"] == 1 else None)
        >>> scheduler.enable(trusted_proxies=["127.0.0.1"])
        """
        from plugin_scheduler.controllers import mount

        if policy is not None:
            with contextlib.suppress(AttributeError):  # not a function: it cannot be a task
                policy.not_a_task = True  # type: ignore[attr-defined]
        mount(self, auth, policy, route, trusted_proxies)

    def trouble(self) -> contextlib.AbstractContextManager[None]:
        """Turn database errors inside into StoreUnavailable, if a retry may succeed."""
        return self._dialect.errors()

    def zone(self) -> str | None:
        """Return the time zone of all times in the tables; None is this machine's."""
        self.now()  # on a server this is the workers' zone, read from time to time
        return self._dialect.zone
