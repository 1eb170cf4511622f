"""Which functions may run: only those that the app meant as tasks.

Holds the names of tasks and the functions behind them, and `Home`, by which a host knows a
scheduler when it meets one in an app. A name is never evaluated: it is looked up in a dict, or
refused.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from plugin_scheduler.core.errors import BadTask, ConfigError, NotFound
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.core.spelling import did_you_mean

WRAPPERS = 50  # decorators around one function; of more there is no end
#: Modules of an app whose public functions are tasks, besides the one that makes the scheduler.
MODEL_MODULES = ("models", "tasks")


class Catalog:
    """The tasks of one scheduler.

    ``tasks`` is a dict of name to function, as in web2py; with None the public functions of the
    namespace that made the scheduler, and of its app's models, are the tasks. An empty dict is for
    programs that only queue: they know no names, so any name is taken.
    """

    def __init__(self, tasks: Mapping[str, Callable[..., Any]] | None, namespace: dict[str, Any]):
        self._given = dict(tasks) if tasks else {}
        for name, function in self._given.items():
            check_task(name, function)
        self._searches = tasks is None
        self._namespace = namespace
        self._defaults: dict[str, dict[str, Any]] = {}
        self._decorated: dict[str, Callable[..., Any]] = {}
        self._calls: dict[str, tuple[Any, Call]] = {}

    def add(self, name: str, function: Callable[..., Any], defaults: Mapping[str, Any]) -> None:
        """Register a decorated function with the columns it is queued with by default.
        ConfigError where it cannot be a task."""
        check_task(name, function)
        known = {**self._given, **self._decorated}.get(name)
        if known is not None and not _are_equal(known, function):
            one, other = described(known), described(function)
            if one != other:
                raise ConfigError(f"the task named {name!r} is {one}: name {other} otherwise")
        self._decorated[name] = function
        self._defaults[name] = dict(defaults)

    @property
    def module(self) -> str:
        """The name of the module that made the scheduler."""
        return str(self._namespace.get("__name__", ""))

    def defaults(self, name: str) -> dict[str, Any]:
        """Columns given to the decorator; an empty dict for other functions."""
        return dict(self._defaults.get(name, {}))

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Every task by its name, as things stand now."""
        found = self._search() if self._searches and not self._decorated else {}
        return {**found, **self._given, **self._decorated}

    def names(self) -> list[str]:
        """The names that can be queued, sorted."""
        return sorted(self.functions())

    def find(self, name: str) -> Callable[..., Any]:
        """The function of that name; NotFound lists the known ones."""
        functions = self.functions()
        if name not in functions:
            known = ", ".join(sorted(functions)) or "none"
            near = did_you_mean(name, functions)
            raise NotFound(
                f"there is no task named {name!r} in this app; known tasks: {known}{near}"
            )
        return functions[name]

    def name_of(self, function: Callable[..., Any] | str) -> str:
        """The name a function is queued by: the one it is registered under, else its own. BadTask
        where another function has that name, or where it has none to be found by."""
        if isinstance(function, str):
            return function
        functions = self.functions()
        for is_same in (_are_equal, _are_versions):
            for name, known in functions.items():
                if is_same(known, function):
                    return name
        name = _word(function, "__name__")
        if not name.isidentifier():
            raise BadTask(
                f"{described(function)} has no name that a worker could find it by; queue it by "
                "the name that it has in tasks={...}"
            )
        if name in functions:
            other = described(functions[name])
            raise BadTask(f'the task named "{name}" is {other}, and not {described(function)}')
        return name

    def call(self, name: str) -> Call | None:
        """What the function of that name takes; None where nobody knows it."""
        function = self.functions().get(name)
        if function is None:
            return None
        known, call = self._calls.get(name, (None, None))
        if call is None or known is not function:
            call = Call(function)
            self._calls[name] = function, call
        return call

    def _search(self) -> dict[str, Callable[..., Any]]:
        found = {}
        for namespace in (self._namespace, *(vars(module) for module in self._model_modules())):
            found.update(public_functions(namespace))
        return found

    def _model_modules(self) -> list[ModuleType]:
        package = str(self._namespace.get("__name__", ""))
        if not package.startswith("apps."):
            return []
        app = ".".join(package.split(".")[:2])
        wanted = [f"{app}.{name}" for name in MODEL_MODULES]
        return [
            module
            for name, module in sorted(sys.modules.items())
            if module and any(name == one or name.startswith(one + ".") for one in wanted)
        ]


def public_functions(namespace: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """Functions defined in a namespace, not imported into it, whose names do not begin with _."""
    home = namespace.get("__name__")
    return {
        name: value
        for name, value in list(namespace.items())
        if not name.startswith("_")
        and inspect.isfunction(value)
        and value.__module__ == home
        and not getattr(value, "not_a_task", False)
        and _generates(value) is None
    }


# -- one function ------------------------------------------------------------------------------


class Call:
    """What a function can be called with, as Python's own binding of arguments has it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        # Not what a decorator wraps: it may add arguments to the call, or take some away.
        self._signature = signature_of(function, follow_wrapped=False)
        parameters = list(self._signature.parameters.values()) if self._signature else []
        by_place = [one for one in parameters if one.kind in _BY_PLACE]
        needed = [one for one in by_place if one.default is one.empty]
        by_name = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
        self._least = len(needed)
        self._most = len(by_place)
        if any(one.kind is one.VAR_POSITIONAL for one in parameters):
            self._most = sys.maxsize
        #: Those that it cannot be called without, and that are given by name alone.
        self._named = [repr(one.name) for one in by_name if one.default is one.empty]

    def misfit(self, pargs: Sequence[Any], pvars: Mapping[str, Any]) -> tuple[str, str] | None:
        """Which of "args" and "vars" is wrong, and why in Python's words; None where they fit."""
        if self._signature is None:
            return None
        if not pvars and not self._named and self._least <= len(pargs) <= self._most:
            return None
        try:
            self._signature.bind(*pargs, **{str(name): value for name, value in pvars.items()})
        except TypeError as error:
            why = str(error)
            words = ("keyword argument", "multiple values", *self._named)
            return ("vars" if any(word in why for word in words) else "args"), why
        return None


_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def signature_of(
    function: Callable[..., Any] | None, follow_wrapped: bool = True
) -> inspect.Signature | None:
    """What a function says that it takes; None where it does not tell, as some that are written in
    C, and proxies of functions elsewhere."""
    if function is None:
        return None
    try:
        follows = follow_wrapped and _innermost(function) is not None
        return inspect.signature(function, follow_wrapped=follows)
    except Exception:  # whatever a proxy answers to questions about it
        return None


def unwrapped(function: Any) -> Any:
    """What decorators have wrapped, innermost; the function itself where that has no end."""
    inner = _innermost(function)
    return function if inner is None else inner


def _innermost(function: Any) -> Any:
    """None where there is no end: some proxies have an attribute of whatever name."""
    for _ in range(WRAPPERS):
        try:
            function = function.__wrapped__
        except Exception:  # no attribute, or whatever a proxy answers to questions about it
            return function
    return None


def check_task(name: Any, function: Any) -> None:
    """ConfigError where something cannot be a task under that name."""
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"tasks: {name!r} is no name of a task; write a text")
    check_callable(function)
    kind = _generates(function)
    if kind is not None:
        raise ConfigError(
            f"task {name!r}: {described(function)} is {kind}: a call makes the generator and runs "
            "nothing of it; have the task be a function that goes through it, such as "
            f"def run(): return list({getattr(function, '__name__', 'it')}())"
        )


def check_callable(function: Any) -> None:
    """ConfigError where something is no function, nor like one."""
    if not callable(function):
        raise ConfigError(f"{function!r:.40} cannot be a task: it is no function")


def _generates(function: Any) -> str | None:
    for one in (function, getattr(type(function), "__call__", None)):  # noqa: B004
        if inspect.isgeneratorfunction(one):
            return "a generator function"
        if inspect.isasyncgenfunction(one):
            return "an async generator function"
    return None


def described(function: Any) -> str:
    """A function as people know it: module and name.

    >>> described(check_task)
    'plugin_scheduler.core.registry.check_task'
    """
    if isinstance(function, functools.partial):
        return f"a partial of {described(function.func)}"
    module, name = (_word(function, one) for one in ("__module__", "__qualname__"))
    owner = getattr(function, "__self__", None) if inspect.ismethod(function) else None
    if owner is not None and not isinstance(owner, type):
        return f"{module}.{name} of one {type(owner).__name__}"
    if name:
        return f"{module}.{name}" if module else name
    return f"an object of type {type(function).__name__}"


def _word(function: Any, name: str) -> str:
    try:
        word = getattr(function, name, "")
    except Exception:  # whatever a proxy answers to questions about it
        return ""
    return word if isinstance(word, str) else ""


def _are_equal(known: Any, function: Any) -> bool:
    """Bound methods are equal, and yet made anew each time; so are partials of the same."""
    if known is function:
        return True
    if type(known) is not type(function):
        return False
    if isinstance(known, functools.partial):
        same = _are_equal(known.func, function.func)
        return same and (known.args, known.keywords) == (function.args, function.keywords)
    return inspect.ismethod(known) and bool(known == function)


def _are_versions(known: Any, function: Any) -> bool:
    """One function of a module, before and after the module was loaded again, or with and without
    its decorators."""
    return _home_of(known) is not None and _home_of(known) == _home_of(function)


def _home_of(function: Any) -> tuple[str, str] | None:
    """Module and name, where these mean one function; those made inside of another, and methods
    of objects, are several with one name."""
    if not (inspect.isroutine(function) or isinstance(function, type)):
        return None
    if inspect.ismethod(function) and not isinstance(function.__self__, type):
        return None
    module, name = (_word(function, one) for one in ("__module__", "__qualname__"))
    return (module, name) if module and name and "<" not in name else None


class Home:
    """What a host looks for in an app: a database, settings and a catalog of tasks."""

    db: Any
    settings: Settings
    catalog: Catalog
    application_name: str


def homes_in(modules: Iterable[ModuleType]) -> dict[str, Home]:
    """Every scheduler that modules hold, by the first name that one is found under."""
    found: dict[int, tuple[str, Home]] = {}
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, Home):
                found.setdefault(id(value), (f"{module.__name__}.{name}", value))
    return dict(found.values())
