"""CSRF protection: checks that a request comes from one of these pages.

Every change needs both a token, because another site cannot read it, and the right origin, because
a token may leak. Does not know about roles.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from plugin_scheduler.core.errors import ConfigError

HEADER, FIELD = "X-Scheduler-Token", "_token"
PORTS = {"http": 80, "https": 443}
MAPPED_BITS = 96  # of an IPv6 address, before the IPv4 address mapped into it

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refused(Exception):
    """The request was not made by one of these pages; the message says what to do."""


def token_of(session: Any, name: str) -> str:
    """Return the token of this browser and person; create one if there is none."""
    if session.get("whose") != name or not session.get("token"):
        session["whose"], session["token"] = name, secrets.token_urlsafe(24)
    return str(session.get("token"))


def check(session: Any, headers: Mapping[str, str], given: Mapping[str, Any], own: str) -> None:
    """Raise Refused if the token is not this browser's, or if another site sent the request;
    ``own`` is the origin of these pages."""
    site = headers.get("Sec-Fetch-Site")
    if site and site != "same-origin":
        raise Refused("The request came from another site.")
    if not _same_origin(headers, own):
        raise Refused(
            "The request came from another site, or through a reverse proxy that the app does not "
            'trust. To trust a proxy: scheduler.enable(trusted_proxies=["127.0.0.1"])'
        )
    shown = headers.get(HEADER) or given.get(FIELD)
    known = session.get("token")
    if not known or not isinstance(shown, str) or not _same(shown, known):
        raise Refused("This page is out of date. Reload it and try again.")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())


def networks(trusted_proxies: Iterable[str]) -> tuple[Network, ...]:
    """Parse addresses and networks of proxies; raise ConfigError for an invalid one.

    >>> networks(["127.0.0.1", "10.0.0.0/8"])
    (IPv4Network('127.0.0.1/32'), IPv4Network('10.0.0.0/8'))
    """
    try:
        if isinstance(trusted_proxies, str):
            raise ValueError("a text")
        return tuple(_as_version_4(ipaddress.ip_network(one)) for one in trusted_proxies)
    except (TypeError, ValueError) as error:
        what = "trusted_proxies must be a list of addresses or networks, such as"
        raise ConfigError(f'{what} ["127.0.0.1", "10.0.0.0/8"]: {error}') from None


def _as_version_4(network: Network) -> Network:
    """Return the IPv4 network of a network of mapped addresses (::ffff:10.0.0.0/104)."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < MAPPED_BITS:
        return network
    return ipaddress.ip_network((mapped, network.prefixlen - MAPPED_BITS))


def own_origin(environ: Mapping[str, Any], trusted: Iterable[Network] = ()) -> str:
    """Return the scheme and host by which the browser reached these pages. Forwarding headers
    (X-Forwarded-Proto, X-Forwarded-Host) count only if a trusted proxy sent them."""
    scheme = str(environ.get("wsgi.url_scheme") or "http")
    host = str(environ.get("HTTP_HOST") or environ.get("SERVER_NAME") or "")
    if _is_among(str(environ.get("REMOTE_ADDR") or ""), trusted):
        scheme = _nearest(environ.get("HTTP_X_FORWARDED_PROTO")) or scheme
        host = _nearest(environ.get("HTTP_X_FORWARDED_HOST")) or host
    return f"{scheme}://{host}"


def _is_among(address: str, trusted: Iterable[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A dual-stack socket reports IPv4 addresses as ::ffff:127.0.0.1.
    forms = [found, getattr(found, "ipv4_mapped", None) or found]
    return any(form in network for form in forms for network in trusted)


def _nearest(header: Any) -> str:
    """Return the value of the nearest proxy: each proxy appends its own."""
    return str(header or "").rpartition(",")[2].strip()


def _same_origin(headers: Mapping[str, str], own: str) -> bool:
    """Compare the browser's statement of the origin.

    A client without a statement is not a browser that could be misled, but not one of these pages
    either.
    """
    sender = _origin_of(headers.get("Origin") or headers.get("Referer"))
    return sender is not None and sender == _origin_of(own)


def _origin_of(address: str | None) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port; None for an invalid address."""
    try:
        found = urlsplit(address or "")
        port = found.port or PORTS.get(found.scheme)
    except ValueError:  # an invalid address
        return None
    if found.scheme not in PORTS or not found.hostname:
        return None
    return found.scheme, found.hostname, port
