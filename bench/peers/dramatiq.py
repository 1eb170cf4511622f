"""dramatiq on Redis: `dramatiq -p 2 -t 8`, its default for two CPUs (`-p 2 -t 5` for ten slots).

These are sixteen slots, not two: dramatiq fetches twice as many messages at a time as a process has
threads, and with one thread in each process it runs a quarter of the tasks. Messages are
acknowledged when a task has ended. Results are kept for ten minutes by its results middleware
(store_results), or not at all. For the durability of Redis see `bench.places`.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.peers import Peer, program
from bench.work import WORK


def make(url: str, keep: bool) -> tuple[RedisBroker, dict[str, Any]]:
    made = RedisBroker(url=f"{url}/0")
    made.add_middleware(Results(backend=RedisBackend(url=f"{url}/1")))
    actors = {}
    for name, function in WORK.items():
        options = {"store_results": keep and name == "one"}
        actors[name] = dramatiq.actor(function, actor_name=name, broker=made, **options)
    return made, actors


if "BENCH_URL" in os.environ:
    broker, _ = make(os.environ["BENCH_URL"], bool(os.environ["BENCH_KEEP"]))


class Dramatiq(Peer):
    name, title, needs = "dramatiq", "dramatiq, Redis", "redis"
    packages: ClassVar[tuple[str, ...]] = ("dramatiq", "redis")
    settings = "dramatiq -p 2 -t 8 (its default)"
    has_bulk = False

    def connect(self) -> None:
        self.redis = redis.Redis.from_url(self.url)
        self.broker, self.actors = make(self.url, self.keep)

    def enqueue_one(self, work: str) -> None:
        self.actors[work].send()

    def left(self) -> int:
        return int(self.redis.hlen("dramatiq:default.msgs"))

    def command(self, slots: int) -> list[str]:
        how = ["-p", "2", "-t", str(8 if slots == 2 else slots // 2), "--skip-logging"]
        return [program("dramatiq"), "bench.peers.dramatiq:broker", *how]

    def disconnect(self) -> None:
        self.broker.close()
        self.redis.close()
