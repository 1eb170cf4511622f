"""Call a task's function, plain or `async`; refuse generators.

`asyncio.run` runs what an `async def` returns, one task at a time, and any other awaitable that a
function returns. A returned generator has not run any code, so it is an error.
"""

from __future__ import annotations

import contextvars
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plugin_scheduler.core.errors import BadTask

#: Types of most results: they are never awaitable.
_PLAIN = frozenset((type(None), bool, int, float, str, dict, list, tuple))


def call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the result of a run. The run has a context of its own: what a task sets there
    (`contextvars`, the decimal context) does not reach the next run."""
    return contextvars.copy_context().run(_call, function, args, kwargs)


def _call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    value = function(*args, **kwargs)
    return value if type(value) in _PLAIN else _settled(value)


def _settled(value: Any) -> Any:
    if inspect.isawaitable(value):
        import asyncio

        value = asyncio.run(value if inspect.iscoroutine(value) else _result_of(value))
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise BadTask(
            "the function returned a generator, whose code has not run: iterate over it in the "
            "task, or return a list"
        )
    return value


async def _result_of(value: Any) -> Any:
    return await value


def cancel_running() -> bool:
    """Cancel the tasks of this thread's running event loop; for use in a signal handler.

    Return False if there is no loop, or if the loop executes a task now: then the caller must also
    raise an exception.
    """
    asyncio: Any = sys.modules.get("asyncio")
    loop = asyncio and asyncio._get_running_loop()
    if loop is None:
        return False
    current = asyncio.current_task(loop)
    for task in asyncio.all_tasks(loop):
        if task is not current:
            loop.call_soon_threadsafe(task.cancel)
    return current is None
