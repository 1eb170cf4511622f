"""Earlier name of `plugin_scheduler.queries`, for programs that import `Browser` from here."""

from plugin_scheduler.queries import Queries as Browser

__all__ = ["Browser"]
