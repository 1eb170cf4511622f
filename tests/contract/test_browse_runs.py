"""What a person gets to see of a run: its details, its output piece by piece, its neighbours."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from support.kit import Lab

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import RunStatus
from plugin_scheduler.queries import Queries
from plugin_scheduler.queries.runs import COMPARED, PIECE, RESULT, Piece
from plugin_scheduler.system.clock import TurnedClock

NOW = datetime(2026, 1, 31, 12, 0)


class Desk:
    """A lab's tables with one run, and a browser whose clock stands still."""

    def __init__(self, lab: Lab) -> None:
        self.db = lab.db
        self.browser = Queries(self.db, Settings(), "lab", (), TurnedClock(NOW))
        self.browser._dialect.epoch = TurnedClock(NOW).epoch
        self.task_id = self.task()
        self.run_id = self.run()

    def task(self, **columns: Any) -> int:
        return int(self.db.scheduler_task.insert(**{"function_name": "f", **columns}))

    def run(self, **columns: Any) -> int:
        given = {"task_id": self.task_id, "status": RunStatus.RUNNING, **columns}
        return int(self.db.scheduler_run.insert(**given))

    def write(self, text: str | None) -> None:
        self.db(self.db.scheduler_run.id == self.run_id).update(run_output=text)

    def read(self, before: Piece | None = None) -> Piece:
        known = (before.end, before.marker) if before else ()
        piece = self.browser.output(self.run_id, *known)
        assert piece is not None
        return piece


@pytest.fixture
def desk(lab: Lab) -> Desk:
    return Desk(lab)


def test_output_comes_in_pieces_of_characters_that_follow_each_other(desk: Desk) -> None:
    text = "naïve — 日本\n" * 5
    desk.write(text)
    first = desk.read()
    assert (first.text, first.start, first.total, first.fresh) == (text, 0, len(text), True)
    desk.write(text + "größer")
    more = desk.read(first)
    assert (more.text, more.start, more.fresh) == ("größer", len(text), False)
    nothing = desk.read(more)
    assert (nothing.text, nothing.end, nothing.fresh) == ("", more.total, False)


@pytest.mark.parametrize("now", ["51%\n", "6%", "", None, "50%, but another line\n"])
def test_what_was_cleared_comes_anew_also_where_it_is_as_long_as_before(
    desk: Desk, now: str | None
) -> None:
    desk.write("50%\n")
    before = desk.read()
    desk.write(now)
    after = desk.read(before)
    assert (after.text, after.fresh, after.total) == (now or "", True, len(now or ""))


def test_of_a_long_output_the_end_comes_and_then_what_is_added(desk: Desk) -> None:
    long = "".join(f"{n}\n" for n in range(100_000))
    desk.write(long)
    first = desk.read()
    assert len(first.text) == PIECE and first.text == long[-PIECE:] and first.end == len(long)
    desk.write(long + "more")
    assert (desk.read(first).text, desk.read(first).fresh) == ("more", False)


def test_where_the_worker_cut_a_long_output_its_end_comes_anew(desk: Desk) -> None:
    lines = [f"line {n}\n" for n in range(20_000)]
    head = "[... 1.{} MiB of earlier output omitted ...]\n"
    desk.write(head.format(1) + "".join(lines))
    first = desk.read()
    desk.write(head.format(1) + "".join(lines[100:]) + "x" * len("".join(lines[:100])))
    after = desk.read(first)
    assert after.fresh and after.text.endswith("xxx") and first.total > COMPARED


def test_more_than_a_piece_at_once_is_read_in_several(desk: Desk) -> None:
    desk.write("begin\n")
    piece = desk.read()
    long = "begin\n" + "".join(f"{n}\n" for n in range(60_000))
    desk.write(long)
    shown = piece.text
    while piece.end < len(long):
        piece = desk.read(piece)
        assert not piece.fresh and len(piece.text) <= PIECE
        shown += piece.text
    assert shown == long


def test_a_run_comes_without_its_output_and_with_its_result_decoded(desk: Desk) -> None:
    run_id = desk.run(
        status=RunStatus.COMPLETED,
        start_time=NOW,
        stop_time=NOW + timedelta(seconds=4),
        run_output="äöü",
        run_result='{"a": [1, "é"]}',
        worker_name="w1",
    )
    run = desk.browser.run(run_id)
    assert run is not None
    assert (run.output, run.printed, run.result) == ("", 3, {"a": [1, "é"]})
    assert (run.duration, run.worker, run.result_cut) == (4.0, "w1", False)
    assert not run.headway


def test_of_a_large_result_the_beginning_is_shown_and_all_of_it_to_be_had(desk: Desk) -> None:
    text = '"' + "é" * RESULT + '"'
    run_id = desk.run(status=RunStatus.COMPLETED, run_result=text)
    run = desk.browser.run(run_id)
    assert run is not None and run.result_cut and run.result == text[:RESULT]
    assert desk.browser.whole_result(run_id) == text


def test_a_running_run_tells_how_far_it_is_by_its_progress_or_by_what_it_prints(
    desk: Desk,
) -> None:
    since = NOW - timedelta(seconds=30)
    told = desk.run(start_time=since, progress={"at": 1, "of": 4, "text": "rows"}, run_output="9%")
    bar = desk.run(start_time=since, run_output="é" * 5000 + "\r\n 50%|█  | 1/2 [00:30<00:31]")
    runs = [desk.browser.run(one) for one in (told, bar, desk.run())]
    shares = [(run.headway.share, run.headway.words, run.headway.left) for run in runs if run]
    assert shares == [(0.25, "rows (1 of 4)", 90.0), (0.5, "1/2", 31.0), (None, "", None)]


def test_runs_of_other_apps_and_none_are_not_to_be_seen(desk: Desk) -> None:
    task_id = desk.task(application_name="shop")
    foreign = desk.run(task_id=task_id, run_output="secret", run_result="1")
    for run_id in (foreign, foreign + 1000):
        browser = desk.browser
        assert browser.run(run_id) is None and browser.output(run_id) is None
        assert browser.whole_output(run_id) is None and browser.whole_result(run_id) is None


def test_the_runs_before_and_after_are_those_of_the_same_task(desk: Desk) -> None:
    desk.run(task_id=desk.task())
    second = desk.run()
    desk.run(task_id=desk.task())
    third = desk.run()
    ids = desk.browser.run_ids
    assert ids(desk.run_id, desk.task_id) == (None, second)
    assert ids(second, desk.task_id) == (desk.run_id, third)
    assert ids(third, desk.task_id) == (second, None)


def test_all_that_was_printed_can_be_had(desk: Desk) -> None:
    assert desk.browser.whole_output(desk.run_id) == ""
    desk.write("all\n" * 100_000)
    assert desk.browser.whole_output(desk.run_id) == "all\n" * 100_000


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_rows_that_somebody_spoiled_hide_no_others_and_are_refused_in_words(desk: Desk) -> None:
    spoiled, other = desk.run(), desk.run()
    for table, row in (("run", spoiled), ("task", desk.task_id)):
        desk.db.executesql(f"UPDATE scheduler_{table} SET start_time = 'never' WHERE id = {row}")
    assert [run.id for run in desk.browser.runs(desk.task_id).items] == [other, desk.run_id]
    with pytest.raises(BadTask, match=f"Run {spoiled} cannot be read: .*'never'"):
        desk.browser.run(spoiled)
    with pytest.raises(BadTask, match=f"Task {desk.task_id} cannot be read: .*'never'"):
        desk.browser.task(desk.task_id)
