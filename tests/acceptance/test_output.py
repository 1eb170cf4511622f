"""What a task prints, logs, returns and tells of its progress."""

from __future__ import annotations

import json

import psutil
import pytest
from support.kit import Lab, eventually


def test_stdout_stderr_logging_and_subprocesses_are_captured_in_order(lab: Lab) -> None:
    lab.write_tasks(
        """
        def talk():
            print("one")
            sys.stdout.flush()
            os.system("echo two; echo three >&2")
            logging.getLogger("mine").info("four")
            print("five", file=sys.stderr)
            return 1
        """
    )
    lab.start_worker()
    task_id = lab.queue("talk")
    lab.becomes(task_id, "COMPLETED")
    assert lab.runs(task_id)[0].run_output == "one\ntwo\nthree\nINFO mine: four\nfive\n"


def test_each_run_keeps_its_own_output(lab: Lab) -> None:
    lab.write_tasks("def say(n): print(f'<{n}>', end=''); return n")
    lab.start_worker("-n", "2")
    for number in range(30):
        lab.queue("say", number)
    eventually(lambda: len([run for run in lab.runs() if run.status == "COMPLETED"]) == 30)
    assert all(run.run_output == f"<{run.run_result}>" for run in lab.runs())


def test_output_is_live_with_sync_output_and_clear_starts_anew(lab: Lab) -> None:
    lab.write_tasks(
        """
        def percent():
            print("50%", flush=True)
            while not os.path.exists("go"): time.sleep(0.05)
            print("!clear!100%", flush=True)
            while not os.path.exists("on"): time.sleep(0.05)
            return 1
        """
    )
    lab.start_worker()
    task_id = lab.queue("percent", sync_output=1)

    def shown() -> str | None:
        runs = lab.runs(task_id)
        return runs[0].run_output if runs else None

    eventually(lambda: shown() == "50%\n", 4)
    (lab.folder / "go").touch()
    eventually(lambda: shown() == "100%\n", 4)
    assert lab.task(task_id).status == "RUNNING"
    (lab.folder / "on").touch()
    lab.becomes(task_id, "COMPLETED")


def test_progress_is_seen_within_a_second_and_cheap(lab: Lab) -> None:
    lab.write_tasks(
        """
        def work():
            progress(30, 100, "importing")
            while not os.path.exists("go"): time.sleep(0.05)
            began = time.perf_counter()
            for n in range(100_000): progress(n, 100_000)
            seconds = time.perf_counter() - began
            progress(100_000, 100_000, "done")
            return seconds
        """
    )
    lab.start_worker()
    task_id = lab.queue("work")
    lab.becomes(task_id, "RUNNING")
    expected = {"at": 30, "of": 100, "text": "importing"}
    eventually(lambda: lab.runs(task_id)[0].progress == expected, 4)
    (lab.folder / "go").touch()
    lab.becomes(task_id, "COMPLETED")
    run = lab.runs(task_id)[0]
    assert run.progress == {"at": 100_000, "of": 100_000, "text": "done"}
    assert float(run.run_result) < 1.0, "100,000 calls in less than a second"


def test_much_output_and_a_large_result_neither_fail_nor_grow_the_worker(lab: Lab) -> None:
    lab.write_tasks(
        """
        def much():
            line = "x" * 99
            for n in range(1_000_000): print(line)
            return "y" * 50_000_000
        def small(): return 1
        """
    )
    worker = lab.start_worker()
    lab.becomes(lab.queue("small"), "COMPLETED")
    before = psutil.Process(worker.pid).memory_info().rss
    peak = 0
    task_id = lab.queue("much", timeout=120)

    def done() -> bool:
        nonlocal peak
        peak = max(peak, psutil.Process(worker.pid).memory_info().rss)
        return lab.task(task_id).status not in ("QUEUED", "ASSIGNED", "RUNNING")

    eventually(done, 60)
    run = lab.runs(task_id)[0]
    assert (run.status, len(run.run_result)) == ("COMPLETED", 50_000_002), run.reason
    assert run.run_output.startswith("[... 94.4 MiB of earlier output omitted ...]")
    assert len(run.run_output) < 1_100_000 and run.run_output.endswith("x" * 99 + "\n")
    assert peak - before < 50 * 2**20, f"{(peak - before) / 2**20:.0f} MiB"


def test_a_million_lines_are_stored_as_their_tail_in_order(lab: Lab) -> None:
    lab.write_tasks(
        """
        def count():
            for n in range(1_000_000):
                print(n)
                if n % 100_000 == 0: time.sleep(0.3)
            return n
        """
    )
    lab.start_worker()
    task_id = lab.queue("count", sync_output=1)
    lab.becomes(task_id, "COMPLETED", within=30)
    lines = lab.runs(task_id)[0].run_output.splitlines()
    numbers = [int(line) for line in lines[2:]]
    assert numbers == list(range(numbers[0], 1_000_000)) and len(numbers) > 100_000


@pytest.mark.parametrize(
    ("expression", "stored"),
    [
        ("datetime.datetime(2026, 1, 31, 4, 30)", "2026-01-31T04:30:00"),
        ("datetime.date(2026, 1, 31)", "2026-01-31"),
        ("decimal.Decimal('1.10')", "1.10"),
        ("uuid.UUID(int=7)", "00000000-0000-0000-0000-000000000007"),
        ("{3, 1, 2}", [1, 2, 3]),
        ("b'bytes'", "bytes"),
    ],
)
def test_results_may_hold_more_than_json_knows(lab: Lab, expression: str, stored: object) -> None:
    lab.write_tasks(f"import datetime, decimal, uuid\ndef value(): return {expression}")
    lab.start_worker()
    task_id = lab.queue("value")
    lab.becomes(task_id, "COMPLETED")
    assert lab.scheduler.task_status(task_id, output=True).result == stored


def test_rows_can_be_returned(lab: Lab) -> None:
    lab.write_tasks("def rows(): mark('a'); mark('b'); return db(db.mark).select(db.mark.name)")
    lab.start_worker()
    task_id = lab.queue("rows")
    lab.becomes(task_id, "COMPLETED")
    assert json.loads(lab.runs(task_id)[0].run_result) == [{"name": "a"}, {"name": "b"}]


def test_what_cannot_be_json_fails_with_its_type_named_and_is_rolled_back(lab: Lab) -> None:
    lab.write_tasks("def opaque(): mark('x'); return {'a': [1, object()]}")
    lab.start_worker()
    task = lab.becomes(lab.queue("opaque"), "FAILED")
    assert "the result cannot be stored as JSON: ['a'][1] is of type object" in task.reason
    assert lab.marks() == []


def test_a_task_knows_itself_in_both_ways(lab: Lab) -> None:
    lab.write_tasks(
        """
        def who():
            assert W2P_TASK.id == current_task.id and W2P_TASK.run_id == current_task.run_id
            return [W2P_TASK.id, W2P_TASK.uuid, W2P_TASK.run_id]
        """
    )
    lab.start_worker()
    task_id = lab.queue("who")
    lab.becomes(task_id, "COMPLETED")
    run = lab.runs(task_id)[0]
    assert json.loads(run.run_result) == [task_id, lab.task(task_id).uuid, run.id]


def test_discard_results_keeps_only_what_went_wrong(lab: Lab) -> None:
    lab.options = {"discard_results": True}
    lab.write_tasks("def good(): return 1\ndef bad(): raise ValueError('no')")
    (lab.folder / "own.py").write_text(
        (lab.folder / "tasks.py").read_text()
        + "\nfrom plugin_scheduler import Scheduler\n"
        + "scheduler = Scheduler(db, discard_results=True, heartbeat=0.5, max_empty_runs=1,"
        + " application_name='lab')\n"
        + "if __name__ == '__main__':\n    sys.exit(scheduler.loop())\n"
    )
    good, bad = lab.queue("good"), lab.queue("bad")
    import subprocess
    import sys

    subprocess.run([sys.executable, "own.py"], cwd=lab.folder, check=True, timeout=30)
    assert lab.task(good).status == "COMPLETED" and lab.runs(good) == []
    assert [run.status for run in lab.runs(bad)] == ["FAILED"]


ENCODINGS = r"""
class Mute(Exception):
    def __str__(self): raise RuntimeError("no")
def prints():
    print("caf\u00e9 \u20ac \udce9", flush=True)
    sys.stdout.buffer.write("na\u00efve\n".encode("latin-1")); sys.stdout.flush()
    subprocess.run(["printf", r"\374ber \342\202\254\n"])
    sys.stdout.reconfigure(encoding="ascii", errors="strict")
def again(): print("\u20ac")
def dsl(): raise SyntaxError("x", ("rules.dsl", 3, 5, b"if\n"))
def mute(): raise Mute()
"""


def test_output_and_errors_are_told_whatever_their_encoding_or_kind(lab: Lab) -> None:
    lab.write_tasks(ENCODINGS)
    lab.start_worker(PYTHONIOENCODING="latin-1", LC_ALL="C", PYTHONUTF8="0")
    prints, again = lab.queue("prints"), lab.queue("again")
    for task_id in (prints, again):
        lab.becomes(task_id, "COMPLETED", "FAILED")
    [run] = lab.runs(prints)
    assert run.run_output.splitlines() == ["café € \\udce9", "naïve", "über €"]
    assert lab.runs(again)[0].run_output == "€\n"
    for function, reason in (("dsl", "SyntaxError: x"), ("mute", "Mute: (its text cannot be")):
        task_id = lab.queue(function)
        assert reason in lab.becomes(task_id, "FAILED").reason
        assert f"in {function}" in lab.runs(task_id)[0].traceback
