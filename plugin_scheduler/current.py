"""What a task may know of itself while it runs: its ids, and where to tell its progress.

I own ``current_task`` and ``progress``. I call nobody: the runner plugs itself in. I never fail
outside a task: there ``current_task`` is false, and progress goes nowhere.
"""

from __future__ import annotations

from collections.abc import Callable


class CurrentTask:
    """The task that runs in this process: ``id``, ``uuid`` and ``run_id``, None outside a task.

    web2py's ``W2P_TASK`` is the same object, set as a global of the function's module.
    """

    __slots__ = ("_tell", "id", "run_id", "uuid")

    def __init__(self) -> None:
        self._tell: Callable[[float, float | None, str], None] | None = None
        self.leave()

    def enter(
        self,
        task_id: int,
        uuid: str,
        run_id: int,
        tell: Callable[[float, float | None, str], None],
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


def progress(at: float, of: float | None = None, text: str = "") -> None:
    """Tell how far the running task is: ``progress(3, 10, "third picture")``.

    Visible in ``scheduler_run.progress`` within a second. Cheap enough to be called for every
    line of a file: what comes too fast is dropped, but never the last. Does nothing outside a task.
    """
    if current_task._tell is not None:
        current_task._tell(at, of, text)


progress.not_a_task = True  # type: ignore[attr-defined]  # an app imports it into its models
