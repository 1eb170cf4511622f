"""What does a runner say without being asked? One page of memory that it shares with its pool.

I own the page: which run the runner is at and since when, written by the runner, and how much of
its output was read, written by the pool. I call nobody. Neither side ever waits for the other.
"""

from __future__ import annotations

import contextlib
import mmap
import os

from plugin_scheduler.system.private_files import FUTURE_WRITE, GROW, SHRINK, nameless_file, seal

PAGE = mmap.PAGESIZE
_RUN, _BEGAN, _READ, _READING = range(4)  # numbers of 8 bytes


class Scoreboard:
    """One runner's page, as either side sees it."""

    def __init__(self, file: int) -> None:
        """``file`` is the descriptor of a file of one page; it stays the caller's to close."""
        self._memory = mmap.mmap(file, PAGE)
        self._whole = memoryview(self._memory).cast("q")
        self._real = memoryview(self._memory).cast("d")
        self._count = 0

    # -- written by the runner --------------------

    @staticmethod
    def keep_others_out(file: int) -> None:
        """From now on nothing can be written through the file's descriptor, only by those who have
        the page already: tasks write to descriptors that are not their own."""
        seal(file, FUTURE_WRITE)

    def begin(self, run_id: int, at: float) -> None:
        """From now on (monotonic time) this run is at work. When it is over it stays here: its
        report says so, and until that has come it may still be told that it died."""
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
        """Around each read of the runner's output."""
        self._whole[_READING] = 1
        try:
            yield
        finally:
            self._whole[_READING] = 0

    def have_read(self, count: int) -> None:
        """So many bytes more were read."""
        self._count += count
        self._whole[_READ] = self._count

    @property
    def output_read(self) -> int | None:
        """Bytes of output that were read so far; None while somebody reads."""
        return None if self._whole[_READING] else self._whole[_READ]

    def close(self) -> None:
        self._whole.release()
        self._real.release()
        self._memory.close()


def blank_page() -> int:
    """A file for a board; its descriptor. Its size is final: a page that another process cuts off
    would end whoever looks at it. Its room is taken now: to write to a page for which a full disk
    or memory has none would end the writer, too."""
    file = nameless_file("board")
    try:
        os.posix_fallocate(file, 0, PAGE)
    except BaseException:  # a full disk, or a limit on sizes: the descriptor must not stay open
        os.close(file)
        raise
    seal(file, SHRINK | GROW)
    return file
