"""SQLite's notifier hears the others, and only them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.kit import eventually

from plugin_scheduler.database.notifier import sqlite as bell_of
from plugin_scheduler.database.notifier.sqlite import DataVersion


def opened(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode={mode}")
    connection.execute("CREATE TABLE IF NOT EXISTS t (n)")
    return connection


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
@pytest.mark.parametrize("kernel_tells", [True, False])
def test_it_rings_for_commits_of_others_and_not_for_its_own(
    tmp_path: Path, mode: str, kernel_tells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel_tells:
        monkeypatch.setattr(bell_of, "_watch", lambda folder: None)
    path = tmp_path / "x.sqlite"
    mine, other = opened(path, mode), opened(path, mode)
    bell = DataVersion(lambda: mine, str(path), lambda: False)
    bell.rung()
    mine.execute("INSERT INTO t VALUES (1)")
    assert not bell.rung()
    other.execute("BEGIN")
    other.execute("INSERT INTO t VALUES (2)")
    assert not bell.rung(), "not committed yet"
    other.execute("COMMIT")
    assert bell.rung() and not bell.rung()
    assert (bell.fileno() >= 0) == kernel_tells
    bell.close()
    mine.close()
    other.close()


def test_the_kernels_news_make_it_look_more_often_for_a_moment(tmp_path: Path) -> None:
    import select

    path = tmp_path / "x.sqlite"
    mine, other = opened(path, "WAL"), opened(path, "WAL")
    bell = DataVersion(lambda: mine, str(path), lambda: False)
    if bell.fileno() < 0:
        pytest.skip("this system tells nothing of written files")
    eventually(lambda: not select.select([bell], [], [], 0)[0] or bell.heed())
    calm = bell_of.SAFETY
    while bell.interval != calm:
        bell.rung()
    other.execute("INSERT INTO t VALUES (1)")
    assert select.select([bell], [], [], 1)[0]
    bell.heed()
    assert bell.interval < calm and bell.rung()
    while bell.interval != calm:
        assert not bell.rung()
    bell.close()
    mine.close()
    other.close()


def test_a_replaced_file_is_looked_for_once_a_second_and_not_at_each_poll(tmp_path: Path) -> None:
    looked: list[None] = []
    connection = sqlite3.connect(tmp_path / "a.sqlite")

    def is_moved() -> bool:
        looked.append(None)
        return len(looked) == 3

    with closing(connection):
        notifier = DataVersion(lambda: connection, str(tmp_path / "a.sqlite"), is_moved)
        with closing(notifier):
            polls = round(10 / notifier.interval)
            heard = [notifier.rung() for _ in range(polls)]
    assert 9 <= len(looked) <= 10
    assert heard.count(True) == 1, "the third look"
