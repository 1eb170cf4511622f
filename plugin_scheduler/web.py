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

        Call it once when the app is loaded, after `auth.enable`. Without ``policy``, only users of
        py4web's dashboard have access.

        Parameters:
        - ``auth``: py4web's ``Auth`` object of the app.
        - ``policy``: gives users of ``auth`` access, too: a function that receives the user as a
          dict, and returns a role (``"view"``, ``"act"`` or ``"admin"``), or None for no access.
        - ``route``: the path of the pages below the app.
        - ``trusted_proxies``: addresses or networks of reverse proxies, such as ``"10.0.0.0/8"``.
          Scheme and host are read from their headers: a change must come from the pages' origin.

        Raises: ConfigError for a policy without auth, or an invalid address of a proxy.

        Source: the name is that of py4web's ``auth.enable``.

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
        """Convert database errors in a ``with`` block to StoreUnavailable, if a retry may succeed.

        >>> with scheduler.trouble():
        ...     row = scheduler.task_status(17)
        """
        return self._dialect.errors()

    def zone(self) -> str | None:
        """Return the time zone of all times in the tables, such as ``Europe/Berlin``.

        Returns: ``UTC`` or the setting ``time_zone``; without either, on a database server, the
        zone of the workers; None for the zone of this machine.

        >>> Scheduler(db, time_zone="Europe/Berlin").zone()
        'Europe/Berlin'
        """
        self.now()  # reads the workers' zone once a minute
        return self._dialect.zone
