"""Tasks a second from a full queue.

The clock stops when the database or the broker shows the end of the last task, not when its
function has returned. Two slots; ten for tasks that sleep.
"""

from __future__ import annotations

from bench.rounds import Bench, Found, all_cases

TITLE = "Tasks a second from a full queue"
METRIC = "rate"
#: case -> function, slots, whether results (or rows of tasks that have ended) are kept
CASES = {
    "no-op, result kept": ("one", 2, True),
    "no-op, no result": ("nothing", 2, False),
    "1 ms of CPU": ("spin", 2, False),
    "10 ms of sleep, 10 slots": ("nap", 10, False),
}


def run(bench: Bench) -> None:
    def measure(case: str, name: str) -> Found:
        work, slots, keep = CASES[case]
        return {"rate": ("tasks/s", bench.drain(name, work, keep, slots=slots))}

    bench.interleave("drain", all_cases(CASES, bench.peers()), measure)
