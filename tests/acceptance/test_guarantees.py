"""Counts that must be exact: retries, commits, and who sees what when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.kit import Lab, eventually

from plugin_scheduler.worker.registration import identify

WAYS_TO_FAIL = {
    "raise": ("raise ValueError('no')", "FAILED"),
    "time out": ("time.sleep(60)", "TIMEOUT"),
    "runner dies": ("os.kill(os.getpid(), signal.SIGKILL)", "FAILED"),
    "no JSON": ("return object()", "FAILED"),
    "import error": ("import there_is_no_such_module", "FAILED"),
    "sys.exit": ("sys.exit(0)", "FAILED"),
    "wrong arguments": ("raise TypeError()", "FAILED"),
}


def attempts_file(lab: Lab) -> int:
    path = lab.folder / "attempts"
    return len(path.read_text()) if path.exists() else 0


@pytest.mark.parametrize("retries", [0, 2, -1])
@pytest.mark.parametrize("way", WAYS_TO_FAIL)
def test_a_failing_task_runs_exactly_as_often_as_it_may(lab: Lab, way: str, retries: int) -> None:
    code, status = WAYS_TO_FAIL[way]
    lab.write_tasks(f"def fails():\n    open('attempts', 'a').write('x')\n    {code}\n")
    lab.start_worker()
    task_id = lab.queue("fails", retry_failed=retries, period=0, timeout=1)
    if retries == -1:
        eventually(lambda: attempts_file(lab) >= 4, 15)
        lab.scheduler.stop_task(task_id)
        lab.db.commit()
        lab.becomes(task_id, "STOPPED")
    else:
        task = lab.becomes(task_id, status)
        assert attempts_file(lab) == retries + 1 == task.times_failed == len(lab.runs(task_id))
    assert all(run.status != "RUNNING" for run in lab.runs(task_id))


def test_a_task_is_not_started_before_its_caller_commits_and_sees_what_he_wrote(lab: Lab) -> None:
    lab.write_tasks("def see(): return len(db(db.mark).select())\ndef other(): pass")
    lab.start_worker()
    lab.fresh()
    lab.becomes(lab.queue("other"), "COMPLETED")
    lab.db.mark.insert(name="order")
    answer = lab.scheduler.queue_task("see")
    held = lab.db.scheduler_worker(1).last_heartbeat
    other = type(lab)(lab.folder)
    assert other.task(answer.id) is None, "nobody sees it yet"
    other.close()
    lab.db.commit()
    lab.becomes(answer.id, "COMPLETED", within=3)
    assert lab.runs(answer.id)[0].run_result == "1" and held


def test_what_is_rolled_back_was_never_queued(lab: Lab) -> None:
    lab.write_tasks("def see(): mark('seen')")
    lab.start_worker()
    lab.fresh()
    answer = lab.scheduler.queue_task("see")
    lab.db.rollback()
    last = lab.queue("see")
    lab.becomes(last, "COMPLETED")
    assert answer.errors == {} and len(lab.marks()) == 1


OWN_PROGRAM = """
from plugin_scheduler import Scheduler
def writes(): mark("written")
def writes_and_commits(): mark("committed"); db.commit()
scheduler = Scheduler(db, heartbeat=0.4, max_empty_runs=1, application_name="lab", **OPTIONS)
if __name__ == "__main__":
    sys.exit(scheduler.loop())
"""


def work_until_idle(lab: Lab, **options: object) -> None:
    lab.write_tasks(OWN_PROGRAM.replace("OPTIONS", repr(options)))
    command = [sys.executable, str(lab.folder / "tasks.py")]
    subprocess.run(command, cwd=lab.folder, check=True, timeout=30)


def test_autocommit_can_be_left_to_the_task(lab: Lab) -> None:
    both = [lab.queue("writes"), lab.queue("writes_and_commits")]
    work_until_idle(lab, autocommit=False)
    assert [lab.task(task_id).status for task_id in both] == ["COMPLETED"] * 2
    assert [row.name for row in lab.marks()] == ["committed"]


def test_empty_runs_can_be_kept(lab: Lab) -> None:
    task_id = lab.queue("writes")
    work_until_idle(lab, keep_empty_runs=True)
    run = lab.runs(task_id)[0]
    assert (run.status, run.run_result) == ("COMPLETED", "null") and run.duration > 0


def test_no_two_workers_have_the_same_identity_even_in_the_same_process() -> None:
    description = {"application_name": "a", "tasks": [], "db": {}}
    assert len({identify(None, description).name for _ in range(100)}) == 100


def test_installing_gives_one_name_a_script_and_its_templates(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[2]
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("plugin_scheduler", "models", "controllers", "views", "setup.py", "scheduler.py"):
        subprocess.run(["cp", "-r", str(source / name), str(copy)], check=True)
    for name in ("pyproject.toml", "README.md"):
        subprocess.run(["cp", str(source / name), str(copy)], check=True)
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--root-user-action=ignore"]
    subprocess.run([*pip, *options, "--target", str(target), str(copy)], check=True, timeout=120)
    names = {path.name for path in target.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"plugin_scheduler", "bin"}
    assert (target / "bin" / "scheduler.py").stat().st_mode & 0o111
    code = "import plugin_scheduler.models as m; print(m.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == str(target / "plugin_scheduler" / "models" / "__init__.py")
