"""An earlier version of this project, out of its own history, to run beside the present one."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from support.kit import REPOSITORY, Lab, Worker
from support.throwaway import Missing

#: The last version before runs had an outcome and tables had ids of 64 bits.
COMMIT = "8c93df38ce69"


class OlderVersion:
    """Its code in a folder of its own, and workers of it."""

    def __init__(self, folder: Path, commit: str = COMMIT) -> None:
        done = subprocess.run(
            ["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=False
        )
        if done.returncode:
            raise Missing(f"no earlier version here: the history of this clone lacks {commit}")
        self.folder = folder
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
        for name in ("models", "controllers", "views"):  # as an installation places them
            shutil.move(folder / name, folder / "plugin_scheduler" / name)

    def start_worker(self, lab: Lab, *arguments: str) -> Worker:
        where = ["-u", lab.uri, "-f", str(lab.folder), "-t", str(lab.folder / "tasks.py")]
        command = [sys.executable, str(self.folder / "scheduler.py")]
        env = {**lab.env, "PYTHONPATH": str(self.folder)}
        worker = Worker([*where, *arguments], lab.folder, env, command=command)
        lab.workers.append(worker)
        return worker
