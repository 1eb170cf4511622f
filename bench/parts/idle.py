"""Cost of an idle worker.

During 20 seconds: the CPU time of all its processes in percent of one core; the queries to the
server in a minute (transactions of PostgreSQL, queries and changes of MariaDB, commands of Redis;
not counted for SQLite); and the memory of all its processes, with shared pages counted once (PSS).
"""

from __future__ import annotations

import time

from bench.peers import Peer, a_peer, find
from bench.rounds import Bench, Found, all_cases

TITLE = "An idle worker"
METRIC = "cpu"
SECONDS, SETTLE, MOST_ROUNDS = 20.0, 12.0, 3


def run(bench: Bench) -> None:
    seconds = SECONDS if bench.tasks >= 1000 else SECONDS / 4

    def measure(case: str, name: str) -> Found:
        with a_peer(find(name), bench.places) as peer:
            peer.enqueue(2, "one")
            peer.start()
            peer.wait_until_done()
            time.sleep(SETTLE)
            return watch(bench, peer, seconds)

    rounds = min(bench.rounds, MOST_ROUNDS)
    bench.interleave("idle", all_cases(["idle worker"], bench.peers()), measure, rounds)


def watch(bench: Bench, peer: Peer, seconds: float) -> Found:
    asked, before, begun = bench.places.asked(peer.place), cpu_times(peer), time.monotonic()
    time.sleep(seconds)
    took, after = time.monotonic() - begun, cpu_times(peer)
    used = sum(spent - before.get(pid, 0.0) for pid, spent in after.items())
    found: Found = {
        "cpu": ("% of a core", 100 * used / took),
        "memory": ("MiB", sum(one.memory_full_info().pss for one in peer.family()) / 2**20),
        "processes": ("", float(len(peer.family()))),
    }
    if asked is not None:
        more = (bench.places.asked(peer.place) or 0) - asked - bench.places.own(peer.place)
        found["queries"] = ("a minute", more * 60 / took)
    return found


def cpu_times(peer: Peer) -> dict[int, float]:
    return {one.pid: sum(one.cpu_times()[:2]) for one in peer.family()}
