"""Frames on a pipe, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_scheduler.execution.framing import (
    BlockingChannel,
    Channel,
    Closed,
    Unpacker,
    pack,
    pack_bytes,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
LARGE = ["run", "x" * (2 << 20)]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


# --- frames ---------------------------------------------------------------------------------------


def test_a_frame_is_whole_at_its_last_byte_and_not_before() -> None:
    messages = [["run", 81, "é€\x00", None], [], [{"a": [1.5, True]}]]
    data = b"".join(pack(message) for message in messages)
    for cut in range(len(data) + 1):
        unpacker = Unpacker()
        assert unpacker.feed(data[:cut]) + unpacker.feed(data[cut:]) == messages


def test_frames_fed_byte_by_byte_come_out_one_by_one() -> None:
    unpacker, data = Unpacker(), pack(["one"]) + pack_bytes(b"two")
    got = [message for at in range(len(data)) for message in unpacker.feed(data[at : at + 1])]
    assert got == [["one"], b"two"]


@given(st.lists(st.lists(JSON, max_size=3), max_size=5))
def test_what_is_packed_is_unpacked(messages: list[Any]) -> None:
    assert Unpacker().feed(b"".join(map(pack, messages))) == messages


def test_a_lone_surrogate_in_a_text_travels_too() -> None:
    assert Unpacker().feed(pack(["\ud800"])) == [["\ud800"]]


# --- the worker's end -----------------------------------------------------------------------------


def test_a_slow_reader_never_blocks_the_sender_and_gets_everything(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    channel, unpacker = Channel(ends[0]), Unpacker()
    channel.send(LARGE)
    channel.send(["end", 81])
    assert channel.pending
    got: list[Any] = []
    while len(got) < 2:
        got += unpacker.feed(ends[1].recv(50_000))
        channel.flush()
    assert got == [LARGE, ["end", 81]]
    assert not channel.pending


def test_a_channel_reads_what_is_there_and_waits_for_nothing(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    channel = Channel(ends[0])
    assert channel.read() == []
    ends[1].sendall(pack(["one"]) + pack(["two"]) + pack(["three"])[:-1])
    assert channel.read() == [["one"], ["two"]]
    ends[1].sendall(pack(["three"])[-1:])
    assert channel.read() == [["three"]]


def test_what_was_sent_before_the_end_is_read_before_the_end_is_told(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    channel = Channel(ends[0])
    ends[1].sendall(pack(["last words"]))
    ends[1].close()
    assert channel.read() == [["last words"]]
    for _ in range(2):
        with pytest.raises(Closed):
            channel.read()


def test_sending_to_nobody_is_told_and_leaves_nothing_pending(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    channel = Channel(ends[0])
    ends[1].close()
    with pytest.raises(Closed):
        channel.send("hello")
    assert not channel.pending


def test_a_closed_channel_says_so_and_may_be_closed_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    channel = Channel(ends[0])
    channel.close()
    channel.close()
    with pytest.raises(Closed):
        channel.read()
    with pytest.raises(Closed):
        channel.send("hello")


def test_what_cannot_be_packed_spoils_nothing(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    channel = Channel(ends[0])
    with pytest.raises(TypeError):
        channel.send(object())
    channel.send(["hello"])
    assert BlockingChannel(ends[1]).holds(["hello"])


# --- the runner's end -----------------------------------------------------------------------------


def test_what_a_runner_says_is_heard_in_its_order(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    channel, runner = Channel(ends[0]), BlockingChannel(ends[1])
    runner.send(["progress", 81])
    runner.send_frame(pack_bytes(b"report"))
    assert channel.read() == [["progress", 81], b"report"]


def test_a_runner_that_speaks_to_nobody_is_told_so(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    runner = BlockingChannel(ends[1])
    ends[0].close()
    with pytest.raises(Closed):
        runner.send("x" * (1 << 20))


def test_a_message_that_has_arrived_is_held_once_and_those_beside_it_are_forgotten(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    channel, runner = Channel(ends[0]), BlockingChannel(ends[1])
    assert not runner.holds(["end", 81])
    for message in (["end", 80], ["end", 81]):
        channel.send(message)
    assert runner.holds(["end", 81])
    assert not runner.holds(["end", 81])
    assert not runner.holds(["end", 80])


def test_holds_does_not_mind_that_nobody_is_there(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    runner = BlockingChannel(ends[1])
    ends[0].sendall(pack(["end", 81]))
    ends[0].close()
    assert runner.holds(["end", 81])
    assert not runner.holds(["end", 81])
