"""Speed beside many other rows.

The drain of no-ops with kept results, beside 100,000 tasks that are due tomorrow, that have ended,
or that belong to another group (queue, entrypoint). Only products that keep such tasks in the
tables of a database server, and this scheduler, are measured. The planner's statistics are fresh
(ANALYZE).
"""

from __future__ import annotations

from bench.peers import Peer
from bench.rounds import Bench, Found, all_cases

TITLE = "Tasks a second beside 100,000 other rows"
METRIC = "rate"
OTHERS = 100_000
NONE = "none"


def run(bench: Bench) -> None:
    others = OTHERS if bench.tasks >= 1000 else 10 * bench.tasks

    def measure(case: str, name: str) -> Found:
        def fill(peer: Peer) -> None:
            if case != NONE:
                peer.add_others(case, others)

        return {"rate": ("tasks/s", bench.drain(name, "one", before=fill))}

    names = list(bench.peers(lambda found: bool(found.others)))
    for name in bench.peers(lambda found: not found.others):
        bench.skip("backlog", "", name, "no such rows among those that a worker looks at")
    bench.interleave(
        "backlog", all_cases([NONE, "tomorrow", "finished", "elsewhere"], names), measure
    )
