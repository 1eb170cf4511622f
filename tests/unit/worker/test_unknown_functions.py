"""What a worker makes of tasks whose functions it does not know."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.makers import NINE, a_task

from plugin_scheduler.system.clock import TurnedClock
from plugin_scheduler.worker.unknown_functions import (
    LATELY,
    LISTED,
    LOOK_EVERY,
    SKIP_AT_MOST,
    SKIP_FOR,
    KnownFunctions,
)

WAIT = 3600.0


class Bench:
    def __init__(self, *names: str, wait: float = WAIT) -> None:
        self.clock = TurnedClock(NINE)
        self.functions = KnownFunctions(names or ("add", "mail"), wait, self.clock)

    def claim(self, *names: str) -> list[str]:
        """As claims do: limited ones do not even read the others."""
        only = self.functions.only
        read = [a_task(function_name=name) for name in names if not only or name in only]
        return [task.function_name for task in self.functions.known(read)]


def test_a_worker_that_met_no_unknown_function_limits_no_claim() -> None:
    bench = Bench()
    assert bench.claim("add", "mail", "add") == ["add", "mail", "add"]
    assert bench.functions.only == ()
    assert not bench.functions.look_now_and_then()
    assert bench.functions.about()["unknown_functions"] == []


def test_one_that_met_one_limits_its_claims_to_what_it_knows_and_tells_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.claim("newer", "add", "newer") == ["add"]
    assert bench.functions.only == ("add", "mail")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "does not know the function newer" in caplog.text


def test_it_looks_again_from_time_to_time_and_forgets_what_is_there_no_more() -> None:
    bench = Bench()
    bench.claim("newer", "other")
    bench.clock.turn(LOOK_EVERY - 1)
    assert not bench.functions.look_now_and_then()
    bench.clock.turn(1)
    assert bench.functions.look_now_and_then()
    bench.claim("newer")
    assert bench.functions.about()["unknown_functions"] == ["newer"]
    bench.clock.turn(LOOK_EVERY)
    assert bench.functions.look_now_and_then()
    bench.claim("add")
    assert (bench.functions.only, bench.functions.about()["unknown_functions"]) == ((), [])


def test_what_is_still_unknown_after_the_wait_is_given_up_counted_from_the_first_meeting() -> None:
    bench = Bench()
    for _ in range(int(WAIT / LOOK_EVERY)):
        bench.claim("newer")
        assert not bench.functions.overdue()
        bench.clock.turn(LOOK_EVERY)
        assert bench.functions.look_now_and_then()
    assert list(bench.functions.overdue()) == ["newer"]


def test_a_runner_that_did_not_know_one_after_all_is_believed_until_the_app_is_loaded_anew() -> (
    None
):
    bench = Bench()
    bench.functions.unlearn("mail")
    assert bench.claim("mail", "add") == ["add"]
    bench.functions.learn(["add", "mail"])
    assert bench.claim("mail", "add") == ["mail", "add"]


def test_names_that_differ_in_their_case_only_are_not_the_same() -> None:
    bench = Bench()
    bench.claim("Add")
    (known,) = bench.functions.known([a_task(function_name="add"), a_task(function_name="ADD")])
    assert known.function_name == "add"


def test_the_row_of_a_worker_of_a_huge_app_stays_small_and_says_so() -> None:
    about = Bench(*(f"f{number}" for number in range(LISTED + 1))).functions.about()
    assert (len(about["tasks"]), about["tasks_total"]) == (LISTED, LISTED + 1)


HOUR = timedelta(hours=1)


def test_claims_begin_at_the_first_known_task_for_a_while_that_the_reading_before_it_decides() -> (
    None
):
    for seconds, pause in ((0.1, SKIP_FOR * 0.1), (60.0, SKIP_AT_MOST)):
        bench = Bench()
        functions = bench.functions
        functions.note_first(None, NINE - HOUR, seconds)
        assert functions.since(NINE) is None, "claims are not limited"
        bench.claim("newer")
        assert functions.since(NINE) == NINE - HOUR
        functions.note_first(NINE - HOUR, NINE - HOUR / 2, seconds)
        assert functions.since(NINE) == NINE - HOUR / 2
        bench.clock.turn(pause)
        assert functions.since(NINE) is None, "and what was passed over is looked at"


def test_what_comes_back_or_was_written_lately_is_not_passed_over() -> None:
    bench = Bench()
    bench.claim("newer")
    bench.functions.note_first(None, NINE, 1.0)
    assert bench.functions.since(NINE) == NINE - LATELY
    assert bench.functions.since(NINE - HOUR) == NINE - HOUR - LATELY, "a clock that was set back"
    bench.functions.came_back([a_task(next_run_time=NINE - HOUR), a_task(next_run_time=NINE)])
    assert bench.functions.since(NINE) == NINE - HOUR


def test_other_functions_or_groups_are_looked_for_from_the_beginning() -> None:
    bench = Bench()
    bench.claim("newer")
    bench.functions.note_first(None, NINE, 1.0)
    bench.functions.begin_anew()
    assert bench.functions.since(NINE) is None
    bench.functions.note_first(None, NINE, 1.0)
    bench.functions.learn(["newer"])
    bench.claim("other")
    assert bench.functions.since(NINE) is None
