"""Quick tasks go in hundreds, and each of them as if it were alone."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Any

import pytest
from support.kit import Lab, eventually
from support.makers import an_order
from support.pools import Runners

from plugin_scheduler.core.types import Order
from plugin_scheduler.execution import runner_handle
from plugin_scheduler.system.clock import SYSTEM

SOURCE = """
def work(what="quick"):
    "Known to be quick, and then it is not."
    if what == "long":
        while not os.path.exists("enough"): time.sleep(0.01)
    elif what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "kills":
        import psutil
        worker = psutil.Process(os.getppid()).parent()
        worker.kill()
        time.sleep(60)
    elif what == "prints":
        print(current_task.id)
    return what
"""
MANY = 300


def queue(lab: Lab, *whats: str, **columns: Any) -> list[int]:
    """In one transaction, in this order."""
    lab.fresh()
    answers = [lab.scheduler.queue_task("work", [what], **columns) for what in whats]
    lab.db.commit()
    return [int(answer.id) for answer in answers]


def warmed_up(lab: Lab) -> None:
    """Workers know by now how quick it is."""
    all_become(lab, queue(lab, *["quick"] * 50), "COMPLETED")


def all_become(lab: Lab, ids: list[int], status: str, within: float = 20) -> None:
    task = lab.db.scheduler_task
    others = task.id.belongs(ids) & (task.status != status)
    eventually(lambda: lab.fresh()(others).isempty(), within, f"all {status}")


def is_enough(lab: Lab) -> None:
    (lab.folder / "enough").touch()


def test_quick_tasks_go_through_a_worker_by_the_hundred(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(SOURCE)
    worker = lab.start_worker("-n", "2")
    warmed_up(lab)
    ids = queue(lab, *["quick"] * MANY)
    all_become(lab, ids, "COMPLETED")
    assert "runs completed" in worker.log
    runs = lab.runs()
    assert len(runs) == 50 + MANY and {run.run_result for run in runs} == {'"quick"'}


def test_thousands_run_once_each_while_the_worker_looks_after_its_rows(server_lab: Lab) -> None:
    lab = server_lab
    lab.write_tasks(SOURCE)
    worker = lab.start_worker("-n", "2", "-b", "0.2")
    warmed_up(lab)
    ids = queue(lab, *["quick"] * 5000)
    all_become(lab, ids, "COMPLETED", 60)
    assert "unknown to it" not in worker.log and "dropped" not in worker.log
    run = lab.fresh().scheduler_run
    assert lab.db(run.task_id.belongs(ids)).count() == len(ids)
    lab.db.commit()


def test_nothing_waits_behind_a_long_task_while_a_runner_is_free(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    lab.start_worker("-n", "2")
    warmed_up(lab)
    long, *quick = queue(lab, "long", *["quick"] * MANY)
    all_become(lab, quick, "COMPLETED", within=5)
    assert lab.task(long).status == "RUNNING"
    is_enough(lab)
    lab.becomes(long, "COMPLETED")
    assert {run.status for run in lab.runs()} == {"COMPLETED"}, "what was given back left nothing"


def test_what_one_worker_cannot_begin_another_does(each_lab: Lab) -> None:
    lab = each_lab
    lab.write_tasks(SOURCE)
    lab.start_worker("-n", "1")
    warmed_up(lab)
    long, *quick = queue(lab, "long", *["quick"] * MANY)
    lab.becomes(long, "RUNNING")
    lab.start_worker("-n", "1")
    all_become(lab, quick, "COMPLETED", within=10)
    assert lab.task(long).status == "RUNNING"
    is_enough(lab)
    lab.becomes(long, "COMPLETED")


def test_a_runner_that_dies_takes_only_the_task_along_that_it_was_at(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    lab.start_worker("-n", "2")
    warmed_up(lab)
    whats = ["quick"] * 40 + ["dies"] + ["quick"] * 60
    ids = queue(lab, *whats)
    dead = ids.pop(40)
    all_become(lab, ids, "COMPLETED")
    assert "SIGKILL" in lab.becomes(dead, "FAILED").reason
    rows = lab.fresh()(lab.db.scheduler_task.id.belongs(ids)).select()
    assert {(row.times_run, row.times_failed, row.times_lost) for row in rows} == {(1, 0, 0)}
    assert len(lab.runs()) == 50 + 101


def test_a_task_under_which_workers_die_comes_to_rest_and_its_neighbours_complete(
    lab: Lab,
) -> None:
    lab.write_tasks(SOURCE)
    lab.start_worker("-b", "0.3", "-n", "1")
    warmed_up(lab)
    ids = queue(lab, *["quick"] * 20, "kills", *["quick"] * 20)
    poison = ids.pop(20)
    for _ in range(3):
        assert lab.workers[-1].wait() != 0
        lab.start_worker("-b", "0.3", "-n", "1")
    task = lab.becomes(poison, "FAILED", within=20)
    assert (task.times_lost, task.reason) == (3, "its worker died 3 times")
    all_become(lab, ids, "COMPLETED")


def test_each_of_many_quick_tasks_keeps_its_own_output(lab: Lab) -> None:
    lab.write_tasks(SOURCE)
    lab.start_worker("-n", "2")
    warmed_up(lab)
    ids = queue(lab, *["prints", "quick"] * 100)
    all_become(lab, ids, "COMPLETED")
    printed = {run.task_id: run.run_output for run in lab.runs() if run.task_id in ids}
    assert printed == {
        task_id: f"{task_id}\n" if number % 2 == 0 else "" for number, task_id in enumerate(ids)
    }


def test_arguments_of_any_size_reach_the_function(lab: Lab) -> None:
    lab.write_tasks("def length(text): return len(text)")
    lab.start_worker("-n", "1")
    sizes = [0, 30_000, 40_000, 3_000_000]
    ids = [lab.queue("length", "x" * size) for size in sizes]
    all_become(lab, ids, "COMPLETED")
    assert [lab.runs(task_id)[0].run_result for task_id in ids] == [str(size) for size in sizes]


# --- the pool alone -------------------------------------------------------------------------------


def orders_for(runners: Runners, *whats: str) -> list[Order]:
    """Handed out to the only runner."""
    orders = []
    for number, what in enumerate(whats, 1):
        task = an_order(id=number, function_name="work", args=f'["{what}"]').task
        orders.append(Order(task, number, SYSTEM.now()))
        assert runners.pool.hand_out(orders[-1])
    return orders


@pytest.fixture
def runners(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(lab.folder)
    one = Runners(lab, SOURCE)
    yield one
    one.close()


def test_what_waits_behind_a_long_run_is_taken_back_soon(runners: Runners, lab: Lab) -> None:
    pool, unbegun = runners.pool, []
    runners.until(lambda: pool.idle() == 1)
    orders = orders_for(runners, "long", "quick", "quick")
    began = time.monotonic()
    runners.until(lambda: unbegun.extend(pool.news().unbegun) or len(unbegun) == 2)
    assert time.monotonic() - began < 0.5
    assert unbegun == orders[1:] and pool.orders() == orders[:1]
    assert pool.takers() == 0 and not pool.hand_out(orders[1])


def test_what_a_runner_said_while_nobody_listened_is_kept_and_told(runners: Runners) -> None:
    pool = runners.pool
    runners.until(lambda: pool.idle() == 1)
    [order] = orders_for(runners, "quick")
    [runner] = pool.runners
    eventually(lambda: select.select([runner.channel], [], [], 0)[0])
    # It looks busy for long, so it is listened to.
    eventually(lambda: pool.takers() == 1 and pool.orders() == [], 1)
    assert pool.has_news()
    assert [result.order for result in pool.news().results] == [order]
    assert not pool.has_news()


def test_a_runner_that_begins_nothing_is_replaced_and_its_orders_are_given_back(
    runners: Runners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_handle, "HESITATING", 0.3)
    pool, unbegun = runners.pool, []
    runners.until(lambda: pool.idle() == 1)
    [hanging] = pool.runners
    os.kill(hanging.pid, signal.SIGSTOP)
    orders = orders_for(runners, "quick", "quick")
    runners.until(lambda: unbegun.extend(pool.news().unbegun) or len(unbegun) == 2)
    assert unbegun == orders
    runners.until(lambda: pool.idle() == 1)
    assert pool.runners != [hanging]


def test_a_stop_ends_the_run_that_is_meant_and_no_other(runners: Runners, lab: Lab) -> None:
    pool, results, unbegun = runners.pool, [], []
    runners.until(lambda: pool.idle() == 1)
    orders = orders_for(runners, "long", "quick", "quick")
    runners.until(lambda: bool(pool.live_runs()))
    pool.stop_run(2, "STOPPED", "stopped on request")

    def heard() -> int:
        news = pool.news()
        results.extend(news.results)
        unbegun.extend(news.unbegun)
        return len(results)

    runners.until(lambda: heard() == 1)
    assert (results[0].order, results[0].outcome) == (orders[1], "STOPPED")
    assert unbegun == orders[2:]
    (lab.folder / "enough").touch()
    runners.until(lambda: heard() == 2)
    assert (results[1].order, results[1].outcome) == (orders[0], "COMPLETED")
