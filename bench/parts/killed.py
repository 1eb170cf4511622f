"""Cost of a killed runner, for products that run tasks in a pool of processes or in a process each.

"The next start": one slot; the process that runs a task is killed (SIGKILL), and the clock runs
until the next task's first statement. "A kill every second": a full queue of tasks of 1 ms of CPU,
two slots, and every second one of the processes that run tasks is killed, compared with the same
queue without kills. A killed task counts as done, because each product treats it differently: this
scheduler and RQ mark it as failed, Celery drops it.
"""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import psutil

from bench.peers import Peer, a_peer, find
from bench.rounds import Bench, Found, all_cases

TITLE = "The cost of a killed runner"
METRIC = "rate"
START, QUIET, KILLS = "the next start", "no kills", "a kill every second"
PEERS = ("ours", "ours-postgres", "ours-mysql", "rq", "celery")
EVERY = 1.0  # seconds
STARTS = 5  # kills in a turn
PAUSE, PATIENCE = 0.3, 20.0  # seconds of work between two kills; time limit for a start
DEPTH = {"rq": 2}  # depth of the processes that run tasks; other products: leaves


def run(bench: Bench) -> None:
    def measure(case: str, name: str) -> Found:
        with a_peer(find(name), bench.places) as peer:
            if case == START:
                return {"delay": ("ms", next_starts(peer, bench.tasks))}
            return drain(peer, bench.tasks, EVERY if case == KILLS else None)

    names = bench.peers(lambda found: found.name in PEERS)
    bench.interleave("killed", all_cases((START, QUIET, KILLS), names), measure)


# -- the next start --------------------------------------------------------------------------------


def next_starts(peer: Peer, tasks: int) -> list[float]:
    """Return the milliseconds from each kill to the next start. The tasks that are killed sleep
    10 ms, and only the tasks between them report their start, so a value may be one sleep too
    long."""
    for _ in range(min(1_000, max(100, tasks // 2))):
        peer.enqueue_one("nap")
        peer.enqueue_one("stamp")
    peer.start(1)
    return [next_start(peer) for _ in range(STARTS if tasks >= 1_000 else 1)]


def next_start(peer: Peer) -> float:
    begun = len(stamps(peer.stamps))
    peer.wait(lambda: len(stamps(peer.stamps)) > begun, PATIENCE)
    time.sleep(PAUSE)
    while not kill_one(peer):
        time.sleep(0.001)
    killed = time.time()
    peer.wait(lambda: stamps(peer.stamps)[-1] > killed, PATIENCE, pause=0.002)
    return 1000 * (next(at for at in stamps(peer.stamps) if at > killed) - killed)


def stamps(path: Path) -> list[float]:
    """Return the complete lines: the last line may be incomplete."""
    text = path.read_text() if path.exists() else ""
    return [float(line) for line in text.split("\n")[:-1]]


# -- a kill every second ---------------------------------------------------------------------------


def drain(peer: Peer, count: int, every: float | None) -> Found:
    """Return the tasks a second from the first that ended to the last, and the number of kills."""
    peer.enqueue(count, "spin")
    peer.start()
    peer.wait(lambda: left(peer) <= 0.9 * count)
    begun, first = time.monotonic(), left(peer)
    kills, due = 0, begun + every / 2 if every else float("inf")

    def seen() -> bool:
        nonlocal kills, due
        if time.monotonic() >= due and kill_one(peer):
            kills, due = kills + 1, due + (every or 0.0)
        return not left(peer)

    peer.wait(seen, pause=0.03)
    rate = first / max(time.monotonic() - begun, 1e-6)
    return {"rate": ("tasks/s", rate), "kills": ("", float(kills))}


def left(peer: Peer) -> int:
    """Return the number of tasks that will still run. With this scheduler, killed tasks stay in
    the table as failed."""
    if not peer.name.startswith("ours"):
        return peer.left()
    task, db = peer.db.scheduler_task, peer.db  # type: ignore[attr-defined]
    count = db(task.status.belongs(("QUEUED", "RUNNING"))).count()
    db.commit()
    return int(count)


def kill_one(peer: Peer) -> bool:
    """Kill one of the processes that run tasks; return False if there is none now."""
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        random.choice(runners(peer)).kill()
        return True
    return False


def runners(peer: Peer) -> list[psutil.Process]:
    """Return the leaves of the process tree; with RQ, which forks for each task, only those at
    their depth."""
    level = peer.family()[:1]
    if peer.name not in DEPTH:
        return [one for one in level[0].children(recursive=True) if not one.children()]
    for _ in range(DEPTH[peer.name]):
        level = [child for one in level for child in one.children()]
    return level
