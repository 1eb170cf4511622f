"""Where modules are looked for: never in the current folder first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.apps_for_tests import write_app
from support.kit import COMMAND, Lab, Worker, eventually

SHADOW = "import builtins\nwith builtins.open({mark!r}, 'a') as file: print(__file__, file=file)\n"
OTHERS = ("click", "plugin_scheduler", "psutil", "pydal", "tzlocal", "sitecustomize_of_ours")


@pytest.fixture
def shadows(tmp_path: Path) -> Path:
    """A folder of work with files named like all modules of Python; what tells which were run."""
    mark = tmp_path / "shadows-that-were-run"
    for name in (*sys.stdlib_module_names, *OTHERS):
        (tmp_path / f"{name}.py").write_text(SHADOW.format(mark=str(mark)))
    return mark


def says(folder: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == code, done.stderr.decode()
    return (done.stdout + done.stderr).decode()


def test_files_in_the_current_folder_stand_in_for_no_module(shadows: Path, lab: Lab) -> None:
    (lab.folder / "helpers.py").write_text("ANSWER = 42\n")
    lab.write_tasks("""
        from helpers import ANSWER
        import threading
        threading.Thread(target=time.sleep, args=(120,), daemon=True).start()
        def answer():
            import colorsys, email.message, sched  # not before
            return ANSWER
    """)
    _ = lab.db
    where = ["-u", lab.uri, "-f", str(lab.folder), "-t", "tasks.py"]
    says(lab.folder, "queue", "answer", *where)
    lab.start_worker()
    task = lab.becomes(1, "COMPLETED", "FAILED", within=30)
    assert (task.status, lab.runs()[0].run_result) == ("COMPLETED", "42")
    assert '"COMPLETED"' in says(lab.folder, "status", "--json", *where)
    assert not shadows.exists(), shadows.read_text()


def test_an_app_is_named_with_a_hyphen_and_imports_what_lies_beside_the_apps(
    shadows: Path, tmp_path: Path
) -> None:
    (tmp_path / "shared_by_apps.py").write_text("ANSWER = 42\n")
    write_app(
        tmp_path,
        "my-app",
        """
from pydal import DAL
from plugin_scheduler import Scheduler
import os
from shared_by_apps import ANSWER
db = DAL("sqlite://storage.sqlite", folder=os.path.dirname(__file__))
def answer():
    import sched
    return ANSWER
scheduler = Scheduler(db, heartbeat=1, max_empty_runs=2)
""",
    )
    says(tmp_path, "queue", "answer", "-K", "my-app")
    worker = Worker(["-K", "my-app"], tmp_path, {})
    try:
        eventually(lambda: worker.process.poll() is not None, 40, "nothing left to do")
    finally:
        worker.process.kill()
    assert "42" in says(tmp_path, "run", "1", "-K", "my-app"), worker.log
    assert not shadows.exists(), shadows.read_text()


def test_words_that_are_no_utf_8_are_refused_with_a_sentence(lab: Lab) -> None:
    _ = lab.db
    where = ["-u", lab.uri, "-f", str(lab.folder)]
    for words in (
        ["tasks", "--text", "caf\udce9"],
        ["queue", "add", "caf\udce9"],
        ["run", "\udce9"],
    ):
        said = says(lab.folder, words[0], *where, *words[1:], code=2)
        assert "is not valid UTF-8" in said and "Traceback" not in said
    said = says(lab.folder, "-K", "caf\udce9", code=2)
    assert "is not valid UTF-8" in said and "Traceback" not in said
