"""Task functions: the same for this scheduler and for every peer, sync and async.

Async products get the async forms, as their manuals recommend.
"""

from __future__ import annotations

import asyncio
import os
import time

CPU, NAP = 0.001, 0.01


def nothing() -> None:
    return None


def one() -> int:
    return 1


def spin() -> None:
    """Use 1 ms of CPU, measured by this thread's CPU clock."""
    until = time.thread_time() + CPU
    while time.thread_time() < until:
        pass


def nap() -> None:
    time.sleep(NAP)


def stamp() -> None:
    """Read the time in the first statement, and write it to a file instead of a result."""
    now = time.time()
    with open(os.environ["BENCH_STAMPS"], "a") as file:
        file.write(f"{now!r}\n")


async def async_nothing() -> None:
    return None


async def async_one() -> int:
    return 1


async def async_spin() -> None:
    spin()


async def async_nap() -> None:
    await asyncio.sleep(NAP)


async def async_stamp() -> None:
    stamp()


WORK = {one.__name__: one for one in (nothing, one, spin, nap, stamp)}
ASYNC_WORK = {
    "nothing": async_nothing,
    "one": async_one,
    "spin": async_spin,
    "nap": async_nap,
    "stamp": async_stamp,
}
#: The tasks for workers of this scheduler.
tasks = WORK
