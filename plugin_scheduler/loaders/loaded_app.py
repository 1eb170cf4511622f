"""A loaded app, as a runner sees it, and the error messages for one that cannot be loaded.

Does not load apps.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from pydal import DAL

from plugin_scheduler.core.error_text import first_line
from plugin_scheduler.core.errors import ConfigError, NotFound, SchedulerError, StoreUnavailable
from plugin_scheduler.core.registry import Catalog, Home
from plugin_scheduler.database.dialects import close_connection, is_passing
from plugin_scheduler.database.sessions import disconnect_all
from plugin_scheduler.system.clock import SYSTEM
from plugin_scheduler.system.pydal_access import uri_of


class LoadedApp:
    """A loaded app: its scheduler, and the databases."""

    def __init__(self, home: Home, namespaces: Iterable[Mapping[str, Any]] = ()) -> None:
        self.home = home
        self._namespaces = list(namespaces)
        #: Bare driver connections opened while the app was loaded.
        self.inherited: list[Any] = []
        self.loaded_at = SYSTEM.now()
        self.databases = _databases(home, self._namespaces)

    @property
    def catalog(self) -> Catalog:
        return self.home.catalog

    def find(self, name: str) -> Any:
        """Return the function of a task; NotFound names the known functions, and the time of
        loading."""
        try:
            return self.catalog.find(name)
        except NotFound as error:
            since = f"{self.loaded_at:%H:%M:%S}"
            hint = f"this worker loaded the app at {since}; restart it if the task is newer"
            raise NotFound(f"{error}; {hint}") from None

    def disconnect(self) -> None:
        """Close every connection, so that a forked runner does not inherit one."""
        for db in self.databases:
            close_connection(db)
        disconnect_all()

    def translators(self) -> list[Any]:
        """Return py4web's translators (usually `T`) that have a name in the app."""
        kind = getattr(sys.modules.get("pluralize"), "Translator", None)
        if kind is None:
            return []
        values = [value for namespace in self._namespaces for value in list(namespace.values())]
        found = {id(value): value for value in values if issubclass(type(value), kind)}
        return list(found.values())

    def describe(self) -> dict[str, Any]:
        """Return what the worker needs to know about the app, as plain values."""
        return {
            "application_name": self.home.application_name,
            "settings": self.home.settings.as_dict(),
            "tasks": self.home.catalog.names(),
            "db": place_of(self.home.db),
        }


def place_of(db: Any) -> dict[str, Any]:
    """Return the parameters that open another connection to the same database."""
    return {
        "uri": uri_of(db),
        "folder": os.path.abspath(db._folder or os.getcwd()),
        "driver_args": db._driver_args,
        "adapter_args": db._adapter_args,
        "decode_credentials": db._decode_credentials,
    }


def kind_of(error: BaseException) -> type[SchedulerError]:
    """Return StoreUnavailable for a database that is away for the moment, else ConfigError."""
    return StoreUnavailable if is_passing(error) else ConfigError


def explain_failure(what: str, folder: str, error: BaseException) -> SchedulerError:
    """Return an exception of an app as one line: file, line, error.

    Names the newest line of the app itself, not the library line that raised the exception.
    """
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}, line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith(folder)]
        place = f"{own[-1].filename}, line {own[-1].lineno}" if own else folder
    message = first_line(error)
    if message.startswith("Failure to connect"):  # pydal puts the driver's reason at the end
        message = f"cannot connect to its database: {why(error)}"
    kind = type(error).__name__
    return kind_of(error)(f"{what} cannot be loaded: {place}: {kind}: {message}")


def why(error: BaseException) -> str:
    """Return the reason in pydal's report of a failed connection, which ends with the driver's
    message."""
    lines = [line for line in str(error).strip().splitlines() if line and not line[0].isspace()]
    return lines[-1] if lines else type(error).__name__


def _databases(home: Home, namespaces: Iterable[Mapping[str, Any]]) -> list[Any]:
    found = {id(home.db): home.db}
    for namespace in namespaces:
        for value in list(namespace.values()):
            with contextlib.suppress(RuntimeError):  # a proxy that works only inside a request
                if isinstance(value, DAL):
                    found[id(value)] = value
    return list(found.values())
