"""Earlier name of `plugin_scheduler.loaders`, for programs that import `load` from here."""

from plugin_scheduler.loaders import LoadedApp as World
from plugin_scheduler.loaders import load

__all__ = ["World", "load"]
