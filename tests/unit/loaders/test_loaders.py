"""What is loaded for a worker: an app's own scheduler, or a file of tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydal import DAL

from plugin_scheduler import ConfigError
from plugin_scheduler.cli.main import parse_app
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.loaders import module, py4web

SCHEDULER = """
from plugin_scheduler import Scheduler
def work(): pass
scheduler = Scheduler(db, {tasks})
"""


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules and the search path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    sys.modules.update(before)


def a_module(name: str, tasks: str = "None") -> ModuleType:
    """A module of an app that makes a scheduler."""
    made = ModuleType(name)
    vars(made)["db"] = DAL("sqlite:memory")
    exec(SCHEDULER.format(tasks=tasks), vars(made))
    return made


# -- which scheduler? ----------------------------------------------------------------------------


def test_of_two_schedulers_in_one_app_none_is_served_silently() -> None:
    common, mail = a_module("apps.shop.common"), a_module("apps.shop.mail")
    with pytest.raises(ConfigError) as caught:
        py4web._find_home("shop", [common, mail])
    assert str(caught.value).startswith(
        "app 'shop' has 2 schedulers: apps.shop.common.scheduler, apps.shop.mail.scheduler; a "
        "worker serves one."
    )
    vars(mail)["scheduler"] = vars(common)["scheduler"]  # imported from there
    assert py4web._find_home("shop", [common, mail]) is vars(common)["scheduler"]


def test_a_scheduler_of_another_app_and_one_that_only_queues_are_no_second_ones() -> None:
    own, other = a_module("apps.shop.common"), a_module("apps.shopping.common")
    queues = a_module("apps.shop.queues", tasks="{}")
    vars(own)["other"] = vars(other)["scheduler"]
    assert py4web._find_home("shop", [queues, own]) is vars(own)["scheduler"]
    assert py4web._find_home("reports", [other]) is vars(other)["scheduler"]
    assert py4web._find_home("shop", [queues]) is vars(queues)["scheduler"]
    with pytest.raises(ConfigError, match="has no scheduler"):
        py4web._find_home("shop", [ModuleType("apps.shop")])


@pytest.mark.parametrize("name", ["shop", "my-app", "2048", "_dashboard", "größe", "my app"])
def test_an_app_is_named_as_py4web_lets_it_be(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    py4web.check(name, str(tmp_path))
    assert parse_app(f"{name}:mail") == (name, ["mail"])
    with pytest.raises(ConfigError, match=f"apps there: {name}"):
        py4web.check("another", str(tmp_path))


@pytest.mark.parametrize("name", ["", "..", "a.b", "a/b", "__pycache__", "../shop", " shop"])
def test_what_py4web_takes_for_no_app_is_refused(name: str) -> None:
    assert not py4web.is_app_name(name)


# -- a file of tasks -----------------------------------------------------------------------------


def load(folder: Path, name: str) -> module.LoadedApp:
    spec = {"uri": "sqlite:memory", "folder": str(folder), "tasks": str(folder / name)}
    module.check(spec["uri"], spec["folder"], spec["tasks"])
    return module.load_file({**spec, "settings": Settings().as_dict()})


def test_a_file_of_tasks_imports_its_neighbours_and_stands_in_for_no_other_module(
    tmp_path: Path,
) -> None:
    (tmp_path / "helpers.py").write_text("ANSWER = 42\n")
    (tmp_path / "colorsys.py").write_text("raise SystemExit('run in place of the real one')\n")
    (tmp_path / "queue.py").write_text(
        "import colorsys\nfrom queue import Queue\nfrom helpers import ANSWER\n"
        "def answer(): return ANSWER\n"
    )
    sys.modules.pop("colorsys", None)
    queue = sys.modules.get("queue")
    world = load(tmp_path, "queue.py")
    assert world.find("answer")() == 42 and world.catalog.names() == ["answer"]
    assert sys.modules.get("queue") is queue
    assert sys.path[-1] == str(tmp_path)
    assert load(tmp_path, "queue.py").find("answer")() == 42


def test_a_file_of_tasks_keeps_its_name_where_it_is_free(tmp_path: Path) -> None:
    (tmp_path / "jobs_of_mine.py").write_text("def work(): pass\n")
    for _ in range(2):
        assert load(tmp_path, "jobs_of_mine.py").find("work").__module__ == "jobs_of_mine"


@pytest.mark.parametrize("name", ["tasks.txt", "tasks", "tasks.pyc"])
def test_a_file_that_is_no_python_file_is_refused_with_a_sentence(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("def work(): pass\n")
    with pytest.raises(ConfigError, match=r"is not a Python file: its name must end with \.py"):
        load(tmp_path, name)
