"""What a run printed: bounded, in order, and never mixed up with the next run's."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from plugin_scheduler.execution.output_buffer import CLEAR, OutputBuffer, Stream, mark

NONCE = "0123456789abcdef"
LIMIT = 1024

PIECES = st.sampled_from(
    [b"!clear!", b"!cle", b"ar!", b"clear!", b"!", b"x" * 500, b"y" * 1500, b"z" * 3000]
)
BYTES = st.lists(PIECES | st.binary(max_size=20), max_size=12).map(b"".join)
MARKISH = st.sampled_from(
    [
        mark(NONCE, 1),
        mark(NONCE, 23),
        b"\x00",
        b"\x00" + NONCE.encode(),
        b"\x00012",
        b":1\x00",
        b"a",
    ]
)
STREAMS = st.lists(MARKISH, max_size=12).map(b"".join)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def written(pieces: list[bytes], limit: int = LIMIT) -> str:
    output = OutputBuffer(limit)
    for piece in pieces:
        output.write(piece)
    return output.text()


# --- Output ---------------------------------------------------------------------------------------


def test_what_fits_is_kept_as_it_came() -> None:
    assert written(["één ".encode(), b"two\n"]) == "één two\n"
    assert written([b"x" * LIMIT]) == "x" * LIMIT


def test_of_too_much_the_newest_bytes_are_kept_under_a_line_that_tells_of_the_rest() -> None:
    text = written([b"a" * LIMIT, b"b" * LIMIT])
    assert text == "[... 1.0 KiB of earlier output omitted ...]\n" + "b" * LIMIT
    assert written([b"a" * 7, b"b" * LIMIT]).startswith("[... 7 bytes of earlier output omitted")
    assert written([b"a" * (3 << 20)]).startswith("[... 3.0 MiB of earlier output omitted")


def test_the_line_tells_of_all_that_was_left_out_also_when_the_text_is_asked_for_often() -> None:
    output = OutputBuffer(LIMIT)
    for _ in range(5):
        output.write(b"x" * LIMIT)
        output.text()
    assert output.text().startswith("[... 4.0 KiB of earlier")


@given(BYTES, st.lists(st.integers(min_value=0), max_size=8))
def test_any_split_of_the_bytes_gives_the_same_text(data: bytes, cuts: list[int]) -> None:
    assert written(split(data, cuts)) == written([data])


def test_clear_drops_all_before_it_wherever_it_is_split() -> None:
    data = b"50%" + CLEAR + b"100%"
    for cut in range(len(data) + 1):
        assert written([data[:cut], data[cut:]]) == "100%"
    assert written([data[at : at + 1] for at in range(len(data))]) == "100%"


def test_clear_forgets_what_was_left_out_too() -> None:
    assert written([b"a" * 5000, b"!clear!", b"new"]) == "new"


def test_of_two_clears_that_share_a_mark_only_the_first_counts() -> None:
    assert written([b"!clear!clear!"]) == written([b"!clear!", b"clear!"]) == "clear!"


def test_a_cut_through_a_character_begins_with_the_next_one() -> None:
    for shift in range(4):
        text = written([b"x" * shift + "€".encode() * 2000]).split("\n")[1]
        assert set(text) == {"€"}


def test_bytes_that_are_no_text_cost_no_time_when_they_are_cut() -> None:
    began = time.perf_counter()
    text = written([b"\x80" * (4 << 20)], limit=1 << 20)
    assert time.perf_counter() - began < 0.5
    assert text.count("\ufffd") == (1 << 20) - 3


def test_nul_becomes_a_sign_that_databases_take() -> None:
    assert written([b"a\x00b\x81"]) == "a\ufffdb\ufffd"


def test_what_is_not_utf_8_is_shown_as_latin_1_and_leaves_its_neighbours_alone() -> None:
    assert (
        written(["caf\xe9 ".encode("latin-1") + "\u20ac caf\xe9".encode()])
        == "caf\xe9 \u20ac caf\xe9"
    )


def test_output_knows_whether_anything_came_since_it_was_stored() -> None:
    output = OutputBuffer(LIMIT)
    output.write(b"")
    assert not output.changed
    output.write(b"x")
    assert output.changed
    output.text()
    assert output.changed, "who stores the text says so"


def test_a_hundred_megabytes_take_the_memory_of_two_limits_and_little_time() -> None:
    output, piece = OutputBuffer(1 << 20), b"x" * (1 << 16)
    began = time.perf_counter()
    tracemalloc.start()
    for _ in range(1600):
        output.write(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20
    assert time.perf_counter() - began < 2
    assert output.text().startswith("[... 99.0 MiB of earlier")


# --- Stream ---------------------------------------------------------------------------------------


def sorted_out(pieces: list[bytes]) -> tuple[list[tuple[bytes, int]], bytes]:
    """Runs that ended, each with all its bytes, and the bytes after the last of them."""
    stream, runs, current = Stream(NONCE), [], b""
    for piece in pieces:
        ended, rest = stream.split(piece)
        for data, run_id in ended:
            runs.append((current + data, run_id))
            current = b""
        current += rest
    return runs, current


def test_a_mark_ends_a_run_at_whatever_byte_it_is_split() -> None:
    data = b"first\n" + mark(NONCE, 81) + b"second"
    for cut in range(len(data) + 1):
        assert sorted_out([data[:cut], data[cut:]]) == ([(b"first\n", 81)], b"second")
    assert sorted_out([data[at : at + 1] for at in range(len(data))]) == (
        [(b"first\n", 81)],
        b"second",
    )


def test_several_marks_in_one_piece_end_several_runs() -> None:
    data = b"a" + mark(NONCE, 1) + mark(NONCE, 2) + b"c" + mark(NONCE, 3)
    assert sorted_out([data]) == ([(b"a", 1), (b"", 2), (b"c", 3)], b"")


def test_bytes_that_look_like_the_beginning_of_a_mark_are_given_out_with_the_rest() -> None:
    whole = mark(NONCE, 1)
    for length in range(1, len(NONCE) + 2):
        assert sorted_out([whole[:length], b"!"]) == ([], whole[:length] + b"!")
        assert sorted_out([whole[:length], whole]) == ([(whole[:length], 1)], b"")


def test_the_mark_of_somebody_else_is_output_like_any_other() -> None:
    foreign = mark("f" * 16, 7)
    runs, rest = sorted_out([foreign, b"x"])
    assert (runs, rest) == ([], foreign + b"x")


@given(STREAMS, st.lists(st.integers(min_value=0), max_size=8))
def test_any_split_of_a_stream_gives_the_same_runs(data: bytes, cuts: list[int]) -> None:
    flush = b"."  # what could be a mark's beginning is held until it cannot be one
    assert sorted_out([*split(data, cuts), flush]) == sorted_out([data, flush])
