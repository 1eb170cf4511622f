"""In which world does user code run? A host loads it, and answers the runner's few questions.

I own which host makes which world. I call the hosts. Nothing of me runs in the supervisor: it only
sends the description of a world along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from plugin_scheduler.loaders import module, py4web
from plugin_scheduler.loaders.loaded_app import LoadedApp

HOSTS: dict[str, Callable[[Mapping[str, Any]], LoadedApp]] = {
    "py4web": py4web.load,
    "file": module.load_file,
    "module": module.load_module,
}


def load(spec: Mapping[str, Any]) -> LoadedApp:
    """Load the world that ``spec`` describes; ConfigError tells in one line what is wrong."""
    return HOSTS[spec["kind"]](spec)


__all__ = ["LoadedApp", "load"]
