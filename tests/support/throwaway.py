"""Throw-away database servers: what is the same for all kinds of them (see `databases`).

I find their programs, start them in folders of their own, end them, and leave nothing behind. I
never know what a database is called, nor what is in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import random
import secrets
import signal
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.kit import eventually, is_alive

#: Ends a server and removes its folder when whoever holds the other end of its input is gone, be
#: it by kill -9. Its words: the folder, and the signal that ends the server at once.
CARETAKER = """
cat > /dev/null
if read -r pid 2> /dev/null < "$1/pid"; then
    kill -s "$2" "$pid" 2> /dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2> /dev/null && sleep 0.1; done
fi
rm -rf "$1"
"""


class Missing(pytest.skip.Exception):
    """There is neither a server of this kind nor a program to start one: a skip, to pytest."""


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a server answers, and to whom; ``database`` is one that is there already."""

    host: str
    port: int
    user: str
    password: str
    database: str = ""

    @classmethod
    def of(cls, uri: str, usual_port: int) -> Address:
        """From whatever a driver calls it: ``postgres:psycopg2://``, ``postgresql://``, ..."""
        parts = urllib.parse.urlsplit("x://" + uri.partition("://")[2])
        host, user, database = parts.hostname, parts.username, parts.path.strip("/")
        if not (host and user and database) or "%" in parts.netloc:
            raise ValueError("write postgres://user:password@host:port/database, without any %")
        return cls(host, parts.port or usual_port, user, parts.password or "", database)


class Server:
    """A server of our own, in a folder below the system's temporary one; or somebody's elsewhere.

    `start`, `stop` or `kill`, and `start` again keep its port and its data. ``listen`` may be
    0.0.0.0, and ``network`` (such as 10.0.0.0/8) is who may then come besides this machine.
    """

    kind = title = scheme = variable = package = user = ""
    usual_port = 0
    gentle: signal.Signals  # ends it cleanly, whoever is connected
    harsh: signal.Signals  # ends it at once, and nothing of it stays in memory
    away: tuple[type[Exception], ...]  # what its driver raises where it does not answer
    ours = True
    process: subprocess.Popen[bytes] | None = None
    _line: Any = None  # a connection that is kept, since to open one takes longer than to ask

    def __init__(self, listen: str = "127.0.0.1", network: str = "") -> None:
        self.listen, self.network = listen, network
        self._as = service_user(self.user)
        self.maker, self.program = self._find_programs()
        self.address = Address("127.0.0.1", free_port(), "tester", secrets.token_hex(8))
        self.folder = Path(tempfile.mkdtemp(prefix=f"plugin_scheduler_test_{self.kind}_"))
        self._caretaker = subprocess.Popen(
            ["sh", "-c", CARETAKER, "sh", str(self.folder), self.harsh.name.removeprefix("SIG")],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        with self._closing_on_failure():
            os.chown(self.folder, self._as.get("user", -1), self._as.get("group", -1))
            self.initialize()

    @classmethod
    def elsewhere(cls, uri: str) -> Server:
        """Somebody's server, of which only databases are ours."""
        server = cls.__new__(cls)
        server.ours, server.address = False, Address.of(uri, cls.usual_port)
        return server

    def __enter__(self) -> Server:
        with self._closing_on_failure():
            if self.ours:
                self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    # -- what differs from kind to kind ------------------------------------------------------------

    def places(self) -> Iterator[tuple[str | None, str | None]]:
        """Where the program that makes the data and the server may be, best first."""
        raise NotImplementedError

    def initialize(self) -> None:
        """Make the data."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What starts it, and stays in the foreground."""
        raise NotImplementedError

    def connect(self) -> Any:
        """A connection that may make databases; it commits by itself."""
        raise NotImplementedError

    def create_database(self, name: str) -> str:
        """Make an empty database; its URI."""
        raise NotImplementedError

    def drop_database(self, name: str) -> None:
        """Remove it, whoever is connected."""
        raise NotImplementedError

    # -- its life ----------------------------------------------------------------------------------

    def _find_programs(self) -> tuple[str, str]:
        for maker, program in self.places():
            if maker and program and self._can_run(program):
                return maker, program
        if os.environ.get(self.variable):  # that one is not ours to stop
            raise Missing(f"no {self.title} server to stop and start: install {self.package}")
        raise Missing(
            f"no {self.title} server found: install {self.package}, or set {self.variable}"
        )

    def _can_run(self, program: str) -> bool:
        """The user that the server is may be kept out of the folder where its program lies."""
        with contextlib.suppress(OSError):
            said = subprocess.run([program, "--version"], capture_output=True, **self._as)
            return said.returncode == 0
        return False

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self.ours and self.process is None, "somebody's, or it runs"
        with open(self.folder / "log", "ab") as log:
            # A session of its own: Ctrl+C at the tests' terminal must not reach it before them.
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, start_new_session=True, **self._options()
            )
        (self.folder / "pid").write_text(f"{self.process.pid}\n")
        eventually(self._answers, 30, f"{self.title} answers; its log:\n{self.log}")

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"{self.title} ended by itself:\n{self.log}")
        with contextlib.suppress(*self.away):
            self.connect().close()
            return True
        return False

    @property
    def log(self) -> str:
        """The end of what it said."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """Let it end cleanly; its clients lose their connections."""
        self._end(self.gentle)

    def kill(self) -> None:
        """kill -9 of all its processes, as when a machine fails."""
        assert self.process is not None, "somebody's, or it does not run"
        family = psutil.Process(self.process.pid).children(recursive=True)
        self._end(signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        eventually(lambda: not any(is_alive(process.pid) for process in family))

    def close(self) -> None:
        """End it, and have its folder removed."""
        self._hang_up()
        if self.process is not None:
            self._end(self.harsh)
        if self.ours:
            self._caretaker.communicate(timeout=30)

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None, "somebody's, or it does not run"
        self._hang_up()
        self.process.send_signal(number)
        self.process.wait(60)
        self.process = None
        (self.folder / "pid").unlink()

    def _run(self, *command: str) -> None:
        """One of its programs, as the user that the server is."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, timeout=120, check=False, **options, **self._options())
        assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}"

    def _options(self) -> dict[str, Any]:
        """Its user, its folder, and an environment without words that would change a server."""
        env = {key: word for key, word in os.environ.items() if not key.startswith(("PG", "MYSQL"))}
        return {
            "stdin": subprocess.DEVNULL,
            "cwd": self.folder,
            "env": {**env, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"},
            **self._as,
        }

    # -- its databases -----------------------------------------------------------------------------

    def uri(self, database: str, host: str = "") -> str:
        """One of its databases in pydal's words; ``host`` is what others call this machine."""
        one = self.address
        who = f"{one.user}:{one.password}" if one.password else one.user
        return f"{self.scheme}://{who}@{host or one.host}:{one.port}/{database}"

    def execute(self, statement: str) -> list[Any]:
        """One statement to the server itself; the rows it answers."""
        if self._line is None:
            self._line = self.connect()
        with self._line.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def descriptors(self) -> set[int]:
        """The files that this process keeps open for the server, as long as it runs."""
        kept = set()
        if self.ours and self._caretaker.stdin is not None and not self._caretaker.stdin.closed:
            kept.add(self._caretaker.stdin.fileno())
        if self._line is not None:
            kept.add(self.descriptor_of(self._line))
        return kept

    def descriptor_of(self, connection: Any) -> int:
        """The socket of a connection."""
        raise NotImplementedError

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        """A database of one's own for a while; its URI."""
        name = new_name()
        uri = self.create_database(name)
        try:
            yield uri
        finally:
            if self.process or not self.ours:  # a test may have left its own server stopped
                self.drop_database(name)

    @contextlib.contextmanager
    def emptied_database(self) -> Iterator[str]:
        """The same in the quickest way; for tests without processes that could come back."""
        with self.fresh_database() as uri:
            yield uri


def new_name() -> str:
    return f"plugin_scheduler_test_{secrets.token_hex(6)}"


def service_user(name: str) -> dict[str, Any]:
    """Servers refuse to be root: who they are instead, in the words of subprocess."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get(name) or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def free_port() -> int:
    """Not one of those that clients get: a stopped server must have its own back."""
    while True:
        port = random.randrange(15000, 30000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("", port))
            return port
