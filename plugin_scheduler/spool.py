"""A worker's folder for results that are too large to pass along.

I own its making and removal; folders of workers that died are removed by the next that starts. I
call psutil. I never read what is in there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

import psutil

PREFIX = "plugin-scheduler-"


def new_spool() -> str:
    """A folder that only this user can read, named for this process."""
    _sweep()
    return tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")


def remove_spool(folder: str) -> None:
    """Remove it with all that was not fetched."""
    shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    place = tempfile.gettempdir()
    for name in os.listdir(place):
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not psutil.pid_exists(int(pid)):
            with contextlib.suppress(OSError):
                shutil.rmtree(os.path.join(place, name))
