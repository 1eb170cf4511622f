"""A worker that has done much is no larger than one that has done little."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
from support.kit import Lab, Worker, eventually

pytestmark = pytest.mark.alone

ROUNDS, TASKS_A_ROUND = 4, 1000
GROWTH_LIMIT = 8 * 2**20  # bytes, over all rounds but the first


@pytest.mark.slow
def test_memory_files_and_processes_stay_the_same_over_thousands_of_runs(lab: Lab) -> None:
    lab.write_tasks(
        """
        def good(n): print("x" * 100); return n
        def bad(n): raise ValueError(n)
        def slow(n): time.sleep(60)
        """
    )
    worker = lab.start_worker("-n", "2", "-L", "ERROR")
    sizes = [one_round(lab, worker) for _ in range(ROUNDS)]
    first, last = sizes[1], sizes[-1]  # the first round still warms up
    assert last["memory"] - first["memory"] < GROWTH_LIMIT, sizes
    assert last["files"] <= first["files"] and last["family"] == first["family"], sizes
    assert last["threads"] == 1, sizes


def one_round(lab: Lab, worker: Worker) -> dict[str, Any]:
    tasks = [
        {"function": "bad" if number % 20 == 0 else "good", "pargs": [number]}
        for number in range(TASKS_A_ROUND)
    ]
    lab.fresh()
    lab.scheduler.queue_tasks([*tasks, {"function": "slow", "pargs": [0], "timeout": 1}])
    lab.db.commit()
    waiting = lab.db.scheduler_task.status.belongs(("QUEUED", "ASSIGNED", "RUNNING"))
    eventually(lambda: lab.fresh()(waiting).count() == 0, 120)
    eventually(lambda: len(worker.family()) == 3, 10, "a forkserver and two runners")
    process = psutil.Process(worker.pid)
    return {
        "memory": process.memory_info().rss,
        "files": settled_files(process),
        "threads": process.num_threads(),
        "family": len(worker.family()),
    }


def settled_files(process: psutil.Process) -> int:
    """Descriptors of a worker, when it has let go of those of the runner that timed out."""
    counts: list[int] = []

    def is_settled() -> bool:
        counts.append(process.num_fds())
        return len(counts) >= 20 and len(set(counts[-20:])) == 1

    eventually(is_settled, 20)
    return counts[-1]


@pytest.mark.slow
def test_runners_are_replaced_by_number_of_runs_and_by_size(lab: Lab) -> None:
    source = """
        from plugin_scheduler import Scheduler
        hoard = []
        def pid(): return os.getpid()
        def grow():
            hoard.append(bytearray(80 * 2**20))
            return os.getpid()
        scheduler = Scheduler(db, heartbeat=0.5, max_empty_runs=1, application_name="lab",
                              runner_max_runs=10, runner_max_mib=120)
        if __name__ == "__main__":
            sys.exit(scheduler.loop())
        """
    lab.write_tasks(source)
    few = [lab.queue("pid") for _ in range(25)]
    large = [lab.queue("grow", priority=-1) for _ in range(4)]
    run_file(lab)
    pids = [lab.runs(task_id)[0].run_result for task_id in few]
    assert len(set(pids)) == 3, "25 runs, at most 10 each"
    assert [lab.task(task_id).status for task_id in large] == ["COMPLETED"] * 4


def run_file(lab: Lab) -> None:
    import subprocess
    import sys

    command = [sys.executable, str(lab.folder / "tasks.py")]
    subprocess.run(command, cwd=lab.folder, check=True, timeout=60)
