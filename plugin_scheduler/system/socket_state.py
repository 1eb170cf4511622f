"""What can be seen of a connection without asking its other end?

I own three looks at a socket. I call nobody, and never read what came.
"""

from __future__ import annotations

import os
import select
import socket
from typing import Any


def has_news(line: Any, within: float = 0.0) -> bool:
    """True where the other end has said something, or hung up, or does so within some seconds."""
    return bool(_events(line, select.POLLIN, within))


def has_hung_up(line: Any) -> bool:
    """True where the other end itself has closed the connection. Who stands in between and keeps us
    out can only reset it, or drop what we say; not every system can tell these apart."""
    asked = getattr(select, "POLLRDHUP", 0)
    events = _events(line, asked)
    return bool(events & asked) and not events & select.POLLERR


def _events(line: Any, asked: int, within: float = 0.0) -> int:
    """(`select.select` does not take the many files of a large program.)"""
    poll = select.poll()
    poll.register(line, asked)
    return sum(events for _, events in poll.poll(within * 1000))


def port_of(line: Any) -> int:
    """Of our end; 0 where it has none, as a Unix socket."""
    with socket.socket(fileno=os.dup(line.fileno())) as same:
        name = same.getsockname()
    return int(name[1]) if isinstance(name, tuple) else 0
