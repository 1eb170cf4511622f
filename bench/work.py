"""The work: the same functions for ours and for every peer, sync and async.

I never know who calls me. Async products get the async forms, as their manuals advise.
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
    """1 ms of CPU: of this thread's own, not of the clock on the wall."""
    until = time.thread_time() + CPU
    while time.thread_time() < until:
        pass


def nap() -> None:
    time.sleep(NAP)


def stamp() -> None:
    """The first statement asks what time it is; the answer goes to a file, not to a result."""
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
#: What workers of ours find in this file.
tasks = WORK
