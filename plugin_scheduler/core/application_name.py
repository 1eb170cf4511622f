"""Decide to which app a task belongs. `store.claim_conditions` has the same rule as SQL.

web2py writes ``app/controller`` as the application name of a task that a controller queued.
"""

from __future__ import annotations


def app_of(application_name: str | None) -> str:
    """Return the app of an application name.

    >>> app_of("shop"), app_of("shop/orders"), app_of(None)
    ('shop', 'shop', '')
    """
    return (application_name or "").partition("/")[0]


def belongs_to(application_name: str | None, app: str) -> bool:
    """Return True if tasks with that name belong to the app; each belongs to "", all apps.

    >>> belongs_to("shop/orders", "shop"), belongs_to("shop2", "shop"), belongs_to("shop", "")
    (True, False, True)
    """
    name = application_name or ""
    return not app or name == app or name.startswith(app + "/")
