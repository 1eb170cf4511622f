"""One page of memory that a runner shares with its pool.

The runner writes which run it executes, and since when. The pool writes how much of the runner's
output it has read. Neither side ever waits for the other.
"""

from __future__ import annotations

import contextlib
import mmap
import os

from plugin_scheduler.system.private_files import FUTURE_WRITE, GROW, SHRINK, nameless_file, seal

PAGE = mmap.PAGESIZE
_RUN, _BEGAN, _READ, _READING = range(4)  # indexes of numbers of 8 bytes


class Scoreboard:
    """One runner's page, as both sides see it."""

    def __init__(self, file: int) -> None:
        """``file`` is the descriptor of a file of one page. The caller must close it."""
        self._memory = mmap.mmap(file, PAGE)
        self._whole = memoryview(self._memory).cast("q")
        self._real = memoryview(self._memory).cast("d")
        self._count = 0

    # -- written by the runner --------------------

    @staticmethod
    def keep_others_out(file: int) -> None:
        """Forbid new writers through the file's descriptor; existing mappings can still write.

        Tasks can write to descriptors they do not own.
        """
        seal(file, FUTURE_WRITE)

    def begin(self, run_id: int, at: float) -> None:
        """Record that this run began at ``at`` (monotonic time).

        The entry stays after the run: the report says that the run is over, and until the report
        has arrived the run may still be reported as died.
        """
        self._real[_BEGAN] = at
        self._whole[_RUN] = run_id

    @property
    def run_id(self) -> int:
        """The newest run that began; 0 before the first."""
        return self._whole[_RUN]

    @property
    def began(self) -> float:
        return self._real[_BEGAN]

    # -- written by the pool --------------------

    @contextlib.contextmanager
    def reading(self):  # type: ignore[no-untyped-def]
        """Mark each read of the runner's output, as a context manager."""
        self._whole[_READING] = 1
        try:
            yield
        finally:
            self._whole[_READING] = 0

    def have_read(self, count: int) -> None:
        """Add ``count`` to the number of bytes read."""
        self._count += count
        self._whole[_READ] = self._count

    @property
    def output_read(self) -> int | None:
        """Bytes of output read so far; None during a read."""
        return None if self._whole[_READING] else self._whole[_READ]

    def close(self) -> None:
        self._whole.release()
        self._real.release()
        self._memory.close()


def blank_page() -> int:
    """Create a file for a scoreboard; return its descriptor.

    The size is final: a process that accesses a page cut off by another process is killed. The
    space is allocated now: a write to a page for which the disk or memory has no room also kills
    the writer.
    """
    file = nameless_file("board")
    try:
        os.posix_fallocate(file, 0, PAGE)
    except BaseException:  # a full disk, or a limit on sizes: the descriptor must not stay open
        os.close(file)
        raise
    seal(file, SHRINK | GROW)
    return file
