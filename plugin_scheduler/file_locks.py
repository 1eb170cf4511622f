"""Tell which processes of this machine hold a lock on a file, as far as the system tells."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

LOCKS = "/proc/locks"


def holders_of(paths: Iterable[str]) -> set[int] | None:
    """The pids of those that hold a lock on one of these files; None where nothing tells."""
    inodes = set()
    for path in paths:
        with contextlib.suppress(OSError):  # a journal that is not there
            inodes.add(str(os.stat(path).st_ino))
    try:
        with open(LOCKS, encoding="ascii") as file:
            lines = [line.split() for line in file]
    except (OSError, ValueError):
        return None
    found = set()
    for words in lines:  # 1: POSIX ADVISORY WRITE 4711 08:01:1234 128 128; "->" where it waits
        if len(words) >= 6 and words[1] != "->" and words[5].rpartition(":")[2] in inodes:
            found.add(int(words[4]))
    return found
