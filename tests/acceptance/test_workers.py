"""Workers: signals, orders, deaths, and what becomes of the tasks they held."""

from __future__ import annotations

import pytest
from support.kit import CONT, INT, KILL9, STOP, TERM, Lab, eventually, is_alive
from support.makers import an_order
from support.pools import Runners

from plugin_scheduler.core.reasons import code_of
from plugin_scheduler.core.types import Outcome

SLEEPERS = """
def long(seconds=60):
    mark("began"); db.commit()
    print("working", flush=True)
    time.sleep(seconds)
    mark("ended")
    return "slept"
def quick(name="quick"):
    mark(name)
"""


def nothing_is_left_of(pids: list[int]) -> bool:
    return not any(is_alive(pid) for pid in pids)


def test_sigterm_lets_the_running_task_finish_and_takes_nothing_new(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker()
    running = lab.queue("long", 2)
    lab.becomes(running, "RUNNING")
    worker.send(TERM)
    waiting = lab.queue("quick")
    assert worker.wait() == 0
    assert lab.task(running).status == "COMPLETED" and lab.task(waiting).status == "QUEUED"
    assert lab.worker_row() is None


def test_when_the_grace_is_over_the_task_is_given_back_without_counting(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker("--grace", "0.5")
    running = lab.queue("long", 60)
    lab.becomes(running, "RUNNING")
    family = [process.pid for process in worker.family()]
    worker.send(TERM)
    assert worker.wait() == 143
    task = lab.task(running)
    assert (task.status, task.times_failed, task.times_lost) == ("QUEUED", 0, 0)
    assert [run.outcome for run in lab.runs(running)] == ["INTERRUPTED"]
    assert nothing_is_left_of(family) and lab.worker_row() is None


def test_a_second_sigterm_does_not_wait(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker()
    running = lab.queue("long", 60)
    lab.becomes(running, "RUNNING")
    worker.send(TERM)
    eventually(lambda: "claims no new tasks" in worker.log)
    worker.send(TERM)
    assert worker.wait(8) == 143 and lab.task(running).status == "QUEUED"


def test_ctrl_c_gives_back_what_runs_and_leaves_nothing(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker("-n", "2")
    running = lab.queue("long", 60)
    lab.becomes(running, "RUNNING")
    family = [process.pid for process in worker.family()]
    assert len(family) >= 2
    worker.send(INT)
    assert worker.wait(8) == 130
    assert lab.task(running).status == "QUEUED" and nothing_is_left_of(family)
    assert lab.runs(running)[0].run_output == "working\n"


def test_kill_9_of_a_worker_gives_its_task_to_another_and_closes_the_run(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker("-b", "0.3")
    running = lab.queue("long", 4)
    lab.becomes(running, "RUNNING")
    family = [process.pid for process in worker.family()]
    worker.kill()
    eventually(lambda: nothing_is_left_of(family), 3)
    lab.start_worker("-b", "0.3")
    task = lab.becomes(running, "COMPLETED")
    assert task.times_lost == 0, "a success forgets the losses"
    first, second = lab.runs(running)
    assert (first.status, second.status) == ("STOPPED", "COMPLETED")
    assert (first.outcome, second.outcome) == ("LOST", "COMPLETED")
    assert first.reason_code == "worker_died" and "died" in first.reason


def test_a_task_that_kills_its_worker_comes_to_rest(lab: Lab) -> None:
    lab.write_tasks(
        SLEEPERS
        + """
def poison():
    worker = db.executesql("SELECT worker_name FROM scheduler_worker")[0][0]
    os.kill(int(worker.split("#")[1]), signal.SIGKILL)
    time.sleep(60)
"""
    )
    poison = lab.queue("poison")
    for _ in range(3):
        worker = lab.start_worker("-b", "0.2")
        worker.wait()
    lab.start_worker("-b", "0.2")
    task = lab.becomes(poison, "FAILED")
    assert task.reason == "its worker died 3 times" and task.times_lost == 3
    assert task.reason_code == "worker_died_often"
    assert [run.outcome for run in lab.runs(poison)] == ["LOST"] * 3
    lab.becomes(lab.queue("quick"), "COMPLETED")


def test_a_dead_worker_of_the_same_name_is_succeeded(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker("-b", "0.3", "-w", "w1")
    running = lab.queue("long", 1)
    lab.becomes(running, "RUNNING")
    worker.kill()
    lab.start_worker("-b", "0.3", "-w", "w1", ready=False)
    lab.becomes(running, "COMPLETED")
    assert lab.worker_names() == {"w1"}


def test_a_name_that_a_live_worker_has_is_refused(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    lab.start_worker("-b", "0.3", "-w", "w1")
    second = lab.start_worker("-b", "0.3", "-w", "w1", ready=False)
    assert second.wait() == 2
    assert "'w1' is used by a live worker" in second.log


def test_a_task_held_by_a_worker_that_nobody_knows_is_given_back(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    tasks = [lab.queue("quick", str(number)) for number in range(3)]
    statuses = ("RUNNING", "ASSIGNED", "ASSIGNED")
    for task_id, status in zip(tasks, statuses, strict=True):
        lab.db.scheduler_task(task_id).update_record(status=status, assigned_worker_name="ghost")
    lab.db.scheduler_run.insert(task_id=tasks[0], status="RUNNING", worker_name="ghost")
    lab.db.commit()
    lab.start_worker("-b", "0.3")
    for task_id in tasks:
        lab.becomes(task_id, "COMPLETED")
    assert [run.outcome for run in lab.runs()] == ["LOST"]


def test_a_worker_whose_row_was_deleted_by_hand_adds_it_again_and_goes_on(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker("-b", "0.5")
    running = lab.queue("long", 3)
    lab.becomes(running, "RUNNING")
    lab.db(lab.db.scheduler_worker).delete()
    lab.db.commit()
    eventually(lambda: lab.worker_row(worker), 5)
    lab.becomes(running, "COMPLETED")
    assert len(lab.runs(running)) == 1


def order_by_hand(lab: Lab, status: str) -> None:
    lab.fresh()
    lab.db(lab.db.scheduler_worker).update(status=status)
    lab.db.commit()


def test_a_disabled_worker_finishes_its_task_takes_nothing_and_stays_so(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker("-b", "0.3")
    running = lab.queue("long", 2)
    lab.becomes(running, "RUNNING")
    order_by_hand(lab, "DISABLED")
    eventually(lambda: "is paused" in worker.log, 4)
    waiting = lab.queue("quick")
    lab.becomes(running, "COMPLETED")
    first_beat = lab.worker_row().last_heartbeat
    eventually(lambda: lab.worker_row().last_heartbeat > first_beat)
    assert lab.worker_row().status == "DISABLED" and lab.task(waiting).status == "QUEUED"
    lab.scheduler.resume()
    lab.db.commit()
    lab.becomes(waiting, "COMPLETED", within=3)


def test_order_terminate_waits_for_the_running_task(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker()
    running = lab.queue("long", 2)
    lab.becomes(running, "RUNNING")
    order_by_hand(lab, "TERMINATE")
    assert worker.wait() == 0 and lab.task(running).status == "COMPLETED"


def test_order_kill_does_not_wait(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker()
    running = lab.queue("long", 60)
    lab.becomes(running, "RUNNING")
    order_by_hand(lab, "KILL")
    assert worker.wait(5) == 0 and lab.task(running).status == "QUEUED"


def test_order_stop_task_stops_what_runs_and_the_worker_goes_on(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    lab.start_worker()
    running = lab.queue("long", 60)
    lab.becomes(running, "RUNNING")
    order_by_hand(lab, "STOP_TASK")
    assert lab.becomes(running, "STOPPED", within=5).enabled is False
    lab.becomes(lab.queue("quick"), "COMPLETED")
    assert lab.worker_row().status == "ACTIVE"


def test_order_pick_is_taken_back_at_once(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    lab.start_worker()
    order_by_hand(lab, "PICK")
    eventually(lambda: lab.worker_row().status == "ACTIVE", 4)


def test_stop_task_ends_exactly_that_run_with_all_it_started(lab: Lab) -> None:
    lab.write_tasks(
        SLEEPERS
        + """
def family():
    ignores = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN);"
        "open('gone.pid', 'w').write(str(os.getpid())); time.sleep(300)"
    )
    own_session = subprocess.Popen([sys.executable, "-c", ignores], start_new_session=True)
    shell = subprocess.Popen("sleep 300 & echo $! > shell.pid; wait", shell=True)
    time.sleep(300)
"""
    )
    lab.start_worker("-n", "2")
    other, family = lab.queue("long", 3), lab.queue("family")
    files = [lab.folder / "gone.pid", lab.folder / "shell.pid"]
    pids = eventually(lambda: [int(f.read_text()) for f in files if f.exists() and f.read_text()])
    eventually(lambda: all(file.exists() and file.read_text() for file in files))
    pids = [int(file.read_text()) for file in files]
    assert lab.scheduler.stop_task(family) == 1
    lab.db.commit()
    lab.becomes(family, "STOPPED", within=6)
    eventually(lambda: nothing_is_left_of(pids), 5)
    run = lab.runs(family)[0]
    assert run.status == "STOPPED" and run.reason == "stopped on request"
    lab.becomes(other, "COMPLETED")


def test_a_stopped_task_keeps_its_stop_time_and_can_be_run_again(lab: Lab) -> None:
    from datetime import timedelta

    lab.write_tasks(SLEEPERS)
    lab.start_worker()
    stop_time = (lab.scheduler.now() + timedelta(days=1)).replace(microsecond=0)
    task_id = lab.queue("long", 60, stop_time=stop_time)
    lab.becomes(task_id, "RUNNING")
    assert lab.scheduler.stop_task(lab.task(task_id)) == 1
    lab.db.commit()
    lab.becomes(task_id, "STOPPED", within=6)
    assert lab.scheduler.stop_task(task_id) is None
    lab.db.scheduler_task(task_id).update_record(args="[0.1]")
    assert lab.scheduler.requeue(task_id) == 1
    lab.db.commit()
    assert lab.becomes(task_id, "COMPLETED").stop_time == stop_time


def test_a_stopped_worker_process_that_wakes_up_finds_its_task_taken(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    sleeper = lab.start_worker("-b", "0.2")
    running = lab.queue("long", 6)
    lab.becomes(running, "RUNNING")
    sleeper.send(STOP)
    lab.start_worker("-b", "0.2")
    eventually(lambda: len(lab.runs(running)) == 2, 10)
    sleeper.send(CONT)
    eventually(lambda: "no longer owns the task" in sleeper.log, 5)
    lab.becomes(running, "COMPLETED")
    assert [run.status for run in lab.runs(running)] == ["STOPPED", "COMPLETED"]
    assert len(lab.marks("ended")) == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("os._exit(3)", "its runner died: exit status 3"),
        ("os.kill(os.getpid(), 11)", "its runner died: killed by signal SIGSEGV"),
        # Its parent is the process that runners are born from: it counts like a worker.
        ("os.kill(os.getppid(), 9); time.sleep(60)", "its worker died 3 times"),
    ],
)
def test_a_runner_that_dies_is_told_in_words_and_the_worker_lives_on(
    lab: Lab, how: str, words: str
) -> None:
    lab.write_tasks(SLEEPERS + f"\ndef dies():\n    print('last words', flush=True)\n    {how}\n")
    lab.start_worker()
    task_id = lab.queue("dies")
    task = lab.becomes(task_id, "FAILED")
    run = lab.runs(task_id)[0]
    assert run.status == "STOPPED" and run.run_output == "last words\n"
    assert words in task.reason
    assert run.outcome == ("LOST" if "getppid" in how else "DIED")
    lab.becomes(lab.queue("quick"), "COMPLETED")


def test_an_idle_worker_leaves_only_when_no_due_work_is_pending(lab: Lab) -> None:
    lab.write_tasks(
        SLEEPERS
        + """
def flaky():
    db.mark.insert(name="try"); db.commit()
    if len(db(db.mark.name == "try").select()) < 3:
        raise ValueError("again")
"""
    )
    flaky = lab.queue("flaky", period=3, retry_failed=2)
    later = lab.queue("quick", start_time=lab.scheduler.now().replace(year=2099))
    workers = [lab.start_worker("-b", "0.5", "-E", "1") for _ in range(3)]
    assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    assert lab.task(flaky).status == "COMPLETED" and lab.task(later).status == "QUEUED"


def test_a_killed_idle_runner_is_replaced(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    worker = lab.start_worker()
    lab.becomes(lab.queue("quick"), "COMPLETED")
    runner = eventually(lambda: [p for p in worker.family() if p.ppid() != worker.pid])[0]
    runner.send_signal(KILL9)
    eventually(lambda: not is_alive(runner.pid))
    lab.becomes(lab.queue("quick"), "COMPLETED", within=5)


def test_a_function_newer_than_a_worker_waits_for_one_that_knows_it(lab: Lab) -> None:
    lab.write_tasks("def add(a, b): return a + b")
    old = lab.start_worker("-w", "old", "-b", "0.3")
    waiting = lab.queue("newer", group_name="main")
    eventually(lambda: "does not know the function newer" in old.log)
    assert lab.becomes(lab.queue("add", 1, 2), "COMPLETED")
    assert lab.task(waiting).status == "QUEUED"
    lab.write_tasks("def add(a, b): return a + b\ndef newer(): return 'done'")
    lab.start_worker("-w", "new")
    assert lab.becomes(waiting, "COMPLETED").assigned_worker_name == "new"
    assert len(lab.runs(waiting)) == 1
    typo = lab.queue("tpyo")
    lab.start_worker("-w", "strict", "--unknown-function-wait", "0")
    row = lab.becomes(typo, "FAILED")
    assert row.reason == "unknown function: tpyo"
    assert (row.times_failed, lab.runs(typo)) == (0, [])


def test_a_runner_that_does_not_know_a_function_gives_the_task_back(lab: Lab) -> None:
    """It may have loaded another version of the app than the worker asked about."""
    runners = Runners(lab, "def add(a, b): return a + b")
    try:
        pool = runners.pool
        runners.until(lambda: pool.idle() == 1)
        pool.hand_out(an_order(function_name="renamed"))
        (result,) = eventually(lambda: runners.turn() or pool.news().results)
        assert (result.outcome, code_of(result.reason)) == (Outcome.INTERRUPTED, "unknown_function")
    finally:
        runners.close()


def test_exactly_one_of_several_workers_leads_and_another_follows_it(lab: Lab) -> None:
    lab.write_tasks(SLEEPERS)
    for _ in range(3):
        lab.start_worker("-b", "0.3")
    leader = eventually(lambda: lab.scheduler.get_workers(only_ticker=True) if lab.fresh() else {})
    assert len(leader) == 1
    name = next(iter(leader))
    pid = leader[name].worker_stats["pid"]
    next(worker for worker in lab.workers if worker.pid == pid).kill()

    def new_leader() -> set[str]:
        lab.fresh()
        return set(lab.scheduler.get_workers(only_ticker=True)) - {name}

    assert len(eventually(new_leader)) == 1
