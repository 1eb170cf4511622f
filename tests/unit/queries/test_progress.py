"""How far a run is: what it told, and what bars of many kinds print."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from plugin_scheduler.queries.progress import ProgressView, headway, last_line

BEGAN = datetime(2026, 1, 31, 12, 0)
LATER = BEGAN + timedelta(seconds=30)


def told(at: object = None, of: object = None, text: object = "") -> ProgressView:
    return headway({"at": at, "of": of, "text": text}, "", BEGAN, LATER)


def printed(output: str) -> ProgressView:
    return headway(None, output, BEGAN, LATER)


def test_progress_gives_share_words_and_the_time_left_by_the_time_it_took() -> None:
    assert told(25, 100, "images") == ProgressView(0.25, "images (25 of 100)", 90.0)
    assert told(1234, 5000).words == "1,234 of 5,000"
    assert told(100, 100) == ProgressView(1.0, "100 of 100", 0.0)


@pytest.mark.parametrize(
    ("found", "share", "words", "left"),
    [
        (told(0, 10, "begins"), 0.0, "begins (0 of 10)", None),
        (told(20, 10), 1.0, "20 of 10", 0.0),
        (told(-1, 10), 0.0, "-1 of 10", None),
        (told(7), None, "7", None),
        (told(7, 0, "rows"), None, "rows (7)", None),
        (told("x", True, "odd"), None, "odd", None),
        (told(float("nan"), 5), None, "", None),
        (told(1, float("inf")), None, "1", None),
        (headway({}, "50%", BEGAN, LATER), None, "", None),
        (headway([3], "50%", BEGAN, LATER), 0.5, "", 30.0),
    ],
)
def test_odd_progress_is_taken_for_what_it_can_mean(
    found: ProgressView, share: float | None, words: str, left: float | None
) -> None:
    assert (found.share, found.words, found.left) == (share, words, left)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("50%", ProgressView(0.5, "", 30.0)),
        ("12.5 % of the pictures\n\n", ProgressView(0.125, "of the pictures", 210.0)),
        (
            "\r  1%|▏ | 1/100 [00:01<01:39]\r 45%|████▌     | 45/100 [00:03<00:04, 13.1it/s]",
            ProgressView(0.45, "45/100, 13.1it/s", 4.0),
        ),
        (
            "resize: 100%|██████████| 1.2M/1.2M [1:00:03<01:00:04,  1.50MB/s]\n",
            ProgressView(1.0, "resize (1.2M/1.2M, 1.50MB/s)", 3604.0),
        ),
        ("a:b: c:  0%|   | 0/3 [00:00<?, ?it/s]", ProgressView(0.0, "a:b: c (0/3)", None)),
        ("rows: 45it [00:03, 13.2it/s]", ProgressView(None, "rows: 45it [00:03, 13.2it/s]", None)),
        ("Downloading ━━━━━━━━━━╸━━━━ 60% 0:00:04", ProgressView(0.6, "Downloading", 20.0)),
        ("[#####.....]  50%", ProgressView(0.5, "", 30.0)),
        ("\x1b[32mBuild\x1b[0m |====>    | \x1b[1m75%\x1b[0m", ProgressView(0.75, "Build", 10.0)),
    ],
)
def test_the_last_line_is_understood_where_it_is_a_bar(output: str, expected: ProgressView) -> None:
    found = printed("some line before\n" + output)
    assert (found.share, found.words) == (expected.share, expected.words)
    assert found.left == pytest.approx(expected.left)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "done",
        "50%\nand now for something else",
        "the disk is 93% full",
        "140% of what was planned",
        "=======",
        "<b>10</b>",
        "%|" + "|/" * 5000,
        "=" * 5000 + "%",
        ": " * 5000 + "1 [",
    ],
)
def test_what_is_no_progress_is_not_taken_for_it(output: str) -> None:
    assert not printed(output)


def test_without_times_there_is_a_share_and_no_guess() -> None:
    assert headway({"at": 1, "of": 2}, "", None, None) == ProgressView(0.5, "1 of 2", None)


def test_the_last_line_is_what_a_terminal_would_show_in_the_end() -> None:
    text = "first\n\x1b]0;a title\x07\x1b[2Ksecond\rthird\x1b[0m\r\n  \x1b[K"
    assert last_line(text) == "third"
