"""huey on SQLite: `huey_consumer -w 2 -k process`.

Its SQLite file is in write-ahead mode. By default each commit is synced to disk (synchronous=FULL,
more than this scheduler requests); with fsync=False none is (OFF, less than this scheduler
requests). Results other than None are kept in a table until they are read. A task leaves the queue
when it begins, so a task that is running when the consumer dies is lost. The end of a task without
a result is not stored: for these tasks the clock stops when the queue is empty, up to two tasks too
early. An idle consumer polls every 0.1 s at first, and then less often, down to every 10 s.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from huey import SqliteHuey

from bench.peers import Peer, program
from bench.work import WORK


def make(folder: str, sync: bool) -> tuple[SqliteHuey, dict[str, Any]]:
    more = {} if sync else {"fsync": False}
    huey = SqliteHuey("bench", filename=f"{folder}/huey.sqlite", **more)
    return huey, {name: huey.task(name=name)(function) for name, function in WORK.items()}


if "BENCH_FOLDER" in os.environ:
    app, _ = make(os.environ["BENCH_FOLDER"], not os.environ.get("BENCH_NOSYNC"))


class Huey(Peer):
    name, title, needs = "huey", "huey, SQLite", "sqlite"
    packages: ClassVar[tuple[str, ...]] = ("huey",)
    settings = "huey_consumer -w 2 -k process; SQLite WAL, synchronous=FULL (its default)"
    has_bulk = False
    sync: ClassVar[bool] = True

    def connect(self) -> None:
        self.huey, self.tasks = make(self.place.folder, self.sync)
        self._count, self._before, self._work = 0, 0, ""

    def enqueue(self, count: int, work: str) -> None:
        self._count, self._before, self._work = count, self.huey.result_count(), work
        super().enqueue(count, work)

    def enqueue_one(self, work: str) -> None:
        self.tasks[work]()

    def left(self) -> int:
        if self._work == "one":
            return int(self._count - (self.huey.result_count() - self._before))
        return int(self.huey.pending_count())

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "BENCH_NOSYNC": "" if self.sync else "1"}

    def command(self, slots: int) -> list[str]:
        how = ["-w", str(slots), "-k", "process", "-q"]
        return [program("huey_consumer"), "bench.peers.huey.app", *how]

    def disconnect(self) -> None:
        self.huey.storage.close()


class HueyWithoutSync(Huey):
    name, title, sync = "huey-nosync", "huey, SQLite without fsync", False
    settings = "huey_consumer -w 2 -k process; SQLite WAL, fsync=False (synchronous=OFF)"
