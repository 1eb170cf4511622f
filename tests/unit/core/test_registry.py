"""Which functions may run."""

from __future__ import annotations

import sys
import xmlrpc.client
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache, partial, wraps
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from plugin_scheduler.core.errors import BadTask, ConfigError, NotFound
from plugin_scheduler.core.registry import Call, Catalog, public_functions, unwrapped
from plugin_scheduler.core.signature import arguments_of


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


# -- which function is it? -----------------------------------------------------------------------


class Mailer:
    def send(self, to: str) -> None: ...

    @classmethod
    def flush(cls) -> None: ...

    def __call__(self) -> None: ...


def refusal(catalog: Catalog, function: Any) -> str:
    with pytest.raises(BadTask) as caught:
        catalog.name_of(function)
    return str(caught.value)


def test_another_function_of_the_same_name_is_refused_and_both_are_named() -> None:
    sms, mail = a_module("sms", SOURCE)["send"], a_module("mail", SOURCE)["send"]
    assert refusal(Catalog({"send": sms}, {}), mail) == (
        'task name "send" belongs to sms.send, not to mail.send; '
        "give the function a task name of its own"
    )
    both = Catalog({"send": sms, "letter": mail}, {})
    assert (both.name_of(mail), both.name_of(sms)) == ("letter", "send")


def test_a_bound_method_is_known_again_and_that_of_another_object_is_not() -> None:
    ann, bob = Mailer(), Mailer()
    catalog = Catalog({"send": ann.send, "flush": ann.flush, "post": ann}, {})
    assert catalog.name_of(ann.send) == "send"
    assert "of a Mailer object, not to" in refusal(catalog, bob.send)
    assert catalog.name_of(Mailer.flush) == catalog.name_of(bob.flush) == "flush"
    assert catalog.name_of(ann) == "post"
    assert "has no name by which a worker can find it" in refusal(catalog, bob)


def test_a_partial_is_known_again_by_what_it_calls() -> None:
    catalog = Catalog({"greet": partial(print, "hello", end="")}, {})
    assert catalog.name_of(partial(print, "hello", end="")) == "greet"
    for other in (partial(print, "bye", end=""), partial(print, "hello"), lambda: 1):
        assert "has no name" in refusal(catalog, other)


def test_a_function_is_known_again_after_its_module_was_loaded_again_and_without_decorators() -> (
    None
):
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(function)(lambda *args: function(*args))

    old, new = a_module("shop", SOURCE)["send"], a_module("shop", SOURCE)["send"]
    assert Catalog({"mail": old}, {}).name_of(new) == "mail"
    assert Catalog({"mail": logged(old)}, {}).name_of(old) == "mail"


@pytest.mark.parametrize(
    "proxy",
    [mock.Mock(), mock.call, xmlrpc.client.ServerProxy("http://127.0.0.1:9").system.run],
    ids=["mock", "call", "xmlrpc"],
)
def test_what_has_every_attribute_is_a_task_like_others(proxy: Any) -> None:
    catalog = Catalog({"ask": proxy}, {})
    assert catalog.name_of(proxy) == "ask"
    assert Call(proxy).misfit([1, 2], {"x": 3}) is None
    assert unwrapped(proxy) is proxy and isinstance(arguments_of(proxy), list)


def test_a_generator_cannot_be_a_task_and_a_coroutine_can() -> None:
    def lines() -> Iterator[str]:
        yield ""

    async def ticks() -> AsyncIterator[int]:
        yield 1

    async def fetch() -> None: ...

    for function, kind in ((lines, "is a generator"), (ticks, "is an async generator")):
        for given in (function, partial(function)):
            with pytest.raises(ConfigError, match=kind):
                Catalog({"it": given}, {})
        with pytest.raises(ConfigError, match=r"def run\(\): return list\("):
            Catalog(None, {}).add("it", function, {})
    assert Catalog({"fetch": fetch}, {}).names() == ["fetch"]
    assert "lines" not in public_functions({"lines": lines, "__name__": lines.__module__})


@pytest.mark.parametrize("name, function", [(3, len), ("", len), ("three", 3)])
def test_what_is_no_function_or_has_no_name_is_no_task(name: Any, function: Any) -> None:
    with pytest.raises(ConfigError, match=r"is not a task name|it is not a function"):
        Catalog({name: function}, {})


# -- does it take these arguments? ---------------------------------------------------------------


def adds(a: int, b: int, /, c: int = 0, *, d: int = 0) -> None: ...


def names(*, to: str) -> None: ...


def anything(*args: Any, **kwargs: Any) -> None: ...


def injected(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function("a database", *args, **kwargs)

    return call


@pytest.mark.parametrize(
    "function, pargs, pvars, wrong",
    [
        (adds, [1, 2], {}, None),
        (adds, [1, 2, 3], {"d": 4}, None),
        (adds, [1], {}, ("args", "missing a required argument: 'b'")),
        (adds, [1, 2, 3, 4], {}, ("args", "too many positional arguments")),
        (adds, [1, 2], {"e": 5}, ("vars", "got an unexpected keyword argument 'e'")),
        (adds, [1, 2, 3], {"c": 3}, ("vars", "multiple values for argument 'c'")),
        (names, ["ann"], {}, ("args", "too many positional arguments")),
        (names, [], {}, ("vars", "argument: 'to'")),
        (names, [], {"to": "ann"}, None),
        (anything, [1, 2], {"x": 1}, None),
        (injected(adds), [1], {}, None),  # what it wraps is given more than the call
        (partial(adds, 1), [2], {}, None),
        (partial(adds, 1), [], {}, ("args", "missing a required argument: 'b'")),
        (Mailer().send, ["ann"], {}, None),
        (Mailer().send, [], {}, ("args", "missing a required argument: 'to'")),
        (cache(adds), [], {}, None),  # written in C: it does not tell
        (dict, [1], {"c": 2}, None),
        (lambda **named: named, [], {1: "JSON makes a text of this key"}, None),
    ],
)
def test_arguments_that_a_function_cannot_take_are_told_for_their_column(
    function: Any, pargs: Any, pvars: Any, wrong: Any
) -> None:
    found = Call(function).misfit(pargs, pvars)
    if wrong is None:
        assert found is None
    else:
        assert found is not None and found[0] == wrong[0] and wrong[1] in found[1]


def test_of_a_function_that_is_not_here_nobody_says_what_it_takes() -> None:
    assert Catalog({}, {}).call("it") is None
