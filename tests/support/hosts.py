"""Hosts of our own: each with its own network, name and process numbers, and a cable to cut.

I make them out of the kernel's namespaces: a switch, and hosts that are plugged into it. Nothing of
them has a name in the system. They live as long as a process that reads from us, and go with it, so
that a killed test run leaves none behind. They share this machine's files and its clock. I know
nothing of databases, and start only what I am told to.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from support.kit import Worker, eventually
from support.throwaway import Missing

#: The first process of a host: gives it its name, takes leave of the orphans, waits for our end.
INIT = 'trap "" CHLD; echo "$1" > /proc/sys/kernel/hostname && echo ready && exec cat'
PROGRAMS = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux"}


class CannotMake(AssertionError):
    """The system does not let us."""


class Space:
    """A machine without any network yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        own = ["--net", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._holder = subprocess.Popen(["unshare", *own, "sh", "-c", INIT, "sh", name], **pipes)
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline().decode()
        if said != "ready\n":
            self.close()
            raise CannotMake(said.strip())
        [init] = psutil.Process(self._holder.pid).children()
        self.pid = init.pid

    def command(self, *command: str) -> list[str]:
        """What runs that command there."""
        ways = ["--mount", "--uts", "--pid", "--net"]
        return ["nsenter", f"--target={self.pid}", *ways, "--wd=.", "--", *command]

    def ip(self, words: str) -> None:
        """Change its network."""
        run_ip(words, f"--target={self.pid}")

    def close(self) -> None:
        """Every process there is killed, and its network is gone."""
        with contextlib.suppress(BrokenPipeError):
            self._holder.communicate(timeout=20)


class Host(Space):
    """A machine on the network."""

    def plug_in(self, switch: Network, number: int) -> None:
        """Give it an address, and a cable to the switch."""
        self.address = f"{switch.prefix}.{number + 1}"
        self._switch, self._port = switch, f"port{number}"
        switch.ip(f"link add {self._port} type veth peer name eth0 netns {self.pid}")
        self.join()
        switch.ip(f"link set {self._port} master switch")
        self.ip("link set lo up")
        self.ip("link set eth0 up")
        self.ip(f"addr add {self.address}/24 dev eth0")

    def cut(self) -> None:
        """Pull its cable: nobody is told, what is sent is lost."""
        self._switch.ip(f"link set {self._port} down")

    def join(self) -> None:
        """Plug it in again."""
        self._switch.ip(f"link set {self._port} up")

    def shut(self, address: str) -> None:
        """Have it get nothing but refusals where it asks for that address."""
        self.ip(f"addr add {address}/32 dev lo")

    def start(self, command: Sequence[str], arguments: list[str], folder: Path) -> Remote:
        """Start a worker there."""
        return Remote(arguments, folder, {"HOST": self.address}, self.command(*command))


class Remote(Worker):
    """A worker on a host. Here it has another process number than there."""

    @property
    def pid(self) -> int:
        """Its number here; that of its door before it has one, and when it is gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                return child.pid
        return self.process.pid

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        eventually(lambda: self.pid != self.process.pid or self.process.poll() is not None)
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGKILL)
        self.process.wait()


class Network(Space):
    """A switch. This machine is plugged into it with ``address``, and hosts with the next ones."""

    _here = ""

    def plug_in(self) -> None:
        self.prefix = free_prefix()
        self.address, self.network = f"{self.prefix}.1", f"{self.prefix}.0/24"
        self.ip("link add switch type bridge")
        self.ip("link set switch up")
        here = f"hosts{secrets.token_hex(4)}"
        run_ip(f"link add {here} type veth peer name port0 netns {self.pid}")
        self._here = here
        self.ip("link set port0 master switch up")
        run_ip(f"addr add {self.address}/24 dev {here}")
        run_ip(f"link set {here} up")

    def close(self) -> None:
        if self._here:
            run_ip(f"link delete {self._here}")  # it would go by itself, but later
        super().close()


@contextlib.contextmanager
def hosts(*names: str) -> Iterator[tuple[Network, list[Host]]]:
    """A network with hosts of these names; several may have the same."""
    with contextlib.ExitStack() as closing:
        try:
            network, machines = make(names, closing)
        except CannotMake as error:
            raise Missing(f"no hosts can be made here: {error}") from error
        yield network, machines


def make(names: Sequence[str], closing: contextlib.ExitStack) -> tuple[Network, list[Host]]:
    if os.geteuid() != 0:
        raise CannotMake("only root may, so run the tests as root")
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            raise CannotMake(f"install {package} for {program!r}")
    network, machines = Network("switch"), []
    closing.callback(network.close)
    network.plug_in()
    for number, name in enumerate(names, 1):
        machines.append(Host(name))
        closing.callback(machines[-1].close)
        machines[-1].plug_in(network, number)
    return network, machines


def run_ip(words: str, *where: str) -> None:
    """iproute2, here or in a namespace."""
    command = ["nsenter", "--net", *where, "ip"] if where else ["ip"]
    done = subprocess.run([*command, *words.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMake(f"ip {words}: {done.stderr.strip()}")


def free_prefix() -> str:
    """Of a network that this machine knows nothing of: in the range kept for measurements."""
    used = " ".join(address.address for some in psutil.net_if_addrs().values() for address in some)
    while True:
        prefix = f"198.{random.randrange(18, 20)}.{random.randrange(1, 255)}"
        if f"{prefix}." not in used:
            return prefix
