"""Queue tasks that sleep 10 ms, at a constant rate, until terminated: a process of the part
`load`."""

from __future__ import annotations

import sys
import time

from bench.peers import find
from bench.places import Place


def main() -> None:
    name, kind, folder, uri, load = sys.argv[1:]
    peer = find(name)(Place(kind, folder, uri), keep=False)
    peer.connect()
    due = time.monotonic()
    while True:
        peer.enqueue_one("nap")
        due += 1 / float(load)
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
