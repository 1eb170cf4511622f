"""Tasks queued a second, without a worker.

One by one, each with its own commit (or acknowledgement), as in the requests of an app; and in
bulk, in the fastest way that the product's manual offers.
"""

from __future__ import annotations

import time

from bench.peers import a_peer, find
from bench.rounds import Bench, Found, all_cases

TITLE = "Tasks a second queued"
METRIC = "rate"
SINGLE, BULK = "one by one", "in bulk"
LIMIT = 2.0  # seconds


def run(bench: Bench) -> None:
    def measure(case: str, name: str) -> Found:
        with a_peer(find(name), bench.places) as peer:
            peer.enqueue_one("one")  # opens the connections
            begun = time.monotonic()
            done = bench.tasks
            if case == BULK:
                peer.enqueue(done, "one")
            else:
                done = singles(peer.enqueue_one, done)
            return {"rate": ("tasks/s", done / (time.monotonic() - begun))}

    with_bulk = bench.peers(lambda found: found.has_bulk)
    cases = all_cases([SINGLE], bench.peers()) + all_cases([BULK], with_bulk)
    bench.interleave("enqueue", cases, measure)


def singles(enqueue_one: object, most: int) -> int:
    """Queue tasks one by one, up to a number or a time limit; return how many."""
    assert callable(enqueue_one)
    until = time.monotonic() + LIMIT
    for number in range(1, most + 1):
        enqueue_one("one")
        if time.monotonic() > until:
            return number
    return most
