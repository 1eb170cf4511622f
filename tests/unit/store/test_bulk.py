"""Bulk writes: which runs leave a row."""

from __future__ import annotations

import pytest
from support.makers import NINE, an_order

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Outcome, Report
from plugin_scheduler.store.bulk import leaves_no_row


@pytest.mark.parametrize(
    ("result", "output", "options", "leaves_none"),
    [
        (None, "", {}, True),
        ("null", "", {}, True),
        ("7", "", {}, False),
        (None, "printed", {}, False),
        (None, "printed", {"keep_printed_runs": False}, True),
        ("7", "printed", {"keep_printed_runs": False}, False),
        (None, "", {"keep_empty_runs": True}, False),
        ("7", "printed", {"discard_results": True}, True),
    ],
)
def test_a_completed_run_leaves_a_row_if_it_returned_or_printed_something(
    result: str | None, output: str, options: dict[str, bool], leaves_none: bool
) -> None:
    report = Report(an_order(), Outcome.COMPLETED, NINE, 0.1, result=result, output=output)
    assert leaves_no_row(report, Settings().replace(**options)) is leaves_none
