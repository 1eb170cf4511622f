"""Celery on Redis: `celery worker -c 2` (prefork), results in Redis.

acks_late is on, so that a task is not lost with its worker, as with the other products, and so that
the broker shows when a task has ended. Results are JSON, kept for a day, or not at all with
ignore_result. All other settings are the defaults (prefetch of 4 for each process). An unfinished
task returns to the queue after the visibility timeout of an hour. For the durability of Redis see
`bench.places`.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import celery
import redis

from bench.peers import Peer, program
from bench.work import WORK


def make(url: str, keep: bool) -> tuple[celery.Celery, dict[str, Any]]:
    made = celery.Celery("bench", broker=f"{url}/0", backend=f"{url}/1", set_as_current=False)
    made.conf.task_acks_late = True
    made.conf.broker_connection_retry_on_startup = True
    made.conf.task_ignore_result = not keep
    return made, {name: made.task(name=name)(function) for name, function in WORK.items()}


if "BENCH_URL" in os.environ:
    app, _ = make(os.environ["BENCH_URL"], bool(os.environ["BENCH_KEEP"]))


class Celery(Peer):
    name, title, needs = "celery", "Celery, Redis", "redis"
    packages: ClassVar[tuple[str, ...]] = ("celery", "redis")
    settings = "celery worker -c 2 (prefork), acks_late"
    has_bulk = False

    def connect(self) -> None:
        self.redis = redis.Redis.from_url(self.url)
        self.app, self.tasks = make(self.url, self.keep)

    def enqueue_one(self, work: str) -> None:
        self.tasks[work].delay()

    def left(self) -> int:
        with self.redis.pipeline() as both:
            both.llen("celery").hlen("unacked")
            return sum(both.execute())

    def command(self, slots: int) -> list[str]:
        how = ["worker", "-c", str(slots), "--loglevel", "ERROR"]
        return [program("celery"), "-A", "bench.peers.celery:app", *how]

    def disconnect(self) -> None:
        self.app.close()
        self.redis.close()
