"""Tasks a second when each task has its own process.

`scheduler.py --runner-max-runs 1`, compared with RQ, whose workers always fork for each job. Two
slots.
"""

from __future__ import annotations

from bench.peers import Peer, find
from bench.rounds import Bench, Found, all_cases

TITLE = "Tasks a second, each in a process of its own"
METRIC = "rate"
CASES = {"no-op, result kept": "one", "1 ms of CPU": "spin"}


def run(bench: Bench) -> None:
    def measure(case: str, name: str) -> Found:
        rate = bench.drain(name, CASES[case], start=start)
        return {"rate": ("tasks/s", rate)}

    bench.interleave("processes", all_cases(CASES, bench.peers(forks)), measure)


def forks(peer: type[Peer]) -> bool:
    return peer.name == "rq" or find("ours") in peer.__mro__


def start(peer: Peer) -> None:
    peer.more_environment["SCHEDULER_RUNNER_MAX_RUNS"] = "1"
    peer.start(2)
