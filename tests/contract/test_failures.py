"""Failed runs are grouped by where they failed, and no more are read than there is time for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.home import Connect, scheduler_on
from support.plans import heard

from plugin_scheduler.core.reasons import Reason, ReasonCode, reason_columns
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import Outcome, RunStatus, TaskStatus
from plugin_scheduler.queries import Queries
from plugin_scheduler.system.clock import TurnedClock

NOW = datetime(2026, 1, 31, 12, 0)
MINUTE = timedelta(minutes=1)
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/{file}.py", line {line}, in {inside}
    send({line})
  File "/usr/lib/python3.11/smtplib.py", line 9, in send
    raise error
{error}
"""


def trace(line: int = 31, file: str = "sales", error: str = "ValueError: no such day") -> str:
    return TRACEBACK.format(line=line, file=file, inside="report", error=error)


class Ward:
    """Tasks with failed runs, and a browser whose clock stands still."""

    def __init__(self, db: Any) -> None:
        self.db, self.clock, self._minutes = db, TurnedClock(NOW), 0
        self.browser = Queries(db, Settings(), "lab", (), self.clock)
        self.browser._dialect.epoch = self.clock.epoch  # also where a server has its own

    def task(self, status: str = TaskStatus.FAILED, **columns: Any) -> int:
        given = {"application_name": "lab", "function_name": "report", **columns}
        return int(self.db.scheduler_task.insert(status=status, **given))

    def fails(
        self, task_id: int, traceback: str = "", status: str = RunStatus.FAILED, **columns: Any
    ) -> int:
        """The task's newest run, a minute after the one before."""
        self._minutes += 1
        at = NOW - timedelta(hours=2) + self._minutes * MINUTE
        given = {"start_time": at, "stop_time": at, "traceback": traceback, **columns}
        run_id = int(self.db.scheduler_run.insert(task_id=task_id, status=status, **given))
        self.db(self.db.scheduler_task.id == task_id).update(run_id=run_id)
        return run_id

    def ends(self, outcome: str, reason: Reason) -> int:
        """A run that did not end by itself."""
        columns = {"outcome": outcome, **reason_columns(reason)}
        return self.fails(self.task(), status=Outcome.RUN_STATUS[outcome], **columns)

    def told(self, **how: Any) -> list[tuple[str, str, int]]:
        groups = self.browser.failures(**how).groups
        return [(one.function, str(one.what), one.count) for one in groups]


@pytest.fixture
def ward(connect: Connect) -> Ward:
    db = connect()
    scheduler_on(db)
    return Ward(db)


def test_runs_that_failed_in_the_same_line_are_one_group(ward: Ward) -> None:
    tasks = [ward.task() for _ in range(3)]
    runs = [ward.fails(one, trace(error=f"ValueError: day {one}")) for one in tasks]
    [group] = ward.browser.failures().groups
    assert (group.function, group.what, group.message) == (
        "report",
        "ValueError",
        f"day {tasks[2]}",
    )
    assert group.where == "sales.py, line 31, in report" and group.code == "send(31)"
    assert (group.count, group.run_id, group.task_id) == (3, runs[2], tasks[2])
    assert group.first == NOW - timedelta(minutes=119) and group.last - group.first == 2 * MINUTE
    assert group.task_ids == tuple(tasks)


def test_another_line_error_or_function_is_another_group_and_the_latest_comes_first(
    ward: Ward,
) -> None:
    ward.fails(ward.task(), trace())
    ward.fails(ward.task(), trace(line=32))
    ward.fails(ward.task(), trace(error="KeyError: 3"))
    ward.fails(ward.task(function_name="send"), trace())
    ward.fails(ward.task(), trace())
    found = [("report", "ValueError", 2), ("send", "ValueError", 1), ("report", "KeyError", 1)]
    assert ward.told() == [*found, ("report", "ValueError", 1)]


def test_runs_that_were_ended_from_outside_are_grouped_by_the_reason(ward: Ward) -> None:
    stuck = {"status": RunStatus.TIMEOUT, "reason": "took longer than 60 s"}
    for line in (7, 8):
        ward.fails(ward.task(TaskStatus.TIMEOUT), trace(line), **stuck)
    for name in ("w1", "w2"):
        ward.ends(Outcome.LOST, Reason(ReasonCode.WORKER_DIED, worker=name))
    ward.ends(Outcome.DIED, Reason(ReasonCode.RUNNER_DIED, how="killed by SIGSEGV"))
    ward.fails(ward.task(), reason="no task named report")
    ward.fails(ward.task())
    assert ward.told() == [
        ("report", "unknown reason", 1),
        ("report", "no task named report", 1),
        ("report", "its runner died: killed by SIGSEGV", 1),
        ("report", "its worker died", 2),
        ("report", "took longer than 60 s", 2),
    ]


def test_what_a_person_stopped_or_a_worker_gave_back_has_not_failed(ward: Ward) -> None:
    ward.ends(Outcome.STOPPED, Reason(ReasonCode.STOP_REQUESTED))
    ward.ends(
        Outcome.INTERRUPTED, Reason(ReasonCode.SHUTDOWN, why="command KILL, since a disk died")
    )
    ward.fails(ward.task(), status=RunStatus.STOPPED, reason="its worker died")  # an old row
    ward.fails(ward.task(), status=RunStatus.COMPLETED)
    ward.fails(ward.task(application_name="shop"), trace())
    ward.fails(ward.task(), trace(), start_time=NOW - timedelta(days=8))
    found = ward.browser.failures()
    assert (found.groups, found.runs, found.is_all) == ([], 0, True)
    assert ward.told(days=30) == [("report", "ValueError", 1)]


def test_only_tasks_that_ended_with_it_can_be_requeued(ward: Ward) -> None:
    ended, waits, other = ward.task(), ward.task(TaskStatus.QUEUED), ward.task()
    for one in (ended, ended, waits, other):
        ward.fails(one, trace())
    ward.fails(other, trace(line=99))
    groups = {group.line: group for group in ward.browser.failures().groups}
    assert (groups[31].count, groups[31].task_ids) == (4, (ended,))
    assert groups[99].task_ids == (other,)
    found = ward.browser.failed_like(groups[31].key)
    assert found == groups[31] and ward.browser.failed_like("nothing") is None


def test_of_many_the_newest_are_looked_at_and_that_is_said(ward: Ward) -> None:
    for _ in range(5):
        ward.fails(ward.task(), trace())
    found = ward.browser.failures(most=3)
    assert (found.runs, found.is_all, found.groups[0].count) == (3, False, 3)
    assert found.sentence == "The newest 3 failed runs of the last 7 days."
    assert ward.browser.failures(most=5).sentence == "All 5 failed runs of the last 7 days."


def test_reading_ends_when_time_is_up(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugin_scheduler.queries.failures.FIRST", 20)
    for _ in range(100):
        ward.fails(ward.task(), trace())
    turn: Callable[[], None] = lambda: ward.clock.turn(0.1)  # noqa: E731
    with heard(ward.db, turn) as sent:
        found = ward.browser.failures()
    assert 20 <= found.runs < 100 and not found.is_all
    assert len(sent) <= 7
