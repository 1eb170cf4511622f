"""What a pool reads from a runner: nonsense of any form ends that runner alone."""

from __future__ import annotations

import json
import math
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.fake_runners import FakeRunner, FakeRunners

from plugin_scheduler.core.reasons import ReasonCode, code_of
from plugin_scheduler.core.types import Outcome
from plugin_scheduler.execution import output_buffer
from plugin_scheduler.execution.framing import attached, pack, pack_bytes
from plugin_scheduler.execution.mailbox import PackedReport, pack_report
from plugin_scheduler.execution.runner_handle import UNREADABLE
from plugin_scheduler.system.private_files import PrivateFile, nameless_file

GUILTY, INNOCENT, BEHIND = 81, 82, 83
SEEDED = settings(derandomize=True, deadline=None, max_examples=60)

NUMBER = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([GUILTY, INNOCENT, BEHIND, 0])
REAL = st.floats() | st.sampled_from([0.0, math.nan, math.inf, -1.0])
ODD = st.recursive(
    st.none() | st.booleans() | NUMBER | REAL | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["at", "of", "text", "reason", "progress", "x"]), inner)
    ),
    max_leaves=6,
)
KIND = st.sampled_from(["progress", "ready", "loaded", "boot_failed", "end", "died"])
PROGRESS = st.fixed_dictionaries({"at": ODD, "of": ODD, "text": ODD})
MESSAGE = (
    st.tuples(KIND, ODD)
    | st.tuples(KIND, NUMBER, PROGRESS)
    | st.tuples(KIND, NUMBER, ODD, ODD)
    | st.lists(ODD, max_size=3)
).map(lambda parts: pack(list(parts)))
REPORT = st.builds(
    PackedReport,
    NUMBER,
    st.integers(0, 255),
    REAL,
    REAL,
    st.booleans(),
    st.booleans(),
    st.none() | st.text(max_size=5),
    ODD,
    st.booleans(),
).map(lambda told: pack_bytes(pack_report(told)))
JUNK = st.binary(max_size=150)
SPOKEN = JUNK | JUNK.map(pack_bytes) | MESSAGE | REPORT
VALID = pack_bytes(pack_report(PackedReport(GUILTY, 0, 0.0, 0.0, False, False, "[1]", {})))
FLIPPED = st.builds(
    lambda at, bit: VALID[:at] + bytes([VALID[at] ^ bit]) + VALID[at + 1 :],
    st.integers(0, len(VALID) - 1),
    st.integers(1, 255),
)


@pytest.fixture
def runners() -> Iterator[FakeRunners]:
    with FakeRunners() as runners:
        yield runners


def both_at_work(runners: FakeRunners) -> tuple[FakeRunner, FakeRunner]:
    """A runner with an order that it began and one behind, and another runner at its own."""
    guilty, _ = runners.join()
    runners.hand_out(GUILTY)
    guilty.begin()
    innocent, _ = runners.join()
    runners.hand_out(INNOCENT)
    innocent.begin()
    return guilty, innocent


def others_go_on(runners: FakeRunners, innocent: FakeRunner) -> None:
    """The property: whatever came, the other run ends normally, and at the latest when its time is
    over the guilty one has ended, once; then only the other runner is left."""
    runners.turn()
    innocent.report(INNOCENT)
    runners.turn()
    assert runners.outcomes(INNOCENT) == [Outcome.COMPLETED]
    for seconds in (2.0, 60.0, 10.0, 2.0, 2.0):
        runners.turn(seconds)
    assert len(runners.outcomes(GUILTY)) == 1
    assert runners.outcomes(INNOCENT) == [Outcome.COMPLETED]
    assert len(runners.pool.runners) <= 2
    runners.hand_out(BEHIND)
    innocent.begin()
    innocent.report(BEHIND)
    runners.turn()


def is_ended(runners: FakeRunners) -> bool:
    """Was the guilty one ended at once, with what it was at?"""
    runners.turn()
    runners.turn(2.0)
    [result] = runners.results
    assert (result.order.run_id, result.outcome) == (GUILTY, Outcome.DIED)
    return result.reason == UNREADABLE and len(runners.pool.runners) == 1


@SEEDED
@given(st.lists(SPOKEN | FLIPPED, min_size=1, max_size=4).map(b"".join))
@example(pack_bytes(b"[" * 200_000))
@example(struct.pack("!I", 2**32 - 1) + b"x")
@example(pack_bytes(VALID[4:] + b"[1]"))
@example(pack_bytes(VALID[4:] + b'{"progress": {"at": NaN, "of": 1, "text": ""}}'))
def test_whatever_a_runner_says_ends_at_most_that_runner(data: bytes) -> None:
    with FakeRunners() as runners:
        guilty, innocent = both_at_work(runners)
        guilty.say(data)
        others_go_on(runners, innocent)


@SEEDED
@given(st.lists(st.tuples(NUMBER, REAL), min_size=1, max_size=3))
@example([(GUILTY, math.nan)])
@example([(GUILTY, 1e300)])
@example([(INNOCENT, 0.0), (GUILTY, 0.0), (BEHIND, 0.0)])
def test_whatever_a_board_says_ends_at_most_that_runner(values: list[tuple[int, float]]) -> None:
    with FakeRunners() as runners:
        guilty, innocent = both_at_work(runners)
        for run_id, began in values:
            guilty.board.begin(run_id, began)
            runners.turn(0.1)
        others_go_on(runners, innocent)


@SEEDED
@given(
    st.lists(JUNK | st.sampled_from([b"\x00nonce:", b"\x00nonce:81\x00", b"9" * 30]), max_size=5)
)
def test_whatever_is_printed_is_output(pieces: list[bytes]) -> None:
    with FakeRunners() as runners:
        guilty, innocent = both_at_work(runners)
        for piece in pieces:
            os.write(guilty.output, piece)
            runners.turn()
        others_go_on(runners, innocent)


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 100,
        pack_bytes(b"["),
        pack_bytes(b"[" * 200_000),
        pack_bytes(b"\xff"),
        pack(["progress", GUILTY, {"at": math.nan, "of": None, "text": ""}]),
        pack(["progress", True, {"at": 1, "of": None, "text": ""}]),
        pack(["progress", GUILTY, {"at": 1, "of": None, "text": "\ud800"}]),
        pack(["progress", GUILTY, {"at": 1}]),
        pack(["ready", 4711]),
        pack(["boot_failed", "never mind"]),
        pack(["unknown"]),
        pack([]),
        pack([["progress"]]),
        pack_bytes(pack_report(PackedReport(INNOCENT, 0, 0.0, 0.0, False, False, "[1]", {}))),
        pack_bytes(pack_report(PackedReport(GUILTY, 0, 0.0, math.nan, False, False, "[1]", {}))),
        pack_bytes(pack_report(PackedReport(GUILTY, 0, 0.0, -1.0, False, False, "[1]", {}))),
        pack_bytes(pack_report(PackedReport(GUILTY, 0, 0.0, 0.0, False, False, "\x00", {}))),
        pack_bytes(VALID[4:] + b"[1]"),
        pack_bytes(VALID[4:] + b'{"reason": 1}'),
        pack_bytes(VALID[4:] + b'{"strange": "x"}'),
        pack_bytes(VALID[4:] + b"[" * 200_000),
    ],
)
def test_nonsense_ends_its_runner_at_once_and_is_told_as_what_it_was(
    runners: FakeRunners, data: bytes
) -> None:
    guilty, _ = both_at_work(runners)
    guilty.say(data)
    assert is_ended(runners)


def test_a_length_that_no_frame_has_is_not_waited_for(runners: FakeRunners) -> None:
    guilty, _ = both_at_work(runners)
    guilty.say(struct.pack("!I", 2**32 - 1))
    assert is_ended(runners)


def test_what_came_before_the_nonsense_counts(runners: FakeRunners) -> None:
    guilty, _ = both_at_work(runners)
    guilty.say(VALID + b"x" * 100)
    runners.turn()
    assert runners.outcomes(GUILTY) == [Outcome.COMPLETED]


def test_a_frame_that_never_ends_costs_a_slot_until_the_runs_deadline(
    runners: FakeRunners,
) -> None:
    guilty, innocent = both_at_work(runners)
    guilty.say(struct.pack("!I", 5_000))
    guilty.report(GUILTY)  # is taken for a part of that frame
    innocent.report(INNOCENT)
    for _ in range(5):
        runners.turn(12.0)
    assert len(runners.outcomes(GUILTY)) == 0
    for seconds in (8.0, 1.0, 1.0):
        runners.turn(seconds)
    assert runners.outcomes(GUILTY) == [Outcome.TIMEOUT]
    assert len(runners.pool.runners) == 1


def test_a_board_that_shows_another_run_does_not_put_off_the_deadline(
    runners: FakeRunners,
) -> None:
    guilty, runner = runners.join()
    for run_id in (GUILTY, BEHIND):
        runners.hand_out(run_id, timeout=2 if run_id == GUILTY else 86_400)
        guilty.lane.receive()
    for _ in range(40):
        for run_id in (BEHIND, GUILTY):
            guilty.board.begin(run_id, runners.clock.monotonic())
        runners.turn(0.3)
    assert runners.outcomes(GUILTY) == [Outcome.TIMEOUT]
    assert runner not in runners.pool.runners


def test_a_board_that_was_written_over_ends_its_runner_at_once(runners: FakeRunners) -> None:
    guilty, _ = both_at_work(runners)
    guilty.board.begin(0x7878787878787878, 3.0)
    assert is_ended(runners)


def test_what_was_not_begun_behind_nonsense_goes_back(runners: FakeRunners) -> None:
    guilty, runner = runners.join()
    for run_id in (GUILTY, BEHIND):
        runners.hand_out(run_id)
    guilty.begin()
    guilty.say(b"x" * 100)
    runners.turn()
    runners.turn(2.0)
    assert runners.outcomes(GUILTY) == [Outcome.DIED]
    assert runners.outcomes(BEHIND) == [""]
    assert runner not in runners.pool.runners


def test_one_that_speaks_without_end_does_not_keep_the_loop(runners: FakeRunners) -> None:
    guilty, innocent = both_at_work(runners)
    progress = pack(["progress", GUILTY, {"at": 1, "of": 2, "text": ""}])
    guilty.say(progress * 10_000)
    others_go_on(runners, innocent)


def test_files_that_nobody_asked_for_end_their_sender(runners: FakeRunners) -> None:
    guilty, _ = both_at_work(runners)
    before = len(os.listdir("/proc/self/fd"))
    readable, writable = os.pipe()
    os.close(writable)
    pipe = PrivateFile(readable)
    for _ in range(20):
        socket.socket.sendmsg(guilty.socket, [pack(["progress"])[:1]], attached(pipe))
        runners.turn()
    pipe.close()
    assert is_ended(runners)
    assert len(os.listdir("/proc/self/fd")) < before


def test_a_result_in_a_pipe_fails_that_run_and_blocks_nobody(runners: FakeRunners) -> None:
    guilty, _ = both_at_work(runners)
    readable, writable = os.pipe()
    told = PackedReport(GUILTY, 0, 0.0, 0.0, False, False, None, {}, in_file=True)
    guilty.channel.send_frame(pack_bytes(pack_report(told)), PrivateFile(readable))
    os.close(writable)
    runners.turn()
    [result] = runners.results
    assert (result.outcome, result.result_file) == (Outcome.FAILED, None)


def test_a_result_with_holes_is_not_read(runners: FakeRunners) -> None:
    guilty, _ = both_at_work(runners)
    file = PrivateFile(nameless_file("holes"))
    os.ftruncate(file.fileno(), 1 << 40)
    told = PackedReport(GUILTY, 0, 0.0, 0.0, False, False, None, {}, in_file=True)
    guilty.channel.send_frame(pack_bytes(pack_report(told)), file)
    runners.turn()
    [result] = runners.results
    assert (result.outcome, result.result_file) == (Outcome.FAILED, None)
    assert code_of(result.reason) == ReasonCode.REPORT_TOO_LARGE


NEWS = st.tuples(
    st.sampled_from(["loaded", "boot_failed", "born", "unborn", "died", "lapsed", "ready"]),
    ODD,
    ODD,
).map(lambda parts: list(parts[: 2 + (parts[0] in ("loaded", "died"))]))


@SEEDED
@given(st.lists((NEWS | st.lists(ODD, max_size=3)).map(pack) | JUNK, max_size=4).map(b"".join))
@example(pack(["died", 4711, 9]) + pack(["lapsed", [4711]]))
@example(pack_bytes(b"[" * 200_000))
def test_whatever_a_forkserver_says_raises_nothing(data: bytes) -> None:
    with FakeRunners() as runners:
        forkserver = runners.open_forkserver()
        both_at_work(runners)
        forkserver.sendall(data)
        runners.turn()
        runners.turn(2.0)
        assert len(runners.outcomes(INNOCENT)) <= 1


def test_a_forkserver_that_is_not_understood_is_given_up(runners: FakeRunners) -> None:
    for data in (b"x" * 100, pack(["born", 4711]), pack(["died", 0, 0]), pack(["died", 1, True])):
        forkserver = runners.open_forkserver()
        forkserver.sendall(data)
        runners.turn()
        assert not runners.pool.is_loading


def test_marks_with_other_numbers_are_output() -> None:
    stream = output_buffer.Stream("nonce")
    assert stream.split(b"a\x00nonce:x\x00b") == ([], b"ax\x00b")
    assert stream.split(b"a\x00nonce:" + b"1" * 40) == ([], b"a" + b"1" * 40)
    assert stream.split(b"\x00nonce:7")[1] == b""
    assert stream.split(b"8\x00rest") == ([(b"", 78)], b"rest")
    assert json.dumps(stream.rest().decode()) == '""'
