"""Loaders: load the app in which user code runs.

One loader for each kind of app. Loaders never run in the worker's main process, which only passes
on the description of an app.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from plugin_scheduler.loaders import module, py4web
from plugin_scheduler.loaders.loaded_app import LoadedApp

LOADERS: dict[str, Callable[[Mapping[str, Any]], LoadedApp]] = {
    "py4web": py4web.load,
    "file": module.load_file,
    "module": module.load_module,
}


def load(spec: Mapping[str, Any]) -> LoadedApp:
    """Load an app in this process.

    Parameters:
    - ``spec``: ``kind`` (``"py4web"``, ``"file"`` or ``"module"``) and the parameters of that
      loader, such as ``app`` and ``folder`` for py4web.

    Returns: the app's scheduler and databases.

    Raises: ConfigError with one line that says what is wrong, and StoreUnavailable if the database
    cannot be used now.

    >>> load({"kind": "py4web", "app": "shop", "folder": "/srv/apps"}).catalog.names()
    ['clean_up', 'send_mail']
    """
    return LOADERS[spec["kind"]](spec)


__all__ = ["LoadedApp", "load"]
