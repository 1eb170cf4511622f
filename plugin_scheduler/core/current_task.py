"""What a task may know of itself while it runs: its ids, and where to tell its progress.

I own ``current_task`` and ``progress``. I call nobody: the runner plugs itself in. I never fail
outside a task: there ``current_task`` is false, and progress goes nowhere.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, SupportsFloat

LONGEST_TEXT = 1000  # characters
_MOST = 1 << 53  # whole numbers beyond become floats, as in other readers of JSON


class CurrentTask:
    """The task that runs in this process: ``id``, ``uuid`` and ``run_id``, None outside a task.

    web2py's ``W2P_TASK`` is the same object, set as a global of the function's module.
    """

    __slots__ = ("_tell", "id", "run_id", "uuid")

    def __init__(self) -> None:
        self._tell: Callable[[float | None, float | None, str], None] | None = None
        self.leave()

    def enter(
        self,
        task_id: int,
        uuid: str,
        run_id: int,
        tell: Callable[[float | None, float | None, str], None],
    ) -> None:
        """A run begins; called by the runner only."""
        self.id: int | None = task_id
        self.uuid: str | None = uuid
        self.run_id: int | None = run_id
        self._tell = tell

    def leave(self) -> None:
        """The run is over; called by the runner only."""
        self.id = self.uuid = self.run_id = self._tell = None

    def __bool__(self) -> bool:
        return self.id is not None

    def __repr__(self) -> str:
        if not self:
            return "<no current task>"
        return f"<current task {self.id}, run {self.run_id}>"


current_task = CurrentTask()


def progress(at: SupportsFloat, of: SupportsFloat | None = None, text: object = "") -> None:
    """Tell how far the running task is: ``progress(3, 10, "third picture")``.

    Visible in ``scheduler_run.progress`` within a second. Cheap enough to be called for every
    line of a file: what comes too fast is dropped, but never the last. Does nothing outside a task.
    Numbers of any type will do, and TypeError tells what is none. NaN and infinity tell nothing:
    the number told before stays, and the text is new.
    """
    if current_task._tell is not None:
        total = None if of is None else _amount(of, "of")
        current_task._tell(_amount(at, "at"), total, _words(text))


def _amount(value: Any, name: str) -> float | None:
    """A number that JSON knows; None for one that is not finite, or too large for a float."""
    if not isinstance(value, (str, bytes, bytearray)):
        try:
            number = operator.index(value)
            return number if -_MOST < number < _MOST else float(number)
        except TypeError:
            pass
        except OverflowError:
            return None
        try:
            real = float(value)
            return real if math.isfinite(real) else None
        except OverflowError:
            return None
        except (TypeError, ValueError):
            pass
    raise TypeError(f"progress() takes numbers; {name} is of type {type(value).__name__}")


def _words(text: object) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return words[:LONGEST_TEXT]


progress.not_a_task = True  # type: ignore[attr-defined]  # an app imports it into its models
