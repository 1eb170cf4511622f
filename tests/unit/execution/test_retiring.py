"""Why a runner retires: it says so with its last report, and the log tells it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_runners import FakeRunners
from support.makers import NINE

from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Outcome
from plugin_scheduler.execution.frame_checks import LONGEST_REASON, read_report
from plugin_scheduler.execution.mailbox import PackedReport, pack_report
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.execution.runner_main import Runner
from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.reporter import Reporter

REPORT = PackedReport(81, 0, 1.0, 0.5, False, True, "[1]", {})


@pytest.mark.parametrize(
    ("rest", "level", "words"),
    [
        ({"retires": "1 thread is left"}, logging.INFO, ": 1 thread is left"),
        ({"retires": "x\nWARNING forged"}, logging.INFO, ": x\\nWARNING forged"),
        ({}, logging.DEBUG, ": it has reached runner_max_runs"),
    ],
)
def test_the_log_says_why_a_runner_retires(
    caplog: pytest.LogCaptureFixture, rest: dict[str, Any], level: int, words: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeRunners() as runners:
        fake, runner = runners.join()
        runners.hand_out(81)
        fake.begin()
        fake.report(81, retires=True, rest=rest)
        runners.turn()
        assert runners.outcomes(81) == [Outcome.COMPLETED] and runner.retiring_since is not None
        large_results = SimpleNamespace(delivered=list)
        reporting = Reporter(SimpleNamespace(), large_results, "me", TurnedClock(NINE))  # type: ignore[arg-type]
        reporting.collect(News(retired=runners.retired))
    [record] = [one for one in caplog.records if "a runner exits" in one.getMessage()]
    said = f"a runner exits after run 81 of task 81 send_mail{words}"
    assert (record.levelno, record.getMessage()) == (level, said)


@pytest.mark.parametrize("why", [1, None, "", "x" * (LONGEST_REASON + 1), "\0", ["x"]])
def test_a_strange_reason_to_retire_is_no_report(why: Any) -> None:
    assert read_report(pack_report(REPORT._replace(rest={"retires": "why"})))
    with pytest.raises(ValueError, match="invalid value"):
        read_report(pack_report(REPORT._replace(rest={"retires": why})))


def test_a_runner_that_goes_on_has_no_reason_to_retire() -> None:
    with pytest.raises(ValueError, match="without an exit"):
        read_report(pack_report(REPORT._replace(retires=False, rest={"retires": "why"})))


@pytest.mark.parametrize(
    ("options", "reasons", "why"),
    [
        ({}, [], None),
        ({"runner_max_runs": 7}, [], ""),
        ({"runner_max_runs": 7}, ["1 thread is left"], "1 thread is left"),
        ({"runner_max_mib": 1}, [], "MiB of memory, runner_max_mib is 1"),
        ({}, ["1 thread is left", "a limit"], "1 thread is left; a limit"),
    ],
)
def test_a_runner_names_what_keeps_it_from_another_run(
    options: dict[str, int], reasons: list[str], why: str | None
) -> None:
    runner = Runner.__new__(Runner)
    settings = Settings(**{"runner_max_mib": 0, **options})  # type: ignore[arg-type]
    runner._settings, runner._reasons, runner._runs = settings, reasons, 7
    runner._mib = runner._measured = 0.0
    told = runner._why_retire()
    assert told == why or (why and told and told.endswith(why))
