"""Which functions may run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from types import ModuleType
from typing import Any

import pytest

from plugin_scheduler.catalog import Catalog, public_functions
from plugin_scheduler.errors import NotFound


def a_module(name: str, source: str) -> dict[str, Any]:
    """The namespace of a module with this source."""
    module = ModuleType(name)
    exec(source, vars(module))
    return vars(module)


SOURCE = """
from os.path import join
from plugin_scheduler import progress
import json
LIMIT = 3
class Mail: pass
def send(to): return to
def _private(): pass
alias = send
shout = lambda: 1
"""


def test_without_tasks_the_public_functions_of_the_namespace_are_the_tasks() -> None:
    catalog = Catalog(None, a_module("shop", SOURCE))
    assert catalog.names() == ["alias", "send", "shout"]


def test_an_empty_dict_of_tasks_is_for_programs_that_only_queue() -> None:
    catalog = Catalog({}, a_module("shop", SOURCE))
    assert catalog.names() == [] and catalog.name_of("anything") == "anything"


def test_a_function_defined_after_the_scheduler_is_found_too() -> None:
    namespace = a_module("shop", SOURCE)
    catalog = Catalog(None, namespace)
    exec("def later(): pass", namespace)
    assert "later" in catalog.names()


def test_given_tasks_are_all_there_are() -> None:
    namespace = a_module("shop", SOURCE)
    catalog = Catalog({"mail": namespace["send"]}, namespace)
    assert catalog.names() == ["mail"]
    assert catalog.find("mail") is namespace["send"]


def test_a_decorated_function_is_a_task_and_ends_the_search_for_others() -> None:
    namespace = a_module("shop", SOURCE)
    catalog = Catalog(None, namespace)
    catalog.add("mail", namespace["send"], {"timeout": 5})
    assert catalog.names() == ["mail"]


def test_given_and_decorated_tasks_stand_beside_each_other() -> None:
    catalog = Catalog({"one": len}, {})
    catalog.add("two", max, {})
    assert catalog.names() == ["one", "two"]


def test_defaults_of_a_decorator_are_a_copy() -> None:
    catalog = Catalog(None, {})
    catalog.add("mail", print, {"timeout": 5})
    catalog.defaults("mail")["timeout"] = 6
    assert catalog.defaults("mail") == {"timeout": 5}
    assert catalog.defaults("other") == {}


@pytest.mark.parametrize(
    "name", ["__import__", "os.system", "json", "_private", "LIMIT", "join", "Mail", "progress", ""]
)
def test_a_name_that_is_no_task_is_refused_with_the_known_ones(name: str) -> None:
    catalog = Catalog(None, a_module("shop", SOURCE))
    with pytest.raises(NotFound) as caught:
        catalog.find(name)
    assert str(caught.value) == (
        f"there is no task named {name!r} in this app; known tasks: alias, send, shout"
    )


def test_with_no_tasks_at_all_it_says_so() -> None:
    with pytest.raises(NotFound, match="known tasks: none"):
        Catalog(None, {}).find("x")


def test_a_function_is_queued_by_the_name_it_is_registered_under() -> None:
    namespace = a_module("shop", SOURCE)
    catalog = Catalog({"mail": namespace["send"]}, namespace)
    assert catalog.name_of(namespace["send"]) == "mail"
    assert catalog.name_of("anything") == "anything"
    assert catalog.name_of(len) == "len"
    assert "partial" in catalog.name_of(partial(len))


def test_a_wrapped_function_of_the_module_itself_is_a_task() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(function)(lambda *args: function(*args))

    namespace = a_module("shop", SOURCE)
    namespace["logged_send"] = logged(namespace["send"])
    assert "logged_send" in public_functions(namespace)


def test_an_app_finds_the_tasks_of_its_models_and_of_no_other_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def app_module(name: str, function: str) -> dict[str, Any]:
        module = ModuleType(name)
        exec(f"def {function}(): pass", vars(module))
        monkeypatch.setitem(sys.modules, name, module)
        return vars(module)

    home = app_module("apps.shop.common", "in_common")
    app_module("apps.shop.models", "in_models")
    app_module("apps.shop.tasks.mail", "in_tasks")
    app_module("apps.shop.controllers", "in_controllers")
    app_module("apps.shop.modelsx", "in_modelsx")
    app_module("apps.shopping.models", "in_other_app")
    assert Catalog(None, home).names() == ["in_common", "in_models", "in_tasks"]


def test_a_program_that_is_no_app_searches_no_module_but_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "models", ModuleType("models"))
    assert Catalog(None, a_module("__main__", SOURCE)).names() == ["alias", "send", "shout"]
