"""Why does a task not run?

I own the sentences for it. The conditions themselves are the claim's own, by name. I never write.
"""

from __future__ import annotations

from plugin_scheduler import sight
from plugin_scheduler.browse.source import Source
from plugin_scheduler.records import TaskStatus
from plugin_scheduler.sight import TaskView, WorkerView, span


class Explanations(Source):
    """What hinders a task."""

    def obstacles(self, task: TaskView) -> list[str]:
        """Why a waiting task does not run yet, each reason in words; empty when nothing hinders it.

        >>> browser.obstacles(task)
        ['it is disabled', 'no live worker serves group "gpu"']
        """
        if task.status != TaskStatus.QUEUED:
            return []
        this = self._task.id == task.id
        unmet = [
            self._sentence(name, task)
            for name, condition in self._conditions(self.now()).items()
            if not self._set(this & condition).count()
        ]
        if task.function not in (self._known or (task.function,)):
            unmet.append(f'there is no task named "{task.function}" in this app')
        return unmet + self._unserved(task)

    def _sentence(self, condition: str, task: TaskView) -> str:
        if condition == "its time has come" and task.next_run_time:
            away = (task.next_run_time - self.now()).total_seconds()
            return f"its time comes in {span(away)}"
        if condition == "waits for nothing":
            return f"it waits for {', '.join(self._waited_for(task)) or 'a task that was deleted'}"
        sentences = {
            "its time has come": "it has no next_run_time",
            "enabled": "it is disabled",
            "before its stop_time": "its stop_time has passed",
            "of this app": f"it belongs to app {task.application}",
        }
        return sentences.get(condition, f"not {condition}")

    def _waited_for(self, task: TaskView) -> list[str]:
        pending = (self._deps.task_parent == task.id) & (self._deps.can_visit == False)
        rows = self._set(pending & (self._task.id == self._deps.task_child)).select(
            self._task.ALL, orderby=self._task.id
        )
        return [f"task {row.id} {row.task_name} ({row.status})" for row in rows]

    def _unserved(self, task: TaskView) -> list[str]:
        workers = self.workers()
        if task.only_worker:
            workers = [one for one in workers if one.name == task.only_worker]
        return why_unserved(workers, task.application, task.group, task.only_worker)


def why_unserved(
    workers: list[WorkerView], application: str, group: str, only: str | None = None
) -> list[str]:
    serving = [one for one in workers if one.alive and one.serves(application, group)]
    if any(one.takes_work for one in serving):
        return []
    who = f"worker {only}" if only else f'group "{group}"'
    if serving:
        return [f"{who} takes nothing new" if only else f"no worker of {who} takes anything new"]
    if only:
        return [f"{who} is not alive"]
    others = any(one.alive and group in one.groups for one in workers)
    of_app = f" of app {application}" if others else ""
    return [f"no live worker serves {who}{of_app}; start one: {sight.command(application, group)}"]
