"""What `progress` makes of its arguments."""

from __future__ import annotations

import decimal
import fractions
import math
from collections.abc import Iterator
from typing import Any

import pytest

from plugin_scheduler.core.current_task import LONGEST_TEXT, current_task, progress
from plugin_scheduler.core.json_codec import clean
from plugin_scheduler.execution.frame_checks import is_progress

Told = list[tuple[Any, ...]]


@pytest.fixture
def told() -> Iterator[Told]:
    told: Told = []
    current_task.enter(1, "uuid", 2, lambda *parts: told.append(parts))
    yield told
    current_task.leave()


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (3, 3),
        (0.5, 0.5),
        (True, 1),
        (decimal.Decimal("2.5"), 2.5),
        (fractions.Fraction(1, 4), 0.25),
        (10**20, 1e20),
        (-(10**400), None),
        (math.nan, None),
        (math.inf, None),
        (decimal.Decimal("NaN"), None),
        (decimal.Decimal(10) ** 400, None),
    ],
)
def test_numbers_of_any_type_become_plain_and_those_that_are_not_finite_tell_nothing(
    told: Told, value: Any, plain: float | None
) -> None:
    progress(value, value, "text")
    assert told == [(plain, plain, "text")]
    assert [type(part) for part in told[0][:2]] == [type(plain)] * 2
    assert plain is None or is_progress({"at": plain, "of": plain, "text": "text"})


@pytest.mark.parametrize("value", ["5", b"5", None, [], {}, object(), 1j])
def test_what_is_no_number_is_refused_at_the_call(told: Told, value: Any) -> None:
    with pytest.raises(TypeError, match="progress"):
        progress(value)
    if value is not None:
        with pytest.raises(TypeError, match=": of must be a number"):
            progress(1, value)
    assert told == []


def test_a_text_of_any_type_becomes_one_that_can_be_stored(told: Told) -> None:
    for text in ("ü", b"\xff", 7, None, "x" * 100_000, "\ud800\x00"):
        progress(1, text=text)
    assert [parts[2] for parts in told][:4] == ["ü", "\ufffd", "7", "None"]
    assert len(told[4][2]) == LONGEST_TEXT
    assert all(is_progress({"at": 1, "of": None, "text": clean(text)}) for _, _, text in told)


def test_outside_a_task_nothing_happens() -> None:
    progress("whatever")  # type: ignore[arg-type]
