"""Whatever a person looks for among tasks: what fits is found, page by page, in both directions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.home import Connect, scheduler_on
from support.plans import heard

from plugin_scheduler.core.errors import BadTask
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.types import TaskStatus
from plugin_scheduler.queries import CappedCount, Filter, Listing, Queries
from plugin_scheduler.system.clock import TurnedClock

NOW = datetime(2026, 1, 31, 12, 0)
HOUR = timedelta(hours=1)
Insert = Callable[..., int]


@pytest.fixture
def db(connect: Connect) -> Any:
    db = connect()
    scheduler_on(db)
    return db


@pytest.fixture
def browser(db: Any) -> Queries:
    return Queries(db, Settings(), "lab", (), TurnedClock(NOW))


@pytest.fixture
def task(db: Any) -> Insert:
    def insert(**columns: Any) -> int:
        return int(db.scheduler_task.insert(**{"function_name": "add", **columns}))

    return insert


def ids(page: Listing) -> list[int]:
    return [one.id for one in page.items]


def pages(browser: Queries, wanted: Filter) -> Iterator[Listing]:
    """From the first to the last."""
    while True:
        page = browser.tasks(wanted)
        yield page
        if page.after is None:
            return
        wanted = dataclasses.replace(wanted, after=page.after)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("newest", [6, 5, 4, 3, 2, 1, 0]),
        ("oldest", [0, 1, 2, 3, 4, 5, 6]),
        ("next run", [2, 0, 1, 5, 6, 3, 4]),
        ("last run", [1, 2, 0, 3, 4, 5, 6]),
        ("priority", [5, 2, 0, 1, 3, 4, 6]),
        ("name", [2, 3, 0, 1, 4, 5, 6]),
    ],
)
def test_every_order_is_paged_from_end_to_end_and_back(
    browser: Queries, task: Insert, sort: str, order: list[int]
) -> None:
    soon, later = NOW, NOW + HOUR
    made = [
        task(next_run_time=later, last_run_time=NOW - HOUR, task_name="b"),
        task(next_run_time=later, last_run_time=NOW, task_name="B"),
        task(next_run_time=soon, last_run_time=NOW - HOUR / 2, priority=2, task_name="a"),
        task(next_run_time=None, function_name="A first"),
        task(next_run_time=None, task_name="c"),
        task(next_run_time=later, priority=10, task_name="c"),
        task(next_run_time=later, priority=-1, task_name="d"),
    ]
    wanted = [made[place] for place in order]
    there = list(pages(browser, Filter(sort=sort, limit=3)))
    assert [ids(page) for page in there] == [wanted[:3], wanted[3:6], wanted[6:]]
    assert there[0].before is None and not any(page.looked_to for page in there)
    back = browser.tasks(Filter(sort=sort, limit=3, before=there[2].before))
    assert ids(back) == wanted[3:6] and back.after is not None
    first = browser.tasks(Filter(sort=sort, limit=3, before=back.before))
    assert (ids(first), first.before) == (wanted[:3], None)


def test_a_page_before_the_second_task_is_the_first_page(browser: Queries, task: Insert) -> None:
    made = [task() for _ in range(4)]
    page = browser.tasks(Filter(before=made[2], limit=3))
    assert (ids(page), page.before, page.after) == (made[:0:-1], None, str(made[1]))


@pytest.mark.parametrize("wrong", [Filter(sort="colour"), Filter(time="tea_time", since=NOW)])
def test_an_order_or_a_time_that_there_is_not_is_a_mistake(
    browser: Queries, task: Insert, wrong: Filter
) -> None:
    task()
    with pytest.raises(BadTask, match=r"colour|tea_time"):
        browser.tasks(wrong)


def test_a_cursor_that_is_none_leads_to_the_first_page(browser: Queries, task: Insert) -> None:
    made = task()
    for cursor in ("nonsense", "-1", "9" * 40, "~", "1.5"):
        assert ids(browser.tasks(Filter(after=cursor))) == [made]


@pytest.mark.parametrize(
    "parts",
    [
        {"status": (TaskStatus.FAILED, TaskStatus.TIMEOUT)},
        {"group": "mail"},
        {"group": "mail", "status": (TaskStatus.FAILED,)},
        {"function": "report"},
        {"worker": "w1"},
        {"enabled": False},
        {"repeating": True},
        {"time": "last_run_time", "since": NOW - HOUR, "until": NOW + HOUR},
        {"time": "start_time", "until": datetime(2001, 1, 1)},
        {"text": "needle"},
    ],
    ids=str,
)
def test_each_part_of_a_filter_finds_what_it_means(
    browser: Queries, task: Insert, parts: dict[str, Any]
) -> None:
    wanted = task(
        status=TaskStatus.FAILED,
        group_name="mail",
        function_name="report",
        assigned_worker_name="w1",
        enabled=False,
        repeats=0,
        start_time=datetime(2000, 1, 1),
        last_run_time=NOW,
        args='["a needle"]',
    )
    task(last_run_time=NOW - 2 * HOUR)
    for sort in ("newest", "name"):
        assert ids(browser.tasks(Filter(**parts, sort=sort))) == [wanted]
    assert browser.count(Filter(**parts)) == CappedCount(1)


def test_the_opposite_of_a_switch_finds_the_others(browser: Queries, task: Insert) -> None:
    task(enabled=False, repeats=0)
    plain, old = task(repeats=1), task(repeats=None)
    assert ids(browser.tasks(Filter(repeating=False))) == [old, plain]
    assert ids(browser.tasks(Filter(enabled=True))) == [old, plain]


def test_text_is_found_in_what_the_latest_run_left_where_that_is_asked_for(
    browser: Queries, task: Insert, db: Any
) -> None:
    columns = ("run_output", "traceback", "run_result")
    made = [task() for _ in columns]
    for task_id, column in zip(made, columns, strict=True):
        db.scheduler_run.insert(task_id=task_id, **{column: "an older needle"})
        stored = '"a n\\u00e9edle"' if column == "run_result" else "50% NÉEDLE, a néedle"
        run_id = db.scheduler_run.insert(task_id=task_id, **{column: stored})
        db(db.scheduler_task.id == task_id).update(run_id=run_id)
    assert ids(browser.tasks(Filter(text="néedle", in_output=True))) == made[::-1]
    assert ids(browser.tasks(Filter(text="néedle"))) == []
    assert ids(browser.tasks(Filter(text="older", in_output=True))) == []


def test_what_is_secret_is_not_found_by_guessing(browser: Queries, task: Insert) -> None:
    task(args='["hunter2"]', vars='{"p": "hunter2"}', secret=["p", 0])
    for in_output in (True, False):
        assert browser.count(Filter(text="hunter2", in_output=in_output)) == CappedCount(0)
    assert browser.count(Filter(text="add")) == CappedCount(1)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # a server keeps times alone there
def test_a_row_that_cannot_be_read_is_told_and_hides_no_other(
    browser: Queries, task: Insert, db: Any
) -> None:
    good, bad, other = task(), task(), task()
    db.executesql(f"UPDATE scheduler_task SET stop_time = 'at noon' WHERE id = {bad}")
    page = browser.tasks(Filter())
    assert ids(page) == [other, good]
    assert len(page.notes) == 1 and page.notes[0].startswith(f"Task {bad} cannot be read: ")


# -- time is up ------------------------------------------------------------------------------------


class Slow:
    """A database that takes as long for a statement as there is time for a page."""

    def __init__(self, db: Any) -> None:
        self.clock, self._db = TurnedClock(NOW), db
        self.browser = Queries(db, Settings(), "lab", (), self.clock)
        self.seconds = 0.05

    def ask(self, ask: Callable[[Queries], Any]) -> tuple[Any, int]:
        """What it answers, and after how many statements."""
        with heard(self._db, lambda: self.clock.turn(self.seconds)) as sent:
            answer = ask(self.browser)
        return answer, len(sent)


@pytest.fixture
def slow(db: Any) -> Slow:
    return Slow(db)


def test_a_search_stops_in_time_and_goes_on_where_it_stopped_until_all_is_found(
    slow: Slow, task: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugin_scheduler.queries.tasks.FIRST_WITH_TEXT", 20)
    made = [task(task_name="needle" if number % 50 == 0 else "hay") for number in range(120)]
    for sort in ("newest", "oldest"):
        found, wanted, unfinished = [], Filter(text="needle", sort=sort, limit=2), 0
        while True:
            page, asked = slow.ask(lambda browser, wanted=wanted: browser.tasks(wanted))
            assert asked <= 12
            found += ids(page)
            unfinished += page.looked_to is not None
            if page.after is None:
                break
            wanted = dataclasses.replace(wanted, after=page.after)
        expected = [one for number, one in enumerate(made) if number % 50 == 0]
        assert found == (expected[::-1] if sort == "newest" else expected)
        assert unfinished


def test_a_count_that_takes_too_long_says_at_least(
    slow: Slow, task: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugin_scheduler.queries.tasks.FIRST", 20)
    for _ in range(100):
        task()
    count, asked = slow.ask(lambda browser: browser.count(Filter(function="add")))
    assert count.more and 20 <= count.number < 100 and asked < 10
    assert str(count).endswith("+")


def test_what_takes_too_long_to_sort_comes_newest_first_and_says_so(
    slow: Slow, task: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugin_scheduler.queries.tasks.FIRST", 20)
    made = [task(task_name=str(number)) for number in range(100)]
    page, _ = slow.ask(lambda browser: browser.tasks(Filter(sort="name", limit=3)))
    assert ids(page) == made[:-4:-1] and page.sort == "newest"
    assert [str(note) for note in page.notes] == [
        "Too many tasks to sort by name: the newest come first. Use a narrower filter."
    ]


def test_ids_for_a_batch_come_rising_and_none_that_came_later(
    browser: Queries, task: Insert
) -> None:
    made = [task(group_name="mail") for _ in range(5)]
    task()
    newest = browser.newest_id()
    task(group_name="mail")
    found, at = browser.ids(Filter(group="mail"), 0, newest, 3)
    assert (found, at) == (made[:3], made[2])
    assert browser.ids(Filter(group="mail"), made[2], newest, 3) == (made[3:], None)
