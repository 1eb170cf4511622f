"""A task's life, with the real command on a real database."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from support.kit import Lab, eventually

from plugin_scheduler import JobGraph


def test_a_task_runs_and_its_result_output_and_times_are_kept(lab: Lab) -> None:
    lab.write_tasks(
        """
        def add(a, b):
            print("adding")
            return a + b
        """
    )
    lab.start_worker()
    task_id = lab.queue("add", 3, 4)
    task = lab.becomes(task_id, "COMPLETED")
    run = lab.runs(task_id)[0]
    assert (run.status, run.run_result, run.run_output) == ("COMPLETED", "7", "adding\n")
    assert task.times_run == 1 and task.last_run_time and task.assigned_worker_name
    assert run.start_time and run.stop_time and run.worker_name == task.assigned_worker_name


def test_a_run_that_returns_and_prints_nothing_leaves_no_row(lab: Lab) -> None:
    lab.write_tasks("def nothing(): pass\ndef says(): print('hello')")
    lab.start_worker()
    nothing, says = lab.queue("nothing"), lab.queue("says")
    for task_id in (nothing, says):
        lab.becomes(task_id, "COMPLETED")
    assert lab.runs(nothing) == []
    [run] = lab.runs(says)
    assert (run.run_output, run.run_result) == ("hello\n", "null")


def test_failure_rolls_back_success_commits(lab: Lab) -> None:
    lab.write_tasks(
        """
        def good(): mark("good")
        def bad():
            mark("bad")
            raise ValueError("half done")
        """
    )
    lab.start_worker()
    good, bad = lab.queue("good"), lab.queue("bad")
    lab.becomes(good, "COMPLETED")
    task = lab.becomes(bad, "FAILED")
    assert [row.name for row in lab.marks()] == ["good"]
    assert task.reason == "ValueError: half done"
    assert 'raise ValueError("half done")' in lab.runs(bad)[0].traceback
    assert "plugin_scheduler/execution/runner_main.py" not in lab.runs(bad)[0].traceback


def test_a_timeout_rolls_back_ends_the_run_and_tells_where_it_was(lab: Lab) -> None:
    lab.write_tasks(
        """
        def slow():
            mark("slow")
            try:
                time.sleep(60)
            finally:
                print("cleaning up")
        """
    )
    lab.start_worker()
    task_id = lab.queue("slow", timeout=1)
    lab.becomes(task_id, "TIMEOUT", within=8)
    run = lab.runs(task_id)[0]
    assert run.status == "TIMEOUT" and "time.sleep(60)" in run.traceback
    assert run.run_output == "cleaning up\n"
    assert lab.marks() == []


def test_a_task_that_swallows_its_timeout_is_killed_and_its_output_kept(lab: Lab) -> None:
    lab.write_tasks(
        """
        def stubborn():
            print("still here", flush=True)
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        """
    )
    lab.start_worker()
    task_id = lab.queue("stubborn", timeout=1)
    lab.becomes(task_id, "TIMEOUT", within=8)
    run = lab.runs(task_id)[0]
    assert run.run_output == "still here\n" and "in stubborn" in run.traceback


def test_repeats_run_that_often_with_the_period_between_starts(lab: Lab) -> None:
    lab.write_tasks("def tick(): mark('tick'); return 1")
    lab.start_worker()
    task_id = lab.queue("tick", repeats=3, period=1)
    task = lab.becomes(task_id, "COMPLETED")
    starts = [row.at for row in lab.marks("tick")]
    assert task.times_run == 3 and len(starts) == 3 and len(lab.runs(task_id)) == 3
    assert all(0.8 <= later - earlier for earlier, later in pairwise(starts))


def test_prevent_drift_keeps_to_the_grid(lab: Lab) -> None:
    lab.write_tasks("def tick(): mark('tick'); time.sleep(0.6)")
    lab.start_worker()
    task_id = lab.queue("tick", repeats=4, period=1, prevent_drift=True)
    start = lab.task(task_id).start_time
    lab.becomes(task_id, "COMPLETED")
    slots = [int(row.at - start.timestamp()) for row in lab.marks("tick")]
    assert all(earlier < later for earlier, later in pairwise(slots)), slots


def test_failures_are_retried_as_often_as_asked_and_success_forgets_them(lab: Lab) -> None:
    lab.write_tasks(
        """
        def flaky():
            mark_now = len(db(db.mark).select())
            db.mark.insert(name="try"); db.commit()
            if mark_now < 2:
                raise ValueError("not yet")
            return "done"
        """
    )
    lab.start_worker()
    task_id = lab.queue("flaky", retry_failed=2, period=1)
    task = lab.becomes(task_id, "COMPLETED")
    assert task.times_failed == 0 and task.times_run == 1
    assert [run.status for run in lab.runs(task_id)] == ["FAILED", "FAILED", "COMPLETED"]


def test_retries_are_used_up(lab: Lab) -> None:
    lab.write_tasks("def bad(): raise ValueError('no')")
    lab.start_worker()
    task_id = lab.queue("bad", retry_failed=1, period=1)
    task = lab.becomes(task_id, "FAILED")
    assert task.times_failed == 2 and len(lab.runs(task_id)) == 2


def test_one_failure_does_not_end_a_repeating_task_that_continues(lab: Lab) -> None:
    lab.write_tasks(
        """
        def every_second_fails():
            db.mark.insert(name="try"); db.commit()
            if len(db(db.mark).select()) % 2:
                raise ValueError("odd")
            return "even"
        """
    )
    lab.start_worker()
    task_id = lab.queue("every_second_fails", repeats=0, period=1, on_failure="continue")
    eventually(lambda: len([run for run in lab.runs(task_id) if run.stop_time]) >= 4, 10)
    statuses = [run.status for run in lab.runs(task_id)][:4]
    assert statuses == ["FAILED", "COMPLETED", "FAILED", "COMPLETED"]


def test_a_repeating_task_goes_on_after_a_timeout(lab: Lab) -> None:
    lab.write_tasks("def hang(): time.sleep(30)")
    lab.start_worker()
    task_id = lab.queue("hang", repeats=0, period=2, timeout=1, on_failure="continue")
    eventually(lambda: len([r for r in lab.runs(task_id) if r.status == "TIMEOUT"]) >= 2, 12)
    assert lab.task(task_id).status in ("QUEUED", "ASSIGNED", "RUNNING")


def test_a_task_waits_for_its_start_time(lab: Lab) -> None:
    lab.write_tasks("def now(): mark('now')")
    lab.start_worker()
    start = lab.scheduler.now().replace(microsecond=0) + timedelta(seconds=2)
    task_id = lab.queue("now", start_time=start)
    lab.becomes(task_id, "COMPLETED")
    assert lab.marks()[0].at >= start.timestamp()


def test_what_could_not_start_in_time_expires(lab: Lab) -> None:
    lab.write_tasks("def late(): mark('late')")
    stop = lab.scheduler.now() if lab.db else None
    task_id = lab.queue("late", stop_time=stop + timedelta(seconds=1))
    overdue = lab.db.scheduler_task(task_id)
    overdue.update_record(stop_time=stop - timedelta(seconds=60))
    lab.db.commit()
    lab.start_worker()
    task = lab.becomes(task_id, "EXPIRED")
    assert "stop_time passed" in task.reason and lab.marks() == []


def test_a_repeating_task_expires_when_its_next_run_would_be_too_late(lab: Lab) -> None:
    lab.write_tasks("def tick(): mark('tick')")
    lab.start_worker()
    stop = lab.scheduler.now() + timedelta(seconds=3)
    task_id = lab.queue("tick", repeats=0, period=60, stop_time=stop)
    lab.becomes(task_id, "EXPIRED")
    assert len(lab.marks()) == 1


def test_a_disabled_task_does_not_run_until_it_is_enabled(lab: Lab) -> None:
    lab.write_tasks("def now(): mark('now')\ndef other(): mark('other')")
    lab.start_worker()
    resting = lab.queue("now", enabled=False)
    lab.becomes(lab.queue("other"), "COMPLETED")
    assert lab.task(resting).status == "QUEUED"
    lab.db(lab.db.scheduler_task.id == resting).update(enabled=True)
    lab.db.commit()
    lab.becomes(resting, "COMPLETED")


def test_names_that_are_code_are_only_names(lab: Lab) -> None:
    lab.write_tasks("def known(): pass")
    lab.start_worker("--unknown-function-wait", "0")
    for name in ("os.getpid", "__import__('os').getpid()", "known.__globals__", "time", "mark.x"):
        assert lab.becomes(lab.queue(name), "FAILED").reason == f"unknown function: {name}"


def test_a_task_waits_until_what_it_waits_for_has_completed(lab: Lab) -> None:
    lab.write_tasks("def first(): time.sleep(0.5); mark('first')\ndef second(): mark('second')")
    lab.start_worker("-n", "2")
    second = lab.queue("second", enabled=False)
    first = lab.queue("first")
    JobGraph(lab.db, "two").add_deps(second, first)
    lab.db(lab.db.scheduler_task.id == second).update(enabled=True)
    lab.db.commit()
    lab.becomes(second, "COMPLETED")
    assert [row.name for row in lab.marks()] == ["first", "second"]


def test_tasks_that_wait_for_one_that_failed_are_skipped_and_come_back_with_it(lab: Lab) -> None:
    lab.write_tasks(
        """
        def first():
            if not os.path.exists("mended"): raise ValueError("broken")
        def then(): mark("then")
        """
    )
    lab.fresh()
    job = JobGraph(lab.db, "chain")
    first, second, third = lab.queue("first"), lab.queue("then"), lab.queue("then")
    job.add_deps(second, first)
    job.add_deps(third, second)
    anyway = lab.queue("then")
    job.add_deps(anyway, first, on_failure="run")
    job.validate()
    lab.start_worker()
    assert f"it waits for task {first} first, which FAILED" in lab.becomes(second, "STOPPED").reason
    assert "which was STOPPED" in lab.becomes(third, "STOPPED").reason
    lab.becomes(anyway, "COMPLETED")
    (lab.folder / "mended").touch()
    assert lab.scheduler.requeue(first) == 3
    lab.db.commit()
    lab.becomes(third, "COMPLETED")


def test_deleting_what_is_waited_for_skips_those_that_wait(lab: Lab) -> None:
    lab.write_tasks("def never(): pass")
    lab.fresh()
    waited_for, waiting = lab.queue("never", enabled=False), lab.queue("never")
    JobGraph(lab.db, "gone").add_deps(waiting, waited_for)
    lab.db(lab.db.scheduler_task.id == waited_for).delete()
    lab.db.commit()
    lab.start_worker()
    assert "was deleted" in lab.becomes(waiting, "STOPPED").reason


def test_a_broadcast_runs_once_on_each_live_worker_with_the_same_parameters(lab: Lab) -> None:
    lab.write_tasks("def everywhere(a, b=0): mark(f'{a}{b}')")
    for _ in range(3):
        lab.start_worker()
    eventually(lambda: len(lab.worker_names()) == 3)
    task_id = lab.queue(
        "everywhere", 1, vars='{"b": 2}', broadcast=True, timeout=33, cronline="0 4 * * *",
        next_run_time=lab.scheduler.now(), repeats=0,
    )  # fmt: skip
    eventually(lambda: len(lab.marks("12")) == 3)
    db = lab.fresh()
    copies = db(db.scheduler_task.only_worker != None).select()
    assert {copy.only_worker for copy in copies} == lab.worker_names()
    assert {copy.timeout for copy in copies} == {33}
    assert lab.task(task_id).next_run_time.hour == 4 and lab.task(task_id).status == "QUEUED"
    lab.start_worker()
    lab.becomes(lab.queue("everywhere", 7), "COMPLETED")
    assert len(lab.marks("12")) == 3


def test_priority_goes_first_and_waiting_makes_up_for_it(lab: Lab) -> None:
    lab.write_tasks("def show(name): mark(name)")
    lab.fresh()
    hour_ago = lab.scheduler.now() - timedelta(hours=1)
    lab.queue("show", "normal")
    lab.queue("show", "urgent", priority=10)
    lab.queue("show", "low", priority=-5)
    lab.queue("show", "low but old", priority=-5, start_time=hour_ago)
    lab.start_worker()
    eventually(lambda: len(lab.marks()) == 4)
    assert [row.name for row in lab.marks()] == ["low but old", "urgent", "normal", "low"]


ASYNC = """
import asyncio, functools
async def double(n): await asyncio.sleep(0.001); return 2 * n
class Doubler:
    async def __call__(self, n): return await double(n)
def plain(n): return double(n)
def lines(n): yield n
def lazily(n): return (i for i in range(n))
async def sleeps(n):
    try: await asyncio.gather(asyncio.sleep(60), busy(n))
    finally: open(f"finally-{n}", "w").close()
async def busy(n):
    try:
        while True:
            if n == 1: time.sleep(0.05)
            await asyncio.sleep(0.01)
    finally: open(f"busy-{n}", "w").close()
def own_loop(n): asyncio.run(sleeps(n))
tasks = dict(double=double, obj=Doubler(), part=functools.partial(double, 4), plain=plain,
             lazily=lazily, sleeps=sleeps, own_loop=own_loop)
"""


def test_an_async_function_runs_and_ends_like_any_other(lab: Lab) -> None:
    lab.write_tasks(ASYNC)
    lab.start_worker("-n", "3")
    results = [lab.queue(name, 4) for name in ("double", "obj", "plain")]
    results.append(lab.queue("part"))
    for task_id in results:
        lab.becomes(task_id, "COMPLETED", "FAILED")
        assert lab.runs(task_id)[0].run_result == "8"
    assert "generator" in lab.becomes(lab.queue("lazily", 3), "FAILED").reason
    slow = [lab.queue("sleeps", 0, timeout=1), lab.queue("sleeps", 1, timeout=1)]
    slow.append(lab.queue("own_loop", 2, timeout=1))
    for number, task_id in enumerate(slow):
        lab.becomes(task_id, "TIMEOUT")
        assert (lab.folder / f"finally-{number}").exists()
        assert (lab.folder / f"busy-{number}").exists()
        assert "in sleeps" in lab.runs(task_id)[0].traceback
