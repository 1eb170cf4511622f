"""Read and restore the state of a process that a task can change: folder, signals, limits, locale.

`ProcessState` remembers how a runner's process was before its first run. After each run `restore`
compares a fingerprint with it, which takes a few microseconds, and puts back what differs. What
cannot be put back is returned as reasons to retire the process.
"""

from __future__ import annotations

import _signal  # the plain functions: those of `signal` convert every number to an enum
import contextlib
import decimal
import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import time
import warnings
from typing import Any

#: The handler of a signal: like `signal.getsignal`, but twenty times as fast.
handler_of = _signal.getsignal

#: Signals in common use, whose handlers are compared.
_NUMBERS = tuple(
    int(getattr(signal, name))
    for name in (
        *("SIGHUP", "SIGINT", "SIGQUIT", "SIGPIPE", "SIGALRM", "SIGCHLD", "SIGUSR1", "SIGUSR2"),
        *("SIGVTALRM", "SIGPROF", "SIGXCPU", "SIGXFSZ", "SIGTSTP"),
    )
)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
#: Limits that a task may set for itself.
_LIMITS = (resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU)
_ALL_LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))


class ProcessState:
    """The state of a process at one time, which can be restored."""

    def __init__(self) -> None:
        self._folder = _open_folder()
        self._mask = os.umask(0)
        os.umask(self._mask)
        self._environment = dict(_environment())
        self._handlers = {number: handler_of(number) for number in _NUMBERS}
        self._limits = {number: resource.getrlimit(number) for number in _ALL_LIMITS}
        self._filters = list(warnings.filters)
        self._paths = list(sys.path), list(sys.argv)
        self._logging = _Logging()
        self._plain = _read()

    def restore(self) -> list[str]:
        """Restore what a run has changed; return the reasons why this process must not run another
        task."""
        try:
            os.fchdir(self._folder)
        except OSError:
            return ["its working directory no longer exists"]
        os.umask(self._mask)
        if (
            _read() == self._plain
            and (sys.path, sys.argv) == self._paths
            and _environment() == self._environment
            and warnings.filters == self._filters
            and self._logging.is_unchanged()
        ):
            return []
        return self._put_back()

    def _put_back(self) -> list[str]:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._plain[1])
        reasons = [*self._put_back_handlers(), *self._put_back_limits()]
        self._put_back_environment()
        (_, _, _, depth, seconds, collects, _, _, language, _, precision, rounding, *_) = (
            self._plain
        )
        sys.setrecursionlimit(depth)
        socket.setdefaulttimeout(seconds)
        (gc.enable if collects else gc.disable)()
        sys.settrace(None)
        sys.setprofile(None)
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, language)
        context = decimal.getcontext()
        context.prec, context.rounding = precision, rounding
        warnings.filters[:] = self._filters  # type: ignore[index]
        getattr(warnings, "_filters_mutated", int)()
        self._logging.put_back()
        if self._paths[0] != sys.path:
            sys.path[:] = self._paths[0]
        sys.argv[:] = self._paths[1]
        after = _read()
        if after[-2:] != self._plain[-2:]:
            reasons.append("its user or priority was changed")
        elif not reasons and after != self._plain:
            reasons.append("a process setting could not be restored")
        return reasons

    def _put_back_handlers(self) -> list[str]:
        for number, handler in self._handlers.items():
            if handler_of(number) != handler:
                if handler is None:  # set by code that is not Python
                    return [f"its signal handler of {signal.Signals(number).name} was replaced"]
                signal.signal(number, handler)
        return []

    def _put_back_limits(self) -> list[str]:
        for number, limits in self._limits.items():
            if resource.getrlimit(number) != limits:
                try:
                    resource.setrlimit(number, limits)
                except (OSError, ValueError):  # a hard limit can only be lowered
                    return ["a resource limit of its process was lowered"]
        return []

    def _put_back_environment(self) -> None:
        now = _environment()
        if now != self._environment:
            for name in [name for name in now if name not in self._environment]:
                del os.environ[os.fsdecode(name)]
            for name, value in self._environment.items():
                if now.get(name) != value:
                    os.environ[os.fsdecode(name)] = os.fsdecode(value)
        if time.tzname != self._plain[9]:
            time.tzset()


class _Logging:
    """The handlers and level of the root logger and of all other loggers."""

    def __init__(self) -> None:
        root = logging.getLogger()
        self._root, self._level, self._handlers = root, root.level, list(root.handlers)
        self._disable = root.manager.disable
        self._others = {
            name: (logger.level, logger.disabled, logger.propagate, list(logger.handlers))
            for name, logger in root.manager.loggerDict.items()
            if isinstance(logger, logging.Logger)
        }

    def is_unchanged(self) -> bool:
        root = self._root
        return (
            root.handlers == self._handlers
            and root.level == self._level
            and root.manager.disable == self._disable
        )

    def put_back(self) -> None:
        if self.is_unchanged():
            return
        root = self._root
        root.handlers[:] = self._handlers
        root.setLevel(self._level)
        root.manager.disable = self._disable
        for name, (level, disabled, propagate, handlers) in self._others.items():
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.disabled, logger.propagate = disabled, propagate
            logger.handlers[:] = handlers


def _read() -> tuple[Any, ...]:
    """Read the state that takes only a few microseconds to read."""
    context = decimal.getcontext()
    return (
        list(map(handler_of, _NUMBERS)),
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ()),
        [*map(signal.getitimer, _TIMERS)],
        sys.getrecursionlimit(),
        socket.getdefaulttimeout(),
        gc.isenabled(),
        sys.gettrace(),
        sys.getprofile(),
        locale.setlocale(locale.LC_ALL),
        time.tzname,
        context.prec,
        context.rounding,
        list(map(resource.getrlimit, _LIMITS)),
        os.geteuid(),
        os.getpriority(os.PRIO_PROCESS, 0),
    )


def _environment() -> Any:
    """Return the environment as Python stores it: a dict of texts takes fifty times as long."""
    return getattr(os.environ, "_data", None) or dict(os.environ)


def _open_folder() -> int:
    return os.open(".", os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
