"""Time that a task waits for an idle worker.

From the return of the commit (or of the call that queues the task) to the first statement of the
task's function, which writes the time into a file. Pauses between tasks are random. A negative
value means that the task began before the call returned.
"""

from __future__ import annotations

import contextlib
import random
import time

from bench.peers import Peer, a_peer, find
from bench.rounds import Bench, Found, all_cases

TITLE = "From the commit to the task's first statement"
METRIC = "delay"
SAMPLES = 100  # minimum for all rounds together
PAUSES = (0.05, 0.6)  # seconds


def run(bench: Bench) -> None:
    def measure(case: str, name: str) -> Found:
        with a_peer(find(name), bench.places, keep=False) as peer:
            peer.start()
            return {"delay": ("ms", delays(peer, samples(bench)))}

    bench.interleave("latency", all_cases(["idle worker"], bench.peers()), measure)


def samples(bench: Bench) -> int:
    return -(-SAMPLES // bench.rounds) if bench.tasks >= SAMPLES else bench.tasks


def delays(peer: Peer, count: int) -> list[float]:
    """Return milliseconds. The first start is excluded, because the worker is not idle then."""
    return [delay(peer) * 1000 for _ in range(count + 1)][1:]


def delay(peer: Peer) -> float:
    time.sleep(random.uniform(*PAUSES))
    before = len(stamps(peer))
    peer.enqueue_one("stamp")
    committed = time.time()
    peer.wait(lambda: len(stamps(peer)) > before, 30, pause=0.005)
    return stamps(peer)[-1] - committed


def stamps(peer: Peer) -> list[float]:
    """Return the complete lines."""
    with contextlib.suppress(FileNotFoundError):
        return [float(line) for line in peer.stamps.read_text().split("\n")[:-1]]
    return []
