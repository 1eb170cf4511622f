"""Checks of this machine: temporary folders, and the limit of open files."""

from __future__ import annotations

import glob
import os
import resource
import shutil
from collections.abc import Iterator

from plugin_scheduler.doctor.findings import Exam, Finding, finding
from plugin_scheduler.queries.views import quantity
from plugin_scheduler.system.private_files import private_folder, temporary_path

ROOM = 100_000_000  # bytes
DESCRIPTORS = 256  # a worker has about twenty, and a few for each runner; tasks have their own
#: Folders of earlier versions, which are never removed.
LEFT = "plugin-scheduler-*"


def temporary_folder(exam: Exam) -> Iterator[Finding]:
    """Check the temporary folder, which holds large arguments, results and files of tasks."""
    try:
        with private_folder() as folder:
            free = shutil.disk_usage(folder).free
            place = os.path.dirname(os.path.realpath(folder))
    except OSError as error:
        yield finding("folder_not_writable", f"cannot create a temporary folder: {error}")
        return
    if free < ROOM:
        yield finding("folder_full", f"{place} has only {free / 1e6:.0f} MB of free space")


def leftovers(exam: Exam) -> Iterator[Finding]:
    """Find folders of dead workers of earlier versions."""
    found = glob.glob(os.path.join(temporary_path(), LEFT))
    if found:
        number = quantity(len(found), "folder")
        yield finding(
            "folder_leftovers", f"{number} left by workers of earlier versions: {found[0]}"
        )


def descriptors(exam: Exam) -> Iterator[Finding]:
    """Check how many files this user's processes may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < DESCRIPTORS:
        yield finding("descriptors_few", f"a process of this user may open only {soft} files")


CHECKS = (temporary_folder, leftovers, descriptors)
