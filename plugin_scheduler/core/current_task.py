"""The current task: its ids, and the report of its progress.

Defines ``current_task`` and ``progress``, which the runner connects to the current run. Both can be
used outside a task: there ``current_task`` is false, and ``progress`` does nothing.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, SupportsFloat

LONGEST_TEXT = 1000  # characters
_MOST = 1 << 53  # whole numbers beyond become floats, as in other readers of JSON


class CurrentTask:
    """Identify the task that runs in this process: ``id``, ``uuid`` and ``run_id``.

    Outside a task the object is false, and its attributes are None.

    Source: web2py's ``W2P_TASK``, which is the same object, as a global of the function's module.

    >>> current_task.id if current_task else "no task"
    'no task'
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
        """Begin a run; called by the runner only."""
        self.id: int | None = task_id
        self.uuid: str | None = uuid
        self.run_id: int | None = run_id
        self._tell = tell

    def leave(self) -> None:
        """End the run; called by the runner only."""
        self.id = self.uuid = self.run_id = self._tell = None

    def __bool__(self) -> bool:
        return self.id is not None

    def __repr__(self) -> str:
        if not self:
            return "<no current task>"
        return f"<current task {self.id}, run {self.run_id}>"


current_task = CurrentTask()


def progress(at: SupportsFloat, of: SupportsFloat | None = None, text: object = "") -> None:
    """Report the progress of the current task; it appears in ``scheduler_run.progress``.

    The row is updated within a second. Frequent calls are cheap: intermediate values are dropped,
    the last one never is. Outside a task the call does nothing.

    Parameters:
    - ``at``: the work done, a number of any type. NaN and infinity leave the number unchanged.
    - ``of``: the whole work, in the same unit; None if unknown.
    - ``text``: a text to display, at most 1000 characters.

    Raises: TypeError for a value that is not a number.

    >>> progress(3, 10, "third picture")
    """
    if current_task._tell is not None:
        total = None if of is None else _amount(of, "of")
        current_task._tell(_amount(at, "at"), total, _words(text))


def _amount(value: Any, name: str) -> float | None:
    """Return a number that JSON can store; None if it is not finite or too large for a float."""
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
    raise TypeError(f"progress(): {name} must be a number, not {type(value).__name__}")


def _words(text: object) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return words[:LONGEST_TEXT]


progress.not_a_task = True  # type: ignore[attr-defined]  # an app imports it into its models
