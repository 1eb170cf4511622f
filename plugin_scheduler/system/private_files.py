"""Make files that no other user can name, replace or block.

Large arguments and results travel as descriptors of files without a name. On Linux such a file is
memory (``memfd``), sealed when it is complete, so that its reader sees what its writer wrote. Other
systems get a file that is removed from its folder before it is used. Nothing here opens a path that
another user may have made. This module calls no other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator

_ADD_SEALS = getattr(fcntl, "F_ADD_SEALS", 1033)
SEAL, SHRINK, GROW, WRITE, FUTURE_WRITE = 1, 2, 4, 8, 16  # <linux/fcntl.h>
COMPLETE = SEAL | SHRINK | GROW | WRITE
_PIECE = 1 << 24


class PrivateFile:
    """A descriptor that is closed when it is no longer needed, at the latest with its owner."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def fileno(self) -> int:
        if self._fd is None:
            raise ValueError("the file is closed")
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def nameless_file(purpose: str) -> int:
    """The descriptor of a new, empty file without a name. OSError where none can be made."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(PermissionError):  # a system that forbids them to containers
            return os.memfd_create(purpose, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def complete_file(purpose: str, data: bytes) -> PrivateFile:
    """A file that holds ``data`` and cannot be changed any more."""
    file = PrivateFile(nameless_file(purpose))
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(file.fileno(), left) :]
    except BaseException:
        file.close()
        raise
    seal(file.fileno(), COMPLETE)
    return file


def seal(fd: int, seals: int) -> None:
    """Forbid changes for good, where the system can."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, _ADD_SEALS, seals)


def read_file(fd: int) -> bytes:
    """All that is in such a file. Its offset, which other processes share, is not used."""
    pieces, at = [], 0
    while piece := os.pread(fd, _PIECE, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def is_private(fd: int) -> bool:
    """True for a file as `complete_file` makes it: a regular one without a name. To read from
    anything else (a FIFO, a device) could block."""
    with contextlib.suppress(OSError):
        status = os.fstat(fd)
        return stat.S_ISREG(status.st_mode) and status.st_nlink == 0
    return False


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """A new folder for a while, for what needs a path. The path leads to this folder alone, also
    where another user puts another one in its place."""
    with tempfile.TemporaryDirectory(dir=_runtime_folder()) as path:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise PermissionError(f"{path} is not this user's alone")
            by_descriptor = f"/proc/self/fd/{fd}"
            yield by_descriptor if os.path.isdir(by_descriptor) else path
        finally:
            os.close(fd)


def temporary_path() -> str:
    """The temporary folder that all users share."""
    return tempfile.gettempdir()


def _runtime_folder() -> str | None:
    """The user's own folder for such files; None, the system's temporary one, where there is none
    or another user could write to it."""
    path = os.environ.get("XDG_RUNTIME_DIR")
    with contextlib.suppress(OSError):
        status = os.lstat(path) if path else None
        is_own = status is not None and status.st_uid == os.geteuid()
        if status is not None and is_own and stat.S_IMODE(status.st_mode) == 0o700:
            return path
    return None
