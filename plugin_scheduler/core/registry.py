"""Registry of the functions that may run as tasks.

Maps the names of tasks to functions. Also contains `Home`, by which a loader recognizes a scheduler
in an app. A name is never evaluated: it is looked up in a dict, or refused.
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

WRAPPERS = 50  # decorators around one function; more are taken for an endless chain
#: Modules of an app whose public functions are tasks, besides the module with the scheduler.
MODEL_MODULES = ("models", "tasks")


class Catalog:
    """The tasks of one scheduler.

    ``tasks`` maps names to functions, as in web2py. With None, the tasks are the public functions
    of the namespace that created the scheduler, and of its app's models. An empty dict is for
    programs that only queue tasks: they know no names, so any name is accepted.
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
        """Register a decorated function with the default columns of its tasks.

        Raises `ConfigError` if the function cannot be a task.
        """
        check_task(name, function)
        known = {**self._given, **self._decorated}.get(name)
        if known is not None and not _are_equal(known, function):
            one, other = described(known), described(function)
            if one != other:
                raise ConfigError(
                    f"task name {name!r} already belongs to {one}; give {other} another name=..."
                )
        self._decorated[name] = function
        self._defaults[name] = dict(defaults)

    @property
    def module(self) -> str:
        """The name of the module that created the scheduler."""
        return str(self._namespace.get("__name__", ""))

    def defaults(self, name: str) -> dict[str, Any]:
        """Return the columns given to the decorator; an empty dict for other functions."""
        return dict(self._defaults.get(name, {}))

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the current tasks by name."""
        found = self._search() if self._searches and not self._decorated else {}
        return {**found, **self._given, **self._decorated}

    def names(self) -> list[str]:
        """Return the names of the tasks, sorted."""
        return sorted(self.functions())

    def find(self, name: str) -> Callable[..., Any]:
        """Return the function of a name; raises `NotFound`, which lists the known names."""
        functions = self.functions()
        if name not in functions:
            known = ", ".join(sorted(functions)) or "none"
            near = did_you_mean(name, functions)
            raise NotFound(
                f"there is no task named {name!r} in this app; known tasks: {known}{near}"
            )
        return functions[name]

    def name_of(self, function: Callable[..., Any] | str) -> str:
        """Return the task name of a function: the registered name, else its own name.

        Raises `BadTask` if another function has that name, or if the function has no usable name.
        """
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
                f"{described(function)} has no name by which a worker can find it; queue it by "
                "its task name, the key in tasks={...}"
            )
        if name in functions:
            other = described(functions[name])
            raise BadTask(
                f'task name "{name}" belongs to {other}, not to {described(function)}; give the '
                "function a task name of its own"
            )
        return name

    def call(self, name: str) -> Call | None:
        """Return the call signature of the function of that name; None for an unknown name."""
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
    """Return the functions defined (not imported) in a namespace, without private names."""
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


# -- inspect a function ------------------------------------------------------------------------


class Call:
    """The arguments that a function accepts, by the rules of Python's argument binding."""

    def __init__(self, function: Callable[..., Any]) -> None:
        # Not the wrapped function: a decorator may add or remove arguments.
        self._signature = signature_of(function, follow_wrapped=False)
        parameters = list(self._signature.parameters.values()) if self._signature else []
        by_place = [one for one in parameters if one.kind in _BY_PLACE]
        needed = [one for one in by_place if one.default is one.empty]
        by_name = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
        self._least = len(needed)
        self._most = len(by_place)
        if any(one.kind is one.VAR_POSITIONAL for one in parameters):
            self._most = sys.maxsize
        #: Required keyword-only arguments.
        self._named = [repr(one.name) for one in by_name if one.default is one.empty]

    def misfit(self, pargs: Sequence[Any], pvars: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return "args" or "vars", whichever is wrong, and Python's message; None if both fit."""
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
    """Return the signature of a function; None if it has none.

    Some functions written in C and proxies of remote functions have no signature.
    """
    if function is None:
        return None
    try:
        follows = follow_wrapped and _innermost(function) is not None
        return inspect.signature(function, follow_wrapped=follows)
    except Exception:  # a proxy may raise anything
        return None


def unwrapped(function: Any) -> Any:
    """Return the innermost wrapped function; the function itself if the chain does not end."""
    inner = _innermost(function)
    return function if inner is None else inner


def _innermost(function: Any) -> Any:
    """Return None if the chain does not end: some proxies have every attribute."""
    for _ in range(WRAPPERS):
        try:
            function = function.__wrapped__
        except Exception:  # no attribute, or any error of a proxy
            return function
    return None


def check_task(name: Any, function: Any) -> None:
    """Raise `ConfigError` if a function cannot be a task under that name."""
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"tasks: {name!r} is not a task name; use a text that is not empty")
    check_callable(function)
    kind = _generates(function)
    if kind is not None:
        raise ConfigError(
            f"task {name!r}: {described(function)} is {kind}: a call creates a generator and runs "
            "none of its code; use a function that reads all its values, such as "
            f"def run(): return list({getattr(function, '__name__', 'it')}())"
        )


def check_callable(function: Any) -> None:
    """Raise `ConfigError` for an object that is not callable."""
    if not callable(function):
        raise ConfigError(f"{function!r:.40} cannot be a task: it is not a function")


def _generates(function: Any) -> str | None:
    for one in (function, getattr(type(function), "__call__", None)):  # noqa: B004
        if inspect.isgeneratorfunction(one):
            return "a generator function"
        if inspect.isasyncgenfunction(one):
            return "an async generator function"
    return None


def described(function: Any) -> str:
    """Describe a function by module and name.

    >>> described(check_task)
    'plugin_scheduler.core.registry.check_task'
    """
    if isinstance(function, functools.partial):
        return f"a partial of {described(function.func)}"
    module, name = (_word(function, one) for one in ("__module__", "__qualname__"))
    owner = getattr(function, "__self__", None) if inspect.ismethod(function) else None
    if owner is not None and not isinstance(owner, type):
        return f"{module}.{name} of a {type(owner).__name__} object"
    if name:
        return f"{module}.{name}" if module else name
    return f"an object of type {type(function).__name__}"


def _word(function: Any, name: str) -> str:
    try:
        word = getattr(function, name, "")
    except Exception:  # a proxy may raise anything
        return ""
    return word if isinstance(word, str) else ""


def _are_equal(known: Any, function: Any) -> bool:
    """Compare by value: bound methods and partials are new objects at each access."""
    if known is function:
        return True
    if type(known) is not type(function):
        return False
    if isinstance(known, functools.partial):
        same = _are_equal(known.func, function.func)
        return same and (known.args, known.keywords) == (function.args, function.keywords)
    return inspect.ismethod(known) and bool(known == function)


def _are_versions(known: Any, function: Any) -> bool:
    """Return True for two versions of one function of a module.

    The module may have been reloaded, or one version may have no decorators.
    """
    return _home_of(known) is not None and _home_of(known) == _home_of(function)


def _home_of(function: Any) -> tuple[str, str] | None:
    """Return module and name if they identify one function, else None.

    Functions defined inside another function, and methods of objects, share one name.
    """
    if not (inspect.isroutine(function) or isinstance(function, type)):
        return None
    if inspect.ismethod(function) and not isinstance(function.__self__, type):
        return None
    module, name = (_word(function, one) for one in ("__module__", "__qualname__"))
    return (module, name) if module and name and "<" not in name else None


class Home:
    """The object that a loader looks for in an app: a database, settings and a task catalog."""

    db: Any
    settings: Settings
    catalog: Catalog
    application_name: str


def homes_in(modules: Iterable[ModuleType]) -> dict[str, Home]:
    """Return every scheduler in the modules, by the first name under which it is found."""
    found: dict[int, tuple[str, Home]] = {}
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, Home):
                found.setdefault(id(value), (f"{module.__name__}.{name}", value))
    return dict(found.values())
