"""Does this request come from a page of ours?

I own the token and the question of origin. I know nothing of roles. Both must hold for every
change: the token, because another site cannot read it, and the origin, because a token may leak.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

HEADER, FIELD = "X-Scheduler-Token", "_token"


class Refused(Exception):
    """The request was not made by a page of ours; says what to do."""


def token_of(session: Any, name: str) -> str:
    """The token of this browser and person; a new one where there is none yet."""
    if session.get("whose") != name or not session.get("token"):
        session["whose"], session["token"] = name, secrets.token_urlsafe(24)
    return str(session.get("token"))


def check(session: Any, headers: Mapping[str, str], given: Mapping[str, Any], host: str) -> None:
    """Refused where the token is not this browser's, or where another site sent the request."""
    if not _same_origin(headers, host):
        raise Refused("This request came from another site.")
    shown = headers.get(HEADER) or given.get(FIELD)
    known = session.get("token")
    if not known or not isinstance(shown, str) or not _same(shown, known):
        raise Refused("This page is too old: reload it, and try again.")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())


def _same_origin(headers: Mapping[str, str], host: str) -> bool:
    """What the browser says of where the request comes from; one who says nothing is no browser
    that could be misled, but none of our pages either."""
    site = headers.get("Sec-Fetch-Site")
    origin = headers.get("Origin") or headers.get("Referer")
    if site and site != "same-origin":
        return False
    return bool(origin) and _host_of(origin).lower() == host.lower()


def _host_of(address: str | None) -> str:
    try:
        return urlsplit(address or "").netloc
    except ValueError:  # no address at all
        return ""
