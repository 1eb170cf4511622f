"""A log that nothing reads never stops the process that writes it."""

from __future__ import annotations

import logging
import os
import pty
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from plugin_scheduler.system.log_outlet import KEPT, OutletHandler

Ends = tuple[int, int]


def pipe() -> Ends:
    readable, writable = os.pipe()
    return readable, writable


def terminal() -> Ends:
    return pty.openpty()


def journal() -> Ends:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.fixture(params=[pipe, terminal, journal])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    make: Callable[[], Ends] = request.param
    both = make()
    yield both
    for fd in both:
        os.close(fd)


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "x.py", 1, text, (), None)


def read_all(fd: int, handler: OutletHandler) -> str:
    """All that comes while the handler writes out what it has kept."""
    os.set_blocking(fd, False)
    data, until = b"", time.monotonic() + 20
    while time.monotonic() < until:
        handler.write_out()
        try:
            data += os.read(fd, 1 << 20)
        except BlockingIOError:
            if b"log lines dropped" in data:
                break
    return data.decode()


def test_lines_that_nothing_reads_are_kept_to_a_limit_then_counted(ends: Ends) -> None:
    readable, writable = ends
    handler = OutletHandler(writable)
    assert os.get_blocking(writable), "others share it"
    number, line = 3 * KEPT // 1000, "x" * 990
    began = time.monotonic()
    for count in range(number):
        handler.emit(record(f"{count:06} {line}"))
    assert time.monotonic() - began < 10
    said = read_all(readable, handler).splitlines()
    kept = [one for one in said if one.endswith("x")]
    assert [one[:6] for one in kept] == [f"{count:06}" for count in range(len(kept))]
    assert KEPT / 1000 <= len(kept) < number
    assert said[-1] == f"{number - len(kept)} log lines dropped: the output was not read in time"
    handler.close()


def test_a_reader_that_is_gone_and_a_descriptor_that_is_closed_do_no_harm() -> None:
    readable, writable = pipe()
    handler = OutletHandler(writable)
    os.close(readable)
    handler.emit(record("to nothing"))
    handler.close()
    os.close(writable)
    OutletHandler(writable).emit(record("to nothing"))


def test_without_a_way_to_open_it_anew_it_looks_for_room_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "open", lambda *args: (_ for _ in ()).throw(OSError()))
    readable, writable = pipe()
    handler = OutletHandler(writable)
    for _ in range(1000):
        handler.emit(record("x" * 990))
    assert os.read(readable, 5).decode() == "xxxxx"
    for fd in (readable, writable):
        os.close(fd)
