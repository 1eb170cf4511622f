"""Databases and brokers: a SQLite file, PostgreSQL, MariaDB or MySQL, Redis.

Starts throw-away servers on first use, provides empty databases, and stops the servers. Does not
read the databases.

PostgreSQL and MariaDB run with their default settings: committed data is on disk. SQLite files are
created by their users. Redis runs with the persistence of Debian's package: a snapshot after 60
seconds with 10,000 changes, 5 minutes with 100, or an hour with one. If the machine fails, Redis
loses what it acknowledged after the last snapshot; the databases lose nothing.
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


#: Options that make the tests' servers fast and not durable.
HASTE = ("--fsync", "--full_page_writes", "--innodb-flush-log", "--innodb-doublewrite")


class Unavailable(Exception):
    """A server or product that cannot run here, with the reason."""


class Durable:
    """A server without the settings that make tests fast."""

    def command(self) -> list[str]:
        whole: list[str] = super().command()  # type: ignore[misc]
        return [part for part in whole if not part.startswith(HASTE)]


class DurablePostgreSQL(Durable, PostgreSQL):
    """PostgreSQL with its default durability."""


class DurableMySQL(Durable, MySQL):
    """MySQL or MariaDB with its default durability."""


@dataclasses.dataclass(frozen=True)
class Place:
    """One empty database, or an emptied Redis, and a folder for files."""

    kind: str
    folder: str
    uri: str  # pydal's URI, or redis://

    @property
    def dsn(self) -> str:
        """The URI in the usual form, without pydal's driver."""
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
        """Provide an empty database of that kind; raise Unavailable if there is no such server."""
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
        except (
            BaseException
        ) as error:  # a missing program raises pytest's skip, which is not an Exception
            return Unavailable(str(error).splitlines()[0])

    def asked(self, place: Place) -> int | None:
        """Return the number of transactions or commands so far; None if the database does not
        count them."""
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
        """Return how many of these the benchmark sent itself: PostgreSQL is asked in another
        database, and MariaDB does not count this query."""
        return 1 if place.kind == "redis" else 0

    def versions(self) -> dict[str, str]:
        """Return the versions of the servers."""
        said = {}
        for kind, server in self._servers.items():
            if isinstance(server, Unavailable):
                continue
            said[kind] = server.version if kind == "redis" else version(server)
        return said


def version(server: Any) -> str:
    return str(server.execute("SELECT version()")[0][0]).partition(" on ")[0]


class Redis:
    """A throw-away Redis server, with the persistence of Debian's package."""

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
