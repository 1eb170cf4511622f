"""Load tasks without a framework: a task file and a database, or a module with a scheduler.

Does not need py4web.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from pydal import DAL

from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.registry import Catalog, Home
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.database.dialects import dialect_for
from plugin_scheduler.loaders.loaded_app import LoadedApp, explain_failure, kind_of, why
from plugin_scheduler.system.clock import SYSTEM


class FileHome(Home):
    """A scheduler made by the command line: it serves the tasks of every application in the
    database."""

    application_name = ""

    def __init__(self, db: Any, catalog: Catalog, settings: Settings) -> None:
        self.db, self.catalog, self.settings = db, catalog, settings


def load_file(spec: Mapping[str, Any]) -> LoadedApp:
    """Load ``-u URI -f FOLDER -t tasks.py``: the file has a dict ``tasks``, or public functions.

    Raises: ConfigError for a file that cannot be imported or has no tasks, and StoreUnavailable if
    the database cannot be used now.
    """
    path = spec["tasks"]
    module = _import_file(path)
    given = getattr(module, "tasks", None)
    catalog = Catalog(given if isinstance(given, Mapping) else None, vars(module))
    if not catalog.names():
        raise ConfigError(f"no tasks in {path}: define a dict `tasks`, or public functions")
    settings = Settings.from_dict(spec["settings"])
    try:
        db = DAL(spec["uri"], folder=spec["folder"], **credentials(spec["uri"]), attempts=1)
        define(db, catalog, settings, spec.get("migrate", True))
    except Exception as error:  # each driver has its own exception for a failed connection
        uri = without_password(spec["uri"])
        raise kind_of(error)(f"database {uri} cannot be opened: {why(error)}") from error
    return LoadedApp(FileHome(db, catalog, settings), [vars(module)])


def load_module(spec: Mapping[str, Any]) -> LoadedApp:
    """Import the module that created a scheduler, so that its functions run in a new process.

    Raises: ConfigError for a module that cannot be imported or has no such scheduler.
    """
    name = spec["module"]
    sys.path[:] = spec["path"]
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # any exception that a module raises at import
        raise explain_failure(f"module {name!r}", os.getcwd(), error) from error
    home = vars(module).get(spec["scheduler"])
    if not isinstance(home, Home):
        raise ConfigError(f"module {name!r} no longer has a scheduler {spec['scheduler']!r}")
    return LoadedApp(home, [vars(module)])


def check(uri: str, folder: str, tasks: str) -> None:
    """Raise ConfigError if files are missing or not writable; accesses the file system only."""
    if not os.path.isfile(tasks):
        raise ConfigError(f"file {tasks} not found; -t names a Python file with the tasks")
    if not tasks.endswith(".py"):
        raise ConfigError(f"{tasks} is not a Python file: its name must end with .py")
    if not os.path.isdir(folder):
        raise ConfigError(f"folder {folder} not found; -f names the folder of the database files")
    if uri.startswith("sqlite") and not os.access(folder, os.W_OK):
        raise ConfigError(f"folder {folder} is not writable; the database is stored there")


def define(db: Any, catalog: Catalog, settings: Settings, migrate: bool = True) -> None:
    """Define the tables without an application: a task file serves all tasks in the database."""
    from plugin_scheduler.models import define_tables

    define_tables(
        db,
        now=dialect_for(db, SYSTEM, settings).now,
        migrate=migrate,
        application_name="standalone",
        group_names=settings.group_names,
        function_names=catalog.names,
    )
    db.commit()


def credentials(uri: str) -> dict[str, bool]:
    """Return pydal's decoding option. pydal decodes %40 etc. on request, but fails without a
    password."""
    return {"decode_credentials": "%" in uri}


def without_password(uri: str) -> str:
    """Return the address of a database in a form that may be logged."""
    head, at, tail = uri.rpartition("@")
    if not at:
        return uri
    scheme, _, credentials = head.partition("://")
    return f"{scheme}://{credentials.partition(':')[0]}:***@{tail}"


def _import_file(path: str) -> ModuleType:
    name, folder = os.path.splitext(os.path.basename(path))[0], os.path.dirname(path)
    known = sys.modules.get(name)
    is_taken = known is not None and getattr(known, "__file__", None) != path
    if is_taken or name in sys.stdlib_module_names:  # json.py must not become Python's json
        name = f"{name}_of_tasks"
    # Append, so that no file there shadows a module of Python or of a library.
    if folder not in sys.path:
        sys.path.append(folder)
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # a file may raise anything, SystemExit too
        raise explain_failure(f"task file {path}", folder, error) from error
    return module
