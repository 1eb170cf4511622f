"""Notice what a test leaves behind: processes, threads, descriptors and temporary files.

The database servers that all tests share are started when a test first asks for them, so they and
the connections to them are no leak of that test.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from support.kit import eventually

#: Programs of which one instance serves all tests, and what keeps them company.
SHARED_PROGRAMS = ("postgres", "mariadbd", "mysqld", "sh", "cat", "node", "chromium")
#: Files that a test owns: the database, pipes, sockets. Not counted: files that Python opens for
#: itself once (libraries, /dev/urandom, the terminal).
COUNTED = ("socket:", "pipe:", "anon_inode:", "/memfd:")
WITHIN = 5.0  # seconds until what a test has ended is gone


class Snapshot(NamedTuple):
    """What this process has at one moment."""

    processes: frozenset[int]
    threads: frozenset[int | None]
    descriptors: dict[int, str]
    files: frozenset[str]


def snapshot(shared: Callable[[], set[int]] = set) -> Snapshot:
    """What there is now; ``shared`` tells descriptors that belong to all tests."""
    return Snapshot(
        processes=frozenset(_processes()),
        threads=frozenset(thread.ident for thread in threading.enumerate() if not thread.daemon),
        descriptors={fd: file for fd, file in _descriptors().items() if fd not in shared()},
        files=frozenset(_files()),
    )


def left_since(before: Snapshot, shared: Callable[[], set[int]] = set) -> list[str]:
    """What is there now and was not there before, each as a sentence; waits for what is ending."""

    def left() -> list[str]:
        return list(_left(before, snapshot(shared)))

    with contextlib.suppress(AssertionError):
        eventually(lambda: not left(), WITHIN)
    return left()


def _left(before: Snapshot, now: Snapshot) -> Iterator[str]:
    for pid in now.processes - before.processes:
        yield f"process {_described(pid)}"
    for ident in now.threads - before.threads:
        name = next((one.name for one in threading.enumerate() if one.ident == ident), "?")
        yield f"thread {name}"
    for fd, target in now.descriptors.items():
        if before.descriptors.get(fd) != target:
            yield f"descriptor {fd}: {target}"
    for file in now.files - before.files:
        yield f"temporary file {file}"


def _processes() -> Iterator[int]:
    """Living processes that this one has started, and those whose parent has ended.

    What is below a living child belongs to that child: a worker that several tests share makes new
    processes while they run.
    """
    for pid in (*_children_of_this_process(), *_orphans()):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            is_shared = process.name() in SHARED_PROGRAMS
            if not is_shared and process.status() != psutil.STATUS_ZOMBIE:
                yield pid


def _orphans() -> Iterator[int]:
    """Processes without a parent that have this test run's temporary folder."""
    mark = f"TMPDIR={tempfile.gettempdir()}\0".encode()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
                if parent == "1" and mark in Path(f"/proc/{name}/environ").read_bytes():
                    yield int(name)


def _children_of_this_process() -> list[int]:
    """From the kernel's own list where there is one: psutil would read every process there is."""
    found: list[int] = []
    try:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(FileNotFoundError):  # the thread has ended
                text = Path(f"/proc/self/task/{thread}/children").read_text()
                found += [int(word) for word in text.split()]
    except OSError:
        return [process.pid for process in psutil.Process().children()]
    return found


def _described(pid: int) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return f"{pid}: {' '.join(psutil.Process(pid).cmdline())[:200]}"
    return str(pid)


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith(COUNTED) or target.endswith((".sqlite", "-wal", "-shm")):
                found[int(name)] = target
    return found


def _files() -> Iterator[str]:
    """What the product makes in the temporary folder."""
    for path in Path(tempfile.gettempdir()).glob("plugin-scheduler*"):
        yield from (str(one) for one in (path, *path.rglob("*")))
