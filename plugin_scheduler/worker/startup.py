"""Start a worker: load the app, connect to the database, register.

Reports a failed start in one line. Does not parse command lines.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping
from typing import Any

from plugin_scheduler.core.errors import ConfigError, StoreUnavailable
from plugin_scheduler.core.log_events import log_event
from plugin_scheduler.core.settings import Settings
from plugin_scheduler.execution.pool import Pool
from plugin_scheduler.loaders import LoadedApp
from plugin_scheduler.store import Store
from plugin_scheduler.system.clock import SYSTEM, Clock
from plugin_scheduler.system.processes import ask_to_leave
from plugin_scheduler.system.signals import Signals, ToldToLeave
from plugin_scheduler.worker.main_loop import MainLoop
from plugin_scheduler.worker.outages import StartPatience
from plugin_scheduler.worker.registration import identify
from plugin_scheduler.worker.shutdown import EXIT_NO_DATABASE

LOADING = 120.0  # seconds for an app to be loaded
ROOM_AGAIN = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between attempts to create a process


class NoRoomForApp(Exception):
    """The system has no room for the process that loads the app."""


def run_worker(
    spec: Mapping[str, Any],
    overrides: Mapping[str, Any],
    world: LoadedApp | None = None,
    clock: Clock = SYSTEM,
    lifeline: int = -1,
) -> int:
    """Run a worker for the app of ``spec`` until told to leave; return the exit code.

    ``overrides`` are the operator's settings; they win over the app's. Raise ConfigError if the
    worker cannot start. ``lifeline`` is a file whose end shows that the parent process is gone.
    """
    with Signals() as signals:
        try:
            return _run(spec, overrides, world, clock, signals, lifeline)
        except ToldToLeave as told:
            log_event("left_early", why=told)
            return told.exit_code
        except (StoreUnavailable, NoRoomForApp) as error:
            log_event("start_failed", error=error)
            return EXIT_NO_DATABASE


def _run(
    spec: Mapping[str, Any],
    overrides: Mapping[str, Any],
    world: LoadedApp | None,
    clock: Clock,
    signals: Signals,
    lifeline: int,
) -> int:
    limit = float(overrides.get("db_outage_limit") or 0)
    with selectors.DefaultSelector() as selector:
        pool = Pool({**spec, "overrides": dict(overrides)}, selector, clock, world)
        selector.register(signals, selectors.EVENT_READ, signals.check)
        if lifeline >= 0:
            selector.register(
                lifeline, selectors.EVENT_READ, lambda: _leave_too(selector, lifeline)
            )
        try:
            patience = StartPatience(limit, clock, signals.pause)
            description, threads = _loaded(pool, selector, clock, patience, signals.pause)
            _check_tasks(description)
            settings = Settings.from_dict(description["settings"]).replace(**overrides)
            patience.limit_to(settings.db_outage_limit)
            identity = identify(settings.worker_name, description)
            store = _opened(description, settings, clock, patience)
            if store.lacks:
                log_event("tables_lack", what="; ".join(store.lacks))
            if threads:
                log_event("threads_in_app", threads=", ".join(threads))
            main_loop = MainLoop(store, pool, selector, settings, identity, clock)
            selector.unregister(signals)
            return main_loop.work(settings.use_spawn or bool(threads), signals, patience)
        finally:
            pool.close()


def _leave_too(selector: selectors.BaseSelector, lifeline: int) -> None:
    """Stop this worker: the parent command of several workers is gone."""
    selector.unregister(lifeline)
    log_event("parent_gone")
    ask_to_leave()


def _check_tasks(description: Mapping[str, Any]) -> None:
    """Refuse an app without functions: its worker would claim nothing, or wrongly all."""
    if not description["tasks"]:
        name = description["application_name"]
        raise ConfigError(
            f"{name!r} has no tasks for a worker: pass `tasks` to its Scheduler, decorate "
            "functions with @scheduler.task, or define public functions in the module that "
            "creates the scheduler (or in models.py or tasks.py of the app), and import that "
            "module in the app's __init__.py"
        )


def _loaded(
    pool: Pool,
    selector: selectors.BaseSelector,
    clock: Clock,
    patience: StartPatience,
    pause: Callable[[float], None],
) -> tuple[dict[str, Any], list[str]]:
    """Wait until the app is loaded, or has failed to load."""
    while True:
        open_patiently(pool, pause)
        until = clock.monotonic() + LOADING
        news = pool.news()
        while pool.is_loading and not (news.described or news.boot_failures):
            if clock.monotonic() >= until:
                raise ConfigError(f"the app was not loaded within {LOADING:.0f} s")
            for key, _ in selector.select(0.5):
                key.data()
            news = pool.news()
        if news.described:
            return news.described[0]
        if not news.boot_failures:
            raise ConfigError("the app ended its process during loading")
        if not news.database_away:
            raise ConfigError(news.boot_failures[0])
        pool.forget_forkserver()
        patience.wait(StoreUnavailable(news.boot_failures[0]))


def open_patiently(pool: Pool, pause: Callable[[float], None]) -> None:
    """Start to load the app, with retries while the system has no room for a process."""
    told = False
    for seconds in (*ROOM_AGAIN, None):
        try:
            return pool.open()
        except (OSError, MemoryError) as error:
            what = f"{type(error).__name__}: {error}"
            if seconds is None:
                raise NoRoomForApp(
                    f"the process that loads the app cannot be created: {what}"
                ) from error
            if not told:
                told = True
                log_event("room_awaited", seconds=sum(ROOM_AGAIN), error=what)
        pause(seconds)


def _opened(
    description: Mapping[str, Any], settings: Settings, clock: Clock, patience: StartPatience
) -> Store:
    where = description["db"]
    if ":memory" in where["uri"]:
        raise ConfigError(
            f"database {where['uri']} exists in one process only; workers need a file or a server"
        )
    while True:
        try:
            return Store.open(where, settings, clock, description["application_name"])
        except StoreUnavailable as error:
            patience.wait(error)
