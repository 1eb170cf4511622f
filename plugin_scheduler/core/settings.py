"""The settings of a scheduler and its workers: name, default, unit and check of each.

Does not read files, the environment or a database.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.i18n import Sentence
from plugin_scheduler.core.types import OnFailure
from plugin_scheduler.system.clock import is_zone

UTC = "UTC"
#: Separators of groups in `-K app:group` and in lists of groups.
_BETWEEN_GROUPS = re.compile(r"[,:|\x00-\x1f\x7f]")


def _option(default: Any, unit: str, help: str, least: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"unit": unit, "help": help, "least": least})


@dataclass(frozen=True)
class Settings:
    """Hold the settings of a scheduler and its workers. Immutable; see docs/reference/settings.md.

    Raises: ConfigError for a value that is not valid.

    Source: ``group_names`` to ``discard_results``, ``utc_time``, ``use_spawn`` and ``worker_name``
    are web2py's.

    >>> Settings(heartbeat=1).lease
    5.0
    """

    group_names: tuple[str, ...] = _option(("main",), "names", "groups whose tasks a worker runs")
    heartbeat: float = _option(3, "seconds", "interval between the heartbeats of a worker", 0.05)
    max_empty_runs: int = _option(
        0, "heartbeats", "a worker exits after so many heartbeats without due tasks; 0 = never", 0
    )
    discard_results: bool = _option(False, "", "delete the row of each successful run")
    utc_time: bool = _option(False, "", "start, stop and next run times are UTC, not local time")
    time_zone: str | None = _option(
        None, "", "time zone of these times, such as Europe/Berlin; default: this machine's zone"
    )
    use_spawn: bool = _option(False, "", "start each runner as a new interpreter; never fork")
    worker_name: str | None = _option(None, "", "name of the worker; default: host#pid#random")
    slots: int = _option(1, "runners", "number of tasks that a worker runs at the same time", 1)
    keep_empty_runs: bool = _option(
        False, "", "keep the row of a run that returned nothing and printed nothing"
    )
    keep_printed_runs: bool = _option(
        True,
        "",
        "keep the row of a run that returned nothing but printed something, as web2py's manual "
        "says; off: only the result counts, as in web2py's code",
    )
    on_failure: str = _option(
        "stop", "", "what a repeating task does after its last retry failed: stop, or continue"
    )
    autocommit: bool = _option(
        True,
        "",
        "commit the app's databases after a successful run; off: roll back what the task did not "
        "commit",
    )
    output_limit: int = _option(
        1 << 20, "bytes", "size of a run's output that is kept, the newest part of it", 1024
    )
    max_losses: int = _option(
        3, "runs", "a task FAILS when its worker has died during so many of its runs", 1
    )
    ageing: float = _option(
        60, "seconds", "queue time that counts as much as 1 of priority in the order of claims", 0
    )
    grace: float = _option(30, "seconds", "time that running tasks have to finish at SIGTERM", 0)
    kill_grace: float = _option(
        2, "seconds", "time between the exception that ends a run and the SIGKILL of its process", 0
    )
    runner_max_runs: int = _option(
        10_000, "runs", "a runner is replaced after so many; 1 = a new process for each run", 1
    )
    runner_max_mib: int = _option(
        512, "MiB", "a runner that uses more memory is replaced; 0 = never", 0
    )
    db_outage_limit: float = _option(
        0, "seconds", "a worker exits when the database is away for longer; 0 = never", 0
    )
    unknown_function_wait: float = _option(
        3600,
        "seconds",
        "how long a due task waits for a worker that knows its function; then the task FAILS",
        0,
    )
    sqlite_wal: bool = _option(True, "", "switch a SQLite file to write-ahead logging")

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            self._check(option)

    def _check(self, option: dataclasses.Field[Any]) -> None:
        value, least = getattr(self, option.name), option.metadata["least"]
        if option.name == "on_failure" and value not in OnFailure.ALL:
            raise ConfigError(f"on_failure={value!r}: must be one of {', '.join(OnFailure.ALL)}")
        if option.name == "time_zone" and value is not None:
            self._check_zone(value)
        if option.name == "group_names":
            self._check_groups(value)
        if least is None:
            return
        whole = option.type == "int"  # annotations are strings in this module
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            number = "a whole number" if whole else "a number"
            fault = f"must be {number} of {option.metadata['unit']}"
            raise ConfigError(f"{option.name}={value!r}: {fault}")
        if value < least:
            raise ConfigError(f"{option.name}={value!r}: must be at least {least:g}")

    def _check_groups(self, names: tuple[str, ...]) -> None:
        for name in names:
            fault = fault_of_group(name)
            if fault is not None:
                raise ConfigError(f"group_names: {name!r} {fault}")

    def _check_zone(self, name: str) -> None:
        if not is_zone(name):
            fault = "is not a known time zone; use a name such as Europe/Berlin"
            raise ConfigError(f"time_zone={name!r} {fault}")
        if self.utc_time and name != UTC:
            fault = "contradict each other; set one of them"
            raise ConfigError(f"utc_time=True and time_zone={name!r} {fault}")

    @property
    def zone(self) -> str | None:
        """The time zone of all times in the tables; None for this machine's zone."""
        return UTC if self.utc_time else self.time_zone

    @property
    def lease(self) -> float:
        """Seconds after the last heartbeat until a worker counts as dead: three heartbeats + 2."""
        return 3 * self.heartbeat + 2.0

    @property
    def silence(self) -> float:
        """Seconds for which a worker must also observe the silence of another one before it counts
        as dead."""
        return self.heartbeat + 2.0

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with other values.

        Raises: ConfigError for an option that does not exist, or a value that is not valid.

        >>> Settings().replace(slots=4).slots
        4
        """
        known = {option.name for option in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                options = ", ".join(sorted(known))
                raise ConfigError(f"unknown option {name!r}; known options: {options}")
        if "group_names" in changes:
            names = changes["group_names"]
            changes["group_names"] = (names,) if isinstance(names, str) else tuple(names)
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, to send them to another process."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings of a dict of `as_dict`; lists become tuples."""
        return cls(**{**values, "group_names": tuple(values["group_names"])})


def fault_of_group(name: str) -> Sentence | None:
    """Return what is wrong with the name of a group; None for a valid name.

    >>> fault_of_group("high prio"), fault_of_group("a,b")
    (None, "cannot contain ',', which separates group names")
    """
    if not name.strip():
        return Sentence("must not be empty")
    found = _BETWEEN_GROUPS.search(name)
    if found:
        what = "cannot contain {character}, which separates group names"
        return Sentence(what, character=repr(found[0]))
    return Sentence("must not begin with [") if name[0] == "[" else None
