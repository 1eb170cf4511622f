"""Load a py4web app, ``apps/<name>``, as py4web's own server does.

Makes the environment that the app expects and imports it, without a server, and without questions
on standard input.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import uuid
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.registry import Home, homes_in
from plugin_scheduler.loaders.loaded_app import LoadedApp, explain_failure

#: A folder that py4web treats as an app; `,` and `:` are separators in -K.
_APP_NAME = re.compile(r"[^\s.,:/\\][^.,:/\\]*(?<!__)")


def is_app_name(text: str) -> bool:
    """True for the name of a folder that py4web loads as an app.

    >>> is_app_name("my-app"), is_app_name("my.app")
    (True, False)
    """
    return _APP_NAME.fullmatch(text) is not None


def check(app: str, folder: str) -> None:
    """Raise ConfigError if the app does not exist; accesses the file system only."""
    if not os.path.isdir(folder):
        raise ConfigError(f"apps folder {folder} not found; set it with --apps-folder")
    if not os.path.isfile(os.path.join(folder, app, "__init__.py")):
        apps = sorted(
            name
            for name in os.listdir(folder)
            if is_app_name(name) and os.path.isfile(os.path.join(folder, name, "__init__.py"))
        )
        there = ", ".join(apps) or "none"
        raise ConfigError(f"app {app!r} not found in {folder}; apps there: {there}")


def load(spec: Mapping[str, Any]) -> LoadedApp:
    """Import the app and find its scheduler.

    Raises: ConfigError for an app that does not exist or cannot be imported, or that has no
    scheduler or several.
    """
    app, folder = spec["app"], spec["folder"]
    check(app, folder)
    try:
        _prepare(app, folder)
        importlib.import_module(f"apps.{app}")
    except BaseException as error:  # an app may raise anything at import, SystemExit included
        raise explain_failure(f"app {app!r}", os.path.join(folder, app), error) from error
    modules = app_modules(app)
    return LoadedApp(_find_home(app, modules), [vars(module) for module in modules])


def app_modules(app: str) -> list[ModuleType]:
    """Return the modules of the app that are loaded now, its package first."""
    package = f"apps.{app}"
    names = sorted(name for name in sys.modules if (name + ".").startswith(package + "."))
    return [sys.modules[name] for name in names]


def _prepare(app: str, folder: str) -> None:
    """Set the environment that `py4web run` sets, without its questions and its server."""
    os.environ["PY4WEB_APPS_FOLDER"] = folder
    os.environ.setdefault("PY4WEB_SERVICE_FOLDER", os.path.join(folder, ".service"))
    os.environ.setdefault("PY4WEB_SERVICE_DB_URI", "sqlite://service.storage")
    from py4web.core import Session, action, request

    if Session.SECRET is None:
        Session.SECRET = _session_secret()
    action.app_name = app
    request.app_name = app
    # Append, although py4web inserts it first: a file there must not shadow a module of Python.
    if os.path.dirname(folder) not in sys.path:
        sys.path.append(os.path.dirname(folder))
    if "apps" not in sys.modules:
        sys.modules["apps"] = _apps_package(folder)


def _session_secret() -> str:
    """Return the server's session secret, or a random one: an app with a session needs one at
    import."""
    path = os.path.join(os.environ["PY4WEB_SERVICE_FOLDER"], "session.secret")
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            return file.read()
    return str(uuid.uuid4())


def _apps_package(folder: str) -> ModuleType:
    """Return the package ``apps`` for a folder: py4web imports every app as ``apps.<name>``."""
    init = os.path.join(folder, "__init__.py")
    spec = spec_from_file_location("apps", init, submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None
    package = module_from_spec(spec)
    if os.path.exists(init):
        spec.loader.exec_module(package)
    return package


def _find_home(app: str, modules: list[ModuleType]) -> Home:
    """Return the app's own scheduler; raise ConfigError if there is none, or more than one."""
    homes = homes_in(modules)
    if not homes:
        raise ConfigError(
            f"app {app!r} has no scheduler in the modules that its __init__.py imports; create "
            "one, for example in tasks.py: from plugin_scheduler import Scheduler; scheduler = "
            "Scheduler(db), and import it in __init__.py: from .tasks import scheduler"
        )
    package = f"apps.{app}."
    own = {
        name: home for name, home in homes.items() if f"{home.catalog.module}.".startswith(package)
    }
    homes = own or homes  # the others are imported from other apps, which have workers of their own
    knowing = {name: home for name, home in homes.items() if home.catalog.names()}
    homes = knowing or homes  # the others only enqueue
    if len(homes) > 1:
        raise ConfigError(
            f"app {app!r} has {len(homes)} schedulers: {', '.join(homes)}; a worker serves one. "
            "Keep one, and use groups for kinds of work; for one that only queues, pass tasks={}"
        )
    return next(iter(homes.values()))
