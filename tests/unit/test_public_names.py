"""Public names are promises."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import plugin_scheduler

NAMES = plugin_scheduler.__all__


def spoken() -> Iterator[tuple[str, Any]]:
    """Public classes, their public methods, and public functions."""
    for name in NAMES:
        thing = getattr(plugin_scheduler, name)
        if inspect.isfunction(thing):
            yield name, thing
        if not inspect.isclass(thing):
            continue
        yield name, thing
        for part, method in vars(thing).items():
            if inspect.isfunction(method) and not part.startswith("_"):
                yield f"{name}.{part}", method


SPOKEN = dict(spoken())


def test_public_names_are_sorted_and_each_stands_there_once() -> None:
    def rank(name: str) -> tuple[int, str]:
        """The order that ruff keeps: constants, then classes, then the rest."""
        kind = 0 if name.isupper() else 1 if name.lstrip("_")[:1].isupper() else 2
        return kind, name

    assert sorted(NAMES, key=rank) == NAMES
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there(name: str) -> None:
    assert hasattr(plugin_scheduler, name)


def test_nothing_public_is_left_out() -> None:
    modules = {name for name, thing in vars(plugin_scheduler).items() if inspect.ismodule(thing)}
    there = {name for name in vars(plugin_scheduler) if not name.startswith("_")}
    words = {"TaskStatus", "RunStatus", "WorkerStatus"}  # public as QUEUED and its like
    assert there - modules - words == set(NAMES) - {"__version__"}


@pytest.mark.parametrize("name", SPOKEN)
def test_a_public_class_function_or_method_says_what_it_does(name: str) -> None:
    thing = SPOKEN[name]
    if name == "CronParser.next":  # the iterator's own method under web2py's name
        return
    assert inspect.getdoc(thing)


def test_status_words_are_those_of_web2py() -> None:
    for name in (*plugin_scheduler.TASK_STATUS, *plugin_scheduler.WORKER_STATUS):
        assert getattr(plugin_scheduler, name) == name


def test_documented_names_of_earlier_layouts_go_on_working() -> None:
    from plugin_scheduler import browse, hosts, loaders, queries

    assert (hosts.load, browse.Browser) == (loaders.load, queries.Queries)
