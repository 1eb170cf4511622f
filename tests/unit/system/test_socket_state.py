"""Who closed a connection: the other end itself, or somebody in between who keeps us out?"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from plugin_scheduler.system.socket_state import has_hung_up, has_news, port_of

RESET = struct.pack("ii", 1, 0)  # to linger for 0 seconds: closed without a goodbye


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as plug:
        with socket.create_connection(plug.getsockname()) as ours:
            theirs, _ = plug.accept()
            with theirs:
                yield ours, theirs


def test_an_open_line_has_no_news_and_nobody_hung_up(line: tuple[socket.socket, ...]) -> None:
    ours, _ = line
    assert not has_news(ours) and not has_hung_up(ours)


def test_words_are_news_and_no_end(line: tuple[socket.socket, ...]) -> None:
    ours, theirs = line
    theirs.sendall(b"news")
    assert has_news(ours) and not has_hung_up(ours)


def test_news_may_be_waited_for(line: tuple[socket.socket, ...]) -> None:
    ours, theirs = line
    began = time.monotonic()
    assert not has_news(ours, 0.05) and time.monotonic() - began >= 0.05
    theirs.sendall(b"news")
    assert has_news(ours, 10) and time.monotonic() - began < 5


def test_a_goodbye_is_heard_also_behind_last_words(line: tuple[socket.socket, ...]) -> None:
    ours, theirs = line
    theirs.sendall(b"shutting down")
    theirs.close()
    assert has_news(ours) and has_hung_up(ours)


def test_a_reset_is_no_goodbye(line: tuple[socket.socket, ...]) -> None:
    ours, theirs = line
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    assert has_news(ours) and not has_hung_up(ours)


def test_each_end_of_a_line_has_its_port_and_a_unix_socket_none(
    line: tuple[socket.socket, ...],
) -> None:
    ours, theirs = line
    assert port_of(ours) == theirs.getpeername()[1]
    one, other = socket.socketpair()
    with one, other:
        assert port_of(one) == 0
