"""The way from an app to its pages.

I own `Scheduler.enable`. I call controllers, and only when an app asks for its pages: py4web is
needed for them, and for nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from plugin_scheduler.database.dialects.base import Dialect


class Pages:
    """The part of a scheduler that has web pages."""

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

        Closed by default: whoever is logged in to py4web's dashboard is let in. ``policy`` lets in
        users of the app's ``auth``, too: it is given the user as a dict, and answers with a role
        (``"view"``, ``"act"`` or ``"admin"``), or with None for whom the pages do not exist. Call
        it after `auth.enable`, once, where the app is loaded. ``trusted_proxies`` are the addresses
        or networks of reverse proxies: what those say of scheme and host is believed, as every
        change must come from the origin of the pages. ConfigError where only a policy is given, or
        where a proxy is no address.

        >>> scheduler.enable()
        >>> scheduler.enable(auth=auth, policy=lambda user: "act" if user["id"] == 1 else None)
        >>> scheduler.enable(trusted_proxies=["127.0.0.1"])
        """
        from plugin_scheduler.controllers import mount

        if policy is not None:
            with contextlib.suppress(AttributeError):  # no function: it cannot be taken for a task
                policy.not_a_task = True  # type: ignore[attr-defined]
        mount(self, auth, policy, route, trusted_proxies)

    def trouble(self) -> contextlib.AbstractContextManager[None]:
        """Errors of the database inside become StoreUnavailable, where the same may work later."""
        return self._dialect.errors()

    def zone(self) -> str | None:
        """The name of the zone of all times in the tables; None is this machine's."""
        self.now()  # on a server it is the workers' zone, and asked for now and then
        return self._dialect.zone
