"""Authentication and roles: who the user is, and what the user may do.

Uses the given sessions, and accesses a database only through the app's own ``auth``. Access is
denied by default: an unknown user has no role.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from plugin_scheduler.core.errors import ConfigError

VIEW, ACT, ADMIN = "view", "act", "admin"
ROLES = (VIEW, ACT, ADMIN)
DASHBOARD = "dashboard"  # the dashboard's user: it has one password, and no names
#: The role of a login to py4web's dashboard, by its mode. In demo mode, login is open to all.
BY_MODE = {"full": ADMIN, "readonly": VIEW}

Policy = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Person:
    """A user of the pages: a name for the history, and a role."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Return True if the person has that role or a higher one."""
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def can_act(self) -> bool:
        return self.may(ACT)

    @property
    def can_admin(self) -> bool:
        return self.may(ADMIN)


class Door:
    """Admits users of the dashboard, and users to whom the app's policy gives a role."""

    def __init__(self, dashboard: Any, auth: Any, policy: Policy | None) -> None:
        self._dashboard, self._auth, self._policy = dashboard, auth, policy
        if policy is not None and auth is None:
            raise ConfigError("policy= gives roles to the users of auth=: pass both")

    def person(self) -> Person | None:
        """Return the user, or None for a stranger. With two logins, the higher role counts."""
        known = [one for one in (self._of_policy(), self._of_dashboard()) if one]
        return max(known, key=lambda one: ROLES.index(one.role), default=None)

    def _of_dashboard(self) -> Person | None:
        role = BY_MODE.get(os.environ.get("PY4WEB_DASHBOARD_MODE", "none"))
        user = self._dashboard.get("user") if role else None
        return Person(DASHBOARD, role) if role and isinstance(user, dict) and "id" in user else None

    def _of_policy(self) -> Person | None:
        user = self._auth.get_user() if self._auth is not None and self._policy else None
        if not user or self._policy is None:
            return None
        role = self._policy(user)
        if not role:
            return None
        if role not in ROLES:
            raise ConfigError(
                f"policy returned {role!r}; it must return one of {', '.join(ROLES)}, or None"
            )
        return Person(name_of(user), role)


def name_of(user: Mapping[str, Any]) -> str:
    """Return the name of an app's user in the history.

    >>> name_of({"id": 3, "email": "ann@example.com"})
    'ann@example.com'
    """
    return str(user.get("username") or user.get("email") or f"user {user.get('id')}")
