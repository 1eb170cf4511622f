"""A task's life, with the real command on a real database."""

from __future__ import annotations

from kit import Lab


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
