"""The sub-commands, started as a person or a script starts them."""

from __future__ import annotations

import json
import platform
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from support.kit import COMMAND, Lab, eventually

from plugin_scheduler.store.audit_log import AuditLog

TASKS = """
    def add(a, b=1):
        print("\\x1b[31madding\\x1b[0m [bold]")
        return a + b
    def boom():
        raise ValueError("no [red]")
    def nap():
        time.sleep(60)
    def quiet():
        pass
    """


class Terminal:
    """Types commands for the database of a lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lab.write_tasks(TASKS)
        _ = lab.db
        self.where = ["-u", lab.uri, "-f", str(lab.folder)]
        self.with_tasks = ["-t", str(lab.folder / "tasks.py")]

    def says(self, *words: str, code: int = 0) -> str:
        """What a command writes to standard output; its errors end up in `errors`."""
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=self.lab.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.errors = done.stderr
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout

    def __call__(self, *words: str, code: int = 0) -> str:
        return self.says(words[0], *self.where, *words[1:], code=code)

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(words[0], "--json", *words[1:], code=code))


@pytest.fixture
def terminal(lab: Lab) -> Terminal:
    return Terminal(lab)


def test_a_queued_task_is_waited_for_and_shown_with_its_result(terminal: Terminal) -> None:
    terminal.lab.start_worker()
    shown = terminal("queue", "add", "3", "4", "--wait=20")
    assert "task 1 add  COMPLETED" in shown and "add(3, 4)" in shown
    assert shown.endswith("  result\n    7\n  output\n    adding [bold]\n")


def test_the_exit_code_of_waiting_tells_how_it_went(terminal: Terminal) -> None:
    terminal.lab.start_worker("-n", "2")
    assert terminal.json("queue", "add", "1", "--wait")["run"]["result"] == 2
    failed = terminal.json("queue", "boom", "--wait", "20", code=1)
    assert failed["task"]["status"] == failed["run"]["status"] == "FAILED"
    assert "ValueError: no [red]" in failed["run"]["traceback"]
    napping = terminal.json("queue", "nap", "--wait=0.3", code=3)
    assert terminal("run", napping["uuid"], code=0)
    assert terminal("run", str(napping["id"]), "--wait=0", code=3)
    assert "traceback" in terminal("run", "2", "--wait=0", code=1)
    assert "no run is stored" in terminal("queue", "quiet", "--wait=20")


def test_arguments_are_json_where_they_can_be_and_pairs_are_named(terminal: Terminal) -> None:
    words = ("3", "ann", "NaN", '"a=b"', "to=[1, null]", "who=x=y", "--", "-3")
    task = terminal.lab.task(terminal.json("queue", "add", *words)["id"])
    assert json.loads(task.args) == [3, "ann", "NaN", "a=b", -3]
    assert json.loads(task.vars) == {"to": [1, None], "who": "x=y"}


def test_arguments_that_a_known_function_does_not_take_are_refused_by_name(
    terminal: Terminal,
) -> None:
    where = [*terminal.where, *terminal.with_tasks]
    assert terminal.says("queue", *where, "add", code=2) == ""
    assert "missing a required argument: 'a'" in terminal.errors
    assert terminal.says("queue", *where, "boom", "1", code=2) == ""
    assert "too many positional arguments" in terminal.errors
    assert terminal.json("tasks")["tasks"] == []


def test_a_status_that_is_none_is_told_from_an_empty_table(terminal: Terminal) -> None:
    assert "no tasks\n" in terminal("status")
    db, task_id = terminal.lab.db, terminal.lab.queue("add", 1)
    db(db.scheduler_task.id == task_id).update(status="")
    db.commit()
    assert "no tasks with a status\n" in terminal("status", code=2)


def test_any_column_can_be_set_as_its_type_needs_it(terminal: Terminal) -> None:
    pairs = ("period=5", "repeats=0", "start_time=2031-01-31T04:30", "group_name=17")
    pairs += ("prevent_drift=yes", "task_name=a=b")
    options = [word for pair in pairs for word in ("--set", pair)]
    task = terminal.lab.task(terminal.json("queue", "add", *options)["id"])
    assert (task.period, task.repeats, str(task.next_run_time)) == (5, 0, "2031-01-31 04:30:00")
    assert (task.group_name, task.prevent_drift, task.task_name) == ("17", True, "a=b")


def test_each_wrong_field_is_named_on_a_line_and_nothing_is_queued(terminal: Terminal) -> None:
    wrong = ("--set", "period=soon", "--set", "cronline=77 * * * *", "--set", "colour=red")
    assert terminal("queue", "nope", *terminal.with_tasks, *wrong, code=2) == ""
    lines = terminal.errors.splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == [
        "colour",
        "cronline",
        "function_name",
        "period",
    ]
    assert "known tasks: add, boom" in terminal.errors
    answer = terminal.json("queue", "add", *wrong, code=2)
    assert answer["id"] is None and set(answer["errors"]) == {"colour", "cronline", "period"}
    assert "COLUMN=VALUE" in (terminal("queue", "add", "--set", "x", code=2) or terminal.errors)
    assert terminal.json("tasks")["total"] == 0


def test_tasks_are_filtered_and_no_id_is_cut(terminal: Terminal) -> None:
    long_name = "x" * 300
    terminal.lab.queue("add", 1, task_name=long_name)
    terminal.lab.queue("boom", group_name="mail[red]x[/red]")
    terminal.lab.queue("add", "\x1b[31mred")
    shown = terminal("tasks")
    assert long_name in shown and "mail[red]x[/red]" in shown and "\x1b" not in shown
    assert [line.split()[0] for line in shown.splitlines()] == ["id", "3", "2", "1"]
    assert "1 of 3 tasks; --limit shows more" in terminal("tasks", "--limit", "1")
    found = terminal.json("tasks", "--function", "add", "--text", "xxx", "--status", "queued")
    assert [task["name"] for task in found["tasks"]] == [long_name]
    assert terminal("tasks", "--group", "none") == "no matching tasks\n"
    misspelled = terminal("tasks", "--group", "mian", "--status", "queued")
    assert misspelled == "no matching tasks\ndid you mean --group main?\n"
    terminal.lab.db.executesql("UPDATE scheduler_task SET next_run_time = 'soon' WHERE id = 1")
    terminal.lab.db.commit()
    shown = terminal("tasks")
    assert "Task 1 cannot be read" in shown and "--limit" not in shown


def test_tasks_are_stopped_and_those_that_cannot_be_are_named(terminal: Terminal) -> None:
    terminal.lab.start_worker()
    napping, waiting = terminal.lab.queue("nap"), terminal.lab.queue("nap", group_name="gpu")
    terminal.lab.becomes(napping, "RUNNING")
    shown = terminal("stop", str(napping), "99", str(waiting), code=2)
    assert shown.splitlines() == [
        f"task {napping} nap: asked to stop; its worker ends it within seconds",
        f"task {waiting} nap: stopped",
    ]
    assert terminal.errors == "Error: there is no task 99\n"
    terminal.lab.becomes(napping, "STOPPED")
    answer = terminal.json("stop", str(waiting), code=2)
    assert "has already ended: STOPPED" in answer[0]["error"]


def test_ended_tasks_are_requeued_and_others_refused(terminal: Terminal) -> None:
    task_id = terminal.lab.queue("add", 1)
    assert "has not ended: QUEUED" in (terminal("requeue", str(task_id), code=2) or terminal.errors)
    assert terminal("stop", str(task_id)) == f"task {task_id} add: stopped\n"
    assert terminal("requeue", str(task_id)) == f"task {task_id} add: queued again\n"
    assert terminal.lab.task(task_id).status == "QUEUED"


def test_a_stop_time_that_has_passed_is_replaced_on_request(terminal: Terminal) -> None:
    task_id = terminal.lab.queue("add", 1)
    terminal("stop", str(task_id))
    terminal.lab.task(task_id).update_record(stop_time="2001-01-01 00:00:00")
    terminal.lab.db.commit()
    assert "give a new stop_time" in (terminal("requeue", str(task_id), code=2) or terminal.errors)
    terminal("requeue", str(task_id), "--stop-time", "2099-12-31T23:00")
    assert terminal.lab.task(task_id).stop_time.year == 2099


def test_status_tells_what_waits_what_runs_who_works_and_what_is_wrong(terminal: Terminal) -> None:
    worker = terminal.lab.start_worker("-w", "w1")
    terminal.lab.becomes(terminal.lab.queue("nap"), "RUNNING")
    terminal("status", code=0)
    terminal.lab.queue("add", 1, group_name="gpu")
    terminal.lab.db.commit()
    shown = terminal("status", code=2)  # work is not done
    assert 'no live worker serves group "gpu"; 1 due task is waiting' in shown
    assert "ACTIVE, leader" in shown and "running now" in shown and "\x1b" not in shown
    worker.kill()
    warned = "no heartbeat from worker w1 for"

    def seen() -> Any:
        return terminal.json("status", code=2)

    eventually(lambda: any(warned in one for one in seen()["warnings"]), 15)
    assert {"code": "worker_silent", "severity": "warning"}.items() <= seen()["findings"][1].items()
    assert "it holds 1 task" in terminal("status", code=2)


def test_why_a_new_task_waits_is_told_at_once(terminal: Terminal) -> None:
    shown = terminal("queue", "add", "1", "--set", "group_name=gpu")
    assert (
        '  waits because: no live worker serves group "gpu"; start a worker: scheduler.py -'
        in shown
    )


def test_why_a_task_does_not_run_is_explained_condition_by_condition(terminal: Terminal) -> None:
    task_id = terminal.lab.queue("add", 1, enabled=False, task_name="[red]x\x1b")
    lines = terminal("explain", str(task_id)).splitlines()
    assert lines[:3] == [
        f"task {task_id} [red]x\\x1b  QUEUED",
        "  it does not run now",
        "  - it is disabled",
    ]
    assert "  no   it is disabled" in lines and "  yes  it is due" in lines
    seen = terminal.json("explain", str(task_id))
    assert seen["task"]["id"] == task_id and seen["reasons"][0] == "it is disabled"
    checks = {check["name"]: check["met"] for check in seen["checks"]}
    assert checks["enabled"] is False and checks["its time has come"] is True
    assert terminal("explain", "99", code=2) == ""
    assert terminal.errors == "Error: there is no task 99\n"


def test_looking_at_a_wrong_place_is_one_line_and_leaves_no_file(
    terminal: Terminal, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    wrong = {
        (
            "-u",
            "sqlite://s.sqlite",
            "-f",
            str(empty),
        ): "s.sqlite not found; give its folder with -f",
        ("-u", "sqlite://s.sqlite", "-f", str(empty / "x")): "not found; -f names",
        ("-u", "sqlite:memory", "-f", str(empty)): "start a worker, which creates the tables",
        ("-K", "shop", "-u", "sqlite:memory"): "cannot be combined",
        ("-K", "shop", "--apps-folder", str(empty)): "app 'shop' not found",
        ("-K", "../shop"): "is not an app name",
        (): "no app given",
    }
    for words, part in wrong.items():
        assert terminal.says("status", *words, code=2) == ""
        assert terminal.errors.startswith("Error: ") and part in terminal.errors
        assert terminal.errors.count("\n") == 1
    assert list(empty.iterdir()) == []
    assert terminal("run", "7", code=2) == "" and terminal.errors == "Error: there is no task 7\n"


def test_what_is_done_at_a_terminal_is_kept_with_who_did_it(terminal: Terminal) -> None:
    task_id = terminal.json("queue", "add", "1")["id"]
    terminal("stop", str(task_id))
    terminal("requeue", str(task_id))
    notes = AuditLog(terminal.lab.db, terminal.lab.scheduler.now).of_task(task_id)
    assert [note.did for note in notes] == ["requeue", "stop", "queue"]
    assert {note.who.partition("@")[2] for note in notes} == {f"{platform.node()} (terminal)"}


def test_secret_arguments_are_dots_wherever_a_task_is_shown(terminal: Terminal) -> None:
    words = ("ann", "hunter2", "token=hunter2", "--set", 'secret=[1, "token"]')
    task_id = terminal.json("queue", "add", *words)["id"]
    for shown in (terminal("run", str(task_id)), terminal("tasks")):
        assert 'add("ann", "••••••", token="••••••")' in shown and "hunter2" not in shown
    for words in (("run", "--json", str(task_id)), ("tasks", "--json")):
        assert "hunter2" not in terminal(*words)
    assert "hunter2" not in terminal("status", "--json", code=2), "no worker is there"
    assert terminal("tasks", "--text", "hunter2") == "no matching tasks\n"
    assert terminal("queue", "add", "hunter2", "--set", "secret=password", code=2) == ""
    assert "secret: must be a list" in terminal.errors and "hunter2" not in terminal.errors


def test_no_log_tells_a_secret(terminal: Terminal) -> None:
    worker = terminal.lab.start_worker("-L", "DEBUG")
    queued = ("add", "hunter2", "--set", "secret=[0]", "--wait", "20")
    assert "hunter2" not in terminal("queue", *queued, code=1)
    assert "can only concatenate" in terminal("run", "1") and "hunter2" not in worker.log


APP = """
    print("hello from the app")
    import os
    from py4web import DAL
    from plugin_scheduler import Scheduler
    db = DAL("sqlite://storage.sqlite", folder=os.path.dirname(__file__))
    def greet(name):
        return "hello " + name
    scheduler = Scheduler(db)
    """


def test_json_of_an_app_that_prints_is_one_document(terminal: Terminal) -> None:
    app = terminal.lab.folder / "apps" / "shop"
    app.mkdir(parents=True)
    (app / "__init__.py").write_text(textwrap.dedent(APP))
    assert "no tasks" in terminal.says("-K", "shop", "status")  # options may come first
    assert "hello from the app" in terminal.errors
    queued = json.loads(terminal.says("queue", "greet", "ann", "-K", "shop", "--json"))
    seen = json.loads(terminal.says("run", queued["uuid"], "-K", "shop", "--json"))
    assert seen["task"]["application"] == "shop" and seen["run"] is None
    start = "start a worker: scheduler.py -K shop"
    assert seen["waits_because"] == [f'no live worker serves group "main"; {start}']
    terminal.says("queue", "nope", "-K", "shop", code=2)
    assert "known tasks: greet" in terminal.errors


@pytest.mark.parametrize(
    "name", ["status", "tasks", "run", "explain", "queue", "stop", "requeue", "upgrade", "doctor"]
)
def test_help_teaches_with_an_example(terminal: Terminal, name: str) -> None:
    shown = terminal.says(name, "--help")
    assert f"  scheduler.py {name} " in shown.partition("Examples:")[2]
