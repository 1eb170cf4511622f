"""Create files that no other user can name, replace or block.

Large arguments and results are passed as descriptors of unnamed files. On Linux such a file is in
memory (``memfd``) and sealed when it is complete, so that its content cannot change afterwards. On
other systems it is a temporary file that is unlinked before use. This module never opens a path
that another user may have created.
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
    """A file descriptor that is closed on `close`, at the latest when the object is deleted."""

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
    """Create an empty file without a name and return its descriptor.

    Raises ``OSError`` when the file cannot be created.
    """
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(PermissionError):  # forbidden in some containers
            return os.memfd_create(purpose, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def complete_file(purpose: str, data: bytes) -> PrivateFile:
    """Create a file that holds ``data`` and can no longer be changed."""
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
    """Forbid changes permanently, on systems that support it."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, _ADD_SEALS, seals)


def read_file(fd: int) -> bytes:
    """Return the whole content. Does not use the file offset, which other processes share."""
    pieces, at = [], 0
    while piece := os.pread(fd, _PIECE, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def is_private(fd: int) -> bool:
    """Return True for a regular file without a name, as `complete_file` creates it.

    Reading from anything else (a FIFO, a device) could block.
    """
    with contextlib.suppress(OSError):
        status = os.fstat(fd)
        return stat.S_ISREG(status.st_mode) and status.st_nlink == 0
    return False


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """Create a temporary folder, for files that need a path, and remove it afterwards.

    The path goes through a descriptor where the system has ``/proc``, so that it leads to this
    folder even if another user replaces the folder.
    """
    with tempfile.TemporaryDirectory(dir=_runtime_folder()) as path:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise PermissionError(f"{path} is not private to this user")
            by_descriptor = f"/proc/self/fd/{fd}"
            yield by_descriptor if os.path.isdir(by_descriptor) else path
        finally:
            os.close(fd)


def temporary_path() -> str:
    """Return the temporary folder that all users share."""
    return tempfile.gettempdir()


def _runtime_folder() -> str | None:
    """Return the user's runtime folder.

    None stands for the system's temporary folder: the user has no runtime folder, or another user
    could write to it.
    """
    path = os.environ.get("XDG_RUNTIME_DIR")
    with contextlib.suppress(OSError):
        status = os.lstat(path) if path else None
        is_own = status is not None and status.st_uid == os.geteuid()
        if status is not None and is_own and stat.S_IMODE(status.st_mode) == 0o700:
            return path
    return None
