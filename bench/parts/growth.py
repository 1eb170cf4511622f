"""Speed with more slots and more workers: this scheduler only, no-ops with kept results."""

from __future__ import annotations

from bench.peers import Peer
from bench.rounds import Bench, Found, all_cases

TITLE = "Tasks a second with more slots and workers"
METRIC = "rate"
#: case -> number of workers, and slots of each
CASES = {
    "1 slot": (1, 1),
    "2 slots": (1, 2),
    "4 slots": (1, 4),
    "8 slots": (1, 8),
    "2 workers of 2 slots": (2, 2),
    "4 workers of 2 slots": (4, 2),
}


def run(bench: Bench) -> None:
    def measure(case: str, name: str) -> Found:
        workers, slots = CASES[case]

        def start(peer: Peer) -> None:
            for _ in range(workers):
                peer.start(slots)

        return {"rate": ("tasks/s", bench.drain(name, "one", start=start))}

    ours = bench.peers(lambda found: found.name.startswith("ours"))
    bench.interleave("growth", all_cases(CASES, ours), measure)
