"""Which functions may run? Only those that the app meant as tasks.

I own the names of tasks and the functions behind them, and `Home`, by which a host knows a
scheduler when it meets one in an app. I call the words. I never evaluate a name: it is looked up
in a dict, or refused.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from plugin_scheduler.errors import NotFound
from plugin_scheduler.settings import Settings

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
        self._searches = tasks is None
        self._namespace = namespace
        self._defaults: dict[str, dict[str, Any]] = {}
        self._decorated: dict[str, Callable[..., Any]] = {}

    def add(self, name: str, function: Callable[..., Any], defaults: Mapping[str, Any]) -> None:
        """Register a decorated function with the columns it is queued with by default."""
        self._decorated[name] = function
        self._defaults[name] = dict(defaults)

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
            raise NotFound(f"there is no task named {name!r} in this app; known tasks: {known}")
        return functions[name]

    def name_of(self, function: Callable[..., Any] | str) -> str:
        """The name a function is queued by: the one it is registered under, else its own."""
        if isinstance(function, str):
            return function
        for name, known in self.functions().items():
            if known is function:
                return name
        return str(getattr(function, "__name__", function))

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
    }


class Home:
    """What a host looks for in an app: a database, settings and a catalog of tasks."""

    db: Any
    settings: Settings
    catalog: Catalog
    application_name: str
