"""How many tasks a second can be queued? No worker is there.

One by one, each with a commit (or an acknowledgement) of its own, as requests of an app do; and
many at once, in the quickest way that the product's manual offers.
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
            peer.enqueue_one("one")  # opens what is opened at first use
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
    """One by one, until there are enough or it has taken long enough; how many."""
    assert callable(enqueue_one)
    until = time.monotonic() + LIMIT
    for number in range(1, most + 1):
        enqueue_one("one")
        if time.monotonic() > until:
            return number
    return most
