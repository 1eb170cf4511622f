"""Inspect the state of a socket without network traffic.

Never reads the data that has arrived.
"""

from __future__ import annotations

import os
import select
import socket
from typing import Any


def has_news(line: Any, within: float = 0.0) -> bool:
    """Return True if data or a hangup has arrived, or arrives within ``within`` seconds."""
    return bool(_events(line, select.POLLIN, within))


def has_hung_up(line: Any) -> bool:
    """Return True if the peer itself has closed the connection.

    A firewall or proxy in between can only reset the connection or drop packets. Not every system
    can distinguish the two: without POLLRDHUP the result is False.
    """
    asked = getattr(select, "POLLRDHUP", 0)
    events = _events(line, asked)
    return bool(events & asked) and not events & select.POLLERR


def _events(line: Any, asked: int, within: float = 0.0) -> int:
    """Poll one descriptor. `select.select` fails with descriptors above 1023."""
    poll = select.poll()
    poll.register(line, asked)
    return sum(events for _, events in poll.poll(within * 1000))


def port_of(line: Any) -> int:
    """Return the local port; 0 for a socket without one, such as a Unix socket."""
    with socket.socket(fileno=os.dup(line.fileno())) as same:
        name = same.getsockname()
    return int(name[1]) if isinstance(name, tuple) else 0
