"""Where work waits: a SQLite file, PostgreSQL, MariaDB or MySQL, Redis.

I start throw-away servers when they are first asked for, hand out empty databases, and end the
servers. I never look into a database.

PostgreSQL and MariaDB run with the settings that they are shipped with: what was committed is on
the disk. SQLite files are made by who uses them. Redis runs with the persistence of Debian's
package: a snapshot after 60 seconds with 10,000 changes, 5 minutes with 100, or an hour with one;
so what it acknowledged last is lost when the machine fails, which the databases do not lose.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.databases import MySQL, PostgreSQL

SQLITE_URI = "sqlite://storage.sqlite"
KINDS = ("sqlite", "postgres", "mysql", "redis")


#: What makes the tests' servers fast, and forgetful.
HASTE = ("--fsync", "--full_page_writes", "--innodb-flush-log", "--innodb-doublewrite")


class Unavailable(Exception):
    """What cannot run here, and why."""


class Durable:
    """Without the settings that make tests fast."""

    def command(self) -> list[str]:
        whole: list[str] = super().command()  # type: ignore[misc]
        return [part for part in whole if not part.startswith(HASTE)]


class DurablePostgreSQL(Durable, PostgreSQL):
    """PostgreSQL as people run it."""


class DurableMySQL(Durable, MySQL):
    """MySQL or MariaDB as people run it."""


@dataclasses.dataclass(frozen=True)
class Place:
    """One empty database, or an emptied Redis, and a folder for files."""

    kind: str
    folder: str
    uri: str  # in pydal's words, or redis://

    @property
    def dsn(self) -> str:
        """In the words of everybody else."""
        return "postgresql://" + self.uri.partition("://")[2]


class Places:
    """All servers of one run of the benchmark."""

    def __init__(self) -> None:
        self._closing = contextlib.ExitStack()
        self._servers: dict[str, Any] = {}

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *_: Any) -> None:
        self._closing.close()

    @contextlib.contextmanager
    def fresh(self, kind: str) -> Iterator[Place]:
        """An empty place of that kind; `Unavailable` where there is no such server."""
        with tempfile.TemporaryDirectory(prefix="bench_") as folder:
            if kind == "sqlite":
                yield Place(kind, folder, SQLITE_URI)
                return
            with self.server(kind).fresh_database() as uri:
                yield Place(kind, folder, uri)

    def server(self, kind: str) -> Any:
        if kind not in self._servers:
            self._servers[kind] = self._start(kind)
        found = self._servers[kind]
        if isinstance(found, Unavailable):
            raise found.with_traceback(None)
        return found

    def _start(self, kind: str) -> Any:
        maker = {"postgres": DurablePostgreSQL, "mysql": DurableMySQL, "redis": Redis}[kind]
        try:
            return self._closing.enter_context(maker())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # what is missing is a skip of pytest's, no Exception
            return Unavailable(str(error).splitlines()[0])

    def asked(self, place: Place) -> int | None:
        """How many transactions or commands it has seen so far; None where nobody counts."""
        if place.kind == "sqlite":
            return None
        server = self.server(place.kind)
        if place.kind == "redis":
            return int(server.client.info("stats")["total_commands_processed"])
        if place.kind == "postgres":
            name = place.uri.rpartition("/")[2]
            count = "SELECT xact_commit + xact_rollback FROM pg_stat_database"
            return int(server.execute(f"{count} WHERE datname = '{name}'")[0][0])
        kinds = "('Com_select', 'Com_insert', 'Com_update', 'Com_delete')"
        counts = server.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN {kinds}")
        return sum(int(count) for _, count in counts)

    def own(self, place: Place) -> int:
        """How many of these were our own question: PostgreSQL is asked in another database, and
        MariaDB does not count this one."""
        return 1 if place.kind == "redis" else 0

    def versions(self) -> dict[str, str]:
        """What the servers say that they are."""
        said = {}
        for kind, server in self._servers.items():
            if isinstance(server, Unavailable):
                continue
            said[kind] = server.version if kind == "redis" else version(server)
        return said


def version(server: Any) -> str:
    return str(server.execute("SELECT version()")[0][0]).partition(" on ")[0]


class Redis:
    """A Redis server of our own, with the persistence of Debian's package."""

    def __init__(self) -> None:
        self.program = shutil.which("redis-server") or ""
        if not self.program:
            raise Unavailable("no redis-server found: install the system's package redis-server")

    def __enter__(self) -> Redis:
        import redis
        from support.throwaway import free_port

        self._folder = tempfile.mkdtemp(prefix="bench_redis_")
        port = free_port()
        self.uri = f"redis://127.0.0.1:{port}"
        words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", self._folder]
        snapshots = ["--save", "3600 1 300 100 60 10000", "--appendonly", "no"]
        with open(Path(self._folder, "log"), "ab") as log:
            self._process = subprocess.Popen(
                [self.program, *words, *snapshots], stdout=log, start_new_session=True
            )
        self.client = redis.Redis.from_url(self.uri)
        self._wait()
        self.version = "Redis " + str(self.client.info("server")["redis_version"])
        return self

    def _wait(self) -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(Exception):
                self.client.ping()
                return
            time.sleep(0.05)
        self.__exit__()
        raise Unavailable("redis-server did not answer within 10 seconds")

    def __exit__(self, *_: Any) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        self.client.flushall()
        yield self.uri
