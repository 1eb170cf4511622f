"""Fetcher: how many tasks a worker claims, when, and which it gives back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.fetcher_bench import FetcherBench
from support.logged_events import LoggedEvents
from support.makers import NINE

from plugin_scheduler.core.errors import StoreUnavailable
from plugin_scheduler.core.reasons import Reason, ReasonCode
from plugin_scheduler.core.types import Outcome
from plugin_scheduler.execution.runner_handle import News
from plugin_scheduler.worker.claim_health import PAUSES as FAILURE_PAUSES
from plugin_scheduler.worker.fetcher import (
    AHEAD,
    BREATH,
    CONTENDED_AGAIN,
    LOOK_EVERY,
    MOST,
    PLENTY,
)
from plugin_scheduler.worker.unknown_functions import LOOK_EVERY as READ_ALL_EVERY

AWAY = StoreUnavailable("away")


@pytest.fixture
def bench() -> FetcherBench:
    return FetcherBench()


# --- how many -------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3])
def test_of_tasks_of_unknown_length_each_idle_runner_gets_one(slots: int) -> None:
    bench = FetcherBench(slots)
    bench.add(10)
    assert bench.feed() == list(range(1, slots + 1))
    assert bench.pool.given() == list(range(1, slots + 1))
    assert all(len(queue) == 1 for queue in bench.pool.queues)


def test_while_every_runner_is_busy_nothing_is_claimed(bench: FetcherBench) -> None:
    bench.add(10)
    bench.feed()
    claims = bench.claims
    bench.fetcher.look_again()
    assert (bench.feed(1.0), bench.claims, bench.next_in) == ([], claims, None)


def test_quick_tasks_are_claimed_for_a_short_time_ahead(bench: FetcherBench) -> None:
    bench.learn(0.001)
    bench.add(MOST)
    count = len(bench.feed())
    assert count == pytest.approx(AHEAD / 0.001, rel=0.1)
    assert bench.pool.given() == list(range(1, count + 1))


def test_more_quick_tasks_are_claimed_when_half_of_them_are_done(bench: FetcherBench) -> None:
    bench.learn(0.001)
    bench.add(MOST)
    given = bench.feed()
    [queue] = bench.pool.queues
    del queue[: len(given) // 2 - 2]
    bench.fetcher.look_again()
    assert bench.feed() == []
    del queue[:4]
    bench.fetcher.look_again()
    assert len(bench.feed()) == pytest.approx(len(given) / 2, abs=4)


def test_the_order_is_kept_a_quick_task_does_not_overtake_a_long_one(bench: FetcherBench) -> None:
    bench.learn(0.001, "send_mail")
    bench.learn(10.0, "pay")
    bench.add(2)
    bench.add(2, function_name="pay")
    bench.add(2)
    assert bench.feed() == [1, 2, 3], "the second long one finds no idle runner"


def test_a_task_that_was_lost_with_its_worker_runs_alone(bench: FetcherBench) -> None:
    bench.learn(0.001)
    bench.add(5, times_lost=1)
    assert bench.feed() == [1]


def test_where_one_loss_is_the_limit_each_task_runs_alone() -> None:
    bench = FetcherBench(max_losses=1)
    bench.learn(0.001)
    bench.add(5)
    assert bench.feed() == [1]


def test_a_process_for_each_run_takes_time_so_fewer_quick_tasks_are_claimed() -> None:
    many, few = FetcherBench(), FetcherBench(runner_max_runs=1)
    for bench in (many, few):
        bench.learn(0.001)
        bench.add(MOST)
    assert 1 < len(few.feed()) < len(many.feed()) / 2


def test_a_claim_has_a_limit_for_each_runner() -> None:
    bench = FetcherBench(2)
    bench.learn(0.0)
    bench.add(3 * MOST)
    assert len(bench.feed()) <= 2 * MOST
    assert bench.store.named("claims.take")[0].arguments["limit"] == 2 * MOST


def test_a_slow_run_is_learned_faster_than_a_quick_one(bench: FetcherBench) -> None:
    bench.learn(0.001)
    bench.learn(1.0)
    bench.add(5)
    assert bench.feed() == [1], "one slow run makes the function slow"
    bench.end_all(0.001)
    assert bench.feed() == [2], "one quick run does not make it quick"


# --- groups and limits ----------------------------------------------------------------------------


def test_the_groups_of_the_settings_are_claimed_until_others_are_to_be_served() -> None:
    bench = FetcherBench(group_names=("mail", "slow"))
    bench.feed()
    bench.fetcher.serve(("other",))
    bench.feed()
    groups = [call.arguments["groups"] for call in bench.store.named("claims.take")]
    assert groups == [("mail", "slow"), ("other",)]


def test_the_same_groups_again_cause_no_claim(bench: FetcherBench) -> None:
    bench.feed()
    bench.fetcher.serve(("main",))
    bench.feed()
    assert bench.claims == 1


def test_a_worker_that_takes_no_work_claims_nothing(bench: FetcherBench) -> None:
    bench.staying.follow("DISABLED", bench.pool, "me")
    bench.add(1)
    assert (bench.feed(), bench.claims, bench.next_in) == ([], 0, None)


# --- unknown functions ----------------------------------------------------------------------------


def test_tasks_of_unknown_functions_are_left_and_the_next_claim_asks_for_known_ones(
    bench: FetcherBench, logged: LoggedEvents
) -> None:
    bench.add(2, function_name="strange")
    bench.add(1)
    assert bench.feed() == [3]
    bench.end_all()
    bench.feed()
    limits = [call.arguments["only"].functions for call in bench.store.named("claims.take")]
    assert limits == [(), ("pay", "send_mail")]
    assert [facts["function"] for facts in logged.of("function_unknown")] == ["strange"]


def test_after_a_first_unknown_function_known_ones_are_claimed_at_once(bench: FetcherBench) -> None:
    bench.add(1, function_name="strange")
    bench.feed()
    assert bench.next_in == 0.0


def test_from_time_to_time_all_tasks_are_read_again(bench: FetcherBench) -> None:
    bench.add(1, function_name="strange")
    bench.feed()
    bench.feed()
    bench.clock.turn(READ_ALL_EVERY)
    bench.fetcher.look_now_and_then()
    bench.feed()
    limits = [bool(call.arguments["only"].functions) for call in bench.store.named("claims.take")]
    assert limits == [False, True, False]


def test_a_function_that_no_worker_knows_is_given_up_after_the_wait(logged: LoggedEvents) -> None:
    bench = FetcherBench(unknown_function_wait=100)
    bench.add(1, function_name="strange")
    bench.add(1, function_name="elsewhere")
    bench.store.answers["workers.unknown_to_all"] = {"strange"}
    bench.store.answers["claims.give_up"] = 1
    bench.feed()
    for _ in range(3):
        bench.clock.turn(READ_ALL_EVERY)
        bench.fetcher.look_now_and_then()
        bench.feed()
    assert bench.store.named("claims.give_up") == []
    bench.clock.turn(READ_ALL_EVERY)
    bench.fetcher.look_now_and_then()
    [asked] = bench.store.named("workers.unknown_to_all")
    assert sorted(asked.arguments["functions"]) == ["elsewhere", "strange"]
    assert asked.arguments["application"] == "shop"
    [call] = bench.store.named("claims.give_up")
    assert call.arguments == {"functions": {"strange"}, "groups": ("main",), "waited": 100}
    assert logged.of("functions_given_up") == [{"count": 1, "seconds": 100, "functions": "strange"}]


def test_a_function_that_another_worker_knows_is_not_given_up() -> None:
    bench = FetcherBench(unknown_function_wait=10)
    bench.add(1, function_name="strange")
    bench.store.answers["workers.unknown_to_all"] = set()
    bench.feed()
    bench.clock.turn(READ_ALL_EVERY)
    bench.fetcher.look_now_and_then()
    assert len(bench.store.named("workers.unknown_to_all")) == 1
    assert bench.store.named("claims.give_up") == []


def test_a_function_that_a_runner_did_not_know_is_unknown_from_then_on(bench: FetcherBench) -> None:
    bench.add(1)
    bench.feed()
    [order] = bench.pool.orders()
    reason = Reason(ReasonCode.UNKNOWN_FUNCTION, function="send_mail")
    bench.pool.end(order, Outcome.FAILED, reason=reason)
    bench.fetcher.collect(bench.pool.news())
    bench.add(1)
    assert bench.feed() == []


def test_a_function_of_a_reloaded_app_is_known(bench: FetcherBench) -> None:
    bench.fetcher.collect(News(described=[({"tasks": ["strange"]}, [])]))
    bench.add(1, function_name="strange")
    assert bench.feed() == [1]


# --- when -----------------------------------------------------------------------------------------


def test_after_a_claim_that_found_all_nothing_is_claimed_until_there_is_a_sign(
    bench: FetcherBench,
) -> None:
    bench.feed()
    bench.feed(1.0)
    assert (bench.claims, bench.next_in) == (1, None)
    bench.fetcher.look_again()
    assert bench.next_in == 0.0
    bench.feed()
    assert bench.claims == 2


def test_a_run_that_ended_is_such_a_sign(bench: FetcherBench) -> None:
    bench.feed()
    bench.learn(0.001)
    bench.feed()
    assert bench.claims == 2


def test_a_claim_that_reached_its_limit_is_followed_by_another(bench: FetcherBench) -> None:
    bench.learn(0.0)
    bench.add(MOST)
    bench.feed()
    bench.pool.queues[0].clear()
    assert bench.next_in == 0.0
    bench.feed()
    assert bench.claims == 2


def test_the_next_claim_is_at_the_time_of_the_next_task(bench: FetcherBench) -> None:
    bench.store.answers["claims.next_due"] = NINE + timedelta(seconds=5)
    bench.feed()
    assert bench.next_in == pytest.approx(5.0)
    bench.feed(4.9)
    assert bench.claims == 1
    bench.feed(0.1)
    assert bench.claims == 2


def test_a_check_without_a_sign_follows_after_a_while(bench: FetcherBench) -> None:
    bench.feed()
    bench.clock.turn(LOOK_EVERY - 1)
    bench.fetcher.look_now_and_then()
    bench.feed()
    assert bench.claims == 1
    bench.clock.turn(1)
    bench.fetcher.look_now_and_then()
    bench.feed()
    assert bench.claims == 2


@pytest.mark.parametrize("how", ["told", "found"])
def test_tasks_that_other_workers_are_claiming_are_tried_again_with_growing_pauses(
    bench: FetcherBench, how: str
) -> None:
    bench.is_contended = how == "told"
    bench.store.answers["claims.is_left"] = how == "found"
    for pause in (*CONTENDED_AGAIN, CONTENDED_AGAIN[-1]):
        bench.feed()
        assert bench.next_in == pytest.approx(pause)
        bench.clock.turn(pause)
    bench.is_contended, bench.store.answers["claims.is_left"] = False, False
    bench.feed()
    assert bench.next_in is None
    bench.is_contended = True
    bench.fetcher.look_again()
    bench.feed()
    assert bench.next_in == pytest.approx(CONTENDED_AGAIN[0])


def test_a_task_that_is_due_sooner_is_not_delayed_by_such_a_pause(bench: FetcherBench) -> None:
    bench.is_contended = True
    bench.store.answers["claims.next_due"] = NINE + timedelta(seconds=0.005)
    bench.feed()
    assert bench.next_in == pytest.approx(0.005)


def test_tasks_that_this_worker_found_but_had_no_room_for_are_no_sign_of_others(
    bench: FetcherBench,
) -> None:
    bench.add(2)
    bench.feed()
    assert bench.store.named("claims.is_left") == []


def test_while_runners_have_plenty_of_quick_tasks_there_is_a_short_delay(
    bench: FetcherBench,
) -> None:
    assert bench.fetcher.breather() == 0.0
    bench.learn(PLENTY / 10)
    bench.add(MOST)
    bench.feed()
    assert bench.fetcher.breather() == BREATH
    del bench.pool.queues[0][5:]
    assert bench.fetcher.breather() == 0.0


def test_there_is_no_delay_while_a_runner_is_idle() -> None:
    bench = FetcherBench(2)
    bench.learn(PLENTY / 10)
    bench.add(MOST)
    bench.feed()
    bench.pool.queues[1].clear()
    assert bench.fetcher.breather() == 0.0


# --- failures -------------------------------------------------------------------------------------


def test_a_claim_that_fails_is_tried_again_after_a_pause_and_ends_nothing(
    bench: FetcherBench, logged: LoggedEvents
) -> None:
    bench.store.fail("claims.take", ValueError("a right is missing"))
    bench.add(1)
    bench.feed()
    assert bench.next_in == pytest.approx(FAILURE_PAUSES[0])
    assert bench.feed(FAILURE_PAUSES[0] * 0.6) == []
    assert bench.feed(FAILURE_PAUSES[0] * 0.6) == [1]
    assert logged.names.count("claim_failing") == 1


def test_an_outage_during_a_claim_is_raised_and_the_claim_is_still_due(bench: FetcherBench) -> None:
    bench.store.fail("claims.take", AWAY)
    with pytest.raises(StoreUnavailable):
        bench.feed()
    assert bench.next_in == 0.0


def test_after_an_outage_behind_a_claim_the_next_claim_is_still_due(bench: FetcherBench) -> None:
    bench.add(1)
    bench.store.fail("claims.next_due", AWAY)
    with pytest.raises(StoreUnavailable):
        bench.feed()
    assert bench.pool.given() == [1], "what was claimed is handed out all the same"
    bench.end_all()
    assert bench.next_in == 0.0
