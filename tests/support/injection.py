"""Points inside a worker at which a test can hold it, kill it or lose an answer.

The product knows nothing of these points: an interpreter that finds this folder first on its path
wraps the methods concerned before the worker starts.
"""

from __future__ import annotations

import os
from pathlib import Path

from support.kit import Lab, eventually

EXECUTION = "plugin_scheduler.execution"
#: Where a process is held: before or after a method of the engine.
HOLDS = {
    "between effect and report": (f"{EXECUTION}.runner_main", "Runner", "_report", "before"),
    "between claim and start": ("plugin_scheduler.store.claims", "Claims", "take", "after"),
}
#: Calls of which the answer is lost once: the transaction went through, the caller learns nothing.
LOSES = {
    "the answer to a claim": ("plugin_scheduler.store.claims", "Claims", "take"),
    "the answer to a report": ("plugin_scheduler.store.task_reports", "TaskReports", "report"),
    "the answer to a registration": ("plugin_scheduler.store.workers", "Workers", "register"),
}

CODE = """
import functools, importlib, os, time

def is_empty(answer):
    return getattr(answer, "orders", True) == []

def wait(folder, name):
    open(os.path.join(folder, name + ".reached"), "w").close()
    while not os.path.exists(os.path.join(folder, name + ".released")):
        time.sleep(0.005)

def hold(folder, name, module, owner, method, when):
    there = getattr(importlib.import_module(module), owner)
    usual = getattr(there, method)
    @functools.wraps(usual)
    def held(*args, **kwargs):
        if when == "before":
            wait(folder, name)
            return usual(*args, **kwargs)
        answer = usual(*args, **kwargs)
        if not is_empty(answer):
            wait(folder, name)
        return answer
    setattr(there, method, held)

def lose(folder, name, module, owner, method):
    from plugin_scheduler.core.errors import StoreUnavailable
    there = getattr(importlib.import_module(module), owner)
    usual = getattr(there, method)
    @functools.wraps(usual)
    def lost(*args, **kwargs):
        answer = usual(*args, **kwargs)
        marker = os.path.join(folder, name + ".reached")
        if not is_empty(answer) and not os.path.exists(marker):
            open(marker, "w").close()
            raise StoreUnavailable("the answer was lost")
        return answer
    setattr(there, method, lost)

"""


class Injected:
    """One point in the workers that are started with its ``env``."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._folder = lab.folder / "injected"
        self._folder.mkdir()
        self._file = name.replace(" ", "-")
        kind, where = ("hold", HOLDS[name]) if name in HOLDS else ("lose", LOSES[name])
        call = f"{kind}{(str(self._folder), self._file, *where)!r}\n"
        (self._folder / "sitecustomize.py").write_text(CODE + call)
        before = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([str(self._folder), *filter(None, [before])])
        self.env = {"PYTHONPATH": path}

    def reached(self) -> None:
        """Wait until a process is at the point."""
        eventually(self._marker("reached").exists, 20, f"{self._file} reached")

    def release(self) -> None:
        """Let every process go on that is held there."""
        self._marker("released").touch()

    def _marker(self, what: str) -> Path:
        return self._folder / f"{self._file}.{what}"
