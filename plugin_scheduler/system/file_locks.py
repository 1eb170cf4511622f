"""Find the processes of this machine that hold a lock on a file, where the system tells."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

LOCKS = "/proc/locks"


def holders_of(paths: Iterable[str]) -> set[int] | None:
    """Return the pids of the processes that lock one of these files; None where unknown.

    In write-ahead mode each open connection holds a read lock, so only write locks count there.
    """
    paths = list(paths)
    is_ahead = any(path.endswith("-shm") and os.path.exists(path) for path in paths)
    inodes = set()
    for path in paths:
        with contextlib.suppress(OSError):  # the journal does not exist
            inodes.add(str(os.stat(path).st_ino))
    try:
        with open(LOCKS, encoding="ascii") as file:
            lines = [line.split() for line in file]
    except (OSError, ValueError):
        return None
    found = set()
    for words in lines:  # 1: POSIX ADVISORY WRITE 4711 08:01:1234 128 128; "->" marks a waiter
        if len(words) < 6 or words[1] == "->" or words[5].rpartition(":")[2] not in inodes:
            continue
        if words[3] == "WRITE" or not is_ahead:
            found.add(int(words[4]))
    return found
