"""Time that a task waits for a worker that is half busy.

As in `latency`, while another process queues tasks that sleep 10 ms, at a constant rate: a hundred
a second, which keeps one of two slots busy, or half of the peer's maximum rate if that is less.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from bench.parts.latency import delays, samples
from bench.peers import ROOT, Peer, a_peer, end, find
from bench.rounds import Bench, Found, all_cases, rate

TITLE = "The same under half load"
METRIC = "delay"
MOST = 100.0  # tasks a second


def run(bench: Bench) -> None:
    def measure(case: str, name: str) -> Found:
        with a_peer(find(name), bench.places, keep=False) as peer:
            count = 2 * peer.pilot
            peer.enqueue(count, "nap")
            peer.start()
            able = rate(peer, count)
            load = min(MOST, able / 2)
            with a_feeder(name, peer, load):
                found = delays(peer, samples(bench))
            return {"delay": ("ms", found), "load": ("tasks/s", load)}

    bench.interleave("load", all_cases(["half load"], bench.peers()), measure)


@contextlib.contextmanager
def a_feeder(name: str, peer: Peer, load: float) -> Iterator[None]:
    place = [peer.place.kind, peer.place.folder, peer.place.uri]
    command = [sys.executable, "-W", "ignore", "-m", "bench.feed", name, *place, str(load)]
    feeder = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        yield
        assert feeder.poll() is None, "the process that queues ended by itself"
    finally:
        feeder.terminate()
        end(feeder)
