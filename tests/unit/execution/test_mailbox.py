"""Orders that wait for a runner, and what a runner tells without being asked."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_scheduler.execution.framing import Closed
from plugin_scheduler.execution.mailbox import (
    Mailbox,
    MailboxEnd,
    PackedOrder,
    PackedReport,
    pack_order,
    pack_report,
    unpack_order,
    unpack_report,
)
from plugin_scheduler.execution.scoreboard import Scoreboard, blank_page

TEXT = st.none() | st.text(max_size=9)
NUMBER = st.integers(0, 2**62)


def an_order(run_id: int) -> PackedOrder:
    return PackedOrder(run_id, 3, "uuid", "add", "[1]", None)


@pytest.fixture
def lane() -> Iterator[tuple[Mailbox, MailboxEnd]]:
    ours = Mailbox()
    theirs = MailboxEnd(os.dup(ours.end.fileno()), 0.05)
    yield ours, theirs
    ours.close()
    theirs.abandon()


@given(
    st.builds(
        PackedOrder,
        NUMBER,
        NUMBER,
        *[st.text(max_size=9)] * 2,
        TEXT,
        TEXT,
        st.booleans(),
        st.none(),
    )
)
def test_an_order_comes_out_as_it_went_in(order: PackedOrder) -> None:
    assert unpack_order(pack_order(order)) == order


@given(NUMBER, st.booleans(), st.booleans(), TEXT, st.dictionaries(st.text(max_size=3), TEXT))
def test_a_report_comes_out_as_it_went_in(
    run_id: int, marked: bool, retires: bool, result: str | None, rest: dict[str, str | None]
) -> None:
    told = PackedReport(run_id, 4, 1.25, 0.5, marked, retires, result, rest)
    assert unpack_report(pack_report(told)) == told


def test_what_is_no_report_is_said_to_be_none() -> None:
    report = pack_report(PackedReport(81, 0, 1.25, 0.5, True, False, "[1]", {"reason": "x"}))
    for junk in (b"", report[:20], report[:31], report[:-1], report + b"}", b"hello" * 20):
        with pytest.raises(ValueError):
            unpack_report(junk)


def test_orders_come_in_their_order_and_those_not_begun_can_be_taken_back(
    lane: tuple[Mailbox, MailboxEnd],
) -> None:
    ours, theirs = lane
    assert all(ours.send(pack_order(an_order(number))) for number in range(1, 5))
    assert theirs.receive() == an_order(1)
    assert [unpack_order(packet).run_id for packet in ours.take_back()] == [2, 3, 4]
    assert ours.take_back() == []
    assert theirs.receive() is None, "nothing came for as long as it is patient"


def test_a_full_lane_says_so_and_loses_nothing(lane: tuple[Mailbox, MailboxEnd]) -> None:
    ours, theirs = lane
    sent = 0
    while ours.send(pack_order(an_order(sent))):
        sent += 1
    assert sent > 100
    assert theirs.receive() == an_order(0)
    assert [unpack_order(packet).run_id for packet in ours.take_back()] == list(range(1, sent))


def test_a_runner_hears_that_no_order_will_come(lane: tuple[Mailbox, MailboxEnd]) -> None:
    ours, theirs = lane
    ours.send(pack_order(an_order(1)))
    ours.close()
    assert theirs.receive() == an_order(1)
    with pytest.raises(Closed):
        theirs.receive()


def test_a_board_is_the_same_on_both_sides() -> None:
    page = blank_page()
    one, other = Scoreboard(page), Scoreboard(page)
    assert (other.run_id, other.output_read) == (0, 0)
    one.begin(81, 12.5)
    assert (other.run_id, other.began) == (81, 12.5)
    with other.reading():
        assert one.output_read is None
        other.have_read(7)
    assert one.output_read == 7
    one.close()
    other.close()
    os.close(page)
