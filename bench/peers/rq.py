"""RQ on Redis: `rq worker-pool -n 2`, the worker that forks for each job, as its manual recommends.

Results are kept for its default of 500 s. Without a result (result_ttl=0) the job is deleted when
it ends. A job whose worker dies is found in a registry and marked as failed. For the durability of
Redis see `bench.places`.
"""

from __future__ import annotations

from typing import ClassVar

import redis
import rq

from bench.peers import Peer, program
from bench.work import WORK


class RQ(Peer):
    name, title, needs = "rq", "RQ, Redis", "redis"
    packages: ClassVar[tuple[str, ...]] = ("rq", "redis")
    settings = "rq worker-pool -n 2 (a fork for each job)"
    pilot = 40

    def connect(self) -> None:
        self.redis = redis.Redis.from_url(self.url)
        self.queue = rq.Queue(connection=self.redis)
        self._ttl = 500 if self.keep else 0

    def enqueue(self, count: int, work: str) -> None:
        data = rq.Queue.prepare_data(WORK[work], result_ttl=self._ttl)
        for start in range(0, count, 1000):
            self.queue.enqueue_many([data] * min(1000, count - start))

    def enqueue_one(self, work: str) -> None:
        self.queue.enqueue(WORK[work], result_ttl=self._ttl)

    def left(self) -> int:
        return int(self.queue.count + self.redis.zcard(self.queue.started_job_registry.key))

    def command(self, slots: int) -> list[str]:
        how = ["-n", str(slots), "--url", self.url, "--quiet"]
        return [program("rq"), "worker-pool", *how, "default"]

    def disconnect(self) -> None:
        self.redis.close()
