"""The command: apps, groups, several workers, and one clear line for everything that is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support.apps_for_tests import APP, write_app
from support.kit import COMMAND, INT, TERM, Lab, Worker, eventually, is_alive


def run(folder: Path, *arguments: str) -> tuple[int, str, float]:
    """Exit code, what was said, seconds; nothing can be read from standard input."""
    began = time.monotonic()
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def test_help_teaches(tmp_path: Path) -> None:
    code, said, _ = run(tmp_path, "--help")
    assert code == 0
    for word in ("-K shop:mail:reports", "-n 4", "Exit codes", "status", "requeue", "-E"):
        assert word in said


BROKEN = {
    "no app": (["-K", "nope"], None, "app 'nope' not found", "apps there: "),
    "no apps folder": (
        ["-K", "x", "--apps-folder", "gone"],
        None,
        "gone not found",
        "--apps-folder",
    ),
    "no scheduler": (["-K", "x"], "a = 1", "has no scheduler", "from .tasks import scheduler"),
    "syntax error": (["-K", "x"], "a = 1\ndef f(:\n", "models.py, line 2", "SyntaxError"),
    "error at import": (["-K", "x"], "a = 1\n\n1/0\n", "models.py, line 3", "ZeroDivisionError"),
    "sys.exit at import": (
        ["-K", "x"],
        "import sys\nsys.exit(0)",
        "models.py, line 2",
        "SystemExit",
    ),
    "process gone at import": (
        ["-K", "x"],
        "import os\nos._exit(0)",
        "ended its process",
        "loading",
    ),
    "question at import": (["-K", "x"], "input('app name?')", "models.py, line 1", "EOFError"),
    "bad group": (["-K", "x:a::b"], "", "is not a group name", "app:group1:group2"),
    "bad app name": (["-K", "a/b"], "", "is not an app name", "app:group1:group2"),
    "nothing asked": ([], None, "no app given", "-K"),
    "no tasks file": (
        ["-u", "sqlite://x.sqlite", "-t", "no.py"],
        None,
        "no.py not found",
        "-t names",
    ),
    "no -t": (["-u", "sqlite://x.sqlite"], None, "-u needs -t", "tasks"),
    "bad slots": (["-K", "x", "-n", "0"], "", "slots=0", "at least 1"),
    "bad level": (["-K", "x", "-L", "loud"], "", "'loud'", "DEBUG"),
    "bad option": (["-K", "x", "--nope"], "", "--nope", "No such option"),
    "memory database": (
        ["-K", "x"],
        APP.replace("sqlite://storage.sqlite", "sqlite:memory"),
        "one process only",
        "file or a server",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_is_said_in_one_line_with_exit_code_2(tmp_path: Path, what: str) -> None:
    arguments, source, *words = BROKEN[what]
    if source is not None:
        write_app(tmp_path, "x", source)
    else:
        (tmp_path / "apps").mkdir()
    code, said, seconds = run(tmp_path, *arguments)
    assert code == 2 and seconds < 30, said
    assert sum("Error: " in line for line in said.splitlines()) == 1 and all(
        word in said for word in words
    ), said
    assert "Traceback" not in said


def test_an_unreachable_database_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("def f(): pass")
    uri = "sqlite:///nowhere/at/all.sqlite"
    code, said, seconds = run(tmp_path, "-u", uri, "-t", "t.py")
    assert code == 2 and "nowhere/at/all.sqlite cannot be opened" in said and seconds < 30
    pytest.importorskip("psycopg2")
    uri = "postgres://me:secret@127.0.0.1:1/none"
    code, said, seconds = run(tmp_path, "-u", uri, "-t", "t.py", "--db-outage-limit", "0.1")
    assert code == 75 and seconds < 30
    assert "postgres://me:***@127.0.0.1:1/none cannot be opened" in said and "secret" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody without rights")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    import shutil
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "t.py").write_text("def f(): pass")
        folder.chmod(0o555)
        setpriv = shutil.which("setpriv") or pytest.skip("no setpriv here")
        drop = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
        done = subprocess.run(
            [*drop, *COMMAND, "-u", "sqlite://x.sqlite", "-f", name, "-t", str(folder / "t.py")],
            capture_output=True,
            text=True,
            timeout=20,
        )
        if "Permission denied" in done.stderr and sys.executable in done.stderr:
            pytest.skip("this interpreter cannot be run by somebody else")
        assert done.returncode == 2 and "is not writable" in done.stderr


@pytest.fixture
def shop(lab: Lab) -> Lab:
    """A lab whose database is an app's."""
    app = write_app(lab.folder, "shop", APP)
    lab.folder = app
    return lab


def start(lab: Lab, *arguments: str) -> Worker:
    worker = Worker(list(arguments), lab.folder.parent.parent, {})
    lab.workers.append(worker)
    return worker


def queue(lab: Lab, name: str, **columns: object) -> int:
    return lab.queue("note", name, application_name="shop", **columns)


def test_a_worker_runs_the_functions_of_an_apps_models(shop: Lab) -> None:
    start(shop, "-K", "shop")
    task_id = queue(shop, "hello")
    assert shop.becomes(task_id, "COMPLETED").application_name == "shop"
    assert [row.name for row in shop.marks()] == ["hello"]


def test_groups_on_the_command_line_win_over_the_apps(shop: Lab) -> None:
    start(shop, "-K", "shop:mail:reports")
    main, mail, reports = (queue(shop, g, group_name=g) for g in ("main", "mail", "reports"))
    shop.becomes(mail, "COMPLETED")
    shop.becomes(reports, "COMPLETED")
    assert shop.task(main).status == "QUEUED"


@pytest.mark.parametrize("twice", [["-K", "shop,shop"], ["-K", "shop", "-K", "shop"]])
def test_an_app_named_twice_gets_two_workers_that_ctrl_c_ends(shop: Lab, twice: list[str]) -> None:
    launcher = start(shop, *twice, "-w", "w")
    eventually(lambda: shop.worker_names() == {"w-1", "w-2"}, 40)
    family = [process.pid for process in launcher.family()]
    launcher.send(INT)
    assert launcher.wait() == 130
    assert not any(is_alive(pid) for pid in family) and shop.worker_names() == set()


def test_a_worker_of_several_that_dies_is_brought_back_and_none_outlives_its_command(
    shop: Lab,
) -> None:
    command = start(shop, "-K", "shop,shop", "-b", "0.3", "-w", "w")
    eventually(lambda: shop.worker_names() == {"w-1", "w-2"}, 60)
    pids = {one.worker_name: one.worker_stats["pid"] for one in rows_of_workers(shop)}
    os.kill(pids["w-1"], signal.SIGKILL)
    eventually(
        lambda: pids["w-1"] not in (one.worker_stats["pid"] for one in rows_of_workers(shop))
    )
    eventually(lambda: shop.worker_names() == {"w-1", "w-2"}, 60)
    said = "a worker of this command died (killed by signal SIGKILL); restart in 1 s"
    assert said in command.log
    family = [process.pid for process in command.family()]
    command.kill()
    eventually(lambda: not any(map(is_alive, family)), 60, "all left")
    assert command.log.count("the command that started this worker has exited") == 2
    assert shop.worker_names() == set()


def rows_of_workers(lab: Lab) -> list[Any]:
    return list(lab.fresh()(lab.db.scheduler_worker).select())


def test_a_worker_of_several_whose_set_up_is_wrong_is_not_tried_again(shop: Lab) -> None:
    write_app(shop.folder.parent.parent, "broken", "import nothing_of_that_name")
    command = start(shop, "-K", "shop,broken")
    eventually(lambda: "command exited and is not restarted: exit status 2" in command.log, 60)
    eventually(shop.worker_names, 60)
    command.send(TERM)
    assert command.wait() == 2
    assert command.log.count("is not restarted") == 1


def test_a_command_ends_where_the_app_leaves_a_thread(tmp_path: Path) -> None:
    """As py4web's USE_SCHEDULER = True does."""
    source = APP + "import threading, time; threading.Thread(target=time.sleep, args=[99]).start()"
    write_app(tmp_path, "shop", source)
    code, said, _ = run(tmp_path, "status", "-K", "shop", "--json")
    assert code == 0 and '"warnings"' in said


def test_two_apps_can_share_a_command_and_each_takes_its_own_tasks(shop: Lab) -> None:
    write_app(shop.folder.parent.parent / "second", "other", APP)
    other = shop.folder.parent / "other"
    (shop.folder.parent.parent / "second" / "apps" / "other").rename(other)
    (other / "models.py").write_text(
        APP.replace("os.path.dirname(__file__)", repr(str(shop.folder)))
    )
    start(shop, "-K", "shop,other")
    eventually(lambda: len(shop.worker_names()) == 2, 10)
    mine = queue(shop, "shop's")
    theirs = shop.queue("note", "other's", application_name="other/default")
    owners = [shop.becomes(t, "COMPLETED").assigned_worker_name for t in (mine, theirs)]
    assert owners[0] != owners[1]


def test_idle_workers_are_quiet_and_cheap(lab: Lab) -> None:
    import psutil

    lab.write_tasks("def f(): pass")
    worker = lab.start_worker()
    lab.becomes(lab.queue("f"), "COMPLETED")
    lines = len(worker.log.splitlines())
    process = psutil.Process(worker.pid)

    def used() -> float:
        times = process.cpu_times()
        return times.user + times.system

    before, began = used(), time.monotonic()
    eventually(lambda: time.monotonic() - began > 5, 6)
    share = (used() - before) / (time.monotonic() - began)
    assert share < 0.02, f"{share:.1%} of a core"
    assert len(worker.log.splitlines()) == lines
