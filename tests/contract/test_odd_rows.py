"""One odd row never breaks a page, an answer in JSON or a sub-command for all the others."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from support.databases import SERVERS, Shared
from support.home import connections, scheduler_on
from support.in_process import Pages
from support.odd_rows import Odd, OddRows

from plugin_scheduler import Scheduler
from plugin_scheduler.cli.main import main
from plugin_scheduler.queries.task_filter import SORTS

DATA = re.compile(r'<script type="application/json"[^>]*>(.*?)</script>', re.DOTALL)
QUERIES = {"tasks": ["", "text=add", *(f"sort={one}" for one in SORTS)]}
WORDS = ("status", "tasks", "tasks --text add")
OF_A_TASK = ("run {}", "explain {}", "requeue {}", "stop {}")


class Sample:
    """A scheduler whose tables hold odd rows, and what is asked of them."""

    def __init__(self, scheduler: Scheduler, most: int | None) -> None:
        self.scheduler, self.db = scheduler, scheduler.db
        self.rows = OddRows(self.db, scheduler.now())
        self.rows.fill(most)
        self.rows.task(task_name="the newest one")
        self.db.commit()
        self.pages = Pages(scheduler)
        self.faults: list[str] = []

    def try_one(self, what: object, ask: Callable[[], str]) -> str:
        try:
            return ask()
        except Exception as error:
            self.db.rollback()
            self.faults.append(f"{what}: {type(error).__name__}: {error}"[:300])
            return ""

    def page(self, path: str, place: str = "", query: str = "", why: object = "") -> str:
        what = f"{path} of {why or place}?{query}"
        text = self.try_one(what, lambda: self.pages.get(path, place, query))
        documents = [text] if path.startswith("api/") else DATA.findall(text)
        for one in documents:
            if not one.startswith("refused: "):
                self.try_one(f"JSON of {what}", lambda one=one: str(strict(one)))  # type: ignore[misc]
        return text

    def all_pages(self) -> dict[str, str]:
        """Every page that is about no single thing."""
        return {
            path: "".join(self.page(path, query=query) for query in QUERIES.get(path, [""]))
            for path in self.pages.paths_with(False)
        }

    def pages_of(self, odd: Odd) -> None:
        """Every page about that row."""
        kind = odd.table.removeprefix("scheduler_")
        for path in self.pages.paths_with(True):
            if f"{kind}s/<" in path:
                self.page(path, self._place(odd), why=odd)
        if kind == "task":
            self.page("queue", query=f"like={odd.id}", why=odd)

    def _place(self, odd: Odd) -> str:
        if odd.table != "scheduler_worker" or odd.column == "worker_name":
            return str(odd.id)
        sql = f"SELECT worker_name FROM scheduler_worker WHERE id = {odd.id}"
        return str(self.db.executesql(sql)[0][0])


def strict(text: str) -> Any:
    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(params=["sqlite", *SERVERS])
def sample(request: pytest.FixtureRequest, servers: Shared, tmp_path: Any) -> Iterator[Sample]:
    """On SQLite, which takes anything for anything, more of them."""
    kind = request.param
    with servers.database(kind, quick=True) as database:
        with connections(tmp_path, database.uri) as connect:
            yield Sample(scheduler_on(connect()), 2 if kind == "sqlite" else 1)


def test_an_odd_row_breaks_no_page_and_no_sub_command(sample: Sample) -> None:
    shown = sample.all_pages()
    assert not sample.faults, "\n".join(sample.faults[:20])
    assert "the newest one" in shown["tasks"] and "the newest one" in shown["api/tasks"]
    assert "the good worker" in shown["workers"] and "the good worker" in shown["timeline"]
    for odd in sample.rows.odd:
        sample.pages_of(odd)
    command = Command(sample)
    for words in WORDS:
        assert "the newest one" in command(words) or words == "status"
    turns = list({odd.column: odd.id for odd in sample.rows.of("scheduler_task")}.values())
    for place, task_id in enumerate(turns[:: 2 if sample.rows.is_sqlite else 8]):
        command(OF_A_TASK[place % len(OF_A_TASK)].format(task_id))
    assert len(sample.rows.odd) > 50
    assert not sample.faults, "\n".join(sample.faults[:20])


class Command:
    """The sub-commands, plain and with --json."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        adapter = sample.db._adapter
        self._where = ["-u", sample.db._uri, "-f", str(adapter.folder)]

    def __call__(self, words: str) -> str:
        texts = [
            self._sample.try_one(words, lambda more=more: self._run(words, *more)) for more in MORE
        ]  # type: ignore[misc]
        return "".join(texts)

    def _run(self, words: str, *more: str) -> str:
        self._sample.db.rollback()
        with contextlib.redirect_stdout(io.StringIO()) as out:
            main([*words.split(), *self._where, *more])
        text = out.getvalue()
        if more and text:
            strict(text)
        return text


MORE: tuple[tuple[str, ...], ...] = ((), ("--json",))


def test_every_odd_value_of_every_column_is_drawn_beside_the_others(tmp_path: Any) -> None:
    with connections(tmp_path, "sqlite:memory") as connect:
        sample = Sample(scheduler_on(connect()), None)
        shown = sample.all_pages()
    assert len(sample.rows.odd) > 1500
    assert not sample.faults, "\n".join(sample.faults[:20])
    assert "the newest one" in shown["tasks"]
    assert "values in its row cannot be read: slots: &#x27;x&#x27;" in shown["workers"]
    assert "cannot be read" in shown["history"]
    pages = {path: text for path, text in shown.items() if not path.startswith("api/")}
    assert not [path for path, text in pages.items() if re.search("[\x1b\x9b\u202e]", text)]
    assert r"\x1b[2J\u202e" in shown["workers"]
